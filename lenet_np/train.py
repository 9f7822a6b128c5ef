"""Training LeNet-5 through the 0-1 loss: the loop, and the command ``python -m lenet_np.train``."""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.checkpoint import Checkpoint, CheckpointError, load, save
from lenet_np.data import CLASSES, DataError, Split, load_dataset, pad_to_32
from lenet_np.data.minibatch import gather
from lenet_np.diagnostics import diagnose
from lenet_np.es import Estimate
from lenet_np.estimators import ESTIMATORS
from lenet_np.evaluate import evaluate
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.losses import cross_entropy, cross_entropy_gradient, zero_one_loss
from lenet_np.ops import Array, Parameters
from lenet_np.optim import Adam
from lenet_np.routes import ROUTES, LossAndGradients, add_parts
from lenet_np.runs.arguments import Arguments, parse
from lenet_np.runs.folder import CHECKPOINT, RunExistsError, RunFolderError, append_metrics, create
from lenet_np.runs.memory import keep_freed_memory
from lenet_np.runs.screen import ProgressBar, say
from lenet_np.runs.threads import default_threads, one_blas_thread
from lenet_np.seeds import generator
from lenet_np.state import Settings, State

#: Images that one thread works on. A fixed number, and not a share of the threads: then the sum
#: over a minibatch has the same order, and the same bits, whatever the number of threads.
PART_SIZE = 64
#: Minibatches that are prepared ahead of the one in work.
AHEAD = 2


class StepMetrics(NamedTuple):
    """What one step reports."""

    epoch: int  # 1 for the first
    step: int  # within the epoch, 1 for the first
    steps_per_epoch: int
    loss: float  # mean over the minibatch, before the step


class Part(NamedTuple):
    """A part of a minibatch with its noise: all that the loss and its gradients need."""

    images: Array  # (1, 32, 32, P)
    labels: Array  # (10, P), one-hot
    noise: Array | None  # (10, n, P); None where none is needed


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
) -> Iterator[tuple[State, StepMetrics]]:
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
        By default one for each core. The results do not depend on it.

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
    plan = _plan(len(data), steps_per_epoch, state.optimizer.step, settings)
    with ThreadPoolExecutor(threads or default_threads()) as pool:
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
            metrics = StepMetrics(epoch + 1, step + 1, steps_per_epoch, float(loss.mean()))
            _check_finite(state, metrics)
            yield state, metrics


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


# --- the command ---------------------------------------------------------------------------------


class _Interruption:
    """Turns the first Ctrl-C into a wish to stop after the step; the second stops at once."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> _Interruption:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``python -m lenet_np.train``.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the command's name; the program's own by default.

    Returns
    -------
    int : the exit status. 0 done; 1 the run's folder cannot be written, or memory ran out;
        2 a value makes no sense; 3 the data cannot be had; 4 diverged; 130 interrupted.
    """
    arguments = parse(argv)
    keep_freed_memory()
    try:
        return _run(arguments)
    except RunExistsError as error:
        return _fail(2, f"argument --out: {error}")
    except (RunFolderError, DataError, CheckpointError) as error:
        return _fail(1, str(error))
    except MemoryError:
        return _fail(1, "not enough memory: lower --samples or --batch-size")
    except KeyboardInterrupt:
        return _fail(130, "interrupted")


def _warn(message: str) -> None:
    print(f"python -m lenet_np.train: {message}", file=sys.stderr)


def _fail(status: int, message: str) -> int:
    _warn(message)
    return status


def _run(arguments: Arguments) -> int:
    settings, threads = arguments.settings, arguments.threads
    try:
        data = load_dataset(arguments.dataset, arguments.data_dir)
    except DataError as error:
        return _fail(3, str(error))
    if settings.batch_size > len(data.train):
        return _fail(
            2,
            f"argument --batch-size: takes 1 to {len(data.train)}, the number of training "
            f"images, got {settings.batch_size}",
        )
    network = lenet5()
    folder = create(arguments.out, data.name, settings)
    checkpoint = folder / CHECKPOINT

    first_image = data.train[:1][0]
    say(f"Data set: {data.name}")
    say(f"Image shape: {first_image.shape[1:]}, padded to {pad_to_32(first_image).shape[1:]}")
    say(f"Training set:   {len(data.train):6,} images")
    say(f"Validation set: {len(data.validation):6,} images")
    say(f"Test set:       {len(data.test):6,} images")
    say(f"Run folder: {folder}")

    def save_state(state: State, epoch: int) -> None:
        save(checkpoint, Checkpoint(state, settings, epoch, data.name))

    state = initial_state(network, settings)
    save_state(state, 0)  # A folder that cannot hold the result is found now, not after the work.
    bar = ProgressBar(settings.epochs * -(-len(data.train) // settings.batch_size))
    losses: list[float] = []
    saved = True
    try:
        with _Interruption() as interruption:
            for state, metrics in train(network, data.train, settings, threads=threads):
                losses.append(metrics.loss)
                bar.step(*metrics[:3])
                epoch_done = metrics.step == metrics.steps_per_epoch
                if epoch_done:
                    validation = evaluate(
                        network, state.parameters, data.validation, settings.batch_size, threads
                    )
                    bar.clear()
                    say(
                        f"Epoch {metrics.epoch:2d}: validation accuracy "
                        f"{validation.accuracy:.4f} on {data.name}"
                    )
                    loss = sum(losses) / len(losses)
                    losses.clear()
                    try:
                        health = diagnose(
                            network, state.parameters, data.validation, settings, metrics.epoch
                        )
                        append_metrics(folder, metrics.epoch, data.name, loss, validation, health)
                        save_state(state, metrics.epoch)
                        saved = True
                    except (DataError, RunFolderError) as error:
                        saved = False
                        _warn(f"{error}; training goes on, and the next epoch tries again")
                if interruption.wanted:
                    bar.clear()
                    save_state(state, metrics.epoch - (not epoch_done))
                    return _fail(
                        130,
                        f"interrupted after step {metrics.step} of epoch {metrics.epoch}; "
                        f"the state is saved in {checkpoint}",
                    )
    except DivergedError as error:
        bar.clear()
        kept = (
            f"the state of the last complete epoch is in {checkpoint}"
            if load(checkpoint, network).epoch
            else "no epoch was completed"
        )
        return _fail(4, f"diverged: {error}; {kept}. A lower --learning-rate may help.")

    if not saved:
        save_state(state, settings.epochs)
    # The test set is read once, with the weights as they were saved.
    restored = load(checkpoint, network).state
    test = evaluate(network, restored.parameters, data.test, settings.batch_size, threads)
    say(
        f"Test accuracy {test.accuracy:.4f} on {data.name}, with the weights restored from the file"
    )
    say("Recall of the digits: " + " ".join(f"{k}: {r:.3f}" for k, r in enumerate(test.recall)))
    if dead := test.dead_classes():
        digits = ", ".join(map(str, dead))
        say(f"Never predicted: {digits}. {_cure(settings)}")
    return 0


def _cure(settings: Settings) -> str:
    if settings.loss == "zero-one" and settings.objective == "error":
        return (
            "Under the 0-1 loss a class that has fallen far behind sends no gradient to raise it; "
            "--objective log-success is the cure."
        )
    return "More epochs may help."


if __name__ == "__main__":
    raise SystemExit(main())
