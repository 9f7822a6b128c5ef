"""What the commands print, unfailingly: their lines, and their errors of one line."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def say(line: str) -> None:
    """Print a line; a reader that has gone away (``| head``) does not end the run."""
    _print(line, sys.stdout)


def complain(line: str) -> None:
    """Print a warning or an error to the standard error stream, just as unfailingly."""
    _print(line, sys.stderr)


def fail(program: str, status: int, message: object) -> int:
    """Say in a command's name why it could not do all of its work; return the exit status.

    The message says what was given, what was expected and what to do.
    """
    complain(f"{program}: {message}")
    return status


def _print(line: str, stream: TextIO | None) -> None:
    if stream is None:  # closed by the caller (>&-)
        return
    encoding = stream.encoding or "utf-8"
    try:
        # A folder's name may hold letters that the terminal cannot show.
        print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except (OSError, ValueError):  # a closed pipe, a full disk behind it, a closed stream
        silence(stream)


def silence(stream: TextIO | None) -> None:
    """Throw away what a stream still holds: Python would try again at exit, and fail again."""
    if stream is not None:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def reason(error: BaseException) -> str:
    """Put an exception into one line: the first one of those that caused each other.

    NumPy, for one, wraps the cause of a failed import into pages of advice.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
