"""What a task is, and the comparisons that its check is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np

from lenet_np.coursework.layouts import Layout
from lenet_np.coursework.reference import Functions, solutions
from lenet_np.gradcheck import check
from lenet_np.ops import Array

#: Two ways of adding up the same numbers differ by less than this, relative to the largest.
ROUNDING = 1e-9


class Remark(NamedTuple):
    """One thing that is wrong with a student's work."""

    code: str  # what a hint is looked up by; those of gradcheck, and a few more
    message: str
    line: str | None = None  # "exercise.py:12: source"


class Failed(BaseException):
    """The check is over.

    Not an Exception: a student's ``except Exception`` and the gradient check's own must not
    swallow it.
    """

    def __init__(self, *remarks: Remark) -> None:
        super().__init__(*remarks)
        self.remarks = remarks


def fail(code: str, message: str) -> NoReturn:
    """End the check with one remark."""
    raise Failed(Remark(code, message))


class Guess(NamedTuple):
    """A mistake that people make, and the result that it would give."""

    code: str
    message: str
    value: Any


class Exercise(NamedTuple):
    """What a check is given."""

    student: Functions  # only those of the task
    layout: Layout

    @property
    def solution(self) -> Functions:
        """The same functions, right."""
        return solutions(self.layout)


@dataclass(frozen=True)
class Task:
    """One task of the exercise file."""

    name: str  # also that of the pytest marker
    points: int
    teaches: str
    text: str  # the functions as the exercise file has them, a layout's fields in braces
    check: Callable[[Exercise], None]  # raises Failed
    hints: dict[str, str]  # where the general one would not do

    @property
    def functions(self) -> list[str]:
        """The names of the functions to be filled in."""
        return re.findall(r"^def (\w+)", self.text, re.MULTILINE)


def task(
    points: int, teaches: str, text: str, hints: dict[str, str] | None = None
) -> Callable[[Callable[[Exercise], None]], Task]:
    """Make a task of its check, and call it by the name of the check."""

    def made(check: Callable[[Exercise], None]) -> Task:
        return Task(check.__name__, points, teaches, text, check, hints or {})

    return made


# --- gradients ----------------------------------------------------------------------------------


def check_pair(
    exercise: Exercise, name: str, case: str, inputs: dict[str, Array], *how: int
) -> None:
    """Check ``{name}_forward``, which is given the inputs and ``how``, and its backward pass."""
    student, solution = exercise.student, exercise.solution
    check_gradients(
        case,
        lambda *given: student[f"{name}_forward"](*given, *how),
        student[f"{name}_backward"],
        inputs,
        lambda *given: solution[f"{name}_forward"](*given, *how)[0],
        batch_axis=exercise.layout.batch_axis,
    )


def check_gradients(
    case: str,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: dict[str, Array],
    definition: Callable[..., Array],
    **options: Any,
) -> None:
    """Check a student's pair with `gradcheck.check`.

    ``case`` says for the messages what is special about the inputs.
    """
    shape = definition(*inputs.values()).shape
    returns_cache = options.get("cache", "returned") == "returned"

    def forward_in_shape(*given: Array) -> Any:
        result = forward(*given)
        y = result[0] if returns_cache and isinstance(result, tuple) and result else result
        _require_order("the result", y, shape)
        return result

    given, names = list(inputs.values()), list(inputs)
    report = check(forward_in_shape, backward, given, names=names, definition=definition, **options)
    if not report.passed:
        raise Failed(*(_remark(case, finding) for finding in report.findings))


def _remark(case: str, finding: Any) -> Remark:
    # In place, it is the input itself that the finding is about.
    about_gradient = finding.input is not None and finding.code != "in-place"
    where = f"gradient of {finding.input}: " if about_gradient else ""
    return Remark(finding.code, f"with {case}: {where}{finding.message}", finding.line)


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
    _require_order(what, values, shape)
    if values.shape != shape:
        fail("shape", f"{what} must have shape {shape}, got {values.shape}")
    return values


def compare(what: str, answer: Any, right: Array, *guesses: Guess) -> None:
    """Compare a result with the right one; the first guess that gives the same names the cause."""
    values = require_array(what, answer, right.shape)
    if _agree(values, right):
        return
    for guess in guesses:
        if _agree(values, guess.value):
            fail(guess.code, f"{what} {guess.message}")
    if not np.isfinite(values).all():
        fail("nan", f"{what} has values that are nan or infinite")
    error = np.abs(values - right)
    worst = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    fail(
        "unknown",
        f"{what} is wrong in {np.count_nonzero(error > ROUNDING * np.abs(right).max())} of "
        f"{error.size} entries; the worst is at {worst}: {values[worst]:.6g} where "
        f"{right[worst]:.6g} is right",
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


def _agree(values: Array, right: Array) -> bool:
    # A mistake may well give nan or infinity, and be recognised by it.
    scale = float(np.abs(right[np.isfinite(right)]).max(initial=0.0))
    return np.allclose(values, right, rtol=0, atol=ROUNDING * scale, equal_nan=True)


def _require_order(what: str, value: Any, shape: tuple[int, ...]) -> None:
    got = getattr(value, "shape", shape)
    if got != shape and sorted(got) == sorted(shape):
        fail(
            "layout", f"{what} has the right axes in another order: shape {got}, should be {shape}"
        )


def _name(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
