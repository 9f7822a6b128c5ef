"""What the commands print, unfailingly: their lines, and their errors of one line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

#: Why something that was said is lost: a full disk behind standard output.
_lost: list[OSError] = []


def guarded(program: str, command: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    """Run a command and return its exit status, or 1 if its words could not all be printed.

    A reader that has gone away is no error, since it has read what it wanted. A disk that is full
    is one.
    """
    _lost.clear()
    try:
        status = command(words)
    except SystemExit as stop:  # argparse's
        status = stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        status = fail(program, 130, "interrupted")
    except BrokenPipeError:
        status = 0
        silence(sys.stdout)
    except OSError as error:
        status = fail(program, 1, error)
    if _lost:
        reason = _lost[0].strerror or _lost[0]
        return fail(program, status or 1, f"cannot write to standard output: {reason}")
    return status


def say(line: str) -> None:
    """Print a line; a reader that has gone away (``| head``) does not end the run."""
    try:
        _print(line, sys.stdout)
    except OSError as error:
        # Windows has another name for a closed pipe.
        closed = isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL
        if not closed:
            _lost.append(error)


def complain(line: str) -> None:
    """Print a warning or an error to the standard error stream, unfailingly."""
    with suppress(OSError):
        _print(cut(line, 4000), sys.stderr)


def fail(program: str, status: int, message: object) -> int:
    """Say in a command's name why it could not do all of its work; return the exit status.

    The message says what was given, what was expected and what to do.
    """
    complain(f"{program}: {message}")
    return status


def _print(line: str, stream: TextIO | None) -> None:
    """Print a line, once: after an OSError the stream is silent."""
    if stream is None:  # closed by the caller (>&-)
        return
    encoding = stream.encoding or "utf-8"
    try:
        # A folder's name may hold letters that the terminal cannot show.
        print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except (OSError, ValueError) as error:  # a closed pipe, a full disk, a closed stream
        silence(stream)
        if isinstance(error, OSError):
            raise


def cut(text: str, most: int) -> str:
    """Shorten a text that may quote a whole file: what is left out is in its middle."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} ... ({len(text):,} characters) ... {text[-most // 4 :]}"


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
