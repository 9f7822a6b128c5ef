"""What is measured: turns of whole training steps, and a step taken apart into its pieces."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np import es
from lenet_np.data import CLASSES, Dataset, Split, pad_to_32
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
from lenet_np.settings import Settings, resolve
from lenet_np.threads import one_blas_thread
from lenet_np.workers import PART_SIZE, READINGS, loss_and_gradients, part_size, prepare

STEPS = 50  # in one turn
IMAGES = 10_000  # as many as the test set of MNIST
#: As many as MNIST has. A rival needs all of them: how much memory a process has had before decides
#: whether its allocator keeps what is freed.
TRAINING = 55_000


def benchmark_split(images: int = IMAGES) -> Split:
    """Make images of random pixels: the time of a step does not depend on what they show."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 28, 28), dtype=np.uint8)
    return Split(pixels, rng.integers(0, CLASSES, images, dtype=np.uint8))


class Start(NamedTuple):
    """What a rival is given: the images, first weights and settings, and its threads."""

    images: Array  # (N, 1, 32, 32) float32 in [0, 1]
    classes: NDArray[np.int64]  # (N,)
    training: int  # so many images to train on; the others are read in evaluation
    parameters: Parameters
    settings: Settings
    threads: int


def start_on(training: Split, others: Split, settings: Settings, threads: int) -> Start:
    """Give a rival the images of two splits, and the weights that our own run begins with."""
    images = [pad_to_32(split[:][0]).transpose(0, 3, 1, 2) for split in (training, others)]
    classes = np.concatenate([training.classes, others.classes]).astype(np.int64)
    parameters = initial_state(lenet5(), settings).parameters
    return Start(np.concatenate(images), classes, len(training), parameters, settings, threads)


def channels_last(parameters: Parameters) -> Parameters:
    """Turn weights into the layouts of JAX and TensorFlow: (KH, KW, C, F) and (in, out)."""
    turned = {name: value.T for name, value in parameters.items()}
    for name, shape in _WINDOWS.items():
        window = parameters[name].reshape(shape).transpose(2, 3, 1, 0)
        turned[name] = window.reshape(-1, shape[0]) if name == "dense1.weight" else window
    return turned


def channels_first(parameters: Parameters) -> Parameters:
    """Turn weights, or their gradients, back: the inverse of `channels_last`."""
    turned = {name: value.T for name, value in parameters.items()}
    for name, (filters, channels, height, width) in _WINDOWS.items():
        window = parameters[name].reshape(height, width, channels, filters).transpose(3, 2, 0, 1)
        turned[name] = window.reshape(filters, -1) if name == "dense1.weight" else window
    return turned


#: dense1 reads a flattened image, so it depends on the order of the axes as a kernel does.
_WINDOWS = {
    "conv1.weight": (6, 1, 5, 5),
    "conv2.weight": (16, 6, 5, 5),
    "dense1.weight": (120, 16, 5, 5),
}

#: The race: evaluated after so many steps, until these validation accuracies.
RACE_STEPS, TARGETS = 43, (0.98, 0.99)
#: With the cure, and with cross-entropy.
RACES = (
    Settings(learning_rate=1e-3, objective="log-success"),
    Settings(learning_rate=1e-3, loss="cross-entropy"),
)


def race(steps: Iterable[object], wait: Callable[[], object], read: Callable[[], float]) -> str:
    """Train until the validation accuracy has reached the targets.

    The seconds of training until each, as words; inf if it was not reached. Evaluation, after each
    tenth of an epoch of MNIST, does not count.
    """
    seconds = 0.0
    reached: list[float] = []
    start = time.perf_counter()
    for number, _ in enumerate(steps, start=1):
        if number % RACE_STEPS:
            continue
        wait()
        seconds += time.perf_counter() - start
        accuracy = read()
        reached += [seconds] * sum(accuracy >= target for target in TARGETS[len(reached) :])
        if len(reached) == len(TARGETS):
            break
        start = time.perf_counter()
    return " ".join(map(str, [*reached, *[math.inf] * (len(TARGETS) - len(reached))]))


def race_ours(data: Dataset, threads: int, settings: Settings) -> str:
    """Run our own training loop in the race."""
    network = lenet5()
    state = initial_state(network, settings)

    def steps() -> Iterator[None]:
        nonlocal state
        for now, _ in train(network, data.train, settings, threads=threads):
            state = now
            yield

    def read() -> float:
        return evaluate(network, state.parameters, data.validation, threads=threads).accuracy

    return race(steps(), lambda: None, read)


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


def measure_reading(turns: int) -> tuple[float, float]:
    """Measure noise in the weights, on one thread: the median seconds of two ways to read an image.

    By a perturbed network, with drawing its noise and applying it; and by a plain forward pass.
    """
    network, split, clock = lenet5(), benchmark_split(), Clock()
    settings = resolve({"perturb": "weights"})
    parameters = initial_state(network, settings).parameters
    images, _ = gather(split, slice(0, READINGS))
    (part, *_) = prepare(split, settings, 0, np.arange(part_size(settings)))
    with one_blas_thread():
        for _ in range(turns + 1):
            clock.measure("perturbed", loss_and_gradients, network, parameters, part, settings)
            clock.measure("plain", network.forward, parameters, images, False)
            clock.next_step()
    seconds = clock.medians()
    readings = len(part.examples) * settings.samples
    return seconds["perturbed"] / readings, seconds["plain"] / READINGS


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
