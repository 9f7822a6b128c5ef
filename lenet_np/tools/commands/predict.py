"""The command ``python -m lenet_np predict``."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import Split
from lenet_np.evaluate import logits_of
from lenet_np.ops import Array
from lenet_np.settings import Settings
from lenet_np.tools.cli.parser import Parser, add_network, open_network
from lenet_np.tools.cli.screen import complain, say
from lenet_np.tools.pictures.ink import find_ink
from lenet_np.tools.pictures.normalise import make_field
from lenet_np.tools.pictures.picture import PictureError, read_picture

if TYPE_CHECKING:
    from lenet_np.tools.runs.checkpoint import Saved

PROGRAM = "python -m lenet_np predict"
#: Classes that are printed.
TOP = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status, which ``--help`` explains."""
    parser = Parser(
        prog=PROGRAM,
        description="Read pictures of one digit each: PNG, JPEG and others, of any size, dark on "
        "light or light on dark. The digit is cropped, scaled and centred as MNIST's were.",
        epilog="Exit status: 0 every picture was read; 1 one was not, or there is no such "
        "network; 2 usage. Networks of cross-entropy give the probabilities of the softmax, "
        "those of the 0-1 loss the share of the noise under which a class wins.",
        allow_abbrev=False,
    )
    add_network(parser)
    add = parser.add_argument
    add("images", type=Path, nargs="+", metavar="IMAGE", help="picture of one digit")
    add("--show", action="store_true", help="also print the 28 x 28 pixels that the network saw")
    add("--json", action="store_true", help="print one JSON object a line, one for each picture")
    arguments = parser.parse_args(argv)
    saved = open_network(parser, arguments)
    if saved is None:
        return 1
    meaning = describe(saved.checkpoint.settings)
    if not arguments.json:
        say(f"{saved}\nNumbers: {meaning}.")
    status = 0
    for path in arguments.images:
        try:
            reading = read(saved, path)
        except PictureError as error:
            status = 1
            if arguments.json:
                say(json.dumps({"file": str(path), "error": str(error)}))
            else:
                complain(f"{PROGRAM}: {path}: {error}")
            continue
        ranking = reading.probabilities.argsort(kind="stable")[::-1]
        if arguments.json:
            answer = {
                "file": str(path),
                "digit": int(ranking[0]),
                "probabilities": [round(float(p), 6) for p in reading.probabilities],
                "meaning": meaning,
                "notes": reading.notes,
            }
            say(json.dumps(answer | ({"field": reading.field.tolist()} if arguments.show else {})))
        else:
            top = ", ".join(f"{k} {reading.probabilities[k]:.3f}" for k in ranking[:TOP])
            notes = "".join(f" [{note}]" for note in reading.notes)
            say(f"{path}: {ranking[0]} ({top}){notes}")
            if arguments.show:
                encoding = (sys.stdout and sys.stdout.encoding) or "ascii"
                say(shades(reading.field, shutil.get_terminal_size().columns, encoding))
    return status


class Reading(NamedTuple):
    """What the network makes of a picture."""

    probabilities: NDArray[np.float64]  # (10,), the largest is the answer's
    field: NDArray[np.uint8]  # (28, 28), what the network saw
    notes: list[str]  # what the user should know


def read(saved: Saved, path: Path) -> Reading:
    """Read the digit on a picture; PictureError if that cannot be done."""
    values, frames = read_picture(path)
    ink = find_ink(values)
    field = make_field(ink.strength)
    split = Split(field[np.newaxis], np.zeros(1, np.uint8))
    logits = logits_of(saved.network, saved.checkpoint.state.parameters, split, threads=1)
    probabilities = class_probabilities(logits, saved.checkpoint.settings)[:, 0]
    return Reading(probabilities, field, [*frames, *ink.doubts])


def class_probabilities(logits: Array, settings: Settings) -> NDArray[np.float64]:
    """Turn logits (K, N) into probabilities, in the way that the training gave them a meaning.

    ==============  ============================================================
    cross-entropy   p_k = exp(l_k) / sum_j exp(l_j), the softmax; also where the noise was in the
                    weights, though nothing made it a probability there
    zero-one        P_k = P(argmax(l + sigma ε) = k), ε ~ N(0, I): the share of noise under
                    which the class wins. With u the winner's value, in units of sigma,
                    P_k = ∫ phi(u - l_k/sigma) prod_{j != k} Phi(u - l_j/sigma) du
    ==============  ============================================================

    Both order the classes as the logits do, and every column sums to 1.
    """
    logits = logits.astype(np.float64)
    if settings.loss == "cross-entropy" or settings.perturb == "weights":
        exponentials = np.exp(logits - logits.max(axis=0))
        softmax: NDArray[np.float64] = exponentials / exponentials.sum(axis=0)
        return softmax
    # Quadrature as in `lenet_np.smoothed`, for all classes at once, and without SciPy, which would
    # take longer to import than all else here. Lower than these nodes, the shares underflow.
    scaled, width = logits / settings.sigma, 0.25
    u = scaled.max(axis=0) + np.arange(-27, 8 + width, width)[:, np.newaxis]
    x = u[:, np.newaxis] - scaled  # (nodes, K, N)
    below = np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)) / 2
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    ratio = np.divide(density, below, out=np.zeros(x.shape), where=below > 0)
    shares: NDArray[np.float64] = width * (below.prod(axis=1, keepdims=True) * ratio).sum(axis=0)
    return shares


def describe(settings: Settings) -> str:
    """Say in words what `class_probabilities` are."""
    if settings.loss == "cross-entropy":
        return "probability of each class (softmax)"
    if settings.perturb == "weights":
        return "softmax of the logits, which noise in the weights did not train as probabilities"
    noise = f"noise of standard deviation {settings.sigma:g} on the logits"
    return f"share of {noise} under which each class wins (exact)"


BLOCKS = " ░▒▓█"
ASCII = " .:-=+*#%@"


def shades(field: NDArray[np.uint8], columns: int, encoding: str) -> str:
    """Draw a field with letters, in a frame: the more ink, the denser.

    Letters are twice as high as wide, so each pixel is two of them where the terminal has the
    columns, else one. Where its encoding has no blocks, punctuation is used.
    """
    try:
        BLOCKS.encode(encoding)
        letters = BLOCKS
    except (UnicodeEncodeError, LookupError):
        letters = ASCII
    across = 2 if columns >= 2 * field.shape[1] + 2 else 1
    level = np.rint(field / 255 * (len(letters) - 1)).astype(int)
    edge = "+" + "-" * (across * field.shape[1]) + "+"
    rows = ("".join(letters[k] * across for k in row) for row in level)
    return "\n".join([edge, *(f"|{row}|" for row in rows), edge])
