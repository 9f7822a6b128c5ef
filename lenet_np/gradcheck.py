"""Gradient checks: does a backward pass give the derivative of its forward pass?

Change one number of the input a little, see how the output changes, and compare with what the
formula claims. Three habits make the answer worth something:

- float64 only. A difference of two nearly equal float32 numbers has two or three right digits
  left, and the check would raise false alarms or have to be deaf to real ones.
- A random upstream gradient. With an upstream of ones a softmax backward that returns zeros
  passes, because the sum of a softmax is constant; so does any backward that ignores upstream.
- One error for a whole gradient, by norms. Entry by entry, the tiny entries would all look wrong.

Keep kinks away: where a maximum or a ReLU changes its mind within two steps of the input, the
difference quotient is neither of the two derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: With a fourth-order difference, truncation (step⁴) and rounding (1e-16/step) are both below
#: 1e-11 for values and derivatives of about one.
STEP = 1e-4
TOLERANCE = 1e-7


class GradientError(AssertionError):
    """A gradient is not the derivative of its function; the message says where."""


class Report(NamedTuple):
    """How well one gradient agrees with the difference quotient."""

    name: str
    relative_error: float  # |a - n| / (|a| + |n|), by Euclidean norms
    worst_index: tuple[int, ...]  # where |a - n| is largest
    analytic: float  # a there
    numerical: float  # n there

    def __str__(self) -> str:
        return (
            f"{self.name}: relative error {self.relative_error:.2e}, worst at index "
            f"{self.worst_index}: analytic {self.analytic:.12g}, numerical {self.numerical:.12g}"
        )


def relative_error(analytic: Array, numerical: Array) -> float:
    """Compare two gradients by their norms: |a - n| / max(|a| + |n|, tiny).

    It lies between 0 (equal) and 1 (opposite, or one of them zero). A factor of 1 + d between
    the two gives about d/2.

    Parameters
    ----------
    analytic, numerical : arrays of one shape

    Returns
    -------
    float
    """
    tiny = float(np.finfo(np.float64).tiny)  # only so that two zero gradients are equal
    scale = float(np.linalg.norm(analytic) + np.linalg.norm(numerical))
    return float(np.linalg.norm(analytic - numerical)) / max(scale, tiny)


def numerical_gradient(
    f: Callable[[Array], ArrayLike],
    x: Array,
    upstream: ArrayLike = 1.0,
    step: float = STEP,
    entries: Sequence[int] | NDArray[np.integer[Any]] | None = None,
) -> Array:
    """Differentiate L(x) = <upstream, f(x)> by central differences of fourth order.

    dL/dx_i ≈ (8 (L(x + h e_i) - L(x - h e_i)) - (L(x + 2h e_i) - L(x - 2h e_i))) / (12 h)

    A Taylor series shows that the terms of order h² cancel; the error is -h⁴ L⁽⁵⁾/30.

    Parameters
    ----------
    f : function of an array like x, giving an array or a number
    x : any shape, float64
    upstream : same shape as f(x)
        dL/df. Make it random: see the text of this module.
    step : float
        h, in the units of x.
    entries : (M,) integers, optional
        Flat indices of the entries to differentiate; all of them if left out.

    Returns
    -------
    Array with the shape of x, or (M,) if entries were given.

    Raises
    ------
    ValueError
        If x, upstream or f(x) is not float64, upstream has another shape than f(x), or the step
        is not a positive number.
    """
    _require_float64("x", x)
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"the step must be a positive number, got {step}")
    weights = np.asarray(upstream)
    _require_float64("upstream", weights)
    point = x.copy(order="C")  # so that the flat view writes through
    flat = point.reshape(-1)

    def value_at(index: int, offset: float) -> Array:
        kept = flat[index]
        flat[index] = kept + offset
        # A copy goes in: f may keep or overwrite what it is given.
        value = np.asarray(f(point.copy()))
        flat[index] = kept
        _require_float64("f(x)", value)
        if value.shape != weights.shape:
            raise ValueError(f"f(x) has shape {value.shape}, but upstream has {weights.shape}")
        return value

    chosen = range(flat.size) if entries is None else entries
    gradient = np.empty(len(chosen))
    for position, entry in enumerate(chosen):
        index = int(entry)
        near = value_at(index, step) - value_at(index, -step)
        far = value_at(index, 2 * step) - value_at(index, -2 * step)
        # Differences first, the sum with upstream last: the large common part cancels exactly.
        gradient[position] = np.sum(weights * (8 * near - far)) / (12 * step)
    return gradient.reshape(x.shape) if entries is None else gradient


def check_gradient(
    name: str,
    function: Callable[..., ArrayLike],
    inputs: Sequence[Array],
    gradients_of: Callable[[Any], Sequence[Any]],
    rng: np.random.Generator,
    *,
    step: float = STEP,
    tolerance: float = TOLERANCE,
    entries: Sequence[Sequence[int] | NDArray[np.integer[Any]]] | None = None,
) -> list[Report]:
    """Hold the gradients of a function against difference quotients, for every input.

    The upstream gradient is drawn here, from N(0, 1): nobody can forget it.

    Parameters
    ----------
    name : str
        Goes into the reports and the message.
    function : function of all inputs, giving an array or a number
    inputs : float64 arrays
    gradients_of : function of upstream (shape of the result), giving one gradient per input
    rng : numpy.random.Generator
        Not with the seed that drew the inputs: an upstream equal to x makes dy xᵀ symmetric, and
        hides a transposed gradient.
    step : float
        See `numerical_gradient`.
    tolerance : float
        The largest relative error that passes.
    entries : for each input, flat indices, optional
        Checks a sample of the entries where all would take too long.

    Returns
    -------
    list of Report, one for each input.

    Raises
    ------
    GradientError
        If a gradient is missing, has another shape or dtype than its input, or is wrong.
    ValueError
        If an input or the result is not float64.
    """
    for position, x in enumerate(inputs):
        _require_float64(f"input {position} of {name}", x)
    result = np.asarray(function(*inputs))
    _require_float64(f"the result of {name}", result)
    upstream = np.asarray(rng.standard_normal(result.shape))
    gradients = gradients_of(upstream)
    if len(gradients) != len(inputs):
        raise GradientError(f"{name}: {len(inputs)} inputs, but {len(gradients)} gradients")
    reports = []
    for position, (x, gradient) in enumerate(zip(inputs, gradients, strict=True)):
        label = f"{name}, input {position}"
        analytic = np.asarray(gradient)
        if analytic.shape != x.shape or analytic.dtype != x.dtype:
            raise GradientError(
                f"{label}: the gradient must be {x.dtype} of shape {x.shape} like its input, "
                f"got {analytic.dtype} of shape {analytic.shape}"
            )
        chosen = np.arange(x.size) if entries is None else np.asarray(entries[position], np.intp)

        def of_this_input(value: Array, position: int = position) -> ArrayLike:
            return function(*inputs[:position], value, *inputs[position + 1 :])

        numerical = numerical_gradient(of_this_input, x, upstream, step, chosen)
        reports.append(_compare(label, analytic, numerical, chosen))
    # "not <=" and not ">": a NaN must fail.
    wrong = [report for report in reports if not report.relative_error <= tolerance]
    if wrong:
        lines = "\n".join(f"  {report}" for report in wrong)
        raise GradientError(f"relative error above {tolerance:g}:\n{lines}")
    return reports


def _compare(
    label: str, analytic: Array, numerical: Array, chosen: NDArray[np.integer[Any]]
) -> Report:
    """Measure the error over the chosen entries and find the worst of them."""
    picked = analytic.reshape(-1)[chosen]
    if picked.size == 0:
        raise ValueError(f"{label}: no entry to check")
    worst = int(np.argmax(np.abs(picked - numerical)))
    index = tuple(int(i) for i in np.unravel_index(int(chosen[worst]), analytic.shape))
    error = relative_error(picked, numerical)
    return Report(label, error, index, float(picked[worst]), float(numerical[worst]))


def _require_float64(name: str, value: NDArray[Any]) -> None:
    if getattr(value, "dtype", None) != np.float64:
        raise ValueError(
            f"{name} must be float64, got {getattr(value, 'dtype', type(value).__name__)}: "
            f"in fewer digits the rounding error of the difference drowns the derivative; "
            f"convert with .astype(np.float64)"
        )
