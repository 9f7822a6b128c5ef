"""Hypotheses: some of the outputs' shares of the gradient are missing.

The gradient is a sum over the outputs, dx_i = sum_o dy_o J[o, i]. Code that loops over outputs
and loses some of the terms gives a part of this sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..differences import Array
from ..report import Finding
from .case import Case, axes_text


def some_outputs(case: Case) -> Finding | None:
    """Only the first or last index of some axes counts, or it is the one that is left out."""
    if not case.fits:
        return None
    batch = None if case.batch_axis is None else case.batch_axis % case.upstream.ndim
    for axes, end, only in _choices(case.upstream.shape):
        chosen = _slice_of_ends(case.upstream.shape, axes, end, only)
        if not case.explained_by(case.pull_back(np.where(chosen, case.upstream, 0))):
            continue
        which = "first" if end == 0 else "last"
        where = f"{axes_text(axes)} of y"
        if not only:
            return case.finding(
                "left-out",
                f"the {which} index of {where} is left out: a loop that ends too early, or "
                f"starts too late",
            )
        if axes == (batch,) and end == 0:
            return case.finding("first-example-only", "only the first example of the batch counts")
        if _adds_on(case):
            return case.finding(
                "bias-sum", f"a sum is missing: only the {which} index of {where} counts"
            )
        if axes == (batch,):
            return case.finding(
                "last-example-only",
                "only the last example of the batch counts: = for += in a loop over examples?",
            )
        if end == -1:
            return case.finding(
                "overwrite-overlap",
                f"only the last index of {where} counts: = for += in a loop?",
            )
        return case.finding("one-position-only", f"only the first index of {where} counts")
    return None


def first_for_all(case: Case) -> Finding | None:
    """Every example is given the gradient of the first."""
    axis = case.own_batch_axis
    if not case.fits or axis is None or case.examples < 2:
        return None
    first = np.broadcast_to(np.take(case.right, [0], axis=axis), case.shape)
    if case.explained_by(first):
        return case.finding(
            "first-example-only", "every example is given the gradient of the first"
        )
    return None


def overwritten(case: Case) -> Finding | None:
    """Every entry holds the share of one window only, where several overlap."""
    smooth = case.jacobian.smooth
    if not case.fits or not smooth.any():
        return None
    shape = case.upstream.shape
    matrix = case.jacobian.values[:, smooth].reshape(*shape, -1)
    a = case.analytic.reshape(-1)[case.jacobian.entries[smooth]]
    near = 1e-7 * np.abs(a).max(initial=0.0)
    large = np.abs(matrix) > 1e-9 * np.abs(matrix).max(initial=0.0)
    for count in range(1, len(shape) + 1):
        for loop in itertools.combinations(range(len(shape)), count):
            rest = tuple(axis for axis in range(len(shape)) if axis not in loop)
            shares = (matrix * case.upstream[..., np.newaxis]).sum(axis=rest)
            shares = shares.reshape(-1, len(a))
            touched = large.any(axis=rest).reshape(-1, len(a))
            equal = touched & (np.abs(shares - a) <= near)
            nothing = np.abs(a) <= near
            several = touched.sum(axis=0) > 1
            one = equal.any(axis=0)
            lost = several & one & ~nothing & (np.abs(shares.sum(axis=0) - a) > near)
            if not (one | nothing).all() or np.count_nonzero(lost) * 4 < np.count_nonzero(several):
                continue
            if not lost.any():
                continue
            order = _who_won(touched[:, lost], equal[:, lost])
            return case.finding(
                "overwrite-overlap",
                f"where windows overlap (along {axes_text(loop)} of y) {order} is kept, and not "
                f"the sum: = for +=?",
            )
    return None


def _who_won(touched: Any, equal: Any) -> str:
    indices = np.arange(len(touched))[:, np.newaxis]
    last = np.where(touched, indices, -1).max(axis=0)
    first = np.where(touched, indices, len(touched)).min(axis=0)
    columns = np.arange(touched.shape[1])
    if equal[last, columns].all():
        return "only the share of the last"
    if equal[first, columns].all():
        return "only the share of the first"
    return "only the share of one"


def diagonal(case: Case) -> Finding | None:
    """Each output is taken to depend on the input at its own place alone; or J dy for Jᵀ dy."""
    dy, jacobian = case.upstream, case.jacobian
    if not case.fits or dy.shape != case.shape or len(jacobian.entries) != dy.size:
        return None
    own = np.diagonal(jacobian.values).reshape(dy.shape)
    if not (np.abs(jacobian.values) > 1e-9 * np.abs(own).max(initial=0.0)).sum() > dy.size:
        return None  # it does depend on that alone
    with np.errstate(all="ignore"):
        ratio = case.analytic / dy
    # A mean or a variance that is held fixed leaves one factor for each feature.
    constant = any(
        dy.shape[axis] > 2 and np.ptp(ratio, axis=axis).max() < 1e-7 * np.abs(ratio).max()
        for axis in range(dy.ndim)
    )
    if case.explained_by(dy * own) or (constant and np.any(case.analytic)):
        return case.finding(
            "diagonal-only",
            "each output is taken to depend on the input at its own place alone: the ways "
            "through sums, means or maxima over the others are missing",
        )
    if np.isfinite(jacobian.values).all():
        forward = (jacobian.values @ dy.reshape(-1)).reshape(dy.shape)
        if case.explained_by(forward):
            return case.finding(
                "transposed",
                "dy is multiplied with the Jacobian instead of its transpose: a matrix in the "
                "formula must be transposed",
            )
    return None


def _choices(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], int, bool]]:
    axes = [axis for axis, length in enumerate(shape) if length > 1]
    for count in range(1, len(axes) + 1):
        for chosen in itertools.combinations(axes, count):
            for end in (0, -1):
                yield chosen, end, True
    for count in range(1, min(len(axes), 2) + 1):
        for chosen in itertools.combinations(axes, count):
            for end in (0, -1):
                yield chosen, end, False


def _slice_of_ends(shape: tuple[int, ...], axes: tuple[int, ...], end: int, only: bool) -> Any:
    """Mark the outputs at the end of all axes, or those at the end of none."""
    marked = np.ones(shape, np.bool_)
    for axis in axes:
        line = np.zeros(shape[axis], np.bool_)
        line[end] = True
        marked &= (line if only else ~line).reshape(
            [-1 if i == axis else 1 for i in range(len(shape))]
        )
    return marked


def _adds_on(case: Case) -> bool:
    """Say whether the input is a bias: every output has one of its entries added."""
    values: Array = case.jacobian.values
    is_one = np.abs(values - 1) < 1e-6
    return bool((is_one | (np.abs(values) < 1e-6)).all() and (is_one.sum(axis=1) == 1).all())
