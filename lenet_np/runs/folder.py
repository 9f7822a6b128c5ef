"""The folder of a run: its checkpoint, and a table with a row for each epoch."""

from __future__ import annotations

import csv
import time
from pathlib import Path

from lenet_np.data import CLASSES
from lenet_np.diagnostics import Diagnostics
from lenet_np.evaluate import Evaluation
from lenet_np.state import Settings

CHECKPOINT = "checkpoint.npz"
METRICS = "metrics.csv"
RECALLS = tuple(f"recall_{k}" for k in range(CLASSES))
SIGNALS = ("signal_to_noise", "cosine", "signal_share")
DEAD_UNITS = tuple(f"dead_{name}" for name in ("relu1", "relu2", "relu3", "relu4"))
DIAGNOSTICS = (
    *(f"margin_{k}" for k in range(CLASSES)),
    *(f"gradient_norm_{k}" for k in range(CLASSES)),
    *SIGNALS,
    *DEAD_UNITS,
)
COLUMNS = ("epoch", "dataset", "train_loss", "validation_accuracy", *RECALLS, *DIAGNOSTICS)


class RunFolderError(ValueError):
    """The run's folder cannot be used; the message says why."""


class RunExistsError(RunFolderError):
    """The folder holds an older run, which is never overwritten."""


def create(out: Path | None, dataset: str, settings: Settings) -> Path:
    """Make the folder of a new run, and never touch that of an older one.

    Parameters
    ----------
    out : Path or None
        The folder; None for a new one below ``runs``, named after date, data set, loss and seed.
    dataset : str
    settings : Settings

    Returns
    -------
    Path

    Raises
    ------
    RunExistsError
        If the folder holds a run already.
    RunFolderError
        If it cannot be made or written.
    """
    if out is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        out = Path("runs", f"{stamp}-{dataset}-{settings.loss}-seed{settings.seed}")
    # A table without a checkpoint is what a run leaves that could not even start.
    if (out / CHECKPOINT).exists():
        raise RunExistsError(f"{out} holds a run already ({CHECKPOINT}): name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with open(out / METRICS, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(COLUMNS)
    except OSError as error:
        raise RunFolderError(f"cannot write in {out}: {error.strerror or error}") from error
    return out


def append_metrics(
    folder: Path,
    epoch: int,
    dataset: str,
    train_loss: float,
    evaluation: Evaluation,
    diagnostics: Diagnostics,
) -> None:
    """Add the row of an epoch to the table.

    Parameters
    ----------
    folder : Path
    epoch : int
    dataset : str
    train_loss : float
        Mean over the epoch's steps.
    evaluation : Evaluation
        Of the validation set.
    diagnostics : Diagnostics

    Raises
    ------
    RunFolderError
        If the table cannot be written.
    """
    margin, gradient_norm, *signal, dead_units = diagnostics
    numbers = (
        *(train_loss, evaluation.accuracy, *evaluation.recall),
        *(*margin, *gradient_norm, *signal, *dead_units.values()),
    )
    try:
        with open(folder / METRICS, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow((epoch, dataset, *(f"{number:.6g}" for number in numbers)))
    except OSError as error:
        raise RunFolderError(f"cannot write in {folder}: {error.strerror or error}") from error
