"""The rivals, each in a process of its own that takes a turn when it is told to.

A process of its own, because the threads of two libraries in one process disturb each other, and
so that the memory of one is not counted as the other's. A line with a number on its standard
input asks for so many training steps, ``evaluate`` for one pass over the images; the seconds that
it took come back as a line.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from lenet_np.data import pad_to_32
from lenet_np.lenet import lenet5
from lenet_np.settings import Settings
from lenet_np.tools.benchmark.textbook import TextbookLeNet
from lenet_np.tools.benchmark.work import IMAGES, benchmark_split
from lenet_np.tools.cli.machine import keep_freed_memory

RIVALS = ("pytorch", "pytorch-keeps-memory", "textbook-float32", "textbook-float64")


class Contestant(NamedTuple):
    """What a rival can do."""

    title: str
    step: Callable[[], None]
    evaluate: Callable[[slice], None]


class RivalError(RuntimeError):
    """A rival could not take its turn."""


class Rival:
    """A process that takes turns; the threads are PyTorch's, or those of NumPy's BLAS."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lenet_np.tools.benchmark.rivals", name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; the rivals end when their input does.
        )
        self.title = self._read()

    def turn(self, request: str) -> float:
        """Let it work: a number of steps, or ``evaluate``; the seconds that it took."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # Nobody there: reading the answer says so.
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
        return float(self._read())

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):
            self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RivalError(f"{self._name} ended before its turn was over; see above")
        return line.strip()


def _indices(images: int, batch_size: int) -> Iterator[Any]:
    """Go through the images in batches, in an order drawn anew each time."""
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(images)
        for end in range(batch_size, images + 1, batch_size):
            yield order[end - batch_size : end]


def textbook(dtype: str) -> Contestant:
    """Make the network of the courses ready."""
    settings, split = Settings(), benchmark_split()
    images = pad_to_32(split[:][0]).transpose(0, 3, 1, 2).astype(dtype)
    labels = split.classes
    network = TextbookLeNet(lenet5().init(np.random.default_rng(0)), dtype)
    indices, rng = _indices(IMAGES, settings.batch_size), np.random.default_rng(0)

    def step() -> None:
        here = next(indices)
        logits = network.forward(images[here])
        shape = (settings.samples, *logits.shape)
        noise = rng.standard_normal(shape, dtype=network.dtype)  # type: ignore[arg-type]
        network.backward(network.estimate(logits, labels[here], noise, settings.sigma))
        network.adam(settings.learning_rate)

    def evaluate(here: slice) -> None:
        network.forward(images[here]).argmax(axis=1)

    return Contestant(f"textbook im2col, {dtype}", step, evaluate)


def pytorch(threads: int) -> Contestant:
    """Make the same pipeline in PyTorch (eager) ready."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    # As many images as MNIST has to train on: how much memory a process has had before decides
    # whether its allocator keeps what is freed.
    nn, settings, split = torch.nn, Settings(), benchmark_split(55_000)
    images = torch.from_numpy(pad_to_32(split[:][0]).transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(split.classes.astype(np.int64))
    network = nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    indices, sigma = _indices(len(split), settings.batch_size), settings.sigma

    def step() -> None:
        here = torch.from_numpy(next(indices))
        logits = network(images[here])
        with torch.no_grad():
            noise = torch.randn(settings.samples, *logits.shape)
            errors = ((logits + sigma * noise).argmax(dim=2) != labels[here]).float()
            gradient = (errors[:, :, None] * noise).mean(dim=0) / sigma
        optimizer.zero_grad()
        logits.backward(gradient)
        optimizer.step()

    def evaluate(here: slice) -> None:
        with torch.no_grad():
            network(images[here]).argmax(dim=1)

    return Contestant(f"PyTorch {torch.__version__} eager", step, evaluate)


def main() -> int:
    """Take turns until the standard input ends."""
    name, threads = sys.argv[1], int(sys.argv[2])
    if name.startswith("pytorch"):
        title, step, evaluate = pytorch(threads)
    else:
        title, step, evaluate = textbook(name.removeprefix("textbook-"))
    if name == "pytorch-keeps-memory":
        # PyTorch gives freed memory back to the system and takes it anew each step.
        keep_freed_memory()
        title += ", keeps memory"
    for _ in range(3):  # the first steps fetch code and memory
        step()
    print(title, flush=True)
    batch = Settings().batch_size
    for line in sys.stdin:
        start = time.perf_counter()
        if line.strip() == "evaluate":
            for first in range(0, IMAGES, batch):
                evaluate(slice(first, first + batch))
        else:
            for _ in range(int(line)):
                step()
        print(time.perf_counter() - start, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
