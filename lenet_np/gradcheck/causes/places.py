"""Hypotheses: the right numbers, but in the wrong place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..differences import Array, relative_error
from ..report import Finding
from .case import EXPLAINED, Case, axes_text

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
        if order != tuple(range(n.ndim)) and case.explained_by(turned):
            what = "transposed" if n.ndim == 2 else f"with its axes in the order {order}"
            return case.finding("transposed", f"the gradient is {what}")
    if not case.fits:
        return None
    for order in itertools.permutations(range(n.ndim)):
        mixed = n.transpose(order).reshape(n.shape)
        if case.explained_by(mixed) and not np.array_equal(mixed, n, equal_nan=True):
            return case.finding(
                "axes-mixed",
                f"the numbers are right, but reshaped where they should be transposed "
                f"(order of axes {order})",
            )
    return None


def flipped(case: Case) -> Finding | None:
    """Mirrored along some axes."""
    if not case.fits:
        return None
    for axes in _flips(case.shape):
        if case.explained_by(np.flip(case.right, axes)):
            return case.finding(
                "flipped-kernel",
                f"the gradient is mirrored along {axes_text(axes)}: the kernel is flipped, "
                f"as in a convolution for a correlation",
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
            known.any()
            and np.count_nonzero(known) * 2 >= len(entries)
            and relative_error(analytic[known], gradient[known]) < EXPLAINED
        )

    if explains(list(case.previous)):
        return case.finding(
            "stale-cache",
            "this is the gradient for the inputs of an earlier call: the cache is not renewed "
            "by forward, or kept in one place for all calls",
        )
    for position, other in enumerate(case.inputs):
        if position == case.position or other.ndim < 2 or other.dtype != np.float64:
            continue
        for text, code, changed in _variants(other):
            inputs = [*case.inputs[:position], changed, *case.inputs[position + 1 :]]
            if explains(inputs):
                return case.finding(code, f"the gradient uses {case.names[position]} {text}")
    return None


def _variants(x: Array) -> Iterator[tuple[str, str, Array]]:
    """Yield an array transposed and flipped."""
    for i, j in itertools.combinations(range(x.ndim), 2):
        if x.shape[i] == x.shape[j] > 1:
            text = "transposed" if x.ndim == 2 else f"with {axes_text((i, j))} exchanged"
            yield text, "transposed", x.swapaxes(i, j).copy()
    if x.ndim > 2:
        for axes in _flips(x.shape):
            if len(axes) <= 2:
                yield f"mirrored along {axes_text(axes)}", "flipped-kernel", np.flip(x, axes).copy()


def _flips(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """List the sets of axes to mirror along; pairs first, since kernels have two."""
    axes = [axis for axis, length in enumerate(shape) if length > 1]
    counts = sorted(range(1, min(len(axes), 4) + 1), key=lambda count: (count != 2, count))
    return [chosen for count in counts for chosen in itertools.combinations(axes, count)]


def _sample(case: Case) -> NDArray[np.intp]:
    """Pick entries, half of them among those that are wrong."""
    rng = np.random.default_rng(0)
    wrong = np.flatnonzero(case.wrong())
    known = np.flatnonzero(np.isfinite(case.right))
    chosen = {int(entry) for entry in rng.permutation(wrong)[: SAMPLE // 2]}
    for entry in rng.permutation(known):
        if len(chosen) == SAMPLE:
            break
        chosen.add(int(entry))
    return np.array(sorted(chosen), np.intp)


def shifted(case: Case) -> Finding | None:
    """An image moved by a few pixels: padding that was not cut off."""
    if not case.fits or not _is_image(case):
        return None
    axes = _image_axes(case)
    for first, second in itertools.combinations(axes, 2):
        for steps in itertools.product(range(-3, 4), repeat=2):
            if steps != (0, 0):
                moved = _move(_move(case.right, first, steps[0]), second, steps[1])
                if case.explained_by(moved):
                    return case.finding(
                        "border",
                        f"the gradient is moved by {steps} pixels along "
                        f"{axes_text((first, second))}: cut the padding off at both sides",
                    )
    return None


def stride_ignored(case: Case) -> Finding | None:
    """Every window's share is put where the window would be with stride 1."""
    x_axes, dy = _image_axes(case), case.upstream
    y_axes = [axis for axis in range(dy.ndim) if axis != _normal(case.batch_axis, dy.ndim)]
    if not case.fits or not _is_image(case) or dy.ndim != len(case.shape):
        return None
    for pair in itertools.combinations(x_axes, 2):
        if not set(pair) <= set(y_axes):
            continue
        for stride in (2, 3):
            predicted = np.zeros(case.shape)
            for index in np.ndindex(*(dy.shape[axis] for axis in pair)):
                only = np.zeros_like(dy)
                here: list[Any] = [slice(None)] * dy.ndim
                for axis, i in zip(pair, index, strict=True):
                    here[axis] = i
                only[tuple(here)] = dy[tuple(here)]
                share = case.pull_back(only)
                for axis, i in zip(pair, index, strict=True):
                    share = _move(share, axis, -(stride - 1) * i)
                predicted += share
            # What comes from the padding is not known: a corner is enough.
            if case.explained_by(predicted, least=0.2):
                return case.finding(
                    "stride", f"the gradient is spread with stride 1, forward has {stride}"
                )
    return None


