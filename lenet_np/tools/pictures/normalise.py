"""The field that the network reads: a digit prepared as those of MNIST were.

The black and white originals from NIST were scaled into a box of 20 x 20 pixels, keeping the
aspect ratio; anti-aliasing gave them their greys. The box was then placed in a field of 28 x 28,
with the centre of mass of its pixels in the middle. Source: the MNIST page; LeCun et al. 1998,
section III.A.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.synthetic import BOX, centre
from lenet_np.tools.pictures.picture import Floats, PictureError
from lenet_np.tools.pictures.shapes import depth, spread

#: Smaller ink cannot be told from dirt.
LEAST_PIXELS = 5
#: A pen thinner than this in the box would fade to grey; of MNIST's, 95 in 100 are thicker.
THINNEST_STROKE = 2.0


def make_field(strength: Floats) -> NDArray[np.uint8]:
    """Crop, scale and centre the ink: (H, W), 0 paper to 1 ink, becomes (28, 28), 0 to 255.

    PictureError if there is too little ink to be a digit.
    """
    box = np.rint(255 * fit(thicken(crop(strength)))).astype(np.uint8)
    field: NDArray[np.uint8] = centre(box[np.newaxis])[0]
    return field


def crop(strength: Floats) -> Floats:
    """Cut out the ink's bounding box; PictureError if it is too small."""
    rows, columns = (np.flatnonzero(strength.any(axis=axis)) for axis in (1, 0))
    if not rows.size or max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 < LEAST_PIXELS:
        raise PictureError(f"less than {LEAST_PIXELS} pixels of ink: too small to be read")
    return strength[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def thicken(strength: Floats) -> Floats:
    """Give a pen that is too thin for the box the least width that it needs.

    The mean distance of the pixels of a long stroke from its edge is a quarter of its width.
    """
    inside = strength > 0.5
    if not inside.any():
        return strength
    stroke = 4 * float(depth(inside)[inside].mean())
    radius = round((THINNEST_STROKE * max(strength.shape) / BOX - stroke) / 2)
    if radius < 1:
        return strength
    return spread(np.pad(strength, radius), radius)


def fit(strength: Floats) -> Floats:
    """Scale to the box, keeping the aspect ratio; each new pixel averages those below it.

    The longer side fills the 20 pixels, the other one is in the middle.
    """
    from PIL import Image

    # A square keeps the ratio exactly, where rounding the shorter side would bend it.
    side = max(strength.shape)
    square = np.zeros((side, side), np.float32)
    top, left = ((side - length) // 2 for length in strength.shape)
    square[top : top + strength.shape[0], left : left + strength.shape[1]] = strength
    scaled = Image.fromarray(square).resize((BOX, BOX), Image.Resampling.HAMMING)
    return np.clip(np.asarray(scaled, dtype=np.float64), 0, 1)
