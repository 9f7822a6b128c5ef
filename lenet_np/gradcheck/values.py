"""What checked code may return: float64 arrays without nan. All else is said in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_np.gradcheck.report import Finding

Array = NDArray[np.float64]


class MisbehaviourError(Exception):
    """The checked code did something after which nothing can be computed."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def as_output(result: Any) -> Array:
    """Take what forward returned for y, or say what is wrong with it.

    Parameters
    ----------
    result : anything

    Returns
    -------
    float64 array, a copy

    Raises
    ------
    MisbehaviourError
    """
    problem = wrong_type(result, "y")
    if problem is None:
        y = np.array(result)
        if not np.isfinite(y).all():
            problem = Finding("nan", None, f"y of forward has {not_finite(y)}")
    if problem is not None:
        raise MisbehaviourError(problem)
    return y


def wrong_type(value: Any, what: str) -> Finding | None:
    """Say what is wrong with the type of a result, or give None.

    Parameters
    ----------
    value : anything
    what : str, what it should be

    Returns
    -------
    Finding or None
    """
    if value is None:
        return Finding("none", None, f"{what} is None: is a return missing?")
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
