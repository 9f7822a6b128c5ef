"""Ties of a maximum: what no single entry shows, the tied entries show together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lenet_np.gradcheck.arguments import Problem
from lenet_np.gradcheck.calls import Pair
from lenet_np.gradcheck.differences import STEP, Jacobian, along, slope
from lenet_np.gradcheck.kinks import tied_groups
from lenet_np.gradcheck.report import Finding
from lenet_np.gradcheck.results import sort_gradients
from lenet_np.gradcheck.values import Array, MisbehaviourError

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

    Parameters
    ----------
    pair, problem
    position : of the input
    found : Jacobian by this input
    function : function of the inputs, giving y
    y : array
    noise : (M,)

    Returns
    -------
    list of Finding : none, or one.
    """
    kinks = ~found.smooth
    x, name = problem.inputs[position], problem.names[position]
    groups = tied_groups(x, found.entries[kinks], found.right[:, kinks], found.left[:, kinks])
    for output, tied, _ in groups[:GROUPS]:
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
