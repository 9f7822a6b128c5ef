"""Naming the likely cause of a wrong gradient: hypotheses, from special to general."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..report import Finding, draw_map
from . import factors as scaling
from . import places as arrangement
from . import sums as outputs
from .case import Case, Guess

#: Each says whether it explains the numbers. The first that does is named: a special cause comes
#: before a general one that would explain it too.
HYPOTHESES: tuple[Callable[[Case], Guess | None], ...] = (
    scaling.zero,
    scaling.upstream_ignored,
    arrangement.other_input,
    scaling.factor,
    scaling.mask,
    outputs.some_outputs,
    outputs.first_for_all,
    arrangement.transposed,
    arrangement.flipped,
    arrangement.summed,
    outputs.diagonal,
    outputs.overwritten,
    arrangement.at_other_inputs,
    scaling.missing_factor,
    scaling.missing_term,
    arrangement.shifted,
    arrangement.stride_ignored,
    arrangement.border,
)


def diagnose(case: Case) -> Finding:
    """Find the hypothesis that explains a wrong gradient to rounding.

    Parameters
    ----------
    case : Case

    Returns
    -------
    Finding : with the code "shape" or "unknown" if none does.
    """
    for hypothesis in HYPOTHESES:
        guess = hypothesis(case)
        if guess is not None:
            wrong_shape = "" if case.fits or guess.code in ("bias-sum",) else _shapes(case)
            return Finding(guess.code, case.name, guess.message + wrong_shape)
    if not case.fits:
        return Finding("shape", case.name, f"the gradient has the wrong shape{_shapes(case)}")
    wrong, known = case.wrong(), np.isfinite(case.right)
    marks = np.where(wrong, 3, np.where(known, 0, 2))
    marks.reshape(-1)[case.jacobian.entries[~case.jacobian.smooth]] = 1
    return Finding(
        "unknown",
        case.name,
        f"{np.count_nonzero(wrong)} of {np.count_nonzero(known)} entries are wrong, and no "
        f"known mistake explains the numbers; where they are:\n"
        f"{draw_map(marks, case.own_batch_axis)}",
    )


def _shapes(case: Case) -> str:
    return f": {case.analytic.shape} for an input of shape {case.shape}"
