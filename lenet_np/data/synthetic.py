"""Digits drawn by the project itself: a data set that needs no network.

Every image begins as one of the shapes of `lenet_np.data.strokes`. It is bent, stretched,
slanted and turned at random, fitted into the frame as MNIST's digits were, and drawn with a
pen of random width. The steps stand below in this order, each for a block of images at once.
"""

from __future__ import annotations

import functools
import reprlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.dataset import CLASSES, IMAGE_SIZE, DataError, Dataset, Split
from lenet_np.data.files import WriteError, cache_folder, write_atomically
from lenet_np.data.strokes import SHAPES, trace

VERSION = 1  # of the drawing: raise it with every change that changes an image
SPLITS = ("train", "validation", "test")
BOX = 20  # pixels along the longer side of a digit
INK = 254  # the grey value of full ink
BLOCK = 256  # images drawn at once: their distances fit into the processor's cache
# Part of every seed, so that nothing else drawn from the user's seed repeats these numbers.
PURPOSE = int.from_bytes(b"digits", "big")

# How much the digits vary. A length without a unit is in heights of the digit; "spread" is the
# standard deviation of a normal distribution.
MIDDLE_SPREAD = 0.30  # four times how far the middle moves, while the ends stay
WAVES = 3  # sine waves that bend a digit
WAVE_SPREAD = 0.05  # of a wave's amplitude
FREQUENCY_SPREAD = 0.55  # of its number of periods per height
ASPECT_SPREAD = 0.22  # of the logarithm of width / height
SLANT, SLANT_SPREAD = 0.15, 0.25  # to the right per way up: people lean to the right
TURN_SPREAD = 0.10  # radians
RADIUS, RADIUS_SPREAD = 1.25, 0.34  # half the pen's width: median in pixels; of the logarithm
BLUR = (0.8, 1.5)  # pixels over which the edge of a stroke fades: least, most
ROUGHNESS = 0.12  # pixels: spread of where the edge is

Floats = NDArray[np.float64]


def load_synthetic(
    seed: int = 0,
    sizes: tuple[int, int, int] = (55_000, 5_000, 10_000),
    cache: Path | None = None,
) -> Dataset:
    """Draw the synthetic digits, or read them from the cache if they were drawn before.

    `sizes` are the images of the training, validation and test split. The classes are uniform and
    in random order. The first images of a split are the same whatever its size and that of the
    others. The cache is a folder, by default ``synthetic`` in the project's; a damaged file in it
    is drawn anew, and where none can be written, the digits are drawn every time, in a few
    seconds. DataError if the seed is negative or a size is not positive.
    """
    if seed < 0:
        raise DataError(f"the seed of the synthetic digits must be 0 or more, got {seed}")
    if len(sizes) != len(SPLITS) or min(sizes) < 1:
        raise DataError(
            f"sizes must be three positive numbers, the images for {', '.join(SPLITS)}, got {sizes}"
        )
    name = f"digits-v{VERSION}-seed{seed}-{'-'.join(map(str, sizes))}.npz"
    try:
        path = (cache or cache_folder() / "synthetic") / name
    except DataError:  # no home folder, no cache
        return Dataset("synthetic", *_draw_splits(seed, sizes))

    splits = _read(path, sizes)
    if splits is None:
        splits = _draw_splits(seed, sizes)
        with suppress(WriteError):
            _write(path, splits)
    return Dataset("synthetic", *splits)


