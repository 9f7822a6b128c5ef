"""Training LeNet-5 through the 0-1 loss: the loop that takes the steps."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from lenet_np.data import Split
from lenet_np.layers import Sequential
from lenet_np.losses import Loss
from lenet_np.ops import Parameters
from lenet_np.optim import Adam, AdamState
from lenet_np.seeds import generator
from lenet_np.settings import Settings
from lenet_np.workers import Workers


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
    executor: Executor | None = None,
    loss: Loss | None = None,
) -> Generator[tuple[State, StepMetrics], None, None]:
    """Train step by step, yielding after each: the caller prints, evaluates, saves and stops.

    The shuffle is a function of (seed, epoch) and the noise of (seed, step), so a run that goes
    on from a saved state takes the very steps it would have taken without the pause. The results
    do not depend on the number of threads, by default one for each core, nor on an executor that
    does the work in their place: processes, or a cluster. The threads end with the generator:
    close() it to stop early. A loss of your own takes the place of the 0-1 loss; for an executor
    it must be a function that can be pickled. SettingError if the batch size is more than the data;
    LossError if such a loss gives what is none; DivergedError if the loss or a parameter is no
    longer finite.
    """
    state = state or initial_state(network, settings)
    steps_per_epoch, first = settings.steps_per_epoch(len(data)), state.optimizer.step
    with Workers(network, data, settings, first, threads, executor, loss) as workers:
        for step, parts in workers.minibatches():
            epoch, step_of_epoch = divmod(step, steps_per_epoch)
            losses, gradients = workers.loss_and_gradients(state.parameters, parts)
            optimizer = Adam(settings.learning_rate * settings.decay**epoch)
            state = State(*optimizer.update(state.parameters, gradients, state.optimizer))
            metrics = StepMetrics(
                epoch + 1, step_of_epoch + 1, steps_per_epoch, float(losses.mean()), gradients
            )
            _check_finite(state, metrics)
            yield state, metrics


def _check_finite(state: State, metrics: StepMetrics) -> None:
    where = f"at step {metrics.step} of epoch {metrics.epoch}"
    if not np.isfinite(metrics.loss):
        raise DivergedError(f"the loss is {metrics.loss} {where}")
    for name, value in state.parameters.items():
        if not np.isfinite(value).all():
            raise DivergedError(f"{name} is no longer finite {where}")
