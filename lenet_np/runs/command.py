"""The command ``python -m lenet_np.train``: a run from its first word on the screen to its last."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from lenet_np.checkpoint import Checkpoint, CheckpointError, load, save
from lenet_np.data import DataError, load_dataset, pad_to_32
from lenet_np.diagnostics import diagnose
from lenet_np.evaluate import evaluate
from lenet_np.lenet import lenet5
from lenet_np.runs.arguments import Arguments, parse
from lenet_np.runs.folder import CHECKPOINT, RunExistsError, RunFolderError, append_metrics, create
from lenet_np.runs.memory import keep_freed_memory
from lenet_np.runs.screen import ProgressBar, say
from lenet_np.state import Settings, State
from lenet_np.train import DivergedError, initial_state, train


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
                        save_state(state, metrics.epoch)
                        saved = True
                        health = diagnose(
                            network, state.parameters, data.validation, settings, metrics.epoch
                        )
                        append_metrics(folder, metrics.epoch, data.name, loss, validation, health)
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
