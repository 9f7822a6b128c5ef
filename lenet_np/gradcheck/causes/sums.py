"""Hypotheses: some of the outputs' shares of the gradient are missing.

The gradient is a sum over the outputs, dx_i = sum_o dy_o J[o, i]. Code that loops over outputs
and loses some of the terms gives a part of this sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..differences import Array
from ..report import Finding
from .case import Case, axes_text


def some_outputs(case: Case) -> Finding | None:
    """Only the first or last index of some axes counts, or it is the one that is left out."""
    if not case.fits:
        return None
    dims = case.upstream.ndim
    batch = None if case.batch_axis is None or dims == 0 else case.batch_axis % dims
    for axes, end, only, chosen in _choices(case.upstream.shape):
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
        return case.finding(
            "one-position-only",
            f"only the first index of {where} counts (in a recurrent layer, the path through time "
            f"is missing)",
        )
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


def _choices(
    shape: tuple[int, ...],
) -> Iterator[tuple[tuple[int, ...], int, bool, NDArray[np.bool_]]]:
    """Yield axes, an end of them, and the outputs at that end of all; or those of none."""
    axes, index = [axis for axis, length in enumerate(shape) if length > 1], np.indices(shape)
    for only, most in ((True, len(axes)), (False, min(len(axes), 2))):
        for count in range(1, most + 1):
            for chosen in itertools.combinations(axes, count):
                for end in (0, -1):
                    marked = np.ones(shape, np.bool_)
                    for axis in chosen:
                        marked &= (index[axis] == end % shape[axis]) == only
                    yield chosen, end, only, marked


def _adds_on(case: Case) -> bool:
    """Say whether the input is a bias: every entry is added to as many outputs, each has one."""
    values: Array = case.jacobian.values
    is_one = np.abs(values - 1) < 1e-6
    alone = (is_one | (np.abs(values) < 1e-6)).all() and (is_one.sum(axis=1) == 1).all()
    return bool(alone and is_one.sum(axis=0).min() > 1 and np.ptp(is_one.sum(axis=0)) == 0)
