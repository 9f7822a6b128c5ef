"""How people write the ten digits: a table of pen strokes, and the curves they stand for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A shape is written as the way of the pen: points "x,y" in percent of the digit's height, x to
# the right, y down. The pen draws a smooth curve through the points; at a point marked with "!"
# it turns a corner, and at "/" it is lifted. The number in front says how often the shape is
# used, compared with the other shapes of its digit.
SHAPES: dict[int, tuple[tuple[int, str], ...]] = {
    0: (
        (3, "46,1 24,4 6,24 2,50 8,78 26,97 42,98 60,84 68,52 60,16 46,1 34,2"),  # round
        (2, "30,1 18,4 4,28 0,52 4,80 18,98 30,98 44,78 48,50 42,20 30,1 22,2"),  # narrow
        (2, "45,8 20,6 3,40 8,84 34,100 60,80 66,40 50,6 30,4 34,14"),  # ends overlap
        (1, "22,4 4,40 10,86 34,100 60,82 66,42 52,8 38,0"),  # open at the top
    ),
    1: (
        (7, "10,0 10,100"),  # bar
        (2, "12,0 8,50 12,100"),  # bowed bar
        (2, "0,22 22,0! 22,100"),  # flag
        (1, "0,34 30,0! 18,100"),  # leaning flag
        (1, "0,20 22,0! 22,100 / 0,100 46,100"),  # flag and foot
    ),
    2: (
        (2, "3,22 14,5 34,0 56,10 60,30 44,58 0,100! 68,100"),  # flat foot
        (2, "4,20 18,3 42,2 56,20 48,50 22,84 6,98 0,88 12,78 36,90 70,96"),  # small loop
        (1, "6,16 30,0 58,16 56,50 34,86 12,100 0,88 14,72 38,86 80,100"),  # large loop
        (2, "8,12 30,0 54,8 62,36 50,74 22,98 2,88 8,66 36,62 60,80 76,100"),  # high loop
        (2, "10,18 28,0 52,12 48,48 30,80 8,98 0,80 16,70 40,84 66,92"),  # loop, short foot
        (1, "14,12 30,2 44,16 36,46 0,92! 40,88 110,80"),  # small head, long foot
        (2, "0,18 24,0 50,10 52,34 30,70 4,98! 28,92 48,98 72,94"),  # wavy foot
        (1, "0,8 26,0 56,4 52,22 0,100! 66,96"),  # like a Z
    ),
    3: (
        (2, "4,12 26,0 52,8 56,28 42,42 22,48! 46,52 64,70 54,92 26,100 0,88"),  # two bows
        (1, "2,12 28,0 54,14 46,36 24,46 18,50 26,52 56,62 60,84 34,100 2,92"),  # middle loop
        (1, "6,8 34,0 54,16 40,38 10,50! 50,56 56,80 34,98 0,96"),  # deep middle
        (1, "2,4 60,2! 26,40! 54,50 64,74 46,96 18,100 0,90"),  # flat top
        (1, "4,10 34,0 50,10 42,28 14,40! 36,46 42,62 28,84 0,100"),  # small lower bow
        (1, "0,6 28,0 46,12 38,36 12,48! 40,50 60,70 44,96 14,98 4,84 22,74"),  # curled end
    ),
    4: (
        (2, "8,0 2,56! 64,52 / 52,6 46,100"),  # open
        (2, "12,0 6,30 4,52 20,58 58,48 / 56,0 54,50 48,100"),  # open and round
        (1, "14,0 6,44 28,54 58,38 60,2! 52,60 46,100"),  # open, without lifting the pen
        (1, "48,100 50,0! 0,62! 70,62"),  # closed
        (1, "46,0 0,66! 72,60 / 50,2 46,100"),  # closed, two strokes
    ),
    5: (
        (2, "10,0 4,42! 30,36 58,52 56,84 28,100 0,90 / 10,0 62,0"),  # hat drawn last
        (2, "62,2 16,4! 8,44! 34,38 58,56 50,88 22,100 0,92"),  # one stroke
        (1, "66,0 30,6 14,22 22,40 48,56 54,78 34,98 0,94"),  # like an S
        (1, "14,6 10,46! 38,44 54,62 46,88 20,100 0,90 / 18,4 76,-4"),  # long hat
        (1, "80,0 40,6! 24,46! 48,52 54,74 36,96 0,100"),  # leaning
        (1, "20,0 14,34! 38,32 58,52 44,90 14,100 0,84 20,72 / 20,0 60,2"),  # curled end
        (1, "20,10 14,56! 32,54 38,72 24,96 0,98 / 20,10 84,0"),  # small bow, long hat
    ),
    6: (
        (2, "46,0 18,26 2,66 14,96 40,98 56,78 42,58 20,62 6,80"),  # bowed back
        (2, "30,0 10,40 0,76 14,100 42,96 50,76 34,62 4,78"),  # straight back
        (1, "60,4 30,8 4,46 6,86 32,100 60,86 60,60 38,50 12,66"),  # large bowl
        (1, "24,0 4,50 4,86 22,100 44,92 46,74 28,68 10,88"),  # small bowl
        (1, "24,0 4,34 2,76 24,100 64,90 72,62 54,46 34,62 32,90"),  # wide bowl
    ),
    7: (
        (2, "0,6 60,2! 26,100"),  # straight
        (2, "0,8 30,8 58,2! 36,46 26,100"),  # bowed
        (1, "2,22 4,4! 62,4! 22,100"),  # hooked
        (1, "0,34 8,4! 56,2! 54,50 46,100"),  # hooked, upright
        (1, "0,36 20,4 30,12! 58,0! 36,44 24,100"),  # wavy top
        (1, "0,10 50,4! 30,100 / 14,46 50,44 / 12,100 50,98"),  # with a cross bar and a foot
        (1, "0,14 24,2 52,6 52,30 34,64 28,100"),  # round
        (1, "0,6 58,4! 20,100 / 12,52 60,48"),  # with a cross bar
    ),
    8: (
        (3, "56,14 34,0 10,14 18,38 46,60 50,86 26,100 4,86 10,62 40,40 56,14"),  # one stroke
        (2, "36,2 14,12 18,38 38,58 42,84 24,100 4,86 10,62 32,42 46,20 36,2"),  # narrow
        (1, "58,6 36,0 14,14 22,40 48,62 48,90 22,100 4,84 14,60 50,36 66,8"),  # open at the top
        (2, "70,4 34,4 10,16 20,36 36,54 38,84 20,100 4,84 16,60 46,38 72,8"),  # leaning
        (1, "62,14 40,0 14,12 22,38 50,58 46,92 18,98 8,80 30,56 58,34 56,22"),  # open at the side
        # two circles
        (1, "30,0 10,10 8,34 30,46 52,34 50,10 30,0 / 30,46 4,62 6,92 30,100 56,90 54,60 30,46"),
    ),
    9: (
        (2, "52,10 28,0 4,20 8,44 32,48 52,18! 48,60 44,100"),  # straight
        (2, "54,12 30,0 4,16 6,42 30,46 54,14 58,50 44,90 16,100 0,90"),  # curved tail
        (1, "46,6 20,2 0,26 14,44 40,34 56,4! 38,56 20,100"),  # leaning
        (1, "64,20 40,0 6,8 0,36 24,50 56,36 66,14 60,56 52,100"),  # large bowl
        (2, "68,0 36,2 6,22 12,42 36,36 58,14! 40,56 22,100"),  # leaning, open bowl
        (1, "44,10 14,8 2,30 16,48 52,36 / 56,4 50,50 46,100"),  # open bowl
    ),
}

SEGMENT_LENGTH = 0.11  # of the digit's height: about two pixels, short enough to look round


def trace(strokes: str) -> NDArray[np.float64]:
    """Turn the way of the pen into short straight segments: (S, 2, 2), start and end (x, y).

    Each smooth piece is a cubic Hermite spline, as a function of the length of the line that
    joins its points. Its tangent in a point is that of the parabola through the point and its
    two neighbours. The unit is the digit's height.
    """
    segments = []
    for stroke in strokes.split("/"):
        piece: list[tuple[float, ...]] = []
        words = stroke.split()
        for word in words:
            piece.append(tuple(float(number) / 100 for number in word.rstrip("!").split(",")))
            if word.endswith("!") or word is words[-1]:
                curve = _spline(np.array(piece))
                segments.append(np.stack([curve[:-1], curve[1:]], axis=1))
                piece = piece[-1:]
    return np.concatenate(segments)


def _spline(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Follow the smooth curve through `points` (P, 2) in steps of about SEGMENT_LENGTH."""
    lengths = np.hypot(*np.diff(points, axis=0).T)
    knots = np.concatenate([[0.0], np.cumsum(lengths)])
    tangents = np.gradient(points, knots, axis=0, edge_order=2 if len(lengths) > 1 else 1)

    steps = max(1, round(knots[-1] / SEGMENT_LENGTH))
    places = np.linspace(0.0, knots[-1], steps + 1)
    left = np.searchsorted(knots[1:-1], places, side="right")  # the point before each place
    right = left + 1
    h = lengths[left, None]
    u = (places - knots[left])[:, None] / h
    return np.asarray(
        (1 + 2 * u) * (1 - u) ** 2 * points[left]
        + u * (1 - u) ** 2 * h * tangents[left]
        + u**2 * (3 - 2 * u) * points[right]
        + u**2 * (u - 1) * h * tangents[right]
    )
