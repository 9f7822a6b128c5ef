"""The command ``python -m lenet_np explore``: one HTML file to draw on, from one run or two."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lenet_np.data.files import WriteError, write_atomically
from lenet_np.data.synthetic import draw_digits
from lenet_np.tools.cli.parser import Parser, add_checkpoint
from lenet_np.tools.cli.screen import fail, say

if TYPE_CHECKING:
    from lenet_np.tools.runs.checkpoint import Saved

PROGRAM = "python -m lenet_np explore"
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
    add("runs", nargs="+", type=Path, metavar="RUN", help="one run or two, or their checkpoints")
    add("--out", type=Path, default=Path("explore.html"), metavar="FILE", help="the page to write")
    add_checkpoint(parser)
    arguments = parser.parse_args(argv)
    if len(arguments.runs) > 2:
        parser.error(f"argument RUN: takes one run or two, got {len(arguments.runs)}")

    from lenet_np.tools.runs.checkpoint import CheckpointError, load_network
    from lenet_np.tools.runs.folder import RunFolderError

    try:
        runs = [load_network(run, arguments.checkpoint) for run in arguments.runs]
        with write_atomically(arguments.out) as out:
            out.write(make_page(runs).encode())
    except (RunFolderError, CheckpointError, WriteError) as error:
        return fail(PROGRAM, 1, error)
    say(str(arguments.out))
    return 0


def make_page(runs: Sequence[Saved]) -> str:
    """Fill the page with the weights of the runs, float32 in base64, and twenty digits."""
    labels = np.arange(10).repeat(EACH)
    content = {
        "runs": [
            {
                "name": _name(run),
                "parameters": {
                    name: _base64(value.astype("<f4"))
                    for name, value in run.checkpoint.state.parameters.items()
                },
            }
            for run in runs
        ],
        "images": _base64(draw_digits(labels, np.random.default_rng(SEED))),
        "labels": labels.tolist(),
        "sigma": runs[0].checkpoint.settings.sigma,
    }
    folder = files("lenet_np.tools.explore")
    page, script = ((folder / f"explore.{kind}").read_text("utf-8") for kind in ("html", "js"))
    # A run may be called anything; "</script>" in its name must not end the data.
    data = json.dumps(content).replace("<", "\\u003c")
    return page.replace("/*SCRIPT*/", script).replace("/*DATA*/", data)


def _name(run: Saved) -> str:
    from lenet_np.tools.plots.captions import unusual, words

    checkpoint = run.checkpoint
    settings = checkpoint.settings
    epochs = "1 epoch" if checkpoint.epoch == 1 else f"{checkpoint.epoch} epochs"
    return f"{words(settings, [*unusual(settings), 'seed'])}: {epochs} on {checkpoint.dataset}"


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
