"""Training LeNet-5 through the 0-1 loss: the loop that takes the steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES, Split
from lenet_np.data.minibatch import gather
from lenet_np.es import Estimate
from lenet_np.estimators import ESTIMATORS, OBJECTIVES
from lenet_np.layers import Sequential
from lenet_np.losses import cross_entropy, cross_entropy_gradient, zero_one_loss
from lenet_np.ops import Array, Parameters
from lenet_np.optim import Adam, AdamState
from lenet_np.routes import ROUTES, LossAndGradients, add_parts
from lenet_np.seeds import generator
from lenet_np.settings import Settings
from lenet_np.threads import default_threads, one_blas_thread

#: Images that one thread works on. A fixed number, not the minibatch divided by the threads: so
#: the sum over a minibatch has the same order, and the same bits, whatever the number of threads.
PART_SIZE = 64
#: Minibatches that are prepared ahead of the one in work.
AHEAD = 2


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


class DivergedError(ArithmeticError):
    """A number of the network is no longer finite; the message says which and when."""


def initial_state(network: Sequential, settings: Settings) -> State:
    """Draw Glorot-uniform weights and start Adam.

    Parameters
    ----------
    network : Sequential
    settings : Settings

    Returns
    -------
    State
    """
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
    on from a saved state takes the very steps it would have taken without the pause. The parts of
    a minibatch are worked on side by side, and the noise of later steps is drawn meanwhile.

    Parameters
    ----------
    network : Sequential
    data : Split
        The training images.
    settings : Settings
    state : State, optional
        Where to go on from; a new `initial_state` by default.
    threads : int, optional
        By default one for each core. The results do not depend on it. The threads end with the
        generator: who stops early should ``close()`` it.

    Yields
    ------
    (State, StepMetrics)

    Raises
    ------
    ValueError
        If a setting makes no sense for these data.
    DivergedError
        If the loss or a parameter is no longer finite.
    """
    _check_settings(settings, len(data))
    optimizer = Adam(settings.learning_rate)
    state = state or initial_state(network, settings)
    steps_per_epoch = -(-len(data) // settings.batch_size)
    plan = _plan(len(data), steps_per_epoch, state.optimizer.step, settings)
    with ThreadPoolExecutor(default_threads() if threads is None else threads) as pool:
        ahead = deque(pool.submit(prepare, data, settings, *p) for p in islice(plan, AHEAD))
        while ahead:
            parts = ahead.popleft().result()
            with one_blas_thread():
                working = [
                    pool.submit(loss_and_gradients, network, state.parameters, part, settings)
                    for part in parts
                ]
                # Behind the parts in the queue: this is for threads that have nothing else to do.
                ahead.extend(pool.submit(prepare, data, settings, *p) for p in islice(plan, 1))
                loss, gradients = add_parts([part.result() for part in working])
            epoch, step = divmod(state.optimizer.step, steps_per_epoch)
            state = State(*optimizer.update(state.parameters, gradients, state.optimizer))
            metrics = StepMetrics(
                epoch + 1, step + 1, steps_per_epoch, float(loss.mean()), gradients
            )
            _check_finite(state, metrics)
            yield state, metrics


def _check_settings(settings: Settings, examples: int) -> None:
    for name, known in (
        ("loss", ("zero-one", "cross-entropy")),
        ("route", tuple(ROUTES)),
        ("estimator", tuple(ESTIMATORS)),
        ("objective", OBJECTIVES),
    ):
        if getattr(settings, name) not in known:
            raise ValueError(f"{name} is one of {known}, got {getattr(settings, name)!r}")
    ESTIMATORS[settings.estimator].samples.check(settings.samples)
    if not 1 <= settings.batch_size <= examples:
        raise ValueError(
            f"the batch size must be 1 to {examples}, the number of training images; "
            f"got {settings.batch_size}"
        )


def _plan(
    examples: int, steps_per_epoch: int, first_step: int, settings: Settings
) -> Iterator[tuple[int, NDArray[np.integer[Any]]]]:
    """List the steps still to take, each with the indices of its minibatch."""
    for epoch in range(first_step // steps_per_epoch, settings.epochs):
        order = generator(settings.seed, "shuffle", epoch).permutation(examples)
        for step in range(max(first_step, epoch * steps_per_epoch), (epoch + 1) * steps_per_epoch):
            start = (step - epoch * steps_per_epoch) * settings.batch_size
            yield step, order[start : start + settings.batch_size]


def prepare(
    data: Split, settings: Settings, step: int, indices: NDArray[np.integer[Any]]
) -> list[Part]:
    """Gather a minibatch, draw its noise, and divide both into parts.

    Parameters
    ----------
    data : Split
    settings : Settings
    step : int
        Steps taken before this one; the noise is a function of (seed, step).
    indices : (N,) integers

    Returns
    -------
    list of Part, of `PART_SIZE` images each; the last may be smaller.
    """
    noise = None
    draw = ESTIMATORS[settings.estimator].draw
    if settings.loss == "zero-one" and draw is not None:
        rng = generator(settings.seed, "noise", step)
        noise = draw(rng, CLASSES, settings.samples, len(indices), np.float32)
    parts = []
    for start in range(0, len(indices), PART_SIZE):
        here = slice(start, start + PART_SIZE)
        images, labels = gather(data, indices[here])
        parts.append(Part(images, labels, None if noise is None else noise[:, :, here]))
    return parts


def loss_and_gradients(
    network: Sequential, parameters: Parameters, part: Part, settings: Settings
) -> LossAndGradients:
    """Compute the loss of each example of a part, and the gradients of their sum.

    Parameters
    ----------
    network : Sequential
    parameters : dict from `Sequential.init` or training
    part : Part
    settings : Settings

    Returns
    -------
    LossAndGradients
    """
    images, labels, noise = part
    # An overflow is reported once, as a divergence, and not as NumPy's warnings.
    with np.errstate(over="ignore", invalid="ignore"):
        if settings.loss == "cross-entropy":
            logits, caches = network.forward(parameters, images)
            _, gradients = network.backward(cross_entropy_gradient(logits, labels), caches)
            return LossAndGradients(cross_entropy(logits, labels), gradients)

        estimate = ESTIMATORS[settings.estimator].objectives[settings.objective]

        def estimator(logits: Array, labels: Array) -> Estimate:
            return estimate(zero_one_loss, logits, labels, noise, settings.sigma)

        return ROUTES[settings.route](network, parameters, images, labels, estimator)


def _check_finite(state: State, metrics: StepMetrics) -> None:
    where = f"at step {metrics.step} of epoch {metrics.epoch}"
    if not np.isfinite(metrics.loss):
        raise DivergedError(f"the loss is {metrics.loss} {where}")
    for name, value in state.parameters.items():
        if not np.isfinite(value).all():
            raise DivergedError(f"{name} is no longer finite {where}")


class State(NamedTuple):
    """All that a run needs to go on: everything else follows from the settings."""

    parameters: Parameters
    optimizer: AdamState
