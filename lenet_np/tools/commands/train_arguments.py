"""The command line of a training run: each value is checked before anything starts."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lenet_np.data.load import DATASETS
from lenet_np.estimators import ESTIMATORS, OBJECTIVES
from lenet_np.routes import ROUTES
from lenet_np.settings import SettingError, Settings
from lenet_np.threads import default_threads
from lenet_np.tools.cli.parser import Parser, add_data_dir, at_least, folder

PROGRAM = "python -m lenet_np.train"


class Arguments(NamedTuple):
    """What the user asked for."""

    given: dict[str, Any]  # the settings that were named
    dataset: str | None
    data_dir: Path | None
    out: Path | None
    resume: Path | None
    threads: int
    save_every: int | None  # steps; None: by the clock
    histograms_every: int | None  # steps; None: once an epoch
    tensorboard: bool
    quiet: bool
    json: bool


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
    parser = Parser(
        prog=PROGRAM,
        description="Train LeNet-5 on MNIST through the 0-1 loss with Evolution Strategies.",
        allow_abbrev=False,
    )
    settings = _add_settings(parser)
    _add_surroundings(parser)
    values = vars(parser.parse_args(argv))
    given = {name: values.pop(name) for name in settings if name in values}
    if values["resume"] and values["out"]:
        parser.error("argument --out: not with --resume, which goes on in the run's own folder")
    if not values["resume"]:
        try:
            Settings(**given)
        except SettingError as error:
            parser.error(f"argument --{error.name.replace('_', '-')}: {error.reason}")
    return Arguments(given, **values)


def resume_command(folder: Path, arguments: Arguments) -> str:
    """Write the command that goes on with a run, with the data, files and screen of this one.

    Parameters
    ----------
    folder : Path
        Of the run.
    arguments : Arguments

    Returns
    -------
    str, as a shell takes it
    """
    words = ["python", "-m", "lenet_np.train", "--resume", str(folder)]
    for name in ("data_dir", "save_every", "histograms_every", "threads"):
        value = getattr(arguments, name)
        if value is not None and (name != "threads" or value != default_threads()):
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += [f"--{name}" for name in ("tensorboard", "quiet", "json") if getattr(arguments, name)]
    return shlex.join(words)


def _add_settings(parser: Parser) -> list[str]:
    """Add a flag for each of the `Settings`; those that are not named leave no value."""
    group = parser.add_argument_group("settings of the run")
    defaults = Settings()
    names = []

    def add(flag: str, help: str, **options: Any) -> None:
        action = group.add_argument(flag, help=help, default=argparse.SUPPRESS, **options)
        names.append(action.dest)

    add(
        "--epochs",
        f"passes over the training images (default: {defaults.epochs})",
        type=at_least(1),
        metavar="N",
    )
    add(
        "--batch-size",
        f"images in a minibatch (default: {defaults.batch_size})",
        type=at_least(1),
        metavar="N",
    )
    add(
        "--learning-rate",
        "Adam's rate (default: 5/55000 = 9.09e-05)",
        type=_number(1e-30, 1e30),
        metavar="X",
    )
    add(
        "--loss",
        "zero-one: by Evolution Strategies; cross-entropy: the baseline (default: zero-one)",
        choices=("zero-one", "cross-entropy"),
    )
    add(
        "--samples",
        f"noise samples of each image, zero-one only (default: {defaults.samples})",
        type=at_least(1),
        metavar="N",
    )
    add(
        "--sigma",
        f"standard deviation of the noise, zero-one only (default: {defaults.sigma})",
        type=_number(1e-6, 1e6),  # beyond these, squares leave the range of float32
        metavar="X",
    )
    add(
        "--route",
        f"how the estimate enters the network, zero-one only (default: {defaults.route})",
        choices=tuple(ROUTES),
    )
    add(
        "--estimator",
        f"how the gradient is estimated, zero-one only (default: {defaults.estimator})",
        choices=tuple(ESTIMATORS),
    )
    add(
        "--objective",
        "descend the error probability, or minus the logarithm of the probability of success, "
        f"which keeps every class alive; zero-one only (default: {defaults.objective})",
        choices=OBJECTIVES,
    )
    add(
        "--seed",
        f"decides weights, shuffles and noise (default: {defaults.seed})",
        type=at_least(0),
        metavar="N",
    )
    return names


def _add_surroundings(parser: Parser) -> None:
    """Add the flags that the trained weights do not depend on, and the choice of the data."""
    group = parser.add_argument_group("data, files and screen")
    add = group.add_argument
    add(
        "--dataset",
        choices=DATASETS,
        help="auto: MNIST where it can be had, else synthetic digits (default: auto)",
    )
    add_data_dir(group)
    add(
        "--out",
        type=folder,
        metavar="DIR",
        help="folder for what the run leaves (default: a new one below runs/)",
    )
    add(
        "--resume",
        type=folder,
        metavar="DIR",
        help="go on with the run in this folder, from its last saved step; its settings are kept, "
        "only --epochs may be larger",
    )
    add(
        "--save-every",
        type=at_least(1),
        metavar="STEPS",
        help="save within an epoch too, after so many steps (default: when 30 seconds have passed)",
    )
    add(
        "--histograms-every",
        type=at_least(0),
        metavar="STEPS",
        help="record histograms of weights and gradients; 0: never (default: once an epoch)",
    )
    add(
        "--tensorboard",
        action="store_true",
        help="write event files for TensorBoard too (needs the package tensorboardX)",
    )
    add(
        "--threads",
        type=at_least(1),
        default=default_threads(),
        metavar="N",
        help="threads to work with; the results do not depend on it (default: one per core, "
        "here %(default)s)",
    )
    screen = group.add_mutually_exclusive_group()
    screen.add_argument(
        "--quiet", action="store_true", help="say only the test accuracy, warnings and errors"
    )
    screen.add_argument(
        "--json",
        action="store_true",
        help="say everything as JSON on stdout, an object a line; the rest goes to stderr",
    )


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
