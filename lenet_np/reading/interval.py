"""How far an accuracy measured on a sample can be trusted."""

from __future__ import annotations

import math

#: The standard normal quantile of 0.975: 95 % lie within.
Z_95 = 1.959964


def wilson(right: int, total: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share: those p that do not contradict what was seen.

    (p̂ + z²/2n ± z sqrt(p̂ (1 - p̂)/n + z²/4n²)) / (1 + z²/n)

    Unlike p̂ ± z sqrt(p̂ (1 - p̂)/n) it stays within 0 and 1, and holds near them.
    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.

    Parameters
    ----------
    right, total : int

    Returns
    -------
    (float, float)

    Raises
    ------
    ValueError
        If there is nothing, or less than nothing, to count.
    """
    if not 0 <= right <= total or total == 0:
        raise ValueError(f"expected 0 to {total} of at least 1, got {right} of {total}")
    share, extra = right / total, Z_95**2 / total
    middle = share + extra / 2
    half = math.sqrt(extra * (share * (1 - share) + extra / 4))
    return max(0.0, (middle - half) / (1 + extra)), min(1.0, (middle + half) / (1 + extra))
