"""Kinks: where a ReLU or a maximum changes its mind, there is no derivative to compare with.

A kink at the point itself hides from central differences: they give the mean of the slopes on its
two sides for every step. The second difference betrays it. Over h it is h f'' for a smooth
function, and falls with the step; at a kink it is the jump of the slope, whatever the step.

At a tie of a maximum no single entry has a derivative, but all of the tied entries together have:
if they move as one, the maximum moves with them. So their gradients must add up to that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Changes below this, relative to the largest slope, do not count: a hundredth of the tolerance.
SETTLED = 1e-9


def bend(
    here: Array, ahead: Array, behind: Array, ahead2: Array, behind2: Array, h: float
) -> Array:
    """Compare second differences over h and h/2: 0 up to h³ if smooth, the jump of slope if not.

    Parameters
    ----------
    here, ahead, behind, ahead2, behind2 : (M,)
        The function at 0, h, -h, h/2 and -h/2.
    h : float

    Returns
    -------
    (M,)
    """
    whole = (ahead - 2 * here + behind) / h
    half = (ahead2 - 2 * here + behind2) / (h / 2)
    return 2 * half - whole


def settled(change: Array, slopes: Array, floor: Array) -> bool:
    """Say whether a change between two steps is nothing but rounding.

    Parameters
    ----------
    change : (M,)
    slopes : (M,)
        Their largest is the scale.
    floor : (M,)
        What rounding explains.

    Returns
    -------
    bool : False where anything is NaN.
    """
    if not np.isfinite(slopes).all():
        return False
    scale = float(np.abs(slopes).max(initial=0.0))
    return bool((np.abs(change) <= SETTLED * scale + floor).all())


def is_rounding(changes: list[float], here: Array) -> bool:
    """Tell rounding from a kink where the slopes never settled.

    As the step h shrinks, what rounding does to a slope grows like 1/h, and what a kink does to
    it stays. Times h, the one stays and the other shrinks.

    Parameters
    ----------
    changes : list of float
        For each step, from large to small, h times the change of the slope.
    here : (M,), the outputs

    Returns
    -------
    bool : False for a jump, which is too large to be rounding.
    """
    if len(changes) < 3 or not np.isfinite(changes).all():
        return False
    # Steps shrink by four; half way, in powers of it, between staying and shrinking.
    stays = changes[0] <= changes[-1] * 2.0 ** (len(changes) - 1)
    return stays and max(changes) <= 1e-10 * float(np.abs(here).max(initial=0.0))


def tied_groups(
    x: Array, entries: NDArray[np.intp], right: Array, left: Array, noise: float = 1e-6
) -> list[tuple[int, list[int], bool]]:
    """Find, for each output, the entries that tie for it.

    An entry that ties for a maximum moves it alone on one side, and not at all on the other.

    Parameters
    ----------
    x : any shape
    entries : (n,), flat indices of the entries at kinks
    right, left : (M, n)
        Slopes on both sides.
    noise : float
        Slopes closer than this, relative to the largest, are equal.

    Returns
    -------
    list of (output, entries, is_maximum): flat indices, at least two entries of one value. For a
    minimum the last is False.
    """
    groups = []
    for output in range(len(right)):
        # A maximum follows an entry that rises, a minimum one that falls.
        for moving, still, is_maximum in (
            (right[output], left[output], True),
            (left[output], right[output], False),
        ):
            scale = np.abs(moving).max(initial=0.0)
            alone = (np.abs(moving) > noise * scale) & (np.abs(still) <= noise * scale)
            tied = entries[alone]
            alike = np.isclose(moving[alone], moving[alone][:1], rtol=1e-5, atol=0)
            if len(tied) > 1 and alike.all() and np.ptp(x.reshape(-1)[tied]) == 0:
                groups.append((output, [int(entry) for entry in tied], is_maximum))
    return groups
