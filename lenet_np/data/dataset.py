"""What a data set is: three splits of images with labels, held as bytes until they are used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = 10
IMAGE_SIZE = 28
PADDED_SIZE = 32
MARGIN = (PADDED_SIZE - IMAGE_SIZE) // 2
#: pixel * (1/255) rather than pixel / 255: the notebook's data loader did so.
PIXEL_SCALE = np.float32(1 / 255)


class DataError(ValueError):
    """The data cannot be had, or are not what they should be; the message says what to do."""


@dataclass(frozen=True)
class Split:
    """Images with their labels, stored as uint8: a quarter of the memory of float32.

    Indexing converts what is asked for, and only that: ``split[:5]`` gives the pair
    ``(images, labels)`` of the first five examples, images (5, 28, 28, 1) float32 in [0, 1]
    and one-hot labels (5, 10) float32. DataError if a shape or dtype is another than below,
    the numbers of images and labels differ, or a label is above 9.
    """

    pixels: NDArray[np.uint8]  # (N, 28, 28), 0 (background) to 255 (ink)
    classes: NDArray[np.uint8]  # (N,), the digit on each image

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
            raise DataError(
                f"images must be uint8 of shape (N, {IMAGE_SIZE}, {IMAGE_SIZE}), "
                f"got {self.pixels.dtype} of shape {self.pixels.shape}"
            )
        if self.classes.dtype != np.uint8 or self.classes.ndim != 1:
            raise DataError(
                f"labels must be uint8 of shape (N,), "
                f"got {self.classes.dtype} of shape {self.classes.shape}"
            )
        if len(self.pixels) != len(self.classes):
            raise DataError(
                f"{len(self.pixels)} images but {len(self.classes)} labels: "
                "they do not belong together"
            )
        if self.classes.size and self.classes.max() >= CLASSES:
            position = int(self.classes.argmax())
            raise DataError(
                f"label {self.classes[position]} at position {position}: "
                f"the labels must be 0 to {CLASSES - 1}"
            )

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, indices: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        images = self.pixels[indices, ..., np.newaxis].astype(np.float32) * PIXEL_SCALE
        return images, one_hot(self.classes[indices])


@dataclass(frozen=True)
class Dataset:
    """The three splits: one to learn from, one to watch, one to be tested on once."""

    name: str  # "mnist", "synthetic" or say "idx-fashion"; reported with every accuracy
    train: Split
    validation: Split
    test: Split


def check_name(name: object) -> str:
    """Return what can be the name of a data set; DataError for anything else.

    It stands in the titles of pictures and the names of folders.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
        raise DataError(f"{name!r:.60} is no name of a data set: letters, digits and _ . - only")
    return name


def one_hot(classes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Write each class k, 0 to 9, as the k-th unit vector: (...) to (..., 10)."""
    unit_vectors: NDArray[np.float32] = np.eye(CLASSES, dtype=np.float32)[classes]
    return unit_vectors


def pad_to_32(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Surround images (N, 28, 28, 1) with two rows and columns of zeros on each side.

    LeNet-5 was drawn for 32x32 pixels, so that a stroke's end can lie in the centre of what a
    unit of the last convolution sees (LeCun et al. 1998, section II.B). ValueError if the images
    have another shape.
    """
    if images.ndim != 4 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE, 1):
        raise ValueError(f"images must have shape (N, 28, 28, 1), got {images.shape}")
    return np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))
