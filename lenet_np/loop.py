"""Training LeNet-5 through the 0-1 loss: the loop that takes the steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES, Split
from lenet_np.data.minibatch import gather
from lenet_np.es import Estimate
from lenet_np.estimators import ESTIMATORS, WEIGHT_ESTIMATORS
from lenet_np.layers import Sequential
from lenet_np.losses import cross_entropy, cross_entropy_gradient, zero_one_loss
from lenet_np.ops import Array, Parameters
from lenet_np.optim import Adam, AdamState
from lenet_np.routes import ROUTES, LossAndGradients, LossAtLogits, add_parts
from lenet_np.seeds import generator
from lenet_np.settings import SettingError, Settings
from lenet_np.threads import default_threads, one_blas_thread
from lenet_np.weights import (
    Minibatch,
    draw_rank_noise,
    estimate_by_full_noise,
    estimate_by_rank_noise,
)

#: Images that one thread works on. A fixed number, not the minibatch divided by the threads: so
#: the sum over a minibatch has the same order, and the same bits, whatever the number of threads.
PART_SIZE = 64
#: Readings of an image by a perturbed network that one thread works on, for noise in the weights.
READINGS = 128
#: Minibatches that are prepared ahead of the one in work.
AHEAD = 2


LOSSES = {"zero-one": zero_one_loss, "cross-entropy": cross_entropy}


class State(NamedTuple):
    """All that a run needs to go on: everything else follows from the settings."""

    parameters: Parameters
    optimizer: AdamState


class StepMetrics(NamedTuple):
    """What one step reports."""

    epoch: int  # 1 for the first
    step: int  # within the epoch, 1 for the first
    steps_per_epoch: int
    loss: float  # mean over the minibatch, before the step
    gradients: Parameters  # of the sum over the minibatch: what the optimizer was given


class Part(NamedTuple):
    """A part of a minibatch with its noise: all that the loss and its gradients need."""

    images: Array  # (1, 32, 32, N)
    labels: Array  # (10, N), one-hot
    noise: Array | None  # (10, n, N); None where none is needed
    key: tuple[int, int]  # (step, part): from them noise in the weights is drawn


class DivergedError(ArithmeticError):
    """A number of the network is no longer finite; the message says which and when."""


def initial_state(network: Sequential, settings: Settings) -> State:
    """Draw Glorot-uniform weights and start Adam."""
    parameters = network.init(generator(settings.seed, "weights"))
    return State(parameters, Adam(settings.learning_rate).init(parameters))


def train(
    network: Sequential,
    data: Split,
    settings: Settings,
    state: State | None = None,
    threads: int | None = None,
) -> Generator[tuple[State, StepMetrics], None, None]:
    """Train step by step, yielding after each: the caller prints, evaluates, saves and stops.

    The shuffle is a function of (seed, epoch) and the noise of (seed, step), so a run that goes
    on from a saved state takes the very steps it would have taken without the pause. The results
    do not depend on the number of threads, by default one for each core. The threads end with the
    generator: close() it to stop early. SettingError if the batch size is more than the data;
    DivergedError if the loss or a parameter is no longer finite.
    """
    if settings.batch_size > len(data):
        raise SettingError(
            "batch_size",
            f"takes 1 to {len(data)}, the number of training images, got {settings.batch_size}",
        )
    optimizer = Adam(settings.learning_rate)
    state = state or initial_state(network, settings)
    steps_per_epoch = settings.steps_per_epoch(len(data))
    with Workers(network, data, settings, state.optimizer.step, threads) as workers:
        for step, parts in workers.minibatches():
            loss, gradients = workers.loss_and_gradients(state.parameters, parts)
            state = State(*optimizer.update(state.parameters, gradients, state.optimizer))
            epoch, step_of_epoch = divmod(step, steps_per_epoch)
            metrics = StepMetrics(
                epoch + 1, step_of_epoch + 1, steps_per_epoch, float(loss.mean()), gradients
            )
            _check_finite(state, metrics)
            yield state, metrics


def loss_and_gradients(
    network: Sequential, parameters: Parameters, part: Part, settings: Settings
) -> LossAndGradients:
    """Compute the loss of each example of a part, and the gradients of their sum."""
    images, labels, noise, key = part
    if settings.perturb == "weights":
        estimator = WEIGHT_ESTIMATORS[settings.estimator]
        weight_noise = draw_rank_noise(
            generator(settings.seed, "weight noise", *key),
            parameters,
            int(settings.rank),
            settings.samples,
            images.shape[-1],
            estimator.mirrored,
        )
        return estimate_by_rank_noise(
            network,
            parameters,
            images,
            labels,
            weight_noise,
            settings.sigma,
            LOSSES[settings.loss],
            estimator.weighings[settings.objective],
        )
    route = ROUTES[settings.route if settings.loss == "zero-one" else "taylor"]
    # An overflow is reported once, as a divergence, and not as NumPy's warnings.
    with np.errstate(over="ignore", invalid="ignore"):
        return route(network, parameters, images, labels, loss_at_logits(settings, noise))


def loss_at_logits(settings: Settings, noise: Array | None) -> LossAtLogits:
    """Give the loss that the settings name, with its gradient or an estimate of it."""
    if settings.loss == "cross-entropy":
        return lambda logits, labels: Estimate(
            cross_entropy(logits, labels), cross_entropy_gradient(logits, labels)
        )
    estimate = ESTIMATORS[settings.estimator].objectives[settings.objective]
    return lambda logits, labels: estimate(
        LOSSES[settings.loss], logits, labels, noise, settings.sigma
    )


def _check_finite(state: State, metrics: StepMetrics) -> None:
    where = f"at step {metrics.step} of epoch {metrics.epoch}"
    if not np.isfinite(metrics.loss):
        raise DivergedError(f"the loss is {metrics.loss} {where}")
    for name, value in state.parameters.items():
        if not np.isfinite(value).all():
            raise DivergedError(f"{name} is no longer finite {where}")


# --- who does the work --------------------------------------------------------------------------


class Workers(AbstractContextManager["Workers"]):
    """Threads that work on the parts of a minibatch side by side, and meanwhile prepare the next.

    ``first_step`` counts the steps that were taken before.
    """

    def __init__(
        self,
        network: Sequential,
        data: Split,
        settings: Settings,
        first_step: int,
        threads: int | None = None,
    ) -> None:
        self._network, self._settings = network, settings
        self._teach = partial(loss_and_gradients, network)
        self._prepare = partial(prepare, data, settings)
        self._plan = plan(len(data), first_step, settings)
        self._pool = ThreadPoolExecutor(default_threads() if threads is None else threads)
        self._ahead: deque[tuple[int, Future[list[Part]]]] = deque()

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def minibatches(self) -> Iterator[tuple[int, list[Part]]]:
        """Yield each minibatch as (steps taken before it, its parts)."""
        for _ in range(AHEAD):
            self._prepare_one_more()
        while self._ahead:
            step, parts = self._ahead.popleft()
            yield step, parts.result()

    def loss_and_gradients(self, parameters: Parameters, parts: list[Part]) -> LossAndGradients:
        """Compute the loss of each example of a minibatch, and the gradients of their sum."""
        with one_blas_thread():
            if self._settings.perturb == "weights" and self._settings.rank == "full":
                return self._by_networks(parameters, *parts)
            work = [
                self._pool.submit(self._teach, parameters, part, self._settings) for part in parts
            ]
            # Behind the parts in the queue: this is for threads that have nothing else to do.
            self._prepare_one_more()
            return add_parts([part.result() for part in work])

    def _by_networks(self, parameters: Parameters, part: Part) -> LossAndGradients:
        self._prepare_one_more()
        settings = self._settings
        minibatch = Minibatch(
            self._network,
            parameters,
            part.images,
            part.labels,
            settings.sigma,
            LOSSES[settings.loss],
            (settings.seed, part.key[0]),
        )
        estimator = WEIGHT_ESTIMATORS[settings.estimator]
        return estimate_by_full_noise(
            self._pool.submit, minibatch, settings.samples, estimator, settings.objective
        )

    def _prepare_one_more(self) -> None:
        for step, indices in self._plan:
            self._ahead.append((step, self._pool.submit(self._prepare, step, indices)))
            return


def plan(
    examples: int, first_step: int, settings: Settings
) -> Iterator[tuple[int, NDArray[np.integer[Any]]]]:
    """List the steps still to take, each with the indices of its minibatch."""
    steps_per_epoch = settings.steps_per_epoch(examples)
    for epoch in range(first_step // steps_per_epoch, settings.epochs):
        order = generator(settings.seed, "shuffle", epoch).permutation(examples)
        for step in range(max(first_step, epoch * steps_per_epoch), (epoch + 1) * steps_per_epoch):
            start = (step - epoch * steps_per_epoch) * settings.batch_size
            yield step, order[start : start + settings.batch_size]


def prepare(
    data: Split, settings: Settings, step: int, indices: NDArray[np.integer[Any]]
) -> list[Part]:
    """Gather a minibatch, draw the noise of its logits, and divide both into parts.

    The noise is a function of (seed, step), the steps taken before this one. The last part may be
    smaller.
    """
    noise = None
    at_logits = settings.loss == "zero-one" and settings.perturb == "logits"
    draw = ESTIMATORS[settings.estimator].draw if at_logits else None
    if draw is not None:
        rng = generator(settings.seed, "noise", step)
        noise = draw(rng, CLASSES, settings.samples, len(indices), np.float32)
    size = part_size(settings)
    parts: list[Part] = []
    for start in range(0, len(indices), size):
        here = slice(start, start + size)
        images, labels = gather(data, indices[here])
        noise_here = None if noise is None else noise[:, :, here]
        parts.append(Part(images, labels, noise_here, (step, len(parts))))
    return parts


def part_size(settings: Settings) -> int:
    """Count the images of a part: as many as keep its arrays in the processor's cache."""
    if settings.perturb == "logits":
        return PART_SIZE
    if settings.rank == "full":
        return settings.batch_size  # Its tasks are networks, which read the whole minibatch.
    return max(1, READINGS // settings.samples)
