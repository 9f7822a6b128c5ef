"""Hypotheses: the right numbers, multiplied by something."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..differences import Array, relative_error
from ..report import Finding
from .case import BETTER, EXPLAINED, Case

#: A factor this near to one is that of a rounded constant.
NEARLY_ONE = 1e-4


def upstream_ignored(case: Case) -> Finding | None:
    """The gradient does not change with dy, or is the one for a dy of ones."""
    ones = case.pull_back(np.ones_like(case.upstream))
    other = case.again(np.asarray(np.roll(case.upstream, 1) * 1.5 + 0.5))
    same = (
        other is not None
        and other.shape == case.analytic.shape
        and np.any(other)
        and relative_error(other, case.analytic) < 1e-9
    )
    if same or (np.any(case.analytic) and case.explained_by(ones)):
        return case.finding(
            "upstream-ignored",
            "the gradient does not depend on dy: the chain rule multiplies the upstream "
            "gradient into the derivative",
        )
    return None


def ignored_input(case: Case) -> Finding | None:
    """Forward does not use the input at all."""
    if np.any(case.matrix):
        return None
    return case.finding(
        "ignored-input",
        f"y does not change with {case.name}, and its gradient is not zero: forward ignores it",
    )


def zero(case: Case) -> Finding | None:
    """Zeros everywhere."""
    if case.fits and not np.any(case.analytic):
        return case.finding("zero", "the gradient is zero everywhere, and should not be")
    return None


def factor(case: Case) -> Finding | None:
    """A constant: the sign, the size of the batch, or another number."""
    if not case.fits:
        return None
    known = np.isfinite(case.right)
    n, a = case.right[known], case.analytic[known]
    if not np.any(n):
        return None
    c = float(a @ n / (n @ n))
    off = relative_error(a, c * n)
    if c == 0 or off > 1e-7 + 1e-9 / abs(c) or BETTER * off > case.distance():
        return None
    if abs(c + 1) < 1e-6:
        return case.finding("wrong-sign", "every entry has the wrong sign")
    if case.examples > 2:  # With a batch of 2 any factor of 2 looks the same.
        if abs(c * case.examples - 1) < 1e-6:
            text = f"averaged over the batch of {case.examples}, where it must be summed"
            return case.finding("batch-mean", text)
        if abs(c / case.examples - 1) < 1e-6:
            text = f"summed over the batch of {case.examples}, where it must be averaged"
            return case.finding("batch-sum", text)
    meaning = _recognise(abs(c), case)
    if np.count_nonzero(n) < 2 and not meaning:
        return None  # One number is always a factor away from another.
    if abs(c - 1) < NEARLY_ONE and not meaning:
        return None  # too near for a mistake in a formula
    text = f" ({'minus ' if c < 0 else ''}{meaning})" if meaning else ""
    return case.finding("constant-factor", f"every entry is {c:.9g} times what it should be{text}")


def _recognise(c: float, case: Case) -> str | None:
    """Name a positive factor: a simple number, a length of the arrays, or one of the inputs."""
    forms: list[str] = []
    for text, power in (("{}", 1), ("sqrt({})", 0.5), ("({} squared)", 2)):
        for number, value in _numbers(case):
            for form, result in ((text, value**power), ("1/" + text, value**-power)):
                if abs(c / result - 1) < 1e-6 and abs(result - 1) > 1e-9:
                    forms.append(form.format(number))
        if forms:
            return ", or ".join(forms[:2])
    inverse = round(1 / c)
    if 1 < inverse < 1e6 and abs(c * inverse - 1) < 1e-7:
        return f"1/{inverse}"
    return None


def _numbers(case: Case) -> Iterator[tuple[str, float]]:
    yield "2", 2.0
    if case.examples > 1:
        yield f"the batch size {case.examples}", case.examples
    for name, x in zip([*case.names, "y"], [*case.inputs, case.output], strict=True):
        if x.size == 1 and float(x.reshape(-1)[0]) != 0:
            yield f"{name} = {float(x.reshape(-1)[0]):.6g}", abs(float(x.reshape(-1)[0]))
    shapes = {"y": case.upstream.shape, case.name: case.shape}
    for count in range(1, 5):
        for name, shape in shapes.items():
            for axes in itertools.combinations(range(len(shape)), count):
                length = math.prod(shape[axis] for axis in axes)
                if length > 1:
                    what = "the length" if count == 1 else "the product of the lengths"
                    axis = "axis" if count == 1 else "axes"
                    where = ", ".join(map(str, axes))
                    yield f"{length}, {what} of {axis} {where} of {name}", length


def mask(case: Case) -> Finding | None:
    """Elementwise layers: dy let through where it must not be."""
    dy, a, n = case.upstream, case.analytic, case.right
    if not case.fits or dy.shape != a.shape:
        return None
    known = np.isfinite(n)
    blocked = known & (n == 0)
    with np.errstate(all="ignore"):
        scale = float(np.median((a / dy)[blocked])) if blocked.any() else 0.0
    if scale and case.explained_by(np.where(blocked, scale * dy, n)):
        return case.finding(
            "missing-mask",
            "dy is let through where the output does not depend on the input, and the derivative "
            "is zero: the mask is missing",
        )
    if blocked.any() and case.explained_by(np.where(known, np.where(blocked, dy, 0), np.nan)):
        return case.finding("inverted-mask", "dy is let through exactly where it must be stopped")
    for sign, text in ((1, "dy itself is positive"), (-1, "dy itself is negative")):
        passed = np.where(sign * dy > 0, 1.0, 0.0)
        if case.explained_by(dy * passed) or case.explained_by(n * passed):
            return case.finding(
                "mask-of-upstream",
                f"only entries where {text} are let through: the mask must come from the input",
            )
    return None


def dy_itself(case: Case) -> Finding | None:
    """dy is handed on as it is."""
    if case.fits and case.explained_by(case.upstream):
        return case.finding(
            "missing-factor", "the gradient is dy itself: the derivative is missing"
        )
    return None


def slope(case: Case) -> Finding | None:
    """Elementwise layers: another slope where the input is negative, or another mask."""
    own = case.shape == case.upstream.shape and len(case.columns) == case.matrix.shape[1]
    if not case.fits or not own:
        return None
    values, dy = case.matrix, case.upstream.reshape(-1)[case.columns]
    right = values[case.columns, np.arange(len(case.columns))]
    if np.count_nonzero(values) > np.count_nonzero(right) or not np.all(dy):
        return None
    given = case.analytic.reshape(-1)[case.columns] / dy
    x = case.inputs[case.position].reshape(-1)[case.columns]
    size = np.abs(right).max()
    off = np.abs(given - right) > 1e-6 * size
    stopped, passed = (right != 0) & (given == 0), (right == 0) & (given != 0)
    two_levels = all(np.ptp(part[part != 0]) < 1e-6 * size for part in (right, given))
    if two_levels and stopped.any() and (passed.any() or right.all()) and not _by_sign(off, x):
        what = "another mask than forward" if passed.any() else "a mask, and forward none"
        return case.finding(
            "wrong-mask",
            f"backward uses {what}: {np.count_nonzero(stopped)} entries are stopped that forward "
            f"lets through (are training and evaluation mixed up?)",
        )
    for sign, text, opposite in ((-1, "negative", "positive"), (1, "positive", "negative")):
        if _by_sign(off, sign * x):
            slopes = f"is {given[off][0]:.6g} and should be {right[off][0]:.6g}"
            if max(np.ptp(given[off]), np.ptp(right[off])) > 1e-6 * size:
                slopes = "is wrong"
            return case.finding(
                "slope",
                f"right where {case.name} is {opposite}; where it is {text} the slope {slopes}",
            )
    return None


def _by_sign(marks: NDArray[np.bool_], x: Array) -> bool:
    """Say whether the marks are where x is positive, several of them, and nowhere else."""
    return bool(np.array_equal(marks, x > 0) and marks.sum() > 1 and (~marks).sum() > 1)


def formula(case: Case) -> Finding | None:
    """A factor or a term is left out, or one too many; or dy times a formula that is wrong."""
    if not case.fits:
        return None
    a, n, ones = case.analytic, case.right, np.ones(case.shape)
    weights = [(ones, ""), (_fit(case.upstream, case.shape), " times dy")]
    dy = case.upstream if case.shape == case.upstream.shape else None

    def tries(kind: int, text: str, values: Array) -> Iterator[tuple[str, str, Array, Array]]:
        """Yield for one array what would be equal."""
        if kind == 0:
            yield "missing-factor", f"the factor {text} is missing", n, a * values
            yield "missing-factor", f"there is a factor {text} too many", n * values, a
        elif kind == 1:
            for weight, times in weights:
                if weight is not None and np.any(term := values * weight):
                    yield "missing-term", f"the term {text}{times} is missing", term, n - a
                    yield "missing-term", f"the term minus {text}{times} is missing", -term, n - a
        elif dy is not None:
            text = f"the gradient is dy times {text}: that is not the derivative"
            yield "wrong-formula", text, dy * values, a

    with np.errstate(all="ignore"):
        for kind in range(3):
            for text, values in _arrays(case):
                for code, message, predicted, given in tries(kind, text, values):
                    if case.explained_by(predicted, given):
                        return case.finding(code, message)
    return None


def row_factor(case: Case) -> Finding | None:
    """Each output's share has a factor of its own: something that multiplies dy is left out."""
    if (given := case.student) is None:
        return None
    right, size = case.matrix, np.square(case.matrix).sum(axis=1)
    used = size > 0
    if np.count_nonzero(right) < 2 * used.sum() or np.any(given[~used]):
        return None
    factors = (given * right).sum(axis=1)[used] / size[used]
    fitted = factors[:, np.newaxis] * right[used]
    if not case.explained_by(fitted, given[used], right[used]):
        return None
    for text, array in _arrays(case, case.upstream.shape):
        values = array.reshape(-1)[used]
        if relative_error(factors * values, np.ones_like(values)) < EXPLAINED:
            return case.finding("missing-factor", f"dy is not multiplied by {text}")
        if relative_error(factors, values) < EXPLAINED:
            return case.finding("missing-factor", f"dy is multiplied by {text}: once too often")
    if np.abs(factors - 1).max() < NEARLY_ONE:
        return None
    return case.finding(
        "missing-factor",
        f"the share of each output has a factor of its own, from {factors.min():.6g} to "
        f"{factors.max():.6g}, where it should be 1: what is dy multiplied by?",
    )


