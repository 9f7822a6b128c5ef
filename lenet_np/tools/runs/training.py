"""A run on its way from the state where it is to its result, as commands and studies take it."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Executor
from contextlib import closing
from typing import Any

from lenet_np.diagnostics import diagnose
from lenet_np.evaluate import Evaluation, evaluate
from lenet_np.layers import Sequential
from lenet_np.loop import State, StepMetrics, train
from lenet_np.tools.cli.machine import peak_memory
from lenet_np.tools.runs.checkpoint import load
from lenet_np.tools.runs.folder import LAST
from lenet_np.tools.runs.record import Record
from lenet_np.tools.runs.start import Run

Steps = Generator[tuple[State, StepMetrics, Evaluation | None], None, None]


def take_steps(
    run: Run,
    network: Sequential,
    record: Record,
    threads: int | None = None,
    executor: Executor | None = None,
) -> Steps:
    """Train to the last epoch and keep the record, yielding after each step.

    With the last step of an epoch comes what the validation set says. The end of an epoch is
    saved, and a state within it when the record finds it time: a caller that stops early saves the
    state itself, with `Record.save`, and closes the generator.
    """
    settings, images = run.settings, run.data.validation
    given = network, run.data.train, settings, run.checkpoint.state, threads, executor, run.loss
    with closing(train(*given)) as steps:
        for state, metrics in steps:
            record.after_step(state, metrics)
            validation = None
            if metrics.step == metrics.steps_per_epoch:
                weights = state.parameters
                validation = evaluate(network, weights, images, settings.batch_size, threads)
                health = diagnose(network, weights, images, settings, metrics.epoch)
                record.after_epoch(state, metrics, validation, health)
            if validation is not None or record.save_is_due(state.optimizer.step):
                record.save(state)
            yield state, metrics, validation


def read_test_set(
    run: Run, network: Sequential, state: State, record: Record, threads: int | None = None
) -> tuple[Evaluation, dict[str, Any]]:
    """Read the test set once, with the weights as they were saved, and sum the run up.

    The summary is what `SUMMARY` is to hold. If the state could not be saved, it is taken itself.
    """
    if record.saved_step == state.optimizer.step:
        state = load(run.folder / LAST, network).state
    settings, images = run.settings, run.data.test
    result = evaluate(network, state.parameters, images, settings.batch_size, threads)
    accuracies = [float(row["validation_accuracy"]) for row in run.rows]
    best = max(range(len(accuracies)), key=accuracies.__getitem__)
    summary: dict[str, Any] = {
        "dataset": run.data.name,
        "epochs": settings.epochs,
        "steps": state.optimizer.step,
        "test_accuracy": result.accuracy,
        "test_recall": [None if recall != recall else float(recall) for recall in result.recall],
        "never_predicted": result.dead_classes(),
        "validation_accuracy": accuracies[-1],
        "best_validation_accuracy": accuracies[best],
        "best_epoch": best + 1,
        "training_seconds": sum(float(row["seconds"]) for row in run.rows),
        "peak_memory_bytes": peak_memory(),
    }
    record.event("end", **summary)
    return result, summary
