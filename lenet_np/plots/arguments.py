"""The command line of ``python -m lenet_np plot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lenet_np.data import CLASSES
from lenet_np.runs.options import add_checkpoint, add_data_dir, add_split
from lenet_np.runs.parser import Parser, at_least, folder

PROGRAM = "python -m lenet_np plot"
PICTURES = ("curves", "classes", "confusion", "features", "histograms")


class Arguments(NamedTuple):
    """What the user asked for."""

    runs: list[Path]
    only: list[str]
    out: Path
    format: str
    checkpoint: str | None
    split: str
    data_dir: Path | None
    digit: int | None
    image: int


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Read the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the command's name; the program's own by default.

    Returns
    -------
    Arguments

    Raises
    ------
    SystemExit
        With status 2 and one line on stderr for a value that makes no sense, 0 after --help.
    """
    parser = Parser(
        prog=PROGRAM,
        description="Draw pictures of a run: learning curves; how each class fares, and how strong "
        "the gradient's signal is; the confusion matrix; filters and feature maps; histograms of "
        "weights and gradients. Of several runs, draw the learning curves together: those that "
        "differ only in their seed as mean and range.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("runs", nargs="+", type=folder, metavar="RUN", help="folder of a run")
    add(
        "--only",
        nargs="+",
        choices=PICTURES,
        metavar="NAME",
        help=f"which pictures: {', '.join(PICTURES)} (default: all; of several runs, curves)",
    )
    add(
        "--out",
        type=folder,
        metavar="DIR",
        help="where to write them (default: RUN/plots; of several runs, the current folder)",
    )
    add(
        "--format",
        choices=("png", "svg", "pdf"),
        default="png",
        help="kind of picture (default: %(default)s)",
    )
    add_checkpoint(parser)
    add_split(parser, "images of the confusion matrix and the feature maps")
    add_data_dir(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--digit",
        type=int,
        choices=range(CLASSES),
        metavar="K",
        help="feature maps of the first image of this digit, 0 to 9",
    )
    which.add_argument(
        "--image",
        type=at_least(0),
        default=0,
        metavar="N",
        help="feature maps of this image, counted from 0 (default: %(default)s)",
    )
    values = vars(parser.parse_args(argv))
    runs, several = values["runs"], len(values["runs"]) > 1
    for name in values["only"] or ():
        if several and name != "curves":
            parser.error(f"argument --only: {name} draws one run at a time, got {len(runs)} runs")
    values["only"] = values["only"] or (["curves"] if several else list(PICTURES))
    values["out"] = values["out"] or (Path() if several else runs[0] / "plots")
    return Arguments(**values)
