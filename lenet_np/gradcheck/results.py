"""Sorting what backward returned: which gradient belongs to which input, and is it one at all?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .differences import Array
from .report import Finding


class Sorted(NamedTuple):
    """The gradients that can be compared, and what is wrong with the others."""

    gradients: dict[int, Any]  # position of the input -> float64 array, maybe of a wrong shape
    findings: list[Finding]


def sort_gradients(result: Any, names: Sequence[str], wanted: Sequence[int]) -> Sorted:
    """Assign what backward returned to inputs: one gradient, a sequence or dict with one for each.

    Constants may be left out, or have None. MisbehaviourError if the number of gradients, or
    their names, are not those of the inputs.
    """
    gradients: dict[int, Any] = {}
    findings = []
    for position, value in _pairs(result, names, wanted):
        what = f"the gradient of {names[position]}"
        problem = wrong_type(value, what)
        if problem is None and not np.isfinite(value).all():
            problem = Finding("nan", None, f"{what} has {not_finite(np.asarray(value))}")
        if problem is None:
            gradients[position] = np.asarray(value)
        else:
            findings.append(problem._replace(input=names[position]))
    return Sorted(gradients, findings)


def _pairs(result: Any, names: Sequence[str], wanted: Sequence[int]) -> list[tuple[int, Any]]:
    expected = ", ".join(names[position] for position in wanted)
    if isinstance(result, dict):
        keys = [names[position] for position in wanted]
        if set(keys) <= set(result):
            return [(position, result[names[position]]) for position in wanted]
        if set(result) & set(names):
            missing = ", ".join(key for key in keys if key not in result)
            raise _wrong_number(f"the dict of gradients lacks {missing}")
        result = list(result.values())  # other names: in order
    if not isinstance(result, (tuple, list)):
        if len(wanted) == 1:
            return [(wanted[0], result)]
        if result is None:
            raise MisbehaviourError(
                Finding("none", None, "backward returned None: is a return missing?")
            )
        raise _wrong_number(
            f"backward must return {len(wanted)} gradients ({expected}), got {describe(result)}"
        )
    if len(result) == len(names):
        return [(position, result[position]) for position in wanted]
    if len(result) != len(wanted):
        raise _wrong_number(
            f"backward must return {len(wanted)} gradients ({expected}), got {len(result)}"
        )
    return list(zip(wanted, result, strict=True))


def _wrong_number(message: str) -> MisbehaviourError:
    return MisbehaviourError(Finding("number-of-gradients", None, message))


# --- what checked code may return: float64 arrays without nan. All else is said in plain words ----


class MisbehaviourError(Exception):
    """The checked code did something after which nothing can be computed."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def as_output(result: Any) -> Array:
    """Copy what forward returned for y. MisbehaviourError says what is wrong with it."""
    problem = wrong_type(result, "y")
    if problem is None:
        y = np.array(result)
        if not np.isfinite(y).all():
            problem = Finding("nan", None, f"y of forward has {not_finite(y)}")
    if problem is not None:
        raise MisbehaviourError(problem)
    return y


def wrong_type(value: Any, what: str) -> Finding | None:
    """Say what is wrong with the type of a result, or give None."""
    if value is None:
        return Finding("none", None, f"{what} is None: is a return missing?")
    if isinstance(value, (tuple, list)) and what == "y":
        return Finding(
            "outputs",
            None,
            f"y must be one array, got {describe(value)}: stack several outputs, in forward "
            f"y = np.concatenate([part.ravel() for part in outputs]), and split dy in backward",
        )
    if not isinstance(value, (np.ndarray, np.generic, float, int)):
        return Finding("dtype", None, f"{what} must be a NumPy array, got {describe(value)}")
    dtype = np.asarray(value).dtype
    if dtype == np.float64:
        return None
    reason = "a copy in fewer digits was made on the way"
    if dtype.kind in "iub":
        reason = "whole numbers cut off the rest; make the array with dtype float64"
    return Finding("dtype", None, f"{what} must be float64 like the inputs, got {dtype}: {reason}")


def not_finite(values: Array) -> str:
    """Count what is not finite and say where the first is."""
    wrong = ~np.isfinite(values)
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{np.count_nonzero(wrong)} of {wrong.size} values nan or inf, the first at {first}"


def describe(value: Any) -> str:
    """Name a value that is not what was expected, shortly."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, (tuple, list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
