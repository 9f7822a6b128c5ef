"""Does the code give the same answer every time, whatever was asked before?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .calls import Pair
from .differences import relative_error
from .problem import Problem
from .report import Finding
from .results import Array, MisbehaviourError, sort_gradients

#: Sums in another order differ in the last digits; nothing else may.
SAME = 1e-12


def same_every_time(pair: Pair, inputs: Sequence[Any], others: Sequence[Any]) -> Array:
    """Compute y several times, with other inputs in between.

    Parameters
    ----------
    pair : Pair
    inputs, others : arrays

    Returns
    -------
    y : float64 array

    Raises
    ------
    MisbehaviourError
        If it is not the same every time: then there is nothing to differentiate.
    """
    first, second = pair.value(inputs), pair.value(inputs)
    if not _same(first, second):
        raise MisbehaviourError(
            Finding(
                "not-deterministic",
                None,
                "forward gives another y for the same inputs, called twice: it draws random "
                "numbers or counts its calls; hand the noise in, or fix its seed",
            )
        )
    pair.value(others)
    if not _same(first, pair.value(inputs)):
        raise MisbehaviourError(
            Finding(
                "depends-on-history",
                None,
                "forward gives another y for the same inputs after a call with other inputs: "
                "something is kept from call to call",
            )
        )
    return first


def require_all_digits(y: Array) -> None:
    """Refuse outputs that were computed in fewer digits and then made float64 again.

    Parameters
    ----------
    y : array, the outputs for inputs that use all of their digits

    Raises
    ------
    MisbehaviourError
    """
    # Whole numbers, halves and the like come out of float64 too.
    simple = np.array_equal(256 * y, np.round(256 * y))
    if np.array_equal(y, y.astype(np.float32)) and not simple:
        raise MisbehaviourError(
            Finding(
                "dtype",
                None,
                "forward computes in float32 on the way, although y is float64: a difference of "
                "two such numbers has too few digits; keep the dtype of the inputs",
            )
        )


def disagreement(
    pair: Pair,
    problem: Problem,
    dy: Array,
    gradients: dict[int, Any],
    others: Sequence[Any],
) -> list[Finding]:
    """Compute the gradients again, and after other calls in between.

    Parameters
    ----------
    pair : Pair
    problem : Problem
    dy : array
    gradients : dict from positions to the gradients that are expected again
    others : arrays
        Other inputs.

    Returns
    -------
    list of Finding, at most one for each input.
    """
    findings: dict[int, Finding] = {}
    latest: dict[int, Any] = {}

    def compare(result: Any, when: str, code: str = "depends-on-history") -> None:
        again = sort_gradients(result, problem.names, problem.wanted).gradients
        for position, before in gradients.items():
            now, last = again.get(position), latest.get(position)
            latest[position] = now
            if _adds_up(last, now, before):
                findings[position] = Finding(
                    "depends-on-history",
                    problem.names[position],
                    "the gradient is added to that of the calls before, and never starts anew",
                )
            if position in findings or (now is not None and _same(before, now)):
                continue
            text = f"{when} the gradient is another one, for the same inputs and dy"
            if code == "stale-cache":
                text += ": a cache must belong to its call, and not be one place for all calls"
            findings[position] = Finding(code, problem.names[position], text)

    try:
        compare(pair.gradients(problem.inputs, dy), "called a second time,")
        compare(pair.gradients(problem.inputs, dy), "called a third time,")
        if pair.style == "returned":
            _, cache = pair.run(problem.inputs)
            pair.pull_back(dy, cache, problem.inputs)
            again = pair.pull_back(dy, cache, problem.inputs)
            compare(again, "from the same cache a second time,")
            _, cache = pair.run(problem.inputs)
            pair.run(others)
            again = pair.pull_back(dy, cache, problem.inputs)
            compare(again, "after forward ran on other inputs,", "stale-cache")
    except MisbehaviourError as stop:
        return [*findings.values(), stop.finding]
    return list(findings.values())


def _adds_up(last: Any, now: Any, once: Array) -> bool:
    """Say whether a result is the one before plus the gradient itself."""
    if last is None or now is None or not (last.shape == now.shape == once.shape):
        return False
    return bool(np.any(once)) and relative_error(now, last + once) < 1e-9 and not _same(now, once)


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and (
        np.array_equal(one, other) or relative_error(one, other) < SAME
    )
