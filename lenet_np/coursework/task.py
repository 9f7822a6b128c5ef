"""What a task is, and the comparisons that its check is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
    """One task of the exercise file.

    Parameters
    ----------
    name : str
        Also the name of the pytest marker.
    points : int
    teaches : str
    functions : names of the functions to be filled in
    text : str
        The functions as the exercise file has them, with the fields of a layout in braces.
    check : function of an Exercise that raises Failed
    hints : dict from a remark's code to a hint, where the general one would not do
    """

    name: str
    points: int
    teaches: str
    functions: tuple[str, ...]
    text: str
    check: Callable[[Exercise], None]
    hints: dict[str, str] = field(default_factory=dict)


# --- gradients ----------------------------------------------------------------------------------


def check_gradients(
    case: str,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[Array],
    names: Sequence[str],
    definition: Callable[..., Array],
    **options: Any,
) -> None:
    """Check a student's pair with `lenet_np.gradcheck`.

    Parameters
    ----------
    case : str
        What is special about the inputs, for the messages.
    forward, backward, inputs, names, definition, options
        As `gradcheck.check` takes them.

    Raises
    ------
    Failed
    """
    inputs = [np.ascontiguousarray(x) for x in inputs]
    shape = definition(*inputs).shape
    returns_cache = options.get("cache", "returned") == "returned"

    def forward_in_shape(*given: Array) -> Any:
        result = forward(*given)
        y = result[0] if returns_cache and isinstance(result, tuple) and result else result
        _require_order("the result", y, shape)
        return result

    report = check(
        forward_in_shape, backward, inputs, names=names, definition=definition, **options
    )
    if not report.passed:
        raise Failed(*(_remark(case, finding) for finding in report.findings))


def _remark(case: str, finding: Any) -> Remark:
    # In place, it is the input itself that the finding is about.
    about_gradient = finding.input is not None and finding.code != "in-place"
    where = f"gradient of {finding.input}: " if about_gradient else ""
    return Remark(finding.code, f"with {case}: {where}{finding.message}", finding.line)


# --- values -------------------------------------------------------------------------------------


def take_apart(function: str, result: Any, names: Sequence[str]) -> tuple[Any, ...]:
    """Take the results of a function that returns several.

    Raises
    ------
    Failed
        If there are not as many.
    """
    if not isinstance(result, (tuple, list)) or len(result) != len(names):
        got = f"{len(result)} values" if isinstance(result, (tuple, list)) else _name(result)
        raise Failed(
            Remark(
                "number-of-results",
                f"{function} must return {len(names)} values ({', '.join(names)}), got {got}",
            )
        )
    return tuple(result)


def require_array(what: str, answer: Any, shape: tuple[int, ...]) -> Array:
    """Take a result that must be a float64 array of a given shape.

    Raises
    ------
    Failed
        If it is none.
    """
    if answer is None:
        raise Failed(Remark("none", f"{what} is None: is a return missing?"))
    if not isinstance(answer, (np.ndarray, np.floating, float)):
        got = _name(answer)
        raise Failed(Remark("dtype", f"{what} must be a NumPy array of floats, got {got}"))
    values = np.asarray(answer)
    if values.dtype != np.float64:
        raise Failed(Remark("dtype", f"{what} must be float64 like the inputs, got {values.dtype}"))
    _require_order(what, values, shape)
    if values.shape != shape:
        raise Failed(Remark("shape", f"{what} must have shape {shape}, got {values.shape}"))
    return values


def compare(what: str, answer: Any, right: Array, guesses: Sequence[Guess] = ()) -> None:
    """Compare a result with the right one; where it is wrong, try the mistakes that people make.

    Parameters
    ----------
    what : str
        The name of the result, for the messages.
    answer : anything
    right : array
    guesses : sequence of Guess
        Named when they explain the answer to rounding; the first one that does.

    Raises
    ------
    Failed
    """
    values = require_array(what, answer, right.shape)
    if _agree(values, right):
        return
    for guess in guesses:
        if _agree(values, guess.value):
            raise Failed(Remark(guess.code, f"{what} {guess.message}"))
    if not np.isfinite(values).all():
        raise Failed(Remark("nan", f"{what} has values that are nan or infinite"))
    error = np.abs(values - right)
    worst = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    raise Failed(
        Remark(
            "unknown",
            f"{what} is wrong in {np.count_nonzero(error > ROUNDING * np.abs(right).max())} of "
            f"{error.size} entries; the worst is at {worst}: {values[worst]:.6g} where "
            f"{right[worst]:.6g} is right",
        )
    )


def require_unchanged(function: str, names: Sequence[str], given: Any, kept: Any) -> None:
    """Compare arguments with copies made before the call.

    Raises
    ------
    Failed
        If one of them was changed in place.
    """
    for name, now, before in zip(names, given, kept, strict=True):
        if not np.array_equal(now, before):
            raise Failed(
                Remark(
                    "in-place",
                    f"{function} changes its argument {name} in place: whoever called it still "
                    f"needs the old values; make a new array",
                )
            )


def _agree(values: Array, right: Array) -> bool:
    # A mistake may well give nan or infinity, and be recognised by it.
    scale = float(np.abs(right[np.isfinite(right)]).max(initial=0.0))
    return np.allclose(values, right, rtol=0, atol=ROUNDING * scale, equal_nan=True)


def _require_order(what: str, value: Any, shape: tuple[int, ...]) -> None:
    got = getattr(value, "shape", shape)
    if got != shape and sorted(got) == sorted(shape):
        raise Failed(
            Remark(
                "layout",
                f"{what} has the right axes in another order: shape {got}, should be {shape}",
            )
        )


def _name(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
