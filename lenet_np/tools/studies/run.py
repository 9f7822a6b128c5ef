"""One run of a study, in the folder of a run: it can be stopped at any time and taken up again."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from dataclasses import asdict, fields
from pathlib import Path

from lenet_np.data import CLASSES, load_dataset
from lenet_np.lenet import lenet5
from lenet_np.settings import Settings
from lenet_np.tools.cli.machine import keep_freed_memory
from lenet_np.tools.cli.screen import complain, cut
from lenet_np.tools.runs.folder import (
    LAST,
    SUMMARY,
    RunFolderError,
    lock,
    parse_json,
    read_config,
    write_json,
)
from lenet_np.tools.runs.history import read_rows
from lenet_np.tools.runs.record import Record
from lenet_np.tools.runs.start import resume, start
from lenet_np.tools.runs.table import RECALLS, Row
from lenet_np.tools.runs.training import read_test_set, take_steps

SETTINGS = tuple(field.name for field in fields(Settings))
MEASURED = (
    "epoch",
    "train_loss",
    "validation_accuracy",
    "test_accuracy",  # of the last epoch; empty before
    "dead_classes",  # never the answer to a validation image
    *RECALLS,
)


def run(settings: Settings, home: Path, dataset: str, data_dir: Path | None) -> list[Row]:
    """Train to the last epoch of the settings, from where an earlier call came to.

    The run is kept in its folder ``home``; see `study_rows` for the result. The data set, "mnist"
    or "synthetic", is looked for as by `lenet_np.data.load_dataset`.
    """
    rows = study_rows(home)[: settings.epochs + 1]
    if len(rows) > settings.epochs or (len(rows) == settings.epochs and rows[-1]["test_accuracy"]):
        return rows[: settings.epochs]
    keep_freed_memory()
    network = lenet5()
    home.mkdir(parents=True, exist_ok=True)
    with lock(home):
        if (home / LAST).exists():
            # The run may have been started for more epochs, of which these are the first.
            epochs = max(settings.epochs, read_config(home).settings.epochs)
            whole = resume(home, network, asdict(settings) | {"epochs": epochs}, dataset, data_dir)
        else:
            words = ["python", "-m", "lenet_np", "study"]
            whole = start(home, load_dataset(dataset, data_dir), settings, network, words)
        part = whole._replace(settings=settings)
        record = Record(part, complain)
        steps = deque(take_steps(part, network, record, threads=1), maxlen=1)
        state = steps[0][0] if steps else part.checkpoint.state
        if state.optimizer.step == part.all_steps:
            write_json(home / SUMMARY, read_test_set(part, network, state, record, threads=1)[1])
    return study_rows(home)[: settings.epochs]


def study_rows(home: Path) -> list[Row]:
    """Read what a run has measured, a row for each epoch with the columns `MEASURED`.

    RunFolderError if a file is damaged.
    """
    rows = []
    for row in read_rows(home):
        dead = [str(k) for k in range(CLASSES) if float(row[f"answers_{k}"]) == 0]
        more = {"test_accuracy": "", "dead_classes": " ".join(dead)}
        rows.append({name: (row | more)[name] for name in MEASURED})
    try:
        summary = parse_json((home / SUMMARY).read_text(encoding="utf-8"))
        epochs, accuracy = str(summary["epochs"]), f"{summary['test_accuracy']:.6g}"
    except FileNotFoundError:
        return rows
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{home / SUMMARY} is damaged: {cut(str(error), 200)}") from error
    for row in rows:
        if row["epoch"] == epochs:
            row["test_accuracy"] = accuracy
    return rows


def run_in_background(
    settings: Settings, home: Path, dataset: str, data_dir: Path | None
) -> list[Row]:
    """Do `run` in a process of its own, which ends when the one that started it is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return run(settings, home, dataset, data_dir)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # At any moment: the files of a run are always whole.
