"""The command ``python -m lenet_np.train``: a run from its first word on the screen to its last."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from types import TracebackType
from typing import Any

from lenet_np.data import DataError, load_dataset, pad_to_32
from lenet_np.data.files import WriteError
from lenet_np.evaluate import Evaluation
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.loop import DivergedError, State
from lenet_np.losses import LossError
from lenet_np.settings import SettingError, Settings, resolve
from lenet_np.tools.cli.machine import keep_freed_memory
from lenet_np.tools.cli.screen import complain, fail, say
from lenet_np.tools.commands.train_arguments import PROGRAM, Arguments, parse, resume_command
from lenet_np.tools.runs.checkpoint import CheckpointError
from lenet_np.tools.runs.executors import WorkersError, executor
from lenet_np.tools.runs.folder import (
    LAST,
    SUMMARY,
    RunExistsError,
    RunFolderError,
    create,
    lock,
    write_json,
)
from lenet_np.tools.runs.loss import load_loss, try_loss
from lenet_np.tools.runs.progress import ProgressBar, Screen
from lenet_np.tools.runs.record import Record
from lenet_np.tools.runs.start import Run, UsageError, resume, start
from lenet_np.tools.runs.tensorboard import TensorBoard, TensorBoardError, require_tensorboard
from lenet_np.tools.runs.training import Steps, read_test_set, take_steps


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the program's words, or others; return the exit status.

    0 done; 1 a file cannot be read or written, or memory ran out; 2 a value makes no sense; 3 the
    data cannot be had; 4 diverged; 130, 143 or 129 interrupted.
    """
    arguments = parse(argv)
    keep_freed_memory()
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(arguments, words)
    except RunExistsError as error:
        return fail(PROGRAM, 2, f"argument --out: {error}")
    except TensorBoardError as error:
        return fail(PROGRAM, 2, f"argument --tensorboard: {error}")
    except SettingError as error:
        return fail(PROGRAM, 2, f"argument --{error.name.replace('_', '-')}: {error.reason}")
    except UsageError as error:
        return fail(PROGRAM, 2, f"argument {error}")
    except DataError as error:
        return fail(PROGRAM, 3, error)
    except (RunFolderError, CheckpointError, WriteError) as error:
        return fail(PROGRAM, 1, error)
    except OSError as error:
        return fail(
            PROGRAM,
            1,
            f"cannot read or write {error.filename or 'a file'}: {error.strerror or error}",
        )
    except MemoryError:
        return fail(PROGRAM, 1, "not enough memory: lower --samples or --batch-size")
    except KeyboardInterrupt:
        return fail(PROGRAM, 130, "interrupted")


def _warn(message: str) -> None:
    complain(f"{PROGRAM}: {message}")


def _run(arguments: Arguments, words: list[str]) -> int:
    if arguments.tensorboard:
        require_tensorboard()
    network, folder = lenet5(), arguments.resume
    if folder is not None:
        if not folder.is_dir():
            raise RunFolderError(f"{folder} is no run: no such folder")
        with lock(folder):
            run = resume(folder, network, arguments.given, arguments.dataset, arguments.data_dir)
            return _train(run, network, arguments)
    settings, own, loss = resolve(arguments.given), None, None
    if settings.own_loss:
        own = load_loss(settings.loss)
        loss = try_loss(own, settings)
    data = load_dataset(arguments.dataset or "auto", arguments.data_dir, complain)
    settings.steps_per_epoch(len(data.train))  # Refuses a minibatch that is larger than all.
    folder = create(arguments.out, data.name, settings)
    with lock(folder):
        command = ["python", "-m", "lenet_np.train", *words]
        run = start(folder, data, settings, network, command, own.sha256() if own else None)
        return _train(run._replace(loss=loss), network, arguments)


