"""The rivals, each in a process of its own that takes a turn when it is told to.

A process of its own, because the threads of two libraries in one process disturb each other, and
so that the memory of one is not counted as the other's. A line with a number on its standard
input asks for so many training steps, ``evaluate`` for one pass over the images, ``race`` for a
race; the seconds that it took come back as a line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np

from lenet_np.data import load_mnist
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state
from lenet_np.ops import Array, Parameters
from lenet_np.settings import Settings
from lenet_np.tools.benchmark.work import (
    IMAGES,
    TRAINING,
    Start,
    benchmark_split,
    race,
    start_on,
)
from lenet_np.tools.cli.machine import keep_freed_memory
from lenet_np.workers import plan


class Contestant(Protocol):
    """What a rival can do, whatever it is written with; it is made from a `Start`."""

    title: str

    def reset(self, parameters: Parameters) -> None: ...  # begin again, with these weights

    def step(self, here: Any) -> None: ...  # one training step, on the images of these indices

    def wait(self) -> None: ...  # until nothing is left running behind a step

    def read(self, here: slice) -> Array: ...  # answers


class Entry(NamedTuple):
    """Where a rival is written, and how it runs."""

    package: str  # that must be installed
    module: str
    name: str
    keeps_memory: bool = True  # told, as we tell it to ourselves, not to return freed memory


RIVALS = {
    "pytorch": Entry("torch", "with_pytorch", "Eager", False),
    "pytorch-best": Entry("torch", "with_pytorch", "Expert"),
    "torch-compile": Entry("torch", "with_pytorch", "Compiled"),
    "jax": Entry("jax", "with_jax", "Jit"),
    "tensorflow": Entry("tensorflow", "with_tensorflow", "Graph"),
    "textbook-float32": Entry("numpy", "textbook", "Single", False),
    "textbook-float64": Entry("numpy", "textbook", "Double", False),
}


def installed() -> list[str]:
    """List the rivals that can take part."""
    return [name for name, entry in RIVALS.items() if find_spec(entry.package)]


class RivalError(RuntimeError):
    """A rival could not take its turn."""


class Rival:
    """A process that takes turns on random images, or races on MNIST."""

    def __init__(
        self, name: str, threads: int, settings: Settings, data: str = "random", folder: str = ""
    ) -> None:
        self._name = name
        words = (name, str(threads), json.dumps(asdict(settings)), data, folder)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lenet_np.tools.benchmark.rivals", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; the rivals end when their input does.
        )
        self.title, self.first_step = self._read(), float(self._read())

    def turn(self, request: str) -> float:
        """Let it work: a number of steps, or ``evaluate``; the seconds that it took."""
        return float(self._ask(request))

    def race(self, settings: Settings) -> str:
        """Let it race, with the settings that it was made with but for the seed."""
        return self._ask(f"race {settings.seed}")

    def close(self) -> None:
        """End the process, also in the middle of a race."""
        self._process.terminate()
        with suppress(BrokenPipeError):
            self._process.communicate()

    def _ask(self, request: str) -> str:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # Nobody there: reading the answer says so.
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RivalError(f"{self._name} ended before its turn was over; see above")
        return line.strip()


def read_all(rival: Contestant, start: Start) -> float:
    """Read all images that are not trained on, in batches; the share that is read right."""
    size, images = start.settings.batch_size, len(start.images)
    heres = [slice(first, first + size) for first in range(start.training, images, size)]
    right = [np.count_nonzero(rival.read(here) == start.classes[here]) for here in heres]
    return sum(right) / (images - start.training)


def answer(rival: Contestant, start: Start, minibatches: Iterator[Any], request: str) -> object:
    """Do what a line asks for; the seconds that it took."""
    began = time.perf_counter()
    if request == "evaluate":
        read_all(rival, start)
    elif request.startswith("race"):
        settings = replace(start.settings, seed=int(request.split()[1]))
        for size in {settings.batch_size, start.training % settings.batch_size} - {0}:
            rival.step(np.arange(size))  # What has to be compiled is compiled before.
        read_all(rival, start)
        rival.reset(initial_state(lenet5(), settings).parameters)

        def steps() -> Iterator[None]:
            for _, here in plan(start.training, 0, settings):  # our own loop's minibatches
                rival.step(here)
                yield

        return race(steps(), rival.wait, lambda: read_all(rival, start))
    else:
        for _, here in islice(minibatches, int(request)):
            rival.step(here)
        rival.wait()
    return time.perf_counter() - began


def main() -> int:
    """Take turns until the standard input ends."""
    name, threads, given, data, folder = sys.argv[1:]
    entry, settings = RIVALS[name], Settings(**json.loads(given))
    if entry.keeps_memory:
        keep_freed_memory()
    if data == "mnist":
        mnist = load_mnist(folder or None, download=False)
        start = start_on(mnist.train, mnist.validation, settings, int(threads))
    else:
        # Whole minibatches alone.
        images = (IMAGES if entry.package == "numpy" else TRAINING) // settings.batch_size
        split = benchmark_split(images * settings.batch_size)
        start = start_on(split, benchmark_split(), settings, int(threads))
    module = import_module(f"lenet_np.tools.benchmark.{entry.module}")
    rival: Contestant = getattr(module, entry.name)(start)
    minibatches = plan(start.training, 0, replace(settings, epochs=10**9))
    print(rival.title)
    print(answer(rival, start, minibatches, "1"), flush=True)
    answer(rival, start, minibatches, "2")  # these still fetch memory
    if entry.module != "textbook":
        answer(rival, start, minibatches, "evaluate")  # compiled for two sizes of batches
    for line in sys.stdin:
        print(answer(rival, start, minibatches, line.strip()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
