"""The command ``python -m lenet_np.train``: a run from its first word on the screen to its last."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from lenet_np.data import DataError, load_dataset, pad_to_32
from lenet_np.data.files import WriteError
from lenet_np.diagnostics import diagnose
from lenet_np.evaluate import evaluate
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.loop import DivergedError, State, train
from lenet_np.settings import Settings
from lenet_np.tools.cli.machine import keep_freed_memory, peak_memory
from lenet_np.tools.cli.screen import complain, fail, say
from lenet_np.tools.commands.train_arguments import PROGRAM, Arguments, parse, resume_command
from lenet_np.tools.runs.checkpoint import CheckpointError, load
from lenet_np.tools.runs.events import Events
from lenet_np.tools.runs.folder import (
    LAST,
    SUMMARY,
    RunExistsError,
    RunFolderError,
    create,
    lock,
    write_json,
)
from lenet_np.tools.runs.progress import ProgressBar, Screen
from lenet_np.tools.runs.record import Record
from lenet_np.tools.runs.signals import Interruption
from lenet_np.tools.runs.start import Run, UsageError, resume, start
from lenet_np.tools.runs.tensorboard import TensorBoard, TensorBoardError, require_tensorboard


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``python -m lenet_np.train``.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the command's name; the program's own by default.

    Returns
    -------
    int : the exit status. 0 done; 1 a file cannot be read or written, or memory ran out; 2 a value
        makes no sense; 3 the data cannot be had; 4 diverged; 130, 143 or 129 interrupted.
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
    except UsageError as error:
        return fail(PROGRAM, 2, f"argument {error}")
    except (RunFolderError, CheckpointError, WriteError) as error:
        return fail(PROGRAM, 1, error)
    except OSError as error:
        return fail(
            PROGRAM, 1, f"cannot write {error.filename or 'a file'}: {error.strerror or error}"
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
            try:
                given, dataset = arguments.given, arguments.dataset
                run = resume(folder, network, given, dataset, arguments.data_dir)
            except DataError as error:
                return fail(PROGRAM, 3, error)
            return _train(run, network, arguments)
    settings = Settings(**arguments.given)
    try:
        data = load_dataset(arguments.dataset or "auto", arguments.data_dir, complain)
    except DataError as error:
        return fail(PROGRAM, 3, error)
    if settings.batch_size > len(data.train):
        raise UsageError(
            f"--batch-size: takes 1 to {len(data.train)}, the number of training images, "
            f"got {settings.batch_size}"
        )
    folder = create(arguments.out, data.name, settings)
    with lock(folder):
        run = start(folder, data, settings, network, ["python", "-m", "lenet_np.train", *words])
        return _train(run, network, arguments)


def _train(run: Run, network: Sequential, arguments: Arguments) -> int:
    """Train to the last epoch and test; stop where the user or the numbers say so."""
    folder, step = run.folder, run.checkpoint.state.optimizer.step
    screen = Screen(arguments.quiet, arguments.json)
    tensorboard = TensorBoard(folder, step) if arguments.tensorboard else None
    record = Record(
        run,
        Events(folder, say if arguments.json else None),
        _warn,
        arguments.save_every,
        arguments.histograms_every,
        tensorboard,
    )
    for note in run.notes:
        _warn(note)
    _introduce(run, screen)
    where = {"folder": str(folder), "step": step, "epochs": run.settings.epochs}
    record.event("resume" if arguments.resume else "start", dataset=run.data.name, **where)
    interruption = Interruption()
    try:
        with interruption:
            saved, state = _take_steps(run, network, arguments, screen, record, interruption)
            if state.optimizer.step == _all_steps(run):
                unsaved = None if saved or record.save(state) else state
                return _test(run, network, unsaved, arguments, screen, record)
            record.event("interrupted", step=state.optimizer.step, saved=saved)
            return _say_how_to_go_on(run, arguments, interruption, record)
    except KeyboardInterrupt:  # The second signal: at once.
        return _say_how_to_go_on(run, arguments, interruption, record)
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


def _take_steps(
    run: Run,
    network: Sequential,
    arguments: Arguments,
    screen: Screen,
    record: Record,
    interruption: Interruption,
) -> tuple[bool, State]:
    """Take all steps, or those until the interruption; say whether the last state is saved."""
    settings, data, threads = run.settings, run.data, arguments.threads
    saved, state = True, run.checkpoint.state
    steps_left = _all_steps(run) - state.optimizer.step
    bar = ProgressBar(screen.live, settings.epochs, steps_left, settings.batch_size)
    with bar, closing(train(network, data.train, settings, state, threads)) as loop:
        for state, metrics in loop:
            record.after_step(state, metrics)
            bar.step(*metrics[:3])
            epoch_done = metrics.step == metrics.steps_per_epoch
            if epoch_done:
                validation = evaluate(
                    network, state.parameters, data.validation, settings.batch_size, threads
                )
                health = diagnose(
                    network, state.parameters, data.validation, settings, metrics.epoch
                )
                record.after_epoch(state, metrics, validation, health)
                bar.validation = validation.accuracy
                bar.clear()
                screen.say(
                    f"Epoch {metrics.epoch:2d}: validation accuracy "
                    f"{validation.accuracy:.4f} on {data.name}"
                )
            stop = interruption.status is not None
            if epoch_done or stop or record.save_is_due(state.optimizer.step):
                saved = record.save(state)
            if stop:
                break
    return saved, state


def _all_steps(run: Run) -> int:
    return run.settings.epochs * -(-len(run.data.train) // run.settings.batch_size)


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


def _say_how_to_go_on(
    run: Run, arguments: Arguments, interruption: Interruption, record: Record
) -> int:
    return fail(
        PROGRAM,
        interruption.status or 130,
        f"interrupted; step {record.saved_step} is saved in {run.folder}. "
        f"To go on: {resume_command(run.folder, arguments)}",
    )


def _test(
    run: Run,
    network: Sequential,
    unsaved: State | None,
    arguments: Arguments,
    screen: Screen,
    record: Record,
) -> int:
    """Read the test set once, with the weights as they were saved, and sum the run up."""
    folder, settings, data = run.folder, run.settings, run.data
    state = unsaved or load(folder / LAST, network).state
    test = evaluate(network, state.parameters, data.test, settings.batch_size, arguments.threads)
    accuracies = [float(row["validation_accuracy"]) for row in run.rows]
    best = max(range(len(accuracies)), key=accuracies.__getitem__)
    summary: dict[str, Any] = {
        "dataset": data.name,
        "epochs": settings.epochs,
        "steps": state.optimizer.step,
        "test_accuracy": test.accuracy,
        "test_recall": [None if recall != recall else float(recall) for recall in test.recall],
        "never_predicted": test.dead_classes(),
        "validation_accuracy": accuracies[-1],
        "best_validation_accuracy": accuracies[best],
        "best_epoch": best + 1,
        "training_seconds": sum(float(row["seconds"]) for row in run.rows),
        "peak_memory_bytes": peak_memory(),
    }
    record.event("end", **summary)
    restored = "" if unsaved else ", with the weights restored from the file"
    screen.result(f"Test accuracy {test.accuracy:.4f} on {data.name}{restored}")
    screen.say(
        "Recall of the digits: " + " ".join(f"{k}: {r:.3f}" for k, r in enumerate(test.recall))
    )
    if dead := test.dead_classes():
        screen.say(f"Never predicted: {', '.join(map(str, dead))}. {_cure(settings)}")
    lost = ["the last epochs could not be saved"] if unsaved else []
    try:
        write_json(folder / SUMMARY, summary)
    except WriteError as error:
        lost.append(str(error))
    if lost:
        return fail(
            PROGRAM,
            1,
            f"{'; '.join(lost)}. Step {record.saved_step} is saved. "
            f"To go on from there: {resume_command(folder, arguments)}",
        )
    return 0


def _cure(settings: Settings) -> str:
    if settings.loss == "zero-one" and settings.objective == "error":
        return (
            "Under the 0-1 loss a class that has fallen far behind sends no gradient to raise it; "
            "--objective log-success is the cure."
        )
    return "More epochs may help."
