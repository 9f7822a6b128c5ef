"""The command line of a training run: each value is checked before anything starts."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lenet_np.data.choose import DATASETS
from lenet_np.estimators import ESTIMATORS, OBJECTIVES
from lenet_np.routes import ROUTES
from lenet_np.runs.parser import Parser, at_least, folder
from lenet_np.runs.threads import default_threads
from lenet_np.state import Settings


class Arguments(NamedTuple):
    """What the user asked for."""

    settings: Settings
    dataset: str
    data_dir: Path | None
    out: Path | None
    threads: int


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Read the command line; the defaults are the notebook's values.

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
    defaults = Settings()
    parser = Parser(
        prog="python -m lenet_np.train",
        description="Train LeNet-5 on MNIST through the 0-1 loss with Evolution Strategies.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--dataset",
        choices=DATASETS,
        default="auto",
        help="auto: MNIST where it can be had, else synthetic digits (default: auto)",
    )
    add(
        "--data-dir",
        type=folder,
        metavar="DIR",
        help="folder of the MNIST files (default: $LENET_NP_DATA, else the cache folder)",
    )
    add(
        "--epochs",
        type=at_least(1),
        default=defaults.epochs,
        metavar="N",
        help="passes over the training images (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=at_least(1),
        default=defaults.batch_size,
        metavar="N",
        help="images in a minibatch (default: %(default)s)",
    )
    add(
        "--learning-rate",
        type=_number(1e-30, 1e30),
        default=defaults.learning_rate,
        metavar="X",
        help="Adam's rate (default: 5/55000 = 9.09e-05)",
    )
    add(
        "--loss",
        choices=("zero-one", "cross-entropy"),
        default=defaults.loss,
        help="zero-one: by Evolution Strategies; cross-entropy: the baseline (default: zero-one)",
    )
    add(
        "--samples",
        type=at_least(1),
        default=defaults.samples,
        metavar="N",
        help="noise samples of each image, zero-one only (default: %(default)s)",
    )
    add(
        "--sigma",
        type=_number(1e-6, 1e6),  # beyond these, squares leave the range of float32
        default=defaults.sigma,
        metavar="X",
        help="standard deviation of the noise, zero-one only (default: %(default)s)",
    )
    add(
        "--route",
        choices=tuple(ROUTES),
        default=defaults.route,
        help="how the estimate enters the network, zero-one only (default: %(default)s)",
    )
    add(
        "--estimator",
        choices=tuple(ESTIMATORS),
        default=defaults.estimator,
        help="how the gradient is estimated, zero-one only (default: %(default)s)",
    )
    add(
        "--objective",
        choices=OBJECTIVES,
        default=defaults.objective,
        help="descend the error probability, or minus the logarithm of the probability of success, "
        "which keeps every class alive; zero-one only (default: %(default)s)",
    )
    add(
        "--seed",
        type=at_least(0),
        default=defaults.seed,
        metavar="N",
        help="decides weights, shuffles and noise (default: %(default)s)",
    )
    add(
        "--out",
        type=folder,
        metavar="DIR",
        help="folder for checkpoint and metrics (default: a new one below runs/)",
    )
    add(
        "--threads",
        type=at_least(1),
        default=default_threads(),
        metavar="N",
        help="threads to work with; the results do not depend on it (default: one per core, "
        "here %(default)s)",
    )
    values = vars(parser.parse_args(argv))
    try:
        ESTIMATORS[values["estimator"]].samples.check(values["samples"])
    except ValueError as error:
        parser.error(f"argument --samples: {error}")
    others = [values.pop(name) for name in ("dataset", "data_dir", "out", "threads")]
    return Arguments(Settings(**values), *others)


def _number(least: float, most: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"takes a number from {least:g} to {most:g}, got {text!r}"
            )
        return value

    return convert
