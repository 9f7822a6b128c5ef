"""A tiny data set that a LeNet can learn, and the training command on it in its own process."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

from lenet_np.data import Dataset, Split, mnist


def tiny_dataset() -> Dataset:
    """Make 430 images; each class is a bright bar at its own height."""
    rng = np.random.default_rng(0)

    def split(size: int) -> Split:
        classes = rng.integers(0, 10, size).astype(np.uint8)
        pixels = rng.integers(0, 60, (size, 28, 28)).astype(np.uint8)
        for image, digit in zip(pixels, classes, strict=True):
            image[4 + 2 * digit : 6 + 2 * digit, 4:24] = 255
        return Split(pixels, classes)

    return Dataset("tiny", split(300), split(60), split(70))


def command(*words: str, before: str = "") -> list[str]:
    """Build the training command on the tiny data set; ``before`` is Python to run first."""
    program = f"""
import signal, sys
# A shell in the background, or nohup, lets the tests and their children ignore these.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.path.insert(0, {str(Path(__file__).parent)!r})
from tiny import tiny_dataset
from lenet_np.tools.cli.screen import guarded
from lenet_np.tools.commands import train as command
from lenet_np.tools.runs import start
command.load_dataset = start.load_dataset = lambda *_: tiny_dataset()
{before}
raise SystemExit(guarded("python -m lenet_np.train", command.main, {list(words)!a}))
"""
    return [sys.executable, "-c", program]


def write_tiny_mnist(folder: Path) -> None:
    """Write the tiny data set as the four files of MNIST; validation comes first, as in MNIST."""
    data = tiny_dataset()
    train = [
        np.concatenate([getattr(data.validation, kind), getattr(data.train, kind)])
        for kind in ("pixels", "classes")
    ]
    arrays = (*train, data.test.pixels, data.test.classes)
    for file, values in zip(mnist.FILES, arrays, strict=True):
        header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
        (folder / file.name).write_bytes(header + values.tobytes())
