"""What the command lines share: errors of one line, and the types of their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from lenet_np.runs.screen import fail

MOST = 2**63 - 1  # what a checkpoint and NumPy's seeds both hold


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        # One line that names the flag; the usage of a dozen flags above it would hide it.
        raise SystemExit(fail(self.prog, 2, f"{message} (--help explains every flag)"))


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