def _arrays(case: Case, shape: tuple[int, ...] | None = None) -> Iterator[tuple[str, Array]]:
    """Yield arrays that belong into formulas, each in the shape of the input, or a given one."""
    arrays = dict(zip(case.names, case.inputs, strict=True))
    for name, x in {**arrays, "y": case.output}.items():
        if x.size > 1:
            for values in _placements(np.asarray(x, dtype=np.float64), shape or case.shape):
                yield name, values
                yield f"1 - {name}", 1 - values
                yield f"{name} (1 - {name})", values * (1 - values)
                yield f"1 - {name} squared", 1 - values**2
                yield f"1 + {name} squared", 1 + values**2


def _placements(x: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Broadcast an array to a shape: a vector along every axis of its length."""
    if x.shape == shape:
        yield x
    elif x.ndim == 1:
        for axis, length in enumerate(shape):
            if length == len(x):
                form = [-1 if i == axis else 1 for i in range(len(shape))]
                yield np.broadcast_to(x.reshape(form), shape)


def _fit(upstream: Array, shape: tuple[int, ...]) -> Array | None:
    """Broadcast dy to the shape of the input if there is one way."""
    if upstream.shape == shape or upstream.ndim == 0:
        return np.broadcast_to(upstream, shape)
    found = list(_placements(upstream, shape)) if upstream.ndim == 1 else []
    return found[0] if len(found) == 1 else None
