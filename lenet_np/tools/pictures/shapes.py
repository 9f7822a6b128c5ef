"""Shapes in NumPy: SciPy has these filters, but importing them takes longer than using them.

Masks are (H, W), and beyond their edge there is nothing: False.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lenet_np.tools.pictures.picture import Floats

Mask = NDArray[np.bool_]


def blur(values: Floats, sigma: float) -> Floats:
    """Average (H, W, channels) with the weights of a Gaussian, cut off at 4 sigma.

    At the edge the picture is mirrored.
    """
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, -1)
        padded = np.pad(lines, ((0, 0), (0, 0), (radius, radius)), "symmetric")
        blurred = np.convolve(padded.ravel(), weights, "same").reshape(padded.shape)
        values = np.moveaxis(blurred[:, :, radius : padded.shape[2] - radius], -1, axis)
    return values


def grow(mask: Mask, reach: int) -> Mask:
    """Add every pixel whose row and column are both within reach of the mask's."""
    for _ in range(2):  # along the columns, then along the rows
        mask = mask.T
        grown = mask.copy()
        for step in range(1, min(reach, len(mask) - 1) + 1):
            grown[step:] |= mask[:-step]
            grown[:-step] |= mask[step:]
        mask = grown
    return mask


def spread(values: Floats, radius: int) -> Floats:
    """Give each pixel (H, W) the largest value in the disc around it, of radius + 1/2."""
    row, reach, largest = values.copy(), 0, values.copy()
    for step in range(radius, -1, -1):
        # The disc's rows become longer from its top to its middle, and so does what they reach.
        while (reach + 1) ** 2 + step**2 <= (radius + 0.5) ** 2:
            reach += 1
            np.maximum(row[:, reach:], values[:, :-reach], out=row[:, reach:])
            np.maximum(row[:, :-reach], values[:, reach:], out=row[:, :-reach])
        height = len(row) - step
        np.maximum(largest[step:], row[:height], out=largest[step:])
        np.maximum(largest[:height], row[step:], out=largest[:height])
    return largest


def label(mask: Mask) -> NDArray[np.intp]:
    """Number the shapes of a mask from 1, in reading order; pixels that touch at a corner are one.

    The runs of each row are joined with those that they touch in the next: all pairs take over
    the lower number of the two, again and again, until nothing changes.
    """
    # One empty column ends every row, so a run lies in one row of the long line of pixels.
    line = np.pad(mask, ((0, 0), (0, 1))).ravel()
    width = mask.shape[1] + 1
    ends = np.flatnonzero(np.diff(line, prepend=False, append=False))
    starts, stops = ends[::2], ends[1::2]  # exclusive, as in a slice
    first = np.searchsorted(stops, starts + width)
    count = np.searchsorted(starts, stops + width, "right") - first
    upper = np.repeat(np.arange(len(starts)), count)
    lower = np.arange(len(upper)) + np.repeat(first - np.cumsum(count) + count, count)
    number = np.arange(len(starts))
    while (number[upper] != number[lower]).any():
        one, other = number[upper], number[lower]
        np.minimum.at(number, np.maximum(one, other), np.minimum(one, other))
        while (number[number] != number).any():
            number = number[number]
    names = np.cumsum(number == np.arange(len(number)))[number]  # the lowest number is its own
    steps = np.zeros(line.size + 1, np.intp)
    steps[starts] += names
    steps[stops] -= names
    labels: NDArray[np.intp] = np.cumsum(steps[:-1]).reshape(-1, width)[:, :-1]
    return labels


def depth(mask: Mask) -> Floats:
    """Measure how far each pixel of a mask is from the nearest outside: (H, W), 0 outside.

    d²(y, x) = min_k g²(y, x + k) + k², with g the distance within the column. Where d² is k² at
    most, no pixel further away makes it less.
    Source: Saito and Toriwaki 1994, New algorithms for Euclidean distance transformation.
    """
    inside = np.pad(mask, 1)
    y = np.arange(len(inside))[:, np.newaxis]
    above = np.maximum.accumulate(np.where(inside, 0, y), axis=0)
    below = np.minimum.accumulate(np.where(inside, len(inside), y)[::-1], axis=0)[::-1]
    column = (np.minimum(y - above, below - y) ** 2).ravel()
    square = column.copy()
    width = inside.shape[1]
    left = np.flatnonzero(square > 1)
    k = 1
    while left.size:
        near = np.minimum(column[left - k], column[left + k]) + k * k
        square[left] = np.minimum(square[left], near)
        k += 1
        left = left[square[left] > k * k]
    distance: Floats = np.sqrt(square.reshape(-1, width)[1:-1, 1:-1])
    return distance
