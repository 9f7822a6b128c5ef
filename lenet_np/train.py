"""Training LeNet-5 through the 0-1 loss: the loop, and the command ``python -m lenet_np.train``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lenet_np import es
from lenet_np.data import Split
from lenet_np.data.minibatch import gather
from lenet_np.layers import Sequential
from lenet_np.losses import cross_entropy, cross_entropy_gradient, zero_one_loss
from lenet_np.ops import Array
from lenet_np.optim import Adam
from lenet_np.routes import ROUTES, LossAndGradients
from lenet_np.seeds import generator
from lenet_np.state import Settings, State


class StepMetrics(NamedTuple):
    """What one step reports."""

    epoch: int  # 1 for the first
    step: int  # within the epoch, 1 for the first
    steps_per_epoch: int
    loss: float  # mean over the minibatch, before the step


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
    network: Sequential, data: Split, settings: Settings, state: State | None = None
) -> Iterator[tuple[State, StepMetrics]]:
    """Train step by step, yielding after each: the caller prints, evaluates, saves and stops.

    The shuffle is a function of (seed, epoch) and the noise of (seed, step), so a run that goes
    on from a saved state takes the very steps it would have taken without the pause.

    Parameters
    ----------
    network : Sequential
    data : Split
        The training images.
    settings : Settings
    state : State, optional
        Where to go on from; a new `initial_state` by default.

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
    if not 1 <= settings.batch_size <= len(data):
        raise ValueError(
            f"the batch size must be 1 to {len(data)}, the number of training images; "
            f"got {settings.batch_size}"
        )
    optimizer = Adam(settings.learning_rate)
    state = state or initial_state(network, settings)
    steps_per_epoch = -(-len(data) // settings.batch_size)
    first_step = state.optimizer.step
    for epoch in range(first_step // steps_per_epoch, settings.epochs):
        order = generator(settings.seed, "shuffle", epoch).permutation(len(data))
        for step in range(state.optimizer.step - epoch * steps_per_epoch, steps_per_epoch):
            start = step * settings.batch_size
            images, labels = gather(data, order[start : start + settings.batch_size])
            loss, gradients = loss_and_gradients(network, state, images, labels, settings)
            state = State(*optimizer.update(state.parameters, gradients, state.optimizer))
            metrics = StepMetrics(epoch + 1, step + 1, steps_per_epoch, float(loss.mean()))
            _check_finite(state, metrics)
            yield state, metrics


def loss_and_gradients(
    network: Sequential, state: State, images: Array, labels: Array, settings: Settings
) -> LossAndGradients:
    """Compute the loss of a minibatch and the gradients of its sum.

    Parameters
    ----------
    network : Sequential
    state : State
    images : (1, 32, 32, N)
    labels : (10, N), one-hot
    settings : Settings

    Returns
    -------
    LossAndGradients
    """
    if settings.loss == "cross-entropy":
        logits, caches = network.forward(state.parameters, images)
        dlogits = cross_entropy_gradient(logits, labels)
        return LossAndGradients(cross_entropy(logits, labels), network.backward(dlogits, caches)[1])

    def estimator(logits: Array, labels: Array) -> es.Estimate:
        rng = generator(settings.seed, "noise", state.optimizer.step)
        noise = es.sample_noise(rng, len(logits), settings.samples, logits.shape[1], logits.dtype)
        return es.estimate_gradient(zero_one_loss, logits, labels, noise, settings.sigma)

    return ROUTES[settings.route](network, state.parameters, images, labels, estimator)


def _check_finite(state: State, metrics: StepMetrics) -> None:
    where = f"at step {metrics.step} of epoch {metrics.epoch}"
    if not np.isfinite(metrics.loss):
        raise DivergedError(f"the loss is {metrics.loss} {where}")
    for name, value in state.parameters.items():
        if not np.isfinite(value).all():
            raise DivergedError(f"{name} is no longer finite {where}")


if __name__ == "__main__":
    from lenet_np.runs.command import main

    raise SystemExit(main())