def _train(run: Run, network: Sequential, arguments: Arguments) -> int:
    """Train to the last epoch and test; stop where the user or the numbers say so."""
    folder, step = run.folder, run.checkpoint.state.optimizer.step
    screen = Screen(arguments.quiet, arguments.json)
    tensorboard = TensorBoard(folder, step) if arguments.tensorboard else None
    listener = say if arguments.json else None
    pace = arguments.save_every, arguments.histograms_every
    record = Record(run, _warn, listener, *pace, tensorboard)
    for note in run.notes:
        _warn(note)
    _introduce(run, screen)
    where = {"folder": str(folder), "step": step, "epochs": run.settings.epochs}
    record.event("resume" if arguments.resume else "start", dataset=run.data.name, **where)
    interruption, go_on = Interruption(), resume_command(folder, arguments)
    try:
        with interruption:
            with executor(arguments.workers, arguments.dask) as pool:
                steps = take_steps(run, network, record, arguments.threads, pool)
                state = _follow(steps, run, screen, interruption)
            step = state.optimizer.step
            if record.saved_step != step:
                record.save(state)
            if step == run.all_steps:
                test, summary = read_test_set(run, network, state, record, arguments.threads)
                _say_result(run, test, screen, record.saved_step == step)
                lost = [] if record.saved_step == step else ["the last epochs could not be saved"]
                try:
                    write_json(folder / SUMMARY, summary)
                except WriteError as error:
                    lost.append(str(error))
                kept = f"Step {record.saved_step} is saved. To go on from there: {go_on}"
                return fail(PROGRAM, 1, f"{'; '.join(lost)}. {kept}") if lost else 0
            record.event("interrupted", step=step, saved=record.saved_step == step)
    except KeyboardInterrupt:
        pass  # The second signal: at once.
    except WorkersError as error:
        record.event("interrupted", step=record.saved_step, saved=True)
        kept = f"step {record.saved_step} is saved in {folder}. To go on: {go_on}"
        return fail(PROGRAM, 1, f"{error}; {kept}")
    except LossError as error:
        record.event("interrupted", step=record.saved_step, saved=True)
        kept = f"step {record.saved_step} is saved in {folder}"
        return fail(PROGRAM, 2, f"argument --loss: {run.settings.loss}: {error}; {kept}")
    except DivergedError as error:
        record.event("diverged", message=str(error))
        kept = (
            f"the state of step {record.saved_step} is in {folder / LAST}"
            if record.saved_step
            else "no epoch was completed"
        )
        return fail(PROGRAM, 4, f"diverged: {error}; {kept}. A lower --learning-rate may help.")
    finally:
        if tensorboard is not None:
            tensorboard.close()
    return fail(
        PROGRAM,
        interruption.status or 130,
        f"interrupted; step {record.saved_step} is saved in {folder}. To go on: {go_on}",
    )


def _follow(steps: Steps, run: Run, screen: Screen, interruption: Interruption) -> State:
    """Take all steps, or those until the interruption, and show how far the run has come."""
    settings, state = run.settings, run.checkpoint.state
    left = run.all_steps - state.optimizer.step
    bar = ProgressBar(screen.live, settings.epochs, left, settings.batch_size)
    with bar, closing(steps):
        for state, metrics, validation in steps:  # noqa: B007 (the last is returned)
            bar.step(*metrics[:3])
            if validation is not None:
                bar.validation = validation.accuracy
                bar.clear()
                screen.say(
                    f"Epoch {metrics.epoch:2d}: validation accuracy "
                    f"{validation.accuracy:.4f} on {run.data.name}"
                )
            if interruption.status is not None:
                break
    return state


def _introduce(run: Run, screen: Screen) -> None:
    data, step = run.data, run.checkpoint.state.optimizer.step
    first_image = data.train[:1][0]
    screen.say(f"Data set: {data.name}")
    screen.say(
        f"Image shape: {first_image.shape[1:]}, padded to {pad_to_32(first_image).shape[1:]}"
    )
    screen.say(f"Training set:   {len(data.train):6,} images")
    screen.say(f"Validation set: {len(data.validation):6,} images")
    screen.say(f"Test set:       {len(data.test):6,} images")
    screen.say(f"Run folder: {run.folder}")
    if step:
        screen.say(f"Going on after step {step}, with {run.checkpoint.epoch} epochs completed")


def _say_result(run: Run, test: Evaluation, screen: Screen, saved: bool) -> None:
    restored = ", with the weights restored from the file" if saved else ""
    screen.result(f"Test accuracy {test.accuracy:.4f} on {run.data.name}{restored}")
    screen.say(
        "Recall of the digits: " + " ".join(f"{k}: {r:.3f}" for k, r in enumerate(test.recall))
    )
    if dead := test.dead_classes():
        screen.say(f"Never predicted: {', '.join(map(str, dead))}. {_cure(run.settings)}")


def _cure(settings: Settings) -> str:
    if settings.loss == "zero-one" and settings.objective == "error":
        return (
            "Under the 0-1 loss a class that has fallen far behind sends no gradient to raise it; "
            "--objective log-success is the cure."
        )
    return "More epochs may help."


class Interruption:
    """Turns the first signal into a wish to stop after the step; the second stops at once.

    ======================================  ===========
    SIGINT (Ctrl-C)                         status 130
    SIGTERM (kill, the end of a batch job)  status 143
    SIGHUP (the terminal is gone)           status 129
    ======================================  ===========

    A signal that the caller has set to be ignored, as ``nohup`` does, stays ignored.
    """

    def __init__(self) -> None:
        self.status: int | None = None  # 128 + the signal's number, once one has come
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        # Signals come to the main thread alone, and only there may they be caught.
        main = threading.current_thread() is threading.main_thread()
        for name in ("SIGINT", "SIGTERM", "SIGHUP") if main else ():
            number = getattr(signal, name, None)  # Windows has no SIGHUP.
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.status is not None:
            raise KeyboardInterrupt(self.status)
        self.status = 128 + number
