"""What a task is, and the comparisons that its check is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..gradcheck.report import draw_map
from .layouts import Array, Layout

#: Two ways of adding up the same numbers differ by less than this, relative to the largest.
ROUNDING = 1e-9
Functions = dict[str, Callable[..., Any]]


class Remark(NamedTuple):
    """One thing that is wrong with a student's work."""

    code: str  # what a hint is looked up by; those of gradcheck, and a few more
    message: str
    line: str | None = None  # "exercise.py:12: source"
    part: str | None = None  # of the task


class Failed(BaseException):
    """A part of the check is over.

    Not an Exception: a student's ``except Exception`` and the gradient check's own must not
    swallow it.
    """

    def __init__(self, *remarks: Remark) -> None:
        super().__init__(*remarks)
        self.remarks = remarks


def fail(code: str, message: str) -> NoReturn:
    """End a part of the check with one remark."""
    raise Failed(Remark(code, message))


class Guess(NamedTuple):
    """A mistake that people make, and the result that it would give."""

    code: str
    message: str
    value: Array


class Known(NamedTuple):
    """What a result must be."""

    right: Array
    guesses: tuple[Guess, ...] = ()


#: What the functions of the exercise must give: (layout, function, *arguments) -> by result. It is
#: computed from the package, or read from a file where the package must not be.
Answers = Callable[..., dict[str, Known]]

PASSED, FAILED, NOT_ATTEMPTED, NOT_JUDGED = "passed", "failed", "not attempted", "not judged"


