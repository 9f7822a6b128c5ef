"""Hypotheses: the right numbers, but in the wrong place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..differences import Array
from ..report import Finding
from .case import Case, axes_text

#: Entries at which a gradient at other inputs is computed: each costs four forward passes.
SAMPLE = 24


def other_input(case: Case) -> Finding | None:
    """The gradient of another input."""
    for position, gradient in case.numeric.items():
        if position != case.position and np.any(gradient) and case.explained_by(gradient):
            return case.finding(
                "other-input",
                f"this is the gradient of {case.names[position]}: return the gradients in the "
                f"order of the inputs",
            )
    return None


def summed(case: Case) -> Finding | None:
    """Of another shape, and right when summed over the axes that are too many."""
    a, n = case.analytic, case.right
    if case.fits:
        return None
    for count in range(1, a.ndim + 1):
        for axes in itertools.combinations(range(a.ndim), count):
            total = a.sum(axis=axes)
            if total.size == n.size and case.explained_by(n, total.reshape(n.shape)):
                if a.size == n.size:
                    break  # a matter of shape alone
                return case.finding(
                    "bias-sum",
                    f"a sum is missing: the gradient has shape {a.shape}; summed over "
                    f"{axes_text(axes)} it is right",
                )
    return None


def transposed(case: Case) -> Finding | None:
    """Axes in another order, with or without a reshape that hides it."""
    a, n = case.analytic, case.right
    if n.ndim < 2 or n.ndim > 5 or a.size != n.size:
        return None
    for order in itertools.permutations(range(n.ndim)):
        turned = n.transpose(order)
        if case.explained_by(turned):
            what = "transposed" if n.ndim == 2 else f"with its axes in the order {order}"
            return case.finding("transposed", f"the gradient is {what}")
        if case.fits and case.explained_by(turned.reshape(n.shape)):
            return case.finding(
                "axes-mixed",
                f"the numbers are right, but reshaped where they should be transposed "
                f"(order of axes {order})",
            )
    return None


def at_other_inputs(case: Case) -> Finding | None:
    """Right for other inputs: those of an earlier call, or one of them flipped or transposed."""
    if not case.fits:
        return None
    sample = _sample(case)

    def explains(inputs: list[Any]) -> bool:
        # Most inputs are refuted by a few entries.
        return agrees(inputs, sample[:: SAMPLE // 4]) and agrees(inputs, sample)

    def agrees(inputs: list[Any], entries: NDArray[np.intp]) -> bool:
        analytic = case.analytic.reshape(-1)[entries]
        gradient = case.numeric_at(inputs, entries)
        known = np.isfinite(gradient)
        return bool(
            known.any() and case.explained_by(gradient, analytic, case.right.reshape(-1)[entries])
        )

    if explains(list(case.previous)):
        return case.finding(
            "stale-cache",
            "this is the gradient for the inputs of an earlier call: the cache is not renewed "
            "by forward, or kept in one place for all calls",
        )
    if case.output.shape == case.shape:
        here = case.position
        if explains([*case.inputs[:here], case.output, *case.inputs[here + 1 :]]):
            return case.finding(
                "at-output", f"the derivative is taken at y, where it must be taken at {case.name}"
            )
    for position, other in enumerate(case.inputs):
        if position == case.position or other.ndim < 2 or other.dtype != np.float64:
            continue
        for text, changed in _exchanged(other):
            inputs = [*case.inputs[:position], changed, *case.inputs[position + 1 :]]
            if explains(inputs):
                return case.finding(
                    "transposed", f"the gradient uses {case.names[position]} {text}"
                )
    return None


def _exchanged(x: Array) -> Iterator[tuple[str, Array]]:
    """Yield an array with two axes exchanged that are as long."""
    for i, j in itertools.combinations(range(x.ndim), 2):
        if x.shape[i] == x.shape[j] > 1:
            text = "transposed" if x.ndim == 2 else f"with {axes_text((i, j))} exchanged"
            yield text, x.swapaxes(i, j).copy()


def _sample(case: Case) -> NDArray[np.intp]:
    """Pick entries, half of them among those that are wrong."""
    rng = np.random.default_rng(0)
    known = np.isfinite(case.right)
    halves = [np.flatnonzero(part) for part in (case.wrong(), known)]
    return np.unique(np.concatenate([rng.permutation(half)[: SAMPLE // 2] for half in halves]))


def border(case: Case) -> Finding | None:
    """Right inside, wrong near the edges of an image; or right for the first example alone."""
    if not case.fits:
        return None
    wrong = case.wrong()
    known = np.isfinite(case.right)
    batch = _normal(case.own_batch_axis, len(case.shape))
    if batch is not None and case.shape[batch] > 1:
        by_example = np.moveaxis(wrong, batch, 0).reshape(case.shape[batch], -1)
        most = by_example[1:].mean() > 0.5 and by_example.sum() > 3
        if most and not by_example[0].any() and by_example[1:].any(axis=1).all():
            return case.finding(
                "first-example-only", "right for the first example, wrong for all the others"
            )
    axes = [axis for axis, size in enumerate(case.shape) if axis != batch and size >= 3]
    if len(case.shape) < 3 or not (case.jacobian.values != 0).sum(axis=0).max(initial=0) > 1:
        return None  # not an image, or its pixels have nothing to do with each other
    for count in (2, 1):
        for chosen in itertools.combinations(axes, count):
            for width in range(1, (min(case.shape[axis] for axis in chosen) - 1) // 2 + 1):
                edge = _edge(case.shape, chosen, width)
                inside = known & ~edge
                share = float((wrong & edge).sum() / max(int((known & edge).sum()), 1))
                if inside.sum() > 3 and not (wrong & inside).any() and share > 0.3:
                    padding = "the padding, and at " if _is_padded(case, chosen) else ""
                    return case.finding(
                        "border",
                        f"only entries within {width} of the border of {axes_text(chosen)} are "
                        f"wrong: look at {padding}windows that are left out",
                    )
    return None


def _is_padded(case: Case, axes: tuple[int, ...]) -> bool:
    """Say whether outputs at the border see less of the input than others: some see padding."""
    shape = case.upstream.shape
    if max(axes) >= len(shape) or min(shape[axis] for axis in axes) < 3:
        return False
    seen, edge = np.count_nonzero(case.jacobian.values, axis=1), _edge(shape, axes, 1).reshape(-1)
    return bool(seen[edge].mean() < 0.99 * seen[~edge].mean())


def _edge(shape: tuple[int, ...], axes: tuple[int, ...], width: int) -> NDArray[np.bool_]:
    index, edge = np.indices(shape), np.zeros(shape, np.bool_)
    for axis in axes:
        edge |= (index[axis] < width) | (index[axis] >= shape[axis] - width)
    return edge


def _normal(axis: int | None, ndim: int) -> int | None:
    return None if axis is None else axis % ndim