def border(case: Case) -> Finding | None:
    """Right inside, wrong near the edges of an image; or right for the first example alone."""
    if not case.fits:
        return None
    wrong = case.wrong()
    known = np.isfinite(case.right)
    batch = _normal(case.own_batch_axis, len(case.shape))
    if batch is not None and case.shape[batch] > 1:
        by_example = np.moveaxis(wrong, batch, 0).reshape(case.shape[batch], -1)
        if not by_example[0].any() and by_example[1:].any(axis=1).all():
            return case.finding(
                "first-example-only", "right for the first example, wrong for all the others"
            )
    if not _is_image(case):
        return None
    axes = _image_axes(case)
    for count in (2, 1):
        for chosen in itertools.combinations(axes, count):
            for width in range(1, (min(case.shape[axis] for axis in chosen) - 1) // 2 + 1):
                edge = _edge(case.shape, chosen, width)
                inside = known & ~edge
                share = float((wrong & edge).sum() / max(int((known & edge).sum()), 1))
                if inside.any() and not (wrong & inside).any() and share > 0.3:
                    return case.finding(
                        "border",
                        f"only entries within {width} of the border of {axes_text(chosen)} are "
                        f"wrong: look at the padding, and at windows that are left out",
                    )
    return None


def _edge(shape: tuple[int, ...], axes: tuple[int, ...], width: int) -> NDArray[np.bool_]:
    edge = np.zeros(shape, np.bool_)
    for axis in axes:
        line = np.zeros(shape[axis], np.bool_)
        line[:width] = line[-width:] = True
        edge |= line.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return edge


def _is_image(case: Case) -> bool:
    return len(case.shape) >= (2 if case.batch_axis is None else 3) and case.position == 0


def _image_axes(case: Case) -> list[int]:
    batch = _normal(case.own_batch_axis, len(case.shape))
    return [axis for axis, size in enumerate(case.shape) if axis != batch and size >= 3]


def _normal(axis: int | None, ndim: int) -> int | None:
    return None if axis is None else axis % ndim


def _move(x: Array, axis: int, steps: int) -> Array:
    """Shift along an axis; NaN comes in at the end."""
    moved = np.full_like(x, np.nan)
    size = x.shape[axis]
    if abs(steps) >= size:
        return moved
    source: list[Any] = [slice(None)] * x.ndim
    target: list[Any] = [slice(None)] * x.ndim
    source[axis] = slice(max(-steps, 0), size - max(steps, 0))
    target[axis] = slice(max(steps, 0), size - max(-steps, 0))
    moved[tuple(target)] = x[tuple(source)]
    return moved