@dataclass
class Exercise:
    """What a check is given, and what has come out of it so far."""

    student: Functions  # only those of the task
    layout: Layout
    seed: int  # 0 for the open tests
    answers: Answers
    explain: Callable[[BaseException], Sequence[Remark]]
    saved: Callable[[], None] = lambda: None  # called after each part
    parts: dict[str, str] = field(default_factory=dict)  # name to status
    remarks: list[Remark] = field(default_factory=list)

    @property
    def grow(self) -> int:
        """How much larger arrays are than in the open tests."""
        return self.seed % 3

    def rng(self, number: int) -> np.random.Generator:
        """Make a generator for each of the things that are drawn."""
        return np.random.default_rng([self.seed, number])

    def normal(self, number: int, *shape: int) -> Array:
        """Draw from N(0, 1)."""
        return self.rng(number).standard_normal(shape)

    def know(self, function: str, *arguments: Any) -> dict[str, Known]:
        """Say what a function of the exercise must give for these arguments."""
        return self.answers(self.layout, function, *arguments)

    def require_something_right(self) -> None:
        """Leave open a part that code earns which does nothing, as long as nothing else passes."""
        if PASSED not in self.parts.values():
            fail("not-judged", "this is judged when another part passes")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Judge one part: it passes if the block comes to its end."""
        try:
            yield
            self.parts[name] = PASSED
        except BaseException as error:
            remarks = self.explain(error)
            self.parts[name] = STATUS.get(remarks[0].code, FAILED)
            for remark in remarks:
                # One exception may be the end of several parts, and is told once.
                if remark not in [known._replace(part=None) for known in self.remarks]:
                    self.remarks.append(remark._replace(part=name))
        self.saved()


#: A remark that is no judgement gives its part this status.
STATUS = {"not-written": NOT_ATTEMPTED, "not-judged": NOT_JUDGED}


@dataclass(frozen=True)
class Task:
    """One task of the exercise file."""

    name: str  # also that of the pytest marker
    parts: dict[str, int]  # their points
    teaches: str
    text: str  # the functions as the exercise file has them, a layout's fields in braces
    check: Callable[[Exercise], None]
    hints: dict[str, str]  # by the code of a remark, where the general one would not do

    @property
    def points(self) -> int:
        """The points of all parts together."""
        return sum(self.parts.values())

    @property
    def functions(self) -> list[str]:
        """The names of the functions to be filled in."""
        return re.findall(r"^def (\w+)", self.text, re.MULTILINE)


def task(
    parts: dict[str, int], teaches: str, text: str, hints: dict[str, str] | None = None
) -> Callable[[Callable[[Exercise], None]], Task]:
    """Make a task of its check, and call it by the name of the check."""

    def made(check: Callable[[Exercise], None]) -> Task:
        return Task(check.__name__, parts, teaches, text, check, hints or {})

    return made


# --- values -------------------------------------------------------------------------------------


def take_apart(function: str, result: Any, names: Sequence[str]) -> Sequence[Any]:
    """Take the results of a function that must return several."""
    many = isinstance(result, (tuple, list))
    if many and len(result) == len(names):
        return list(result)
    got = f"{len(result)} values" if many else _name(result)
    fail(
        "number-of-results",
        f"{function} must return {len(names)} values ({', '.join(names)}), got {got}",
    )


def require_array(what: str, answer: Any, shape: tuple[int, ...]) -> Array:
    """Take a result that must be a float64 array of a given shape."""
    if answer is None:
        fail("none", f"{what} is None: is a return missing?")
    if not isinstance(answer, (np.ndarray, np.floating, float)):
        fail("dtype", f"{what} must be a NumPy array of floats, got {_name(answer)}")
    values = np.asarray(answer)
    if values.dtype != np.float64:
        fail("dtype", f"{what} must be float64 like the inputs, got {values.dtype}")
    require_order(what, values, shape)
    if values.shape != shape:
        fail("shape", f"{what} must have shape {shape}, got {values.shape}")
    return values


def compare(what: str, answer: Any, known: Known, code: str = "unknown") -> None:
    """Compare a result with the right one; the first guess that gives the same names the cause.

    ``code`` is that of a mistake that no guess explains.
    """
    right = known.right
    values = require_array(what, answer, right.shape)
    if agree(values, right):
        return
    for guess in known.guesses:
        if agree(values, guess.value):
            fail(guess.code, f"{what} {guess.message}")
    if not np.isfinite(values).all():
        fail("nan", f"{what} has values that are nan or infinite")
    factor = float(np.vdot(values, right)) / max(float(np.vdot(right, right)), 1e-300)
    if values.size > 1 and agree(values, factor * right):
        how = "has the wrong sign" if agree(values, -right) else f"is {factor:.6g} times the right"
        fail(code if code != "unknown" else "constant-factor", f"{what} {how}")
    error = np.abs(values - right)
    wrong = error > ROUNDING * np.abs(right).max(initial=0.0)
    worst = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    picture = f"\n{draw_map(np.where(wrong, 3, 0))}" if values.ndim > 1 else ""
    fail(
        code,
        f"{what} is wrong in {np.count_nonzero(wrong)} of {error.size} entries; the worst is at "
        f"{worst}: {values[worst]:.6g} where {right[worst]:.6g} is right{picture}",
    )


def require_unchanged(function: str, names: Sequence[str], given: Any, kept: Any) -> None:
    """Compare arguments with copies made before the call."""
    for name, now, before in zip(names, given, kept, strict=True):
        if not np.array_equal(now, before):
            fail(
                "in-place",
                f"{function} changes its argument {name} in place: whoever called it still "
                f"needs the old values; make a new array",
            )


def agree(values: Array, right: Array) -> bool:
    """Compare to rounding. A mistake may well give nan or infinity, and be recognised by it."""
    scale = float(np.abs(right[np.isfinite(right)]).max(initial=0.0))
    return values.shape == right.shape and np.allclose(
        values, right, rtol=0, atol=ROUNDING * scale, equal_nan=True
    )


def require_order(what: str, value: Any, shape: tuple[int, ...]) -> None:
    """Refuse the right axes in a wrong order."""
    got = getattr(value, "shape", shape)
    if got != shape and sorted(got) == sorted(shape):
        fail(
            "layout", f"{what} has the right axes in another order: shape {got}, should be {shape}"
        )


def _name(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
