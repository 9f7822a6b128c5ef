"""Ties of a maximum: what no single entry shows, the tied entries show together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calls import Pair
from .differences import STEP, Array, Jacobian, along, slope
from .problem import Problem
from .report import Finding
from .results import MisbehaviourError, sort_gradients

#: Groups that are looked at: each costs some forward passes and a backward pass.
GROUPS = 8


def check_ties(
    pair: Pair,
    problem: Problem,
    position: int,
    found: Jacobian,
    function: Callable[[Sequence[Any]], Array],
    y: Array,
    noise: Array,
) -> list[Finding]:
    """Check that the gradients of tied entries add up to that of moving them all together.

    Which of them gets the gradient is free: the first, the last, or each its share.
    """
    kinks = ~found.smooth
    x, name = problem.inputs[position], problem.names[position]
    groups = tied_groups(x, found.entries[kinks], found.right[:, kinks], found.left[:, kinks])
    for output, tied in groups[:GROUPS]:
        curve = along(function, problem.inputs, position, tied)
        together = slope(
            lambda t, curve=curve, output=output: curve(t)[output : output + 1],  # type: ignore[misc]
            y.reshape(-1)[output : output + 1],
            noise[output : output + 1],
            STEP,
        )
        if not together.smooth:
            continue
        right = float(together.value[0])
        upstream = np.zeros(y.shape)
        upstream.flat[output] = 1.0
        try:
            result = pair.gradients(problem.inputs, upstream)
            gradients = sort_gradients(result, problem.names, problem.wanted).gradients
        except MisbehaviourError as stop:
            return [stop.finding]
        if position not in gradients:
            continue
        given = gradients[position].reshape(-1)[tied]
        total = float(given.sum())
        if abs(total - right) <= 1e-6 * abs(right):
            continue
        text = f"add up to {total:.6g} and not {right:.6g}"
        if np.allclose(given, right, rtol=1e-6):
            text = f"are given the whole gradient, each of the {len(tied)}: together too much"
        elif not given.any():
            text = "are given nothing, none of them"
        return [
            Finding(
                "ties",
                name,
                f"where {len(tied)} entries tie, they {text}; give it to one of them, or a "
                f"share to each",
            )
        ]
    return []


def tied_groups(
    x: Array, entries: NDArray[np.intp], right: Array, left: Array, noise: float = 1e-6
) -> list[tuple[int, list[int]]]:
    """Find, for each output, the entries that tie for it.

    An entry that ties for a maximum moves it alone on one side, and not at all on the other.
    The entries at kinks are flat indices, with the slopes on both sides: (M, n). Slopes closer than
    `noise`, relative to the largest, are equal. Gives (output, entries) with at least two
    entries of one value.
    """
    groups = []
    for output in range(len(right)):
        # A maximum follows an entry that rises, a minimum one that falls.
        for moving, still in ((right[output], left[output]), (left[output], right[output])):
            scale = np.abs(moving).max(initial=0.0)
            alone = (np.abs(moving) > noise * scale) & (np.abs(still) <= noise * scale)
            tied = entries[alone]
            alike = np.isclose(moving[alone], moving[alone][:1], rtol=1e-5, atol=0)
            if len(tied) > 1 and alike.all() and np.ptp(x.reshape(-1)[tied]) == 0:
                groups.append((output, [int(entry) for entry in tied]))
    return groups
