"""Naming the likely cause of a wrong gradient: hypotheses, from special to general."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..report import Finding, draw_map
from . import factors, places, positions, sums, ways
from .case import Case

#: Each says whether it explains the numbers. The first that does is named: a special cause comes
#: before a general one that would explain it too.
HYPOTHESES: tuple[Callable[[Case], Finding | None], ...] = (
    factors.ignored_input,
    factors.zero,
    factors.upstream_ignored,
    places.other_input,
    factors.factor,
    factors.mask,
    factors.slope,
    factors.dy_itself,
    sums.some_outputs,
    sums.first_for_all,
    places.transposed,
    places.summed,
    positions.rule_of_windows,
    ways.unused_outputs,
    factors.row_factor,
    ways.own_index,
    ways.overwritten,
    ways.missing_way,
    ways.spread_evenly,
    positions.moved_rows,
    places.at_other_inputs,
    factors.formula,
    places.border,
    ways.some_shares,
)
#: A gradient that differs by less, for no known reason, is called nearly right.
NEARLY = 1e-4


def diagnose(case: Case) -> Finding:
    """Find the hypothesis that explains a wrong gradient to rounding; "unknown" if none does."""
    shapes = f": {case.analytic.shape} for an input of shape {case.shape}"
    for hypothesis in HYPOTHESES:
        found = hypothesis(case)
        if found is not None:
            more = "" if case.fits or found.code == "bias-sum" else shapes
            return found._replace(message=found.message + more)
    if not case.fits:
        return case.finding("shape", f"the gradient has the wrong shape{shapes}")
    wrong, known = case.wrong(), np.isfinite(case.right)
    if (distance := case.distance()) < NEARLY:
        return case.finding(
            "nearly-right",
            f"nearly right ({distance:.0e}): an epsilon, or a constant that was rounded, in one "
            f"of the two passes? {wrong.sum()} of {known.sum()} entries differ",
        )
    marks = np.where(wrong, 3, np.where(known, 0, 2))
    marks.reshape(-1)[case.jacobian.entries[~case.jacobian.smooth]] = 1
    return case.finding(
        "unknown",
        f"{np.count_nonzero(wrong)} of {np.count_nonzero(known)} entries are wrong, and no "
        f"known mistake explains the numbers; where they are:\n"
        f"{draw_map(marks, case.own_batch_axis)}",
    )
