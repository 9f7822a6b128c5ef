"""The command ``python -m lenet_np explore``: one HTML file to draw on, from one run or two."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lenet_np.data.files import WriteError, write_atomically
from lenet_np.data.synthetic import draw_digits
from lenet_np.ops import Parameters
from lenet_np.tools.cli.parser import Parser, add_checkpoint
from lenet_np.tools.cli.screen import fail, say

if TYPE_CHECKING:
    from lenet_np.tools.runs.checkpoint import Saved

PROGRAM = "python -m lenet_np explore"
FOLDER = files("lenet_np.tools.explore")
#: Of the digits to choose from.
SEED, EACH = 5, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status, which ``--help`` explains."""
    parser = Parser(
        prog=PROGRAM,
        description="Write a page to draw on: what a trained network sees, its logits under noise, "
        "the estimated and the exact gradient, and a step of learning; of two runs, side by side. "
        "The page is one file that works without a network.",
        epilog="Exit status: 0 done; 1 there is no such network, or the page cannot be written; "
        "2 usage.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="one run or two, or their checkpoints (default: two that come with the program, of "
        "which one never says 8)",
    )
    add("--out", type=Path, default=Path("explore.html"), metavar="FILE", help="the page to write")
    add_checkpoint(parser)
    arguments = parser.parse_args(argv)
    if len(arguments.runs) > 2:
        parser.error(f"argument RUN: takes one run or two, got {len(arguments.runs)}")

    from lenet_np.tools.runs.checkpoint import CheckpointError, load_network
    from lenet_np.tools.runs.folder import RunFolderError

    try:
        saved = [load_network(run, arguments.checkpoint) for run in arguments.runs]
        with write_atomically(arguments.out) as out:
            out.write(make_page([named(run) for run in saved] or examples()).encode())
    except (RunFolderError, CheckpointError, WriteError) as error:
        return fail(PROGRAM, 1, error)
    say(str(arguments.out))
    return 0


class Network(NamedTuple):
    """A trained network, as the page shows it."""

    name: str
    sigma: float
    parameters: Parameters


def named(run: Saved) -> Network:
    """Name a network by the settings of its run."""
    from lenet_np.tools.plots.captions import unusual, words

    state, settings, epoch, dataset, *_ = run.checkpoint
    epochs = "1 epoch" if epoch == 1 else f"{epoch} epochs"
    name = f"{words(settings, [*unusual(settings), 'seed'])}: {epochs} on {dataset}"
    return Network(name, settings.sigma, state.parameters)


def examples() -> list[Network]:
    """Load the two networks that come with the program, in float16.

    ``train --seed 6 --epochs 3``, and ``train --objective log-success --learning-rate 1e-3
    --epochs 5``, both on MNIST.
    """
    names = {
        "lost": "The original notebook's settings, seed 6, 3 epochs on MNIST: it lost the 8",
        "cured": "Cured: objective log-success, learning rate 0.001, 5 epochs on MNIST",
    }
    with (FOLDER / "weights.npz").open("rb") as file, np.load(file) as arrays:
        weights = {name: arrays[name].astype(np.float32) for name in arrays.files}
    return [
        Network(
            text,
            4.0,
            {k.partition("/")[2]: v for k, v in weights.items() if k.startswith(f"{name}/")},
        )
        for name, text in names.items()
    ]


def make_page(networks: Sequence[Network]) -> str:
    """Fill the page with the weights of the networks, float32 in base64, and twenty digits."""
    labels = np.arange(10).repeat(EACH)
    content = {
        "runs": [
            {
                "name": network.name,
                "parameters": {k: _base64(v.astype("<f4")) for k, v in network.parameters.items()},
            }
            for network in networks
        ],
        "images": _base64(draw_digits(labels, np.random.default_rng(SEED))),
        "labels": labels.tolist(),
        "sigma": networks[0].sigma,
    }
    address = documentation()
    page, script = ((FOLDER / f"explore.{kind}").read_text("utf-8") for kind in ("html", "js"))
    page = (
        page.replace("/*DOCS*/", address) if address else re.sub(r' href="/\*DOCS\*/.*?"', "", page)
    )
    # A run may be called anything; "</script>" in its name must not end the data.
    data = json.dumps(content).replace("<", "\\u003c")
    return page.replace("/*SCRIPT*/", script).replace("/*DATA*/", data)


def documentation() -> str | None:
    """Look up where docs/ is on the web, which pyproject.toml says; None if it does not."""
    try:
        urls = metadata("lenet_np").get_all("Project-URL") or []
    except PackageNotFoundError:  # used from its folder
        return None
    named = dict(url.split(", ", 1) for url in urls)
    return f"{named['Repository'].rstrip('/')}/blob/HEAD/docs/" if "Repository" in named else None


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