def draw_digits(classes: NDArray[np.integer[Any]], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one image of each of the digits: (N, 28, 28), 0 (background) to 254 (ink).

    Size and place in the frame follow MNIST: 20 pixels along the longer side, the centre of
    mass in the middle of the frame (LeCun et al. 1998, section III.A). DataError if the classes
    are not (N,) integers from 0 to 9.
    """
    integers = classes.ndim == 1 and np.issubdtype(classes.dtype, np.integer)
    if not integers or not np.isin(classes, range(CLASSES)).all():
        raise DataError(
            f"classes must be integers from 0 to {CLASSES - 1} of shape (N,), "
            f"got {classes.dtype} of shape {classes.shape}: {reprlib.repr(classes.tolist())}"
        )
    images = np.empty((len(classes), IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for start in range(0, len(classes), BLOCK):
        block = slice(start, start + BLOCK)
        images[block] = _draw_block(classes[block], rng)
    return images


def _draw_block(classes: NDArray[np.integer[Any]], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a few digits: `draw_digits` without checks, all of them at once."""
    count = len(classes)
    radius = np.minimum(RADIUS * np.exp(RADIUS_SPREAD * rng.standard_normal(count)), BOX / 4)
    blur = rng.uniform(*BLUR, count)

    points = _transform(_bend(_choose_shapes(classes, rng), rng), rng)
    distance = _distance_to_strokes(_fit(points, radius).astype(np.float32))
    distance += np.float32(ROUGHNESS) * rng.standard_normal(distance.shape, dtype=np.float32)
    # 1 inside the stroke, 0 outside, and a ramp as wide as the blur across its edge.
    ink = 0.5 + (radius[:, None, None] - distance) / blur[:, None, None]
    return centre(np.rint(INK * np.clip(ink, 0, 1)).astype(np.uint8))


@functools.cache
def _shape_table() -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """List all shapes (V, 2 S, 2), and where each class begins in the list and how many it has.

    A shape stands in the list as often as its weight says. S is the number of segments of the
    longest shape; the others repeat their last segment, which draws nothing new.
    """
    traced = [[trace(way) for weight, way in SHAPES[k] for _ in range(weight)] for k in SHAPES]
    shapes = [shape for of_class in traced for shape in of_class]
    longest = max(len(shape) for shape in shapes)
    table = np.stack([np.pad(s, ((0, longest - len(s)), (0, 0), (0, 0)), "edge") for s in shapes])
    counts = np.array([len(of_class) for of_class in traced])
    return table.reshape(len(shapes), -1, 2), np.cumsum(counts) - counts, counts


def _choose_shapes(classes: NDArray[np.integer[Any]], rng: np.random.Generator) -> Floats:
    """Choose a shape for each class: (N, 2 S, 2), start and end of S segments."""
    table, first, counts = _shape_table()
    chosen: Floats = table[first[classes] + rng.integers(counts[classes])]
    return chosen


def _bend(points: Floats, rng: np.random.Generator) -> Floats:
    """Move each point p by a smooth random function of p, so that joined strokes stay joined.

    p + c p (1 - p), separately in x and y, moves the middle and keeps the ends: a larger head
    and a smaller belly. The waves a sin(2 pi f p + phase) do the rest.
    """
    count = len(points)
    middle = MIDDLE_SPREAD * rng.standard_normal((count, 1, 2))
    frequency = FREQUENCY_SPREAD * rng.standard_normal((count, 2, WAVES))
    phase = rng.uniform(0, 2 * np.pi, (count, 1, WAVES))
    amplitude = WAVE_SPREAD * rng.standard_normal((count, WAVES, 2))
    waves = np.sin(2 * np.pi * (points @ frequency) + phase) @ amplitude
    bent: Floats = points + middle * points * (1 - points) + waves
    return bent


def _transform(points: Floats, rng: np.random.Generator) -> Floats:
    """Stretch, slant and turn each digit. The y axis points down."""
    normal = rng.standard_normal((3, len(points), 1))
    aspect = np.exp(ASPECT_SPREAD * normal[0])
    slant = SLANT + SLANT_SPREAD * normal[1]
    angle = TURN_SPREAD * normal[2]
    x = aspect * points[..., 0] - slant * points[..., 1]
    y = points[..., 1]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def _fit(points: Floats, radius: Floats) -> Floats:
    """Scale and shift each digit to fill the box; pixel i then covers i - 1/2 to i + 1/2."""
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    # The pen's width does not grow with the digit: only what is left of the box is for points.
    room = BOX - 2 * radius[:, None, None]
    scale = room / (high - low).max(axis=2, keepdims=True)
    fitted: Floats = scale * (points - (low + high) / 2) + (BOX - 1) / 2
    return fitted


def _distance_to_strokes(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Measure how far each pixel of the box is from the nearest segment: (N, 20, 20).

    The point of a segment a + t d, 0 <= t <= 1, nearest to the pixel p has
    t = clip((p - a) . d / (d . d), 0, 1).
    """
    pixel = np.arange(BOX, dtype=np.float32)
    shortest = np.full((len(points), BOX, BOX), np.inf, dtype=np.float32)
    t, squared, part = (np.empty_like(shortest) for _ in range(3))
    # One segment after the other, in reused arrays: all at once would not fit into any cache.
    for segment in range(0, points.shape[1], 2):
        start, end = points[:, segment], points[:, segment + 1]
        d = end - start
        along = d / np.maximum((d * d).sum(axis=1, keepdims=True), np.float32(1e-12))
        x = (pixel - start[:, :1])[:, None, :]
        y = (pixel - start[:, 1:])[:, :, None]
        np.add(x * along[:, 0, None, None], y * along[:, 1, None, None], out=t)
        np.clip(t, 0, 1, out=t)
        np.subtract(x, np.multiply(t, d[:, 0, None, None], out=part), out=part)
        np.multiply(part, part, out=squared)
        np.subtract(y, np.multiply(t, d[:, 1, None, None], out=part), out=part)
        squared += np.multiply(part, part, out=part)
        np.minimum(shortest, squared, out=shortest)
    return np.sqrt(shortest, out=shortest)


def centre(boxes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Place each box (N, 20, 20) in its frame, by whole pixels, centre of mass in the middle."""
    frame = np.arange(IMAGE_SIZE)
    indices = []  # for each axis and image: the row or column of the box at each of the frame
    for other_axis in (2, 1):
        mass = boxes.sum(axis=other_axis, dtype=np.float64)
        centre = mass @ np.arange(BOX) / mass.sum(axis=1)
        shift = np.clip(np.rint(IMAGE_SIZE / 2 - centre), 0, IMAGE_SIZE - BOX).astype(int)
        # The box gets a margin of one pixel, where all of the frame beside the box looks.
        indices.append(np.clip(frame - shift[:, None] + 1, 0, BOX + 1))
    rows, columns = indices
    with_margin = np.pad(boxes, ((0, 0), (1, 1), (1, 1)))
    image = np.arange(len(boxes))[:, None, None]
    framed: NDArray[np.uint8] = with_margin[image, rows[:, :, None], columns[:, None, :]]
    return framed


def _draw_splits(seed: int, sizes: tuple[int, int, int]) -> list[Split]:
    """Draw the three splits; each block of each split has random numbers of its own."""
    splits = []
    for which, size in enumerate(sizes):
        pixels = np.empty((size, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
        classes = np.empty(size, dtype=np.uint8)
        for block, start in enumerate(range(0, size, BLOCK)):
            key = (PURPOSE, which, block)
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
            # A whole block is drawn even if less is needed: the first images stay the same.
            of_block = rng.integers(CLASSES, size=BLOCK, dtype=np.uint8)
            rest = size - start
            classes[start : start + BLOCK] = of_block[:rest]
            pixels[start : start + BLOCK] = draw_digits(of_block, rng)[:rest]
        splits.append(Split(pixels, classes))
    return splits


def _read(path: Path, sizes: tuple[int, int, int]) -> list[Split] | None:
    """Read the splits from a file; None if it is absent, damaged, or not what is expected."""
    try:
        # Reading an array to its end also compares the checksum that zip keeps for it. Given a
        # path, np.load would leave a damaged file open, and Windows replaces no open file.
        with open(path, "rb") as binary, np.load(binary, allow_pickle=False) as file:
            splits = [Split(file[f"{name}_pixels"], file[f"{name}_classes"]) for name in SPLITS]
    except Exception:  # depending on where an archive is damaged, it is one of ten and more
        return None
    return splits if tuple(len(split) for split in splits) == tuple(sizes) else None


def _write(path: Path, splits: list[Split]) -> None:
    """Write the splits to a file, as a compressed ``.npz`` archive: 11 MB instead of 55."""
    arrays: dict[str, Any] = {}
    for name, split in zip(SPLITS, splits, strict=True):
        arrays[f"{name}_pixels"] = split.pixels
        arrays[f"{name}_classes"] = split.classes
    with write_atomically(path) as file:
        np.savez_compressed(file, **arrays)
