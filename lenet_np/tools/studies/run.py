"""One run of a study, epoch by epoch, so that it can be stopped at any time and taken up again."""

from __future__ import annotations

import multiprocessing
import os
import threading
from dataclasses import fields
from pathlib import Path

from lenet_np.data import load_dataset
from lenet_np.evaluate import evaluate
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state, train
from lenet_np.settings import Settings
from lenet_np.tools.cli.machine import keep_freed_memory
from lenet_np.tools.runs.checkpoint import Checkpoint, CheckpointError, load, save
from lenet_np.tools.runs.table import RECALLS, Row, read_table, write_table

SETTINGS = tuple(field.name for field in fields(Settings))
MEASURED = (
    "epoch",
    "train_loss",
    "validation_accuracy",
    "test_accuracy",  # of the last epoch; empty before
    "dead_classes",  # never the answer to a validation image
    *RECALLS,
)


def run(
    name: str, settings: Settings, folder: Path, dataset: str, data_dir: Path | None
) -> list[Row]:
    """Train to the last epoch of the settings, from where an earlier call came to.

    Parameters
    ----------
    name : str
        The files are named after it.
    settings : Settings
    folder : Path
    dataset : "mnist" or "synthetic"
    data_dir : Path or None
        See `lenet_np.data.load_dataset`.

    Returns
    -------
    list of dict, a row for each epoch; also in ``folder/NAME.csv``.

    Raises
    ------
    DataError
        If the data cannot be had, or the files not be written.
    """
    table, checkpoint_file = folder / f"{name}.csv", folder / f"{name}.npz"
    rows = read_table(table)
    if len(rows) > settings.epochs or (
        len(rows) == settings.epochs and rows[-1].get("test_accuracy")
    ):
        return rows[: settings.epochs]
    keep_freed_memory()
    data, network = load_dataset(dataset, data_dir), lenet5()
    start = initial_state(network, settings)
    try:
        checkpoint = load(checkpoint_file, network)
        if checkpoint.epoch <= len(rows):
            start, rows = checkpoint.state, rows[: checkpoint.epoch]
        else:
            rows = []
    except CheckpointError:
        rows = []  # nothing to go on from
    losses: list[float] = []
    for state, metrics in train(network, data.train, settings, start, threads=1):
        losses.append(metrics.loss)
        if metrics.step < metrics.steps_per_epoch:
            continue
        validation = evaluate(network, state.parameters, data.validation, threads=1)
        row = {
            "epoch": str(metrics.epoch),
            "train_loss": f"{sum(losses) / len(losses):.6g}",
            "validation_accuracy": f"{validation.accuracy:.6g}",
            "test_accuracy": "",
            "dead_classes": " ".join(map(str, validation.dead_classes())),
            **{f"recall_{k}": f"{recall:.6g}" for k, recall in enumerate(validation.recall)},
        }
        if metrics.epoch == settings.epochs:
            test = evaluate(network, state.parameters, data.test, threads=1)
            row["test_accuracy"] = f"{test.accuracy:.6g}"
        rows.append(row)
        losses.clear()
        # The table first: a checkpoint never stands for an epoch that the table does not have.
        write_table(table, MEASURED, rows)
        save(checkpoint_file, Checkpoint(state, settings, metrics.epoch, data.name))
    return rows


def run_in_background(
    name: str, settings: Settings, folder: Path, dataset: str, data_dir: Path | None
) -> list[Row]:
    """Do `run` in a process of its own, which ends when the one that started it is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return run(name, settings, folder, dataset, data_dir)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # At any moment: the files of a run are always whole.
