"""What the doctor says about one thing."""

from __future__ import annotations

from typing import NamedTuple

OK = "ok"
WARN = "warn"  # training can run, but something will be different or missing
FAIL = "FAIL"  # training cannot run


class Check(NamedTuple):
    """One line: how it is (OK, WARN or FAIL), what was looked at, and what was seen."""

    status: str
    name: str
    text: str


def reason(error: BaseException) -> str:
    """Put an exception into one line: the first one of those that caused each other.

    Parameters
    ----------
    error : BaseException
        NumPy, for one, wraps the cause of a failed import into pages of advice.

    Returns
    -------
    str
    """
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
