"""What a check says: findings, the numbers of each input, and a text that people read."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: The share of wrong entries for which a report of sampled entries says what it would miss.
SHARE = 0.01
#: A map of an array is not drawn larger than this.
MOST_ROWS, MOST_COLUMNS = 16, 48


class GradientError(AssertionError):
    """A check failed; the message is the report."""


class Finding(NamedTuple):
    """One thing that is wrong."""

    code: str  # stable, for programs: docs/gradcheck.md lists them
    input: str | None  # the name of the input whose gradient it concerns
    message: str
    line: str | None = None  # "file.py:12: source", where a line of the checked code is to blame

    def __str__(self) -> str:
        where = "" if self.input is None else f" {self.input}:"
        line = "" if self.line is None else f"\n    {self.line}"
        return f"[{self.code}]{where} {self.message}{line}"


class InputReport(NamedTuple):
    """How well the gradient of one input agrees with the differences."""

    name: str
    shape: tuple[int, ...]
    worst_index: tuple[int, ...]  # where |a - n| is largest
    analytic: float  # a there
    numeric: float  # n there
    relative_error: float  # |a - n| / (|a| + |n|), by Euclidean norms
    worst_entry_error: float  # the same entry by entry, the largest
    checked: int  # entries
    excluded: int  # entries at a kink

    def __str__(self) -> str:
        kinks = f", {self.excluded} left out at kinks" if self.excluded else ""
        return (
            f"{self.name} {self.shape}: relative error {self.relative_error:.1e} "
            f"(by entry {self.worst_entry_error:.1e}), {self.checked} of "
            f"{math.prod(self.shape)} entries{kinks}; worst at {self.worst_index}: "
            f"analytic {self.analytic:.12g}, numeric {self.numeric:.12g}"
        )


class Report(NamedTuple):
    """The outcome of `check`."""

    findings: tuple[Finding, ...]
    inputs: tuple[InputReport, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        lines = ["passed" if self.passed else "FAILED"]
        lines += [str(finding) for finding in self.findings]
        lines += [f"  {entry}" for entry in self.inputs]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def raise_if_failed(self) -> None:
        """Raise GradientError with the text of the report if anything was found."""
        __tracebackhide__ = True  # pytest shows the line that called
        if not self.passed:
            raise GradientError(str(self))


def chance_of_missing(checked: int, share: float = SHARE) -> float:
    """Give the probability that none of the checked entries is among those that are wrong.

    (1 - q)^m for m entries drawn at random and an error that hits a share q of all.
    """
    return float((1 - share) ** checked)


def draw_map(marks: NDArray[Any], batch_axis: int | None = None) -> str:
    """Draw where an array is right and wrong: its two longest axes, folded over all others.

    The marks are 0 right, 1 left out at a kink, 2 not checked, 3 wrong; the worst of a fold is
    drawn. The batch axis is folded if there are two others.
    """
    axes = [axis for axis in range(marks.ndim) if marks.ndim <= 2 or axis != batch_axis]
    shown = sorted(sorted(axes, key=lambda axis: -marks.shape[axis])[:2])
    # Checked entries speak for a fold, unless it has none.
    folded = np.where(marks == 2, -1, marks)
    others = tuple(axis for axis in range(marks.ndim) if axis not in shown)
    folded = folded.max(axis=others)
    picture = np.array(list(".k?X"))[np.where(folded < 0, 2, folded)]
    picture = picture.reshape(1, -1) if picture.ndim < 2 else picture
    rows = ["".join(row[:MOST_COLUMNS]) for row in picture[:MOST_ROWS]]
    if picture.shape[1] > MOST_COLUMNS:
        rows = [f"{row} ..." for row in rows]
    if len(picture) > MOST_ROWS:
        rows.append("...")
    what = "axis" if len(shown) < 2 else "axes"
    title = f"{what} {' and '.join(map(str, shown)) or '-'}" + (", others folded" if others else "")
    return "\n".join(
        [f"    ({title}; . right, X wrong, k kink, ? not checked)"] + [f"    {row}" for row in rows]
    )
