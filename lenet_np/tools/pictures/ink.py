"""Finding the ink: which pixels of a picture belong to the digit, and how strongly.

Ink is what differs from the paper, so dark on light, light on dark and colours are all one.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.dataset import IMAGE_SIZE
from lenet_np.tools.pictures.picture import Floats, PictureError
from lenet_np.tools.pictures.shapes import blur, depth, grow, label

#: Ink differs from the paper by this at least, of the range from black to white ...
LEAST_CONTRAST = 0.08
#: ... and by this many standard deviations of the paper's own noise.
LEAST_SIGNAL = 5.0
#: The ink has its full strength at this quantile: thin strokes of a small picture are mostly edge.
FULL = 0.9
#: Where the soft edge of a stroke begins and ends, as shares of the full strength.
RAMP = (0.15, 0.85)
#: A shape with a smaller share of the largest one's pixels is a speckle.
SPECKLE = 0.03
#: Shapes are looked at from the largest down, and no more than this: the rest is noise.
MOST_SHAPES = 50
#: What touches the picture's edge is not the digit if a shape of this share of the picture's
#: length does not; a shape around another of this share of its length is a frame.
INSIDE = 0.2
#: Shapes of this share of the tallest one's height are digits if they stand side by side.
TALL = 0.6


#: Ink this wide at its widest, as a share of its length, is a patch, not a stroke: of 6,000 digits
#: of MNIST, 1 in 1,000 is. Above the other, where 2 in 100 are, there is a second look.
PATCH, SUSPECT = 0.5, 0.35
#: Of this many large shapes, one may be a sheet of paper. It has this share of the picture's
#: shorter side at least, fills this share of a rectangle, and is free of ink in a circle of this
#: share of its length.
SHEETS, SHEET, RECTANGLE, THICK = 3, 0.25, 0.87, 0.25
#: The second look searches the paper beside a stroke within this share of the shorter side.
NEIGHBOURHOOD = 0.125
#: Ink goes on where the step at its edge is a smaller share of its height; a fragment has this
#: share of its outline there.
GOES_ON, OPEN = 0.3, 0.05
#: Both darker and lighter ink is looked for where this share of what was found first is the rarer.
MIXED = 0.05
#: In darker paper, noise would count for too much.
DARKEST_PAPER = 0.25
#: Pixels along the longer side in the second look; a digit needs no more.
SECOND_SIZE = 240


class Ink(NamedTuple):
    """The ink of a picture."""

    strength: Floats  # (H, W), 0 paper to 1 ink
    doubts: tuple[str, ...]  # why this may not be one digit


def find_ink(values: Floats) -> Ink:
    """Separate the ink from the paper, and the digit from frames, speckles, desks and shadows.

    The values, (H, W, channels), go from 0 black to 1 white. The first look takes the paper for
    one smooth surface. If what stands out from it is a sheet, the sheet is looked at alone. If it
    is doubtful, a second look compares every pixel with its neighbourhood, and counts if it leaves
    no doubt. PictureError if nothing stands out.
    """
    ink = _find(values, may_be_sheet=True)
    if ink is None:
        raise PictureError("blank: nothing stands out from the paper")
    return ink


def _find(values: Floats, may_be_sheet: bool) -> Ink | None:
    # A blur much narrower than a stroke takes most of the noise of a large picture away.
    size = max(values.shape[:2])
    smooth = blur(values, size / 400)
    for background in (paper, _commonest):
        difference = smooth - background(smooth)
        first = _separate(np.abs(difference).max(axis=2))
        if first:
            break
    else:
        return None
    if may_be_sheet:
        for shape in _largest(first.labels, SHEETS):
            sheet = first.labels == shape.label
            if _is_sheet(sheet, shape):
                ink = _find(_alone(values, sheet, shape), may_be_sheet=False)
                if ink and not ink.doubts:
                    return ink
    if first.clear:
        return first.ink
    step = max(1, round(size / SECOND_SIZE))
    few = smooth[::step, ::step]
    darker = float((difference.sum(axis=2)[first.ink.strength > 0.5] < 0).mean())
    for dark in (darker >= 0.5, darker < 0.5):
        if (darker if dark else 1 - darker) < MIXED:
            break
        height = relief(few, dark)
        share = height / np.maximum(few + height, DARKEST_PAPER) if dark else height
        second = _separate(share.max(axis=2))
        if second and second.several:  # What is between them may look like a digit too.
            break
        fragment = second and _is_fragment(second.ink, few, height, 1 if dark else -1)
        if second and second.clear and not fragment:
            return second.ink
    return first.ink


class _Look(NamedTuple):
    ink: Ink
    labels: NDArray[Any]  # (H, W), the number of the shape that a pixel belongs to
    several: bool
    clear: bool  # one shape, of strokes


def _separate(distance: Floats) -> _Look | None:
    """Find the ink by its distance from the paper (H, W); None if nothing stands out."""
    mask = distance > otsu(distance)
    level = float(np.median(distance[mask])) if mask.any() else 0.0
    noise = 1.4826 * float(np.median(distance[~mask]))
    if level < LEAST_CONTRAST or level < LEAST_SIGNAL * noise:
        return None
    labels = label(mask)
    shapes = _choose(labels)
    chosen = np.isin(labels, [shape.label for shape in shapes])
    low, high = (share * np.quantile(distance[chosen], FULL) for share in RAMP)
    strength: Floats = np.clip((distance - low) / (high - low), 0, 1)
    # The soft edge of the digit lies within a few pixels; what is further away is not of it.
    reach = max(1, round(max(mask.shape) / 100))
    strength[~grow(chosen, reach)] = 0
    strength[mask & ~chosen] = 0

    top, left = min(s.top for s in shapes), min(s.left for s in shapes)
    bottom, right = max(s.bottom for s in shapes), max(s.right for s in shapes)
    widest = 2 * depth(chosen[top:bottom, left:right]).max() / max(bottom - top, right - left)
    several = _several(shapes)
    doubts = list(several)
    if widest > PATCH:
        doubts += ["a patch rather than strokes: is it a digit?"]
    rest = top, left, len(mask) - bottom, mask.shape[1] - right
    rim = np.concatenate([chosen[0], chosen[-1], chosen[:, 0], chosen[:, -1]])
    # A digit that is cut out closely touches all edges; one of MNIST's may touch its field's.
    closely = max(rest) <= reach and rim.mean() < 0.5
    if min(rest) == 0 and not closely and min(mask.shape) > IMAGE_SIZE:
        doubts += ["it reaches the edge of the picture: is it cut off, or a shadow?"]
    clear = not doubts and widest <= SUSPECT
    return _Look(Ink(strength, tuple(doubts)), labels, bool(several), clear)


def relief(values: Floats, dark: bool) -> Floats:
    """Measure by how much each pixel is darker, or lighter, than the paper in its neighbourhood.

    dark:   closing(v) - v,  closing(v) = erosion(dilation(v))
    light:  v - opening(v),  opening(v) = dilation(erosion(v))

    A closing fills what is dark and narrower than its window, an octagon here, and leaves the edge
    of a shadow or of a sheet where it is. Values and relief are (H, W, channels).
    Source: Serra 1982, Image analysis and mathematical morphology.
    """
    from scipy import ndimage

    square = np.ones((3, 3, 1), bool)
    cross = ndimage.generate_binary_structure(2, 1)[:, :, np.newaxis]
    radius = max(2, round(NEIGHBOURHOOD * min(values.shape[:2])))
    filters = ndimage.maximum_filter, ndimage.minimum_filter
    near = values
    for each in filters if dark else filters[::-1]:
        for number in range(radius):
            near = each(near, footprint=(square, cross)[number % 2])
    return near - values if dark else values - near


def _is_fragment(ink: Ink, values: Floats, height: Floats, sign: int) -> bool:
    """Tell whether ink goes on, as dark as it is, where its strokes become too wide for the window.

    The relief is 0 there; so the pixels just beyond what was found have the value of the ink.
    """
    from scipy import ndimage

    found = ink.strength > 0.5
    channel = height[found].mean(axis=0).argmax()
    value, high = sign * values[:, :, channel], height[:, :, channel]
    reach = max(1, round(max(found.shape) / 100))
    near, far = grow(found, reach), grow(found, 2 * reach)
    window = 4 * reach + 1
    rise = value - ndimage.minimum_filter(value, window)
    goes_on = rise < GOES_ON * ndimage.maximum_filter(high, window)
    return bool(goes_on[far & ~near].mean() > OPEN)


def _is_sheet(mask: NDArray[np.bool_], shape: _Shape) -> bool:
    """Tell whether a shape with its holes filled is a large rectangle, in any direction."""
    box = mask[shape.box]
    # What goes all around the picture is the desk.
    if min(box.shape) < SHEET * min(mask.shape) or box.shape == mask.shape:
        return False
    # The ends of its rows are enough for the rectangle around it, and hold whatever fills it.
    left, right = box.argmax(axis=1), box.shape[1] - 1 - box[:, ::-1].argmax(axis=1)
    y, x = np.tile(np.arange(len(box)), 2), np.concatenate([left, right])
    angles = np.linspace(0, np.pi / 2, 45, endpoint=False)[:, np.newaxis]
    across, along = x * np.cos(angles) + y * np.sin(angles), y * np.cos(angles) - x * np.sin(angles)
    rectangle = ((np.ptp(across, axis=1) + 1) * (np.ptp(along, axis=1) + 1)).min()
    if (right - left + 1).sum() <= RECTANGLE * rectangle:
        return False
    if 2 * depth(box).max() <= THICK * shape.length:
        return False
    from scipy import ndimage

    return bool(ndimage.binary_fill_holes(box).sum() > RECTANGLE * rectangle)


def _alone(values: Floats, mask: NDArray[np.bool_], shape: _Shape) -> Floats:
    """Cut out a sheet, without its rim; what lies beside it becomes paper."""
    from scipy import ndimage

    rim = max(2, round(shape.length / 40))
    filled = ndimage.binary_fill_holes(mask[shape.box])
    inner = ndimage.binary_erosion(filled, iterations=rim)
    sheet = np.array(values[shape.box])
    sheet[~inner] = np.median(sheet[inner], axis=0)
    return sheet


def _commonest(values: Floats) -> Floats:
    """Estimate the paper by one colour: where no surface fits, as with two papers, it is of one."""
    colour = []
    for channel in np.moveaxis(values, 2, 0):
        counts, edges = np.histogram(channel, bins=32)
        k = counts.argmax()
        colour.append(np.median(channel[(channel >= edges[k]) & (channel <= edges[k + 1])]))
    return np.broadcast_to(np.array(colour), values.shape)


def paper(values: Floats) -> Floats:
    """Estimate the paper below the ink: a quadratic surface per channel, as uneven light makes it.

    b(x, y) = b0 + b1 y + b2 x + b3 x y + b4 y² + b5 x², for values of (H, W, channels)

    It starts as the median of all pixels and is fitted by iteratively reweighted least squares.
    A pixel at the distance d has the weight (1 + (d/s)²)⁻², and s shrinks: so what is far from
    the paper, ink or a dark desk around it, soon counts for nothing.
    Source of the weights: Geman and McClure 1987, Statistical methods for tomographic image
    reconstruction.
    """
    height, width, channels = values.shape
    y, x = (np.linspace(-1, 1, size) for size in (height, width))
    rows, columns = (
        np.linspace(0, size - 1, min(size, 60)).astype(int) for size in (height, width)
    )
    few = values[np.ix_(rows, columns)].reshape(-1, channels)

    orders = np.array([[0, 1, 0, 1, 2, 0], [0, 0, 1, 1, 0, 2]])  # of y and of x in each term
    powers_y, powers_x = (np.vander(axis, 3, increasing=True) for axis in (y, x))
    basis = powers_y[rows][:, np.newaxis, orders[0]] * powers_x[columns][:, orders[1]]
    basis = basis.reshape(len(few), -1)
    surface = np.zeros((basis.shape[1], channels))
    surface[0] = np.median(few, axis=0)
    for scale in np.geomspace(0.3, 0.03, 15):
        distance = np.abs(few - basis @ surface).max(axis=1, keepdims=True)
        weighted = basis / (1 + (distance / scale) ** 2) ** 2
        # The normal equations, six of them: the terms are of one size, so they are good enough.
        surface = np.linalg.lstsq(weighted.T @ basis, weighted.T @ few, rcond=None)[0]
    coefficients = np.zeros((channels, 3, 3))
    coefficients[:, *orders] = surface.T
    return np.moveaxis(powers_y @ coefficients @ powers_x.T, 0, -1)


def otsu(values: Floats) -> float:
    """Find the threshold that splits the values into two classes as far apart as can be.

    It maximises the variance between the classes, w0 w1 (m0 - m1)², with their shares w and
    means m. Source: Otsu 1979, A threshold selection method from gray-level histograms.
    """
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    split = (below > 0) & (above > 0)
    if not split.any():
        return float(edges[-1])
    n0, n1, s0 = below[split], above[split], sums[split]
    between = n0 / below[-1] * n1 / below[-1] * (s0 / n0 - (sums[-1] - s0) / n1) ** 2
    # Between two heaps with nothing in between, the middle is as good as any, and the safest.
    best = edges[1:][split][between == between.max()]
    return float(best[len(best) // 2])


class _Shape(NamedTuple):
    label: int
    size: int  # pixels
    top: int
    bottom: int  # exclusive, as in a slice
    left: int
    right: int

    @property
    def box(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def length(self) -> int:
        return max(self.height, self.right - self.left)


def _largest(labels: NDArray[Any], count: int) -> list[_Shape]:
    sizes = np.bincount(labels.ravel())
    shapes = []
    for k in 1 + np.argsort(sizes[1:], kind="stable")[::-1][:count]:
        y, x = np.nonzero(labels == k)
        ends = (int(end) for end in (y[0], y[-1] + 1, x.min(), x.max() + 1))
        shapes.append(_Shape(int(k), int(sizes[k]), *ends))
    return shapes


def _choose(labels: NDArray[Any]) -> list[_Shape]:
    """List the shapes that make up the digit."""
    shapes = _largest(labels, MOST_SHAPES)
    height, width = labels.shape
    inside = [s for s in shapes if min(s.top, s.left) > 0 and s.bottom < height and s.right < width]
    if any(s.length >= INSIDE * max(height, width) for s in inside):
        shapes = inside
    shapes = [s for s in shapes if not _is_frame(s, shapes, labels)]
    most = max(s.size for s in shapes)
    return [s for s in shapes if s.size >= SPECKLE * most]


def _is_frame(shape: _Shape, others: list[_Shape], labels: NDArray[Any]) -> bool:
    """Tell whether there is a shape in the hole of another that is large enough for a digit."""
    candidates = [
        s.label
        for s in others
        if shape.top < s.top
        and s.bottom < shape.bottom
        and shape.left < s.left
        and s.right < shape.right
        and s.length >= INSIDE * shape.length
    ]
    if not candidates:
        return False
    from scipy import ndimage

    box = labels[shape.top : shape.bottom, shape.left : shape.right]
    within = box[ndimage.binary_fill_holes(box == shape.label)]
    return bool(np.isin(within, candidates).any())


def _several(shapes: list[_Shape]) -> list[str]:
    """Say how many tall shapes there are with clear gaps between them, if more than one."""
    tallest = max(s.height for s in shapes)
    tall = [s for s in shapes if s.height >= TALL * tallest]
    beside = _groups([(s.left, s.right) for s in tall], tallest / 20)
    below = _groups([(s.top, s.bottom) for s in tall], tallest / 20)
    if beside == below == 1:
        return []
    count, how = max((beside, "side by side"), (below, "one under the other"))
    return [f"{count} shapes {how}: one digit is expected"]


def _groups(intervals: list[tuple[int, int]], gap: float) -> int:
    """Count the groups of intervals that more than a gap lies between."""
    count, end = 0, -math.inf
    for start, stop in sorted(intervals):
        count += start - end > gap
        end = max(end, stop)
    return count
