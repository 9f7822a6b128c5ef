"""The comparison itself: one gradient against the differences, for every upstream gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .calls import Pair
from .differences import Jacobian, complex_step
from .problem import Problem
from .report import InputReport
from .results import Array

#: How often the estimated error of the differences is allowed for.
MARGIN = 4.0
TINY = float(np.finfo(np.float64).tiny)


class Comparison(NamedTuple):
    """The result for one input."""

    agree: bool
    report: InputReport
    notes: list[str]


def compare(
    pair: Pair,
    problem: Problem,
    position: int,
    found: Jacobian,
    upstreams: Sequence[Array],
    gradients: Sequence[dict[int, Any]],
) -> Comparison:
    """Hold a gradient against the differences.

    They agree if |a - n| <= tolerance (|a| + |n|) + what the differences err by, in norms.

    Parameters
    ----------
    pair, problem
    position : of the input
    found : Jacobian by this input, with some columns that are smooth
    upstreams : arrays
    gradients : for each upstream, a dict from positions to gradients

    Returns
    -------
    Comparison : the report is of the upstream gradient with the larger error.
    """
    name, smooth = problem.names[position], found.smooth
    error, agree, notes = 0.0, True, []
    report: InputReport | None = None
    for dy, given in zip(upstreams, gradients, strict=True):
        numeric, uncertain = (part[smooth] for part in found.pull_back(dy))
        missing = np.full(problem.inputs[position].shape, np.nan)
        a = given.get(position, missing).reshape(-1)[found.entries[smooth]]
        size = float(np.linalg.norm(a) + np.linalg.norm(numeric))
        allowed = MARGIN * float(np.linalg.norm(uncertain))
        if report is None and problem.tolerance * size < allowed < 1e-2 * size:
            sharper = complex_step(_without_copies(pair), problem.inputs, position, found)
            if sharper is not None:
                return compare(pair, problem, position, sharper, upstreams, gradients)
            notes.append(
                f"{name}: the differences are good to {allowed / size:.0e} only, because y is "
                f"large beside its changes"
            )
        elif report is None and 0 < size * 1e-2 <= allowed:
            notes.append(f"{name}: rounding hides any gradient below {allowed:.0e}")
        distance = float(np.linalg.norm(a - numeric))
        # "not <=" and not ">": a NaN must fail.
        agree &= distance <= problem.tolerance * size + allowed
        # Two gradients that are zero to rounding are equal.
        this = 0.0 if max(distance, size) <= allowed else distance / max(size, TINY)
        if report is None or not this <= error:
            error = this
            report = _report(problem, position, found, error, (a, numeric, uncertain))
    assert report is not None
    return Comparison(bool(agree), report, notes)


def _without_copies(pair: Pair) -> Any:
    """Give the forward pass itself: its complex result must not be taken for a mistake."""
    if pair.style == "returned":
        return lambda inputs: pair.forward(*inputs)[0]
    return lambda inputs: pair.forward(*inputs)


def _report(
    problem: Problem,
    position: int,
    found: Jacobian,
    error: float,
    numbers: tuple[Array, Array, Array],
) -> InputReport:
    """Put the numbers of one input together."""
    analytic, numeric, uncertain = numbers
    shape = problem.inputs[position].shape
    distance = np.abs(analytic - numeric)
    worst = int(np.argmax(np.where(np.isnan(distance), np.inf, distance)))
    index = np.unravel_index(int(found.entries[found.smooth][worst]), shape)
    # Entries that rounding explains have no relative error worth naming.
    size = np.maximum(np.abs(analytic) + np.abs(numeric), TINY)
    by_entry = np.where(np.maximum(distance, 1e-3 * size) > MARGIN * uncertain, distance / size, 0)
    return InputReport(
        problem.names[position],
        shape,
        tuple(int(i) for i in index),
        float(analytic[worst]),
        float(numeric[worst]),
        error,
        float(by_entry.max()),
        int(np.count_nonzero(found.smooth)),
        int(np.count_nonzero(~found.smooth)),
    )
