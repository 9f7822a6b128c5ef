"""Numerical derivatives: central differences, extrapolated, with an estimate of their own error.

f(x + h) - f(x - h) over 2h errs by h² f'''/6. Richardson: the same with h/2 errs by a quarter of
that, so (4 D(h/2) - D(h))/3 has no h² term left; a third step takes the h⁴ term away as well, and
shows whether the numbers settle. They do not where the function has a kink within the step: then
the step is made smaller, and where that does not help the entry lies at a kink.

Everything is a vector: one entry of an input moves, and all outputs are differentiated at once.
That is a column of the Jacobian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: A function of arrays that gives one array; NaN where it cannot be computed.
Function = Callable[[Sequence[Any]], Array]

EPSILON = float(np.finfo(np.float64).eps)
#: The first step, in units of max(1, |x|): a power of two, so that little is lost in x + h.
STEP = 2.0**-10
SHRINK = 4.0
#: How often the step is made smaller, at most to 2e-7 of the size of the input.
LEVELS = 7
#: Where rounding is measured: so many points, so far apart, relative to the inputs.
POINTS, DISTANCE = 11, 2.0**-24


class Slope(NamedTuple):
    """The derivative of all outputs along one direction."""

    value: Array  # (M,), NaN at a kink
    error: Array  # (M,), an estimate of its error
    right: Array  # (M,), the slope on the side of +h, for the last step tried
    left: Array  # (M,), the slope on the side of -h
    level: int  # how often the step was made smaller

    @property
    def smooth(self) -> bool:
        """Whether the differences settled."""
        return bool(np.isfinite(self.value).all())


class Jacobian(NamedTuple):
    """The derivatives of all outputs by some entries of an input."""

    entries: NDArray[np.intp]  # (n,), flat indices into the input
    values: Array  # (M, n), NaN in the columns of kinks
    errors: Array  # (M, n), estimates
    right: Array  # (M, n), slopes on the side of +h
    left: Array  # (M, n), slopes on the side of -h

    @property
    def smooth(self) -> NDArray[np.bool_]:
        """Which columns have a derivative: (n,)."""
        return np.asarray(np.isfinite(self.values).all(axis=0), dtype=np.bool_)

    def pull_back(self, upstream: Array) -> tuple[Array, Array]:
        """Multiply an upstream gradient into the Jacobian: dx = Jᵀ dy, and its error: (n,)."""
        weights = upstream.reshape(-1)
        error = np.sqrt(np.square(weights[:, np.newaxis] * self.errors).sum(axis=0))
        return weights @ self.values, error


def relative_error(analytic: Array, numeric: Array) -> float:
    """Compare two gradients by their norms: |a - n| / max(|a| + |n|, tiny).

    It lies between 0 (equal) and 1 (opposite, or one of them zero). A factor of 1 + d between
    the two gives about d/2.
    """
    tiny = float(np.finfo(np.float64).tiny)  # only so that two zero gradients are equal
    scale = float(np.linalg.norm(analytic) + np.linalg.norm(numeric))
    return float(np.linalg.norm(analytic - numeric)) / max(scale, tiny)


def rounding(
    function: Function,
    inputs: Sequence[Any],
    wanted: Sequence[int],
    here: Array,
    rng: np.random.Generator,
) -> Array:
    """Measure the rounding of each output, from points a small fixed distance apart: (M,).

    Over equal distances the third difference of a smooth function is nothing but noise, and that
    of white noise has the variance 1 + 9 + 9 + 1 = 20 times that of one value. No difference of
    the outputs says anything below this. The distance is small beside the input, but not so small
    that a number near one inside the function does not feel it. All points lie on one side, so
    that a kink at the inputs stays at the end. Source: Moré & Wild 2011, Estimating
    computational noise.
    """
    noise = EPSILON * np.abs(here)
    # Also a step away, where the differences look: numbers inside may be larger there.
    for away in (0.0, STEP):
        start, ways = list(inputs), {}
        for position in wanted:
            x, signs = inputs[position], rng.choice([-1, 1], inputs[position].shape)
            start[position] = x + away * np.maximum(1, np.abs(x)) * np.where(
                x == 0, signs, np.sign(x)
            )
            ways[position] = DISTANCE * start[position] * signs * rng.uniform(0.5, 1, x.shape)
        points = [
            function([x + k * ways[p] if p in ways else x for p, x in enumerate(start)])
            for k in range(POINTS)
        ]
        third = np.diff([point.reshape(-1) for point in points], 3, axis=0) / np.sqrt(20)
        measured = np.abs(third).max(axis=0)
        noise = np.maximum(noise, np.where(np.isfinite(measured), measured, 0))
    return noise


def slope(
    value_at: Callable[[float], Array],
    here: Array,
    noise: Array,
    step: float,
    level: int = 0,
    levels: int = LEVELS,
) -> Slope:
    """Differentiate a curve t -> (M,) at 0, with the largest step at which it is smooth.

    `here` is its value at 0, `noise` what `rounding` measured, `step` the first step, in units of
    t. It is made smaller `level` times before the first try, and `levels` times at most.
    """
    right = left = np.full(here.shape, np.nan)
    unsettled: list[Slope] = []
    changes: list[float] = []
    smallest = np.inf
    for tried in range(level, levels):
        h = step / SHRINK**tried
        floor = 32 * noise / h
        ahead, behind = value_at(h), value_at(-h)
        ahead2, behind2 = value_at(h / 2), value_at(-h / 2)
        coarse, fine = (ahead - behind) / (2 * h), (ahead2 - behind2) / h
        right, left = (ahead2 - here) / (h / 2), (here - behind2) / (h / 2)
        first = (4 * fine - coarse) / 3
        bent = bend(here, ahead, behind, ahead2, behind2, h)
        if (
            not unsettled
            and settled(bent, first, floor)
            and settled(fine - coarse, 0 * first, floor)
        ):
            return Slope(first, np.abs(fine - coarse) + noise / h, right, left, tried)  # linear
        finest = (value_at(h / 4) - value_at(-h / 4)) / (h / 2)
        second = (4 * finest - fine) / 3
        change = np.maximum(np.abs(second - first), np.abs(bent))
        size = float(change.max(initial=0.0))
        # Rounding grows as the step shrinks. A kink that it covers has not settled: it stays.
        fell = not size > smallest / 2
        if fell and settled(change, second, floor):
            error = np.abs(second - first) + noise / h
            return Slope((16 * second - first) / 15, error, right, left, tried)
        changes.append(h * size)
        smallest = min(smallest, size) if np.isfinite(size) else smallest
        unsettled.append(Slope(first, change + noise / h, right, left, tried))
    if is_rounding(changes, here):
        return unsettled[0]
    nothing = np.full(here.shape, np.nan)
    return Slope(nothing, nothing, right, left, levels - 1)


def jacobian(
    function: Function,
    inputs: Sequence[Any],
    position: int,
    entries: Sequence[int] | NDArray[np.intp] | None = None,
    noise: Array | None = None,
) -> Jacobian:
    """Differentiate all outputs by some entries of one input, given by flat indices, or by all.

    `noise` is what `rounding` measured; the last place of the outputs if left out.
    """
    x = inputs[position]
    here = np.asarray(function(inputs)).reshape(-1)
    noise = EPSILON * np.abs(here) if noise is None else noise
    chosen = np.arange(x.size) if entries is None else np.asarray(entries, np.intp)
    parts = [np.empty((here.size, len(chosen))) for _ in range(4)]
    level = 0
    # Where the numbers are small, the function may bend on a small scale.
    size = min(float(np.sqrt(np.mean(x**2))), 1.0)
    more = int(np.ceil(-np.log2(size) / 2)) if size > 1e-150 else 0
    for column, entry in enumerate(chosen):
        found = slope(
            along(function, inputs, position, [int(entry)]),
            here,
            noise,
            STEP * max(1.0, 2.0 ** np.ceil(np.log2(max(abs(x.flat[entry]), 1e-300)))),
            level,
            LEVELS + more,
        )
        for part, values in zip(parts, found[:4], strict=True):
            part[:, column] = values
        # The neighbours most likely need as small a step; after a kink, start again.
        level = max(found.level - 1, 0) if found.smooth else level
    return Jacobian(chosen, *parts)


def along(
    function: Function, inputs: Sequence[Any], position: int, entries: Sequence[int]
) -> Callable[[float], Array]:
    """Make the curve t -> (M,) outputs, where entries of one input move by t together."""

    def value_at(offset: float) -> Array:
        moved = inputs[position].copy(order="C")
        moved.reshape(-1)[list(entries)] += offset
        arguments = [*inputs[:position], moved, *inputs[position + 1 :]]
        return function(arguments).reshape(-1)

    return value_at


def complex_step(
    function: Callable[[Sequence[Any]], Any], inputs: Sequence[Any], position: int, found: Jacobian
) -> Jacobian | None:
    """Differentiate without a difference, f'(x) = Im f(x + ih)/h: there is nothing to cancel.

    It works for functions that are made of analytic operations and take complex numbers, and
    knows nothing of kinks: it only sharpens a Jacobian from differences, where they settled, and
    must agree with it within its errors. None where the function is not one of these: it may
    raise anything.


    Source: Squire & Trapp 1998, Using complex variables to estimate derivatives of real functions.
    """
    h = 1e-30
    values = found.values.copy()
    for column in np.flatnonzero(found.smooth):
        moved = inputs[position].astype(np.complex128)
        moved.reshape(-1)[found.entries[column]] += 1j * h
        try:
            result = np.asarray(function([*inputs[:position], moved, *inputs[position + 1 :]]))
        except Exception:
            return None
        if result.dtype != np.complex128 or result.size != len(values):
            return None
        values[:, column] = result.reshape(-1).imag / h
    smooth = found.smooth
    difference = np.abs(values - found.values)[:, smooth]
    if not (difference <= 100 * found.errors[:, smooth]).all():
        return None
    return found._replace(values=values, errors=EPSILON * np.abs(values))


# --- kinks: where a ReLU or a maximum changes its mind, there is no derivative to compare with ----


#: Changes below this, relative to the largest slope, do not count: a hundredth of the tolerance.
SETTLED = 1e-9


def bend(
    here: Array, ahead: Array, behind: Array, ahead2: Array, behind2: Array, h: float
) -> Array:
    """Compare second differences over h and h/2: 0 up to h³ if smooth, the jump of slope if not.

    The function at 0, h, -h, h/2 and -h/2 is given: (M,) each.
    """
    whole = (ahead - 2 * here + behind) / h
    half = (ahead2 - 2 * here + behind2) / (h / 2)
    return 2 * half - whole


def settled(change: Array, slopes: Array, floor: Array) -> bool:
    """Say whether a change between two steps is nothing but rounding; False where any is NaN.

    The largest of the slopes is the scale; the floor is what rounding explains: (M,) each.
    """
    if not np.isfinite(slopes).all():
        return False
    scale = float(np.abs(slopes).max(initial=0.0))
    return bool((np.abs(change) <= SETTLED * scale + floor).all())


def is_rounding(changes: list[float], here: Array) -> bool:
    """Tell rounding from a kink where the slopes never settled.

    As the step h shrinks, what rounding does to a slope grows like 1/h, and what a kink does to
    it stays. Times h, the one stays and the other shrinks. The changes are h times
    those of the slope, from the largest step to the smallest. A jump is too large to be rounding.
    """
    if len(changes) < 3 or not np.isfinite(changes).all():
        return False
    # Steps shrink by four; half way, in powers of it, between staying and shrinking.
    stays = changes[0] <= changes[-1] * 2.0 ** (len(changes) - 1)
    return stays and max(changes) <= 1e-10 * float(np.abs(here).max(initial=0.0))
