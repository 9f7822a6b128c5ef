"""The options that several commands have: the same words, with the same meaning and defaults."""

from __future__ import annotations

import argparse
from pathlib import Path

from lenet_np.runs.parser import Parser, folder


def add_network(parser: Parser) -> None:
    """Add RUN and ``--checkpoint``: the trained network that is to read.

    Parameters
    ----------
    parser : Parser
        Its arguments are then given to `check_network`.
    """
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of a run, or one of its checkpoints"
    )
    add_checkpoint(parser)


def check_network(parser: Parser, arguments: argparse.Namespace) -> None:
    """Refuse ``--checkpoint`` where RUN is a checkpoint already: they may contradict each other.

    Parameters
    ----------
    parser : Parser
        With RUN and ``--checkpoint``, from `add_network`.
    arguments : Namespace
        What it has read.

    Raises
    ------
    SystemExit
        With status 2 and one line on stderr.
    """
    if arguments.checkpoint and arguments.run.is_file():
        parser.error(
            f"argument --checkpoint: chooses from the folder of a run; {arguments.run} is a file, "
            "leave it out"
        )


def add_checkpoint(parser: Parser) -> None:
    """Add ``--checkpoint``: which weights of a run to take.

    Without it the value is None, which `lenet_np.runs.folder.checkpoint_file` takes for the last:
    the weights that the run has tested, and the only ones that are there before an epoch is
    complete.

    Parameters
    ----------
    parser : Parser
    """
    parser.add_argument(
        "--checkpoint",
        choices=("last", "best"),
        help="the run's weights last saved, or those with the best validation accuracy "
        "(default: last)",
    )


def add_split(parser: Parser, purpose: str) -> None:
    """Add ``--split``: which part of the data set to read.

    Parameters
    ----------
    parser : Parser
    purpose : str
        What the images are for.
    """
    parser.add_argument(
        "--split",
        choices=("test", "validation", "train"),
        default="test",
        help=f"{purpose} (default: %(default)s)",
    )


def add_data_dir(parser: argparse._ActionsContainer) -> None:
    """Add ``--data-dir``: where MNIST is looked for.

    Parameters
    ----------
    parser : Parser, or a group of its arguments
    """
    parser.add_argument(
        "--data-dir",
        type=folder,
        metavar="DIR",
        help="folder of the MNIST files (default: $LENET_NP_DATA, else the cache folder)",
    )
