"""Minibatches: the one place where the user's layout becomes the network's, batch last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.dataset import MARGIN, PADDED_SIZE, PIXEL_SCALE, Split, one_hot


def gather(split: Split, indices: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pick a minibatch by a slice or N integers: images (1, 32, 32, N), one-hot labels (10, N)."""
    pixels, classes = split.pixels[indices], split.classes[indices]
    images = np.zeros((1, PADDED_SIZE, PADDED_SIZE, len(classes)), np.float32)
    inside = images[0, MARGIN:-MARGIN, MARGIN:-MARGIN]
    # The bytes are turned, a quarter of the memory, and become numbers where they arrive.
    np.multiply(pixels.transpose(1, 2, 0), PIXEL_SCALE, out=inside, dtype=np.float32)
    return images, np.ascontiguousarray(one_hot(classes).T)
