"""Data of MNIST's form that are not MNIST: four IDX files of 28x28 grey images in ten classes.

Fashion-MNIST, KMNIST, EMNIST's digits, or one's own. Nobody knows their hashes beforehand, so the
run folder records those that it was started with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.dataset import CLASSES, DataError, Dataset, Split
from lenet_np.data.idx import candidates, read_idx

#: EMNIST's images are stored column by column: as IDX they come transposed.
KINDS = ("idx", "transposed-idx")
VALIDATION_SIZE = 5_000
LOOKED_AT = 1_000  # images, to see whether they lie on their side


def kind_of(name: str) -> str:
    """Tell which kind of data set a name belongs to: ``idx-fashion`` is of the kind ``idx``."""
    return next((kind for kind in KINDS if name.startswith(f"{kind}-")), name)


def load_others(kind: str, folder: Path, notify: Callable[[str], None]) -> Dataset:
    """Load four IDX files from a folder or from ``raw`` in it; they are named after the folder.

    The first 5,000 training images, or a twelfth if that is less, are for validation. A line to
    `notify` if the images seem to be transposed. DataError if files are missing, cannot be told
    apart, are damaged, or hold something else than 28x28 images and labels from 0 to 9.
    """
    train, test = (_read_pair(folder, names) for names in ("train", "t10k|test"))
    if len(train) < 2 or len(test) < 1:
        raise DataError(f"{folder}: {len(train)} training and {len(test)} test images are too few")
    if kind == "transposed-idx":
        train, test = (
            Split(np.ascontiguousarray(split.pixels.transpose(0, 2, 1)), split.classes)
            for split in (train, test)
        )
    if _looks_transposed(train):
        other = KINDS[kind == "idx"]
        notify(f"the images in {folder} look transposed; --dataset {other} turns them")
    size = min(VALIDATION_SIZE, max(1, len(train) // 12))
    return Dataset(
        name=f"{kind}-{_display_name(folder)}",
        train=Split(train.pixels[size:], train.classes[size:]),
        validation=Split(train.pixels[:size], train.classes[:size]),
        test=test,
    )


def _display_name(folder: Path) -> str:
    absolute = Path(os.path.abspath(folder))
    name = absolute.parent.name if absolute.name == "raw" else absolute.name
    return re.sub("[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:60] or "data"


def _read_pair(folder: Path, names: str) -> Split:
    """Read images and their labels, and say of which files it is if they do not fit."""
    images, labels = _find(folder, names, "images", 3), _find(folder, names, "labels", 1)
    pixels, classes = read_idx(images), read_idx(labels)
    try:
        split = Split(pixels, classes)
    except DataError as error:
        raise DataError(f"{images} and {labels}: {error}") from error
    if split.pixels.size and split.pixels.max() <= 1:
        raise DataError(f"{images}: no value is above 1, expected grey values from 0 to 255")
    return split


def _find(folder: Path, names: str, content: str, dimensions: int) -> Path:
    """Find the one file of its kind: EMNIST's bear ``emnist-digits-`` in front of the name."""
    pattern = re.compile(rf"(.*[^a-z])?({names})-{content}[-.]idx{dimensions}-ubyte(\.gz)?")
    found: dict[str, Path] = {}
    for path in candidates(folder, pattern, (".", "raw")):
        found.setdefault(path.name.removesuffix(".gz").replace(".idx", "-idx"), path)
    if len(found) == 1:
        return next(iter(found.values()))
    expected = f"{names.partition('|')[0]}-{content}-idx{dimensions}-ubyte"
    if not found:
        raise DataError(f"{folder} holds no file {expected}, packed (.gz) or not")
    raise DataError(
        f"{folder} holds several files of the kind {expected}: {', '.join(sorted(found))}; "
        "put the four that belong together into a folder of their own"
    )


def _looks_transposed(split: Split) -> bool:
    """Tell digits that lie on their side; other images look like digits no way up.

    Of the eight ways to turn and mirror a square, the transposed one must bring the images
    nearest to the mean of the drawn digits of their class.
    """
    from lenet_np.data.synthetic import draw_digits  # Here: who has MNIST does not need it.

    pixels, classes = split.pixels[:LOOKED_AT], split.classes[:LOOKED_AT]
    each = np.repeat(np.arange(CLASSES), 50)
    drawn = draw_digits(each, np.random.default_rng(0)).reshape(CLASSES, 50, -1).mean(axis=1)
    drawn -= drawn.mean(axis=1, keepdims=True)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)

    def alike(images: NDArray[np.uint8]) -> float:
        guessed = (images.reshape(len(images), -1) @ drawn.T).argmax(axis=1)
        return float(np.mean(guessed == classes))

    both = (pixels, pixels.transpose(0, 2, 1))
    shares = [alike(np.rot90(way, turns, (1, 2))) for way in both for turns in range(4)]
    return shares.index(max(shares)) == 4 and shares[4] > 0.3
