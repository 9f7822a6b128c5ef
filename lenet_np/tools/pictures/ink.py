"""Finding the ink: which pixels of a picture belong to the digit, and how strongly.

Ink is what differs from the paper, so dark on light, light on dark and colours are all one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.tools.pictures.picture import Floats, PictureError

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


class Ink(NamedTuple):
    """The ink of a picture."""

    strength: Floats  # (H, W), 0 paper to 1 ink
    shapes: int  # how many tall ones stand side by side; a digit is one


def find_ink(values: Floats) -> Ink:
    """Separate the ink from the paper, and the digit from frames and speckles.

    The values, (H, W, channels), go from 0 black to 1 white. PictureError if nothing stands out.
    """
    from scipy import ndimage

    # A blur much narrower than a stroke takes most of the noise of a large picture away.
    blur = max(values.shape[:2]) / 400
    smooth = ndimage.gaussian_filter(values, (blur, blur, 0))
    distance: Floats = np.abs(smooth - paper(smooth)).max(axis=2)
    mask = distance > otsu(distance)
    level = float(np.median(distance[mask])) if mask.any() else 0.0
    noise = 1.4826 * float(np.median(distance[~mask]))
    if level < LEAST_CONTRAST or level < LEAST_SIGNAL * noise:
        raise PictureError("blank: nothing stands out from the paper")

    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    kept, shapes = _choose(labels)
    chosen = np.isin(labels, kept)
    low, high = (share * np.quantile(distance[chosen], FULL) for share in RAMP)
    strength: Floats = np.clip((distance - low) / (high - low), 0, 1)
    # The soft edge of the digit lies within a few pixels; what is further away is not of it.
    reach = max(1, round(max(mask.shape) / 100))
    strength[~ndimage.binary_dilation(chosen, np.ones((3, 3)), iterations=reach)] = 0
    strength[mask & ~chosen] = 0
    return Ink(strength, shapes)


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
    rows, columns = (np.unique(np.linspace(0, s - 1, 60).astype(int)) for s in (height, width))
    few = values[np.ix_(rows, columns)].reshape(-1, channels)

    def terms(y: Floats, x: Floats) -> Floats:
        y, x = y[:, np.newaxis], x[np.newaxis]
        one = np.ones((len(y), x.shape[1]))
        return np.stack([one, one * y, one * x, y * x, one * y**2, one * x**2], axis=2)

    basis = terms(y[rows], x[columns]).reshape(len(few), -1)
    surface = np.zeros((basis.shape[1], channels))
    surface[0] = np.median(few, axis=0)
    for scale in np.geomspace(0.3, 0.03, 15):
        distance = np.abs(few - basis @ surface).max(axis=1, keepdims=True)
        root = 1 / (1 + (distance / scale) ** 2)  # of the weight
        surface = np.linalg.lstsq(basis * root, few * root, rcond=None)[0]
    estimate: Floats = terms(y, x) @ surface
    return estimate


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
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def length(self) -> int:
        return max(self.height, self.right - self.left)


def _choose(labels: NDArray[Any]) -> tuple[list[int], int]:
    """List the labels of the shapes that make up the digit, and count those side by side."""
    from scipy import ndimage

    sizes = np.bincount(labels.ravel())
    boxes = ndimage.find_objects(labels)
    largest = 1 + np.argsort(sizes[1:], kind="stable")[::-1][:MOST_SHAPES]
    shapes = [
        _Shape(int(k), int(sizes[k]), y.start, y.stop, x.start, x.stop)
        for k in largest
        for y, x in [boxes[k - 1]]
    ]
    height, width = labels.shape
    inside = [s for s in shapes if min(s.top, s.left) > 0 and s.bottom < height and s.right < width]
    if any(s.length >= INSIDE * max(height, width) for s in inside):
        shapes = inside
    shapes = [s for s in shapes if not _is_frame(s, shapes, labels)]
    most = max(s.size for s in shapes)
    shapes = [s for s in shapes if s.size >= SPECKLE * most]
    return [s.label for s in shapes], _side_by_side(shapes)


def _is_frame(shape: _Shape, others: list[_Shape], labels: NDArray[Any]) -> bool:
    """Tell whether there is a shape in the hole of another that is large enough for a digit."""
    from scipy import ndimage

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
    box = labels[shape.top : shape.bottom, shape.left : shape.right]
    within = box[ndimage.binary_fill_holes(box == shape.label)]
    return bool(np.isin(within, candidates).any())


def _side_by_side(shapes: list[_Shape]) -> int:
    """Count the tall shapes with a clear gap to the left of them."""
    tallest = max(s.height for s in shapes)
    tall = sorted((s for s in shapes if s.height >= TALL * tallest), key=lambda s: s.left)
    count, right = 0, -tallest
    for shape in tall:
        count += shape.left - right > tallest / 20
        right = max(right, shape.right)
    return count
