"""What the command lines share: errors of one line, and the types of their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lenet_np.tools.cli.screen import cut, fail, say

if TYPE_CHECKING:
    from lenet_np.tools.runs.checkpoint import Saved

MOST = 2**63 - 1  # what a checkpoint and NumPy's seeds both hold


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        # One line that names the flag; the usage of a dozen flags above it would hide it.
        line = f"{cut(message, 1000)} (--help explains every flag)"
        raise SystemExit(fail(self.prog, 2, line))

    def _print_message(self, message: str, file: object = None) -> None:
        say(message.rstrip("\n"))  # argparse's own hides that a disk is full.


def at_least(least: int) -> Callable[[str], int]:
    """Make the type of an argument that is a whole number, neither too small nor too large."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= MOST:
            raise argparse.ArgumentTypeError(
                f"takes a whole number from {least} to {MOST}, got {text!r}"
            )
        return value

    return convert


def folder(text: str) -> Path:
    """Convert an argument that is a folder; it need not exist."""
    if not text:
        raise argparse.ArgumentTypeError("takes a folder, got an empty name")
    return Path(text)


# --- the options that several commands have: the same words, with the same meaning and defaults ---


def add_network(parser: Parser) -> None:
    """Add RUN and ``--checkpoint``, the trained network that is to read, for `open_network`."""
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of a run, or one of its checkpoints"
    )
    add_checkpoint(parser)


def open_network(parser: Parser, arguments: argparse.Namespace) -> Saved | None:
    """Load the network that RUN and ``--checkpoint`` name; None, with a line, where that fails."""
    from lenet_np.tools.runs.checkpoint import CheckpointError, load_network
    from lenet_np.tools.runs.folder import RunFolderError

    with suppress(OSError):  # What cannot be looked at is said where it is read.
        _check_network(parser, arguments)
    try:
        return load_network(arguments.run, arguments.checkpoint)
    except (RunFolderError, CheckpointError) as error:
        fail(parser.prog, 1, error)
        return None


def _check_network(parser: Parser, arguments: argparse.Namespace) -> None:
    """Refuse what contradicts RUN: ``--checkpoint`` if it is one itself, or pictures before it."""
    run: Path = arguments.run
    if not run.is_dir():
        if arguments.checkpoint and run.is_file():
            parser.error(
                f"argument --checkpoint: chooses from the folder of a run; {run} is a file, "
                "leave it out"
            )
        for path in getattr(arguments, "images", ()):
            if path.is_dir() or (path.suffix == ".npz" and run.suffix != ".npz"):
                parser.error(
                    f"argument RUN: the network comes first, then the pictures; got {run}, "
                    f"and then {path}"
                )


def add_checkpoint(parser: Parser) -> None:
    """Add ``--checkpoint``: which weights of a run to take.

    Without it the value is None, which `tools.runs.folder.checkpoint_file` takes for the last: the
    weights that the run has tested, and the only ones before an epoch is complete.
    """
    parser.add_argument(
        "--checkpoint",
        choices=("last", "best"),
        help="the run's weights last saved, or those with the best validation accuracy "
        "(default: last)",
    )


def add_split(parser: Parser, purpose: str) -> None:
    """Add ``--split``: which part of the data set to read, and what the images are for."""
    parser.add_argument(
        "--split",
        choices=("test", "validation", "train"),
        default="test",
        help=f"{purpose} (default: %(default)s)",
    )


def add_data_dir(parser: argparse._ActionsContainer) -> None:
    """Add ``--data-dir``: where MNIST is looked for."""
    parser.add_argument(
        "--data-dir",
        type=folder,
        metavar="DIR",
        help="folder of the data's files (default: $LENET_NP_DATA, else the cache folder)",
    )
