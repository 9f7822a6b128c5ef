"""What is measured: turns of whole training steps, and a step taken apart into its pieces."""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import cycle
from statistics import median
from typing import Any

import numpy as np

from lenet_np import es
from lenet_np.data import CLASSES, Split
from lenet_np.data.minibatch import gather
from lenet_np.evaluate import evaluate
from lenet_np.layers import Conv2d, Dense, Sequential
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state, train
from lenet_np.losses import zero_one_loss
from lenet_np.ops import Array, Parameters
from lenet_np.optim import Adam
from lenet_np.routes import LossAndGradients, add_parts
from lenet_np.seeds import generator
from lenet_np.settings import Settings
from lenet_np.threads import one_blas_thread
from lenet_np.workers import PART_SIZE

STEPS = 50  # in one turn
IMAGES = 10_000  # as many as the test set of MNIST


def benchmark_split(images: int = IMAGES) -> Split:
    """Make images of random pixels: the time of a step does not depend on what they show."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 28, 28), dtype=np.uint8)
    return Split(pixels, rng.integers(0, CLASSES, images, dtype=np.uint8))


class Ours:
    """The training loop itself, in turns: each turn is an epoch of `STEPS` steps.

    A turn begins with nothing prepared and ends when the last thread is done, so nothing is left
    over for the time of somebody else's turn.
    """

    title = "lenet_np"

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._network, self._split = lenet5(), benchmark_split()
        self._state = initial_state(self._network, Settings())
        size = STEPS * Settings().batch_size
        ranges = [slice(start, start + size) for start in range(0, IMAGES - size + 1, size)]
        self._epochs = cycle(
            Split(self._split.pixels[here], self._split.classes[here]) for here in ranges
        )
        self._turns = 0
        self.turn(str(STEPS))

    def turn(self, request: str) -> float:
        """Train for one turn, or ``evaluate`` all images; the seconds that it took."""
        start = time.perf_counter()
        if request == "evaluate":
            evaluate(self._network, self._state.parameters, self._split, threads=self._threads)
        else:
            self._turns += 1
            settings = Settings(epochs=self._turns)
            for state, _ in train(
                self._network, next(self._epochs), settings, self._state, self._threads
            ):
                self._state = state
        return time.perf_counter() - start


class Clock:
    """Adds up the time of named pieces, step by step."""

    def __init__(self) -> None:
        self._now: dict[str, float] = defaultdict(float)
        self._steps: list[dict[str, float]] = []

    def measure(self, name: str, function: Any, *arguments: Any) -> Any:
        """Call a function and add what it took to a piece."""
        start = time.perf_counter()
        result = function(*arguments)
        self._now[name] += time.perf_counter() - start
        return result

    def next_step(self) -> None:
        """Begin a new step."""
        self._steps.append(dict(self._now))
        self._now.clear()

    def medians(self) -> dict[str, float]:
        """Give each piece's median in seconds; the first step only fetches code and memory."""
        steps = self._steps[1:]
        return {name: median(step[name] for step in steps) for name in steps[0]}


def measure_pieces(steps: int) -> dict[str, float]:
    """Take training steps on one thread: the median seconds of each piece, in order of work."""
    settings, split, clock, network = Settings(), benchmark_split(), Clock(), lenet5()
    parameters, state = initial_state(network, settings)
    optimizer = Adam(settings.learning_rate)
    # Each layer as a network of its own, so that each has its own time.
    shapes = [network.input_shape, *network.shapes().values()]
    layers = [
        (pair[0], Sequential(shape, (pair,)))
        for shape, pair in zip(shapes, network.layers, strict=False)
    ]

    def work_on(images: Array, labels: Array, noise: Array) -> LossAndGradients:
        x, caches = images, []
        for name, layer in layers:
            x, cache = clock.measure(f"forward {name}", layer.forward, parameters, x)
            caches.append(cache)
        estimate: es.Estimate = clock.measure(
            "estimate", es.estimate_gradient, zero_one_loss, x, labels, noise, settings.sigma
        )
        dy, gradients = estimate.gradient, {}
        for (name, layer), cache in reversed([*zip(layers, caches, strict=True)]):
            need_dx = layer is not layers[0][1]
            dy, own = clock.measure(f"backward {name}", layer.backward, dy, cache, need_dx)
            gradients.update(own)
        return LossAndGradients(estimate.loss, gradients)

    order = np.random.default_rng(0)
    with one_blas_thread():
        for step in range(steps + 1):
            indices = order.integers(0, len(split), settings.batch_size)
            rng = generator(settings.seed, "noise", step)
            shape = (CLASSES, settings.samples, settings.batch_size)
            noise = clock.measure("noise", es.sample_noise, rng, *shape)
            parts: list[LossAndGradients] = []
            for start in range(0, settings.batch_size, PART_SIZE):
                here = slice(start, start + PART_SIZE)
                images, labels = clock.measure("gather", gather, split, indices[here])
                parts.append(work_on(images, labels, noise[:, :, here]))
            total = clock.measure("add parts", add_parts, parts)
            clock.measure("Adam", optimizer.update, parameters, total.gradients, state)
            clock.next_step()
    return clock.medians()


def measure_products(steps: int) -> float:
    """Measure all matrix products of a step alone, on one thread: the median seconds."""
    network, settings, clock = lenet5(), Settings(), Clock()
    parameters: Parameters = initial_state(network, settings).parameters
    images, _ = gather(benchmark_split(), slice(0, PART_SIZE))
    _, caches = network.forward(parameters, images)
    products: list[tuple[Array, Array]] = []
    for (name, layer), cache in zip(network.layers, caches, strict=True):
        if isinstance(layer, Conv2d | Dense):
            weight = cache.weight.reshape(len(cache.weight), -1)
            convolves = isinstance(layer, Conv2d)
            x = cache.columns if convolves else cache.x
            dy = np.ones_like(weight @ x)
            products += [(weight, x), (x, dy.swapaxes(1, 2)) if convolves else (dy, x.T)]
            if name != network.layers[0][0]:
                products.append((weight.T, dy))
    outputs = [a @ b for a, b in products]

    def multiply_all() -> None:
        for (a, b), out in zip(products, outputs, strict=True):
            np.matmul(a, b, out=out)

    with one_blas_thread():
        for _ in range(steps + 1):
            for _ in range(0, settings.batch_size, PART_SIZE):
                clock.measure("products", multiply_all)
            clock.next_step()
    return clock.medians()["products"]
