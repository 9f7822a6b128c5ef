"""Is the forward pass the one that was asked for?"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .differences import relative_error
from .problem import Problem
from .report import Finding, draw_map
from .results import Array, MisbehaviourError

#: Two ways of computing y in float64 agree to about 1e-14.
SAME = 1e-9


def compare_forward(y: Array, definition: Callable[..., Any], problem: Problem) -> list[Finding]:
    """Compare y with the definition, and say what explains the difference.

    Parameters
    ----------
    y : array
        What the checked code gives.
    definition : function of the inputs
    problem : Problem

    Returns
    -------
    list of Finding : none, or one.

    Raises
    ------
    MisbehaviourError
        If y has another shape.
    """
    expected = _of(definition, problem.inputs)
    if y.shape != expected.shape:
        message = f"y has shape {y.shape}, and should have {expected.shape}"
        raise MisbehaviourError(Finding("forward-wrong", None, message))
    if relative_error(y, expected) <= SAME:
        return []
    for text, values in _candidates(y, expected, definition, problem):
        if values.shape == y.shape and relative_error(y, values) <= SAME:
            return [Finding("forward-wrong", None, f"y is not what it should be: {text}")]
    wrong = np.abs(y - expected) > 1e-9 * np.abs(expected).max(initial=0.0)
    worst = tuple(int(i) for i in np.unravel_index(np.argmax(np.abs(y - expected)), y.shape))
    return [
        Finding(
            "forward-wrong",
            None,
            f"y is not what it should be at {np.count_nonzero(wrong)} of {wrong.size} entries, "
            f"worst at {worst}: {y[worst]:.9g} instead of {expected[worst]:.9g}\n"
            f"{draw_map(np.where(wrong, 3, 0), problem.batch_axis)}",
        )
    ]


def _of(definition: Callable[..., Any], inputs: list[Any]) -> Array:
    return np.asarray(definition(*[x.copy() for x in inputs]), dtype=np.float64)


def _candidates(
    y: Array, expected: Array, definition: Callable[..., Any], problem: Problem
) -> Iterator[tuple[str, Array]]:
    """Yield what y would be for common mistakes."""
    yield "it has the wrong sign", -expected
    c = float(np.vdot(y, expected)) / max(float(np.vdot(expected, expected)), 1e-300)
    if y.size > 1:
        yield f"it is {c:.9g} times what it should be", c * expected
    if y.ndim > 1:
        for order in itertools.permutations(range(y.ndim)):
            if order != tuple(range(y.ndim)):
                yield f"its axes are in the order {order}", expected.transpose(order)
                mixed = expected.transpose(order).reshape(y.shape)
                yield "it is reshaped where it should be transposed", mixed
    for position in problem.wanted:
        x, name = problem.inputs[position], problem.names[position]
        yield f"{name} is left out", _changed(definition, problem, position, np.zeros_like(x))
        for axes in [(-2, -1), (1, 2), (0, 1)] if x.ndim >= 3 else []:
            turned = np.flip(x, axes).copy()
            yield (
                f"{name} is flipped along axes {axes}: a convolution for a correlation?",
                _changed(definition, problem, position, turned),
            )
        if x.ndim == 2 and x.shape[0] == x.shape[1]:
            yield f"{name} is transposed", _changed(definition, problem, position, x.T.copy())


def _changed(
    definition: Callable[..., Any], problem: Problem, position: int, value: Array
) -> Array:
    inputs = [*problem.inputs[:position], value, *problem.inputs[position + 1 :]]
    return _of(definition, inputs)
