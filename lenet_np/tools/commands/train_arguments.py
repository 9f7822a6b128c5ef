"""The command line of a training run: each value is checked before anything starts."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lenet_np.data.load import DATASETS
from lenet_np.settings import (
    CHOICES,
    LOSSES,
    RANGES,
    WEIGHT_DEFAULTS,
    SettingError,
    Settings,
    resolve,
)
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
    workers: int | None  # processes in the threads' place
    dask: str | None  # address of a scheduler
    save_every: int | None  # steps; None: by the clock
    histograms_every: int | None  # steps; None: once an epoch
    tensorboard: bool
    quiet: bool
    json: bool


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Read the command line; the defaults are the notebook's values.

    SystemExit with status 2 and one line on stderr for a value that makes no sense, 0 after --help.
    """
    parser = Parser(
        prog=PROGRAM,
        description="Train LeNet-5 on MNIST through the 0-1 loss with Evolution Strategies.",
        allow_abbrev=False,
    )
    _add_settings(parser)
    _add_surroundings(parser)
    values = vars(parser.parse_args(argv))
    given = {name: values.pop(name) for name in HELP if name in values}
    if values["resume"] and values["out"]:
        parser.error("argument --out: not with --resume, which goes on in the run's own folder")
    try:
        # Of a run that goes on, the other half of a pair is not known here.
        Settings.recorded(given) if values["resume"] else resolve(given)
    except SettingError as error:
        parser.error(f"argument --{error.name.replace('_', '-')}: {error.reason}")
    return Arguments(given, **values)


def resume_command(folder: Path, arguments: Arguments) -> str:
    """Write the command that goes on with a run, with the data, files and screen of this one."""
    words = ["python", "-m", "lenet_np.train", "--resume", str(folder)]
    for name in ("data_dir", "save_every", "histograms_every", "threads", "workers", "dask"):
        value = getattr(arguments, name)
        if value is not None and (name != "threads" or value != default_threads()):
            words += [f"--{name.replace('_', '-')}", str(value)]
    if ":" in arguments.given.get("loss", ""):
        words += ["--loss", arguments.given["loss"]]
    words += [f"--{name}" for name in ("tensorboard", "quiet", "json") if getattr(arguments, name)]
    return shlex.join(words)


#: What the flag of each of the `Settings` says of it.
HELP = {
    "epochs": "passes over the training images",
    "batch_size": "images in a minibatch",
    "learning_rate": "Adam's rate",
    "loss": "zero-one: by Evolution Strategies; cross-entropy: the baseline; FILE.py:FUNCTION or "
    "MODULE:FUNCTION: one of your own, by Evolution Strategies",
    "samples": "noise samples of each image, not for cross-entropy",
    "sigma": "standard deviation of the noise, not for cross-entropy",
    "route": "how the estimate enters the network, not for cross-entropy",
    "estimator": "how the gradient is estimated, not for cross-entropy",
    "objective": "descend the error probability, or minus the logarithm of the probability of "
    "success, which keeps every class alive; not for cross-entropy",
    "seed": "decides weights, shuffles and noise",
    "perturb": "where the noise is: at the logits, or in the weights, where nothing is "
    "differentiated at all; then the zero-one flags serve cross-entropy too, and --route has no "
    "meaning",
    "rank": "of the noise in the weights, of each image's own; full: of networks that read the "
    "whole minibatch",
    "decay": "factor by which the learning rate falls after each epoch",
}


def _add_settings(parser: Parser) -> None:
    """Add a flag for each of the `Settings`; those that are not named leave no value."""
    group = parser.add_argument_group("settings of the run")
    for name, default in asdict(Settings()).items():
        shown = "5/55000 = 9.09e-05" if name == "learning_rate" else str(default)
        if name in WEIGHT_DEFAULTS:
            shown += f"; for weights {WEIGHT_DEFAULTS[name]}"
        options: dict[str, Any] = {"choices": CHOICES.get(name)}
        if name == "loss":
            options = {"metavar": f"{{{','.join(LOSSES)},FILE.py:FUNCTION}}"}
        if name in RANGES:
            kind = type(default)
            options = {"type": partial(_number, kind), "metavar": "N" if kind is int else "X"}
        group.add_argument(
            f"--{name.replace('_', '-')}",
            help=f"{HELP[name]} (default: {shown})",
            default=argparse.SUPPRESS,
            **options,
        )


def _number(kind: type[float], text: str) -> float | str:
    """Convert a number; what is none goes to the `Settings`, which say what they take."""
    try:
        return kind(text)
    except ValueError:
        return text


def _add_surroundings(parser: Parser) -> None:
    """Add the flags that the trained weights do not depend on, and the choice of the data."""
    group = parser.add_argument_group("data, files and screen")
    add = group.add_argument
    add(
        "--dataset",
        choices=DATASETS,
        help="auto: MNIST where it can be had, else synthetic digits; idx: other data of MNIST's "
        "form, in the four files of --data-dir; transposed-idx: the same, turned, for EMNIST "
        "(default: auto)",
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
    work = group.add_mutually_exclusive_group()
    work.add_argument(
        "--workers",
        type=at_least(1),
        metavar="N",
        help="processes to work with in the threads' place",
    )
    work.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="work on the Dask cluster with this scheduler, such as tcp://127.0.0.1:8786 "
        "(needs the package distributed)",
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
