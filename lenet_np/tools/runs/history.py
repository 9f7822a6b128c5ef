"""How a run went, epoch by epoch: its settings and its table, as numbers."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES
from lenet_np.lenet import lenet5
from lenet_np.ops import Float64
from lenet_np.tools.cli.screen import cut
from lenet_np.tools.runs.checkpoint import Checkpoint, CheckpointError, check_same_run, load
from lenet_np.tools.runs.folder import LAST, METRICS, Config, RunFolderError, read_config
from lenet_np.tools.runs.table import (
    ANSWERS,
    COLUMNS,
    OLD_COLUMNS,
    Row,
    checksum,
    read_table,
)


class History(NamedTuple):
    """The completed epochs of a run."""

    config: Config
    columns: dict[str, Float64]  # (E,) each, by the names of `lenet_np.tools.runs.table.COLUMNS`

    @property
    def epochs(self) -> NDArray[np.int64]:
        """(E,), 1 for the first."""
        return self.columns["epoch"].astype(np.int64)

    def by_class(self, name: str) -> Float64:
        """Gather the columns ``name_0`` to ``name_9``: (10, E)."""
        return np.array([self.columns[f"{name}_{k}"] for k in range(CLASSES)])


def read_history(folder: Path) -> History:
    """Read the settings and the table of a run; it may still be in progress.

    RunFolderError if the folder holds no run, no epoch is complete, or a file is damaged.
    """
    config, last = read_config(folder), None
    with suppress(CheckpointError):  # What it says is checked; without it the table still tells.
        last = load(folder / LAST, lenet5())
        check_same_run(folder / LAST, last, config)
    rows = read_rows(folder, last)
    if not rows:
        raise RunFolderError(f"no epoch of {folder} is complete yet")
    columns = {name: np.array([_number(row, name) for row in rows]) for name in COLUMNS}
    return History(config, columns)


def read_rows(folder: Path, last: Checkpoint | None = None) -> list[Row]:
    """Read the table of a run, and check it, also against the last checkpoint.

    RunFolderError if it is damaged.
    """
    file = folder / METRICS
    try:
        rows = read_table(file)
        for number, row in enumerate(rows, start=1):
            if missing := [name for name in OLD_COLUMNS if name not in row]:
                raise ValueError(f"it has no column {missing[0]}")
            if tuple(row) not in (COLUMNS, OLD_COLUMNS):
                raise ValueError(f"epoch {number} has other columns")
            epoch, *_ = (_number(row, name) for name in COLUMNS)
            if epoch != number:
                raise ValueError(f"its epochs are not 1 to {len(rows)}")
    except OSError as error:
        raise RunFolderError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:  # no number, no cell
        raise RunFolderError(f"{file} is damaged: {cut(str(error), 200)}") from error
    if last is not None and len(rows) < last.epoch:
        raise RunFolderError(
            f"{file} is damaged: it holds {len(rows)} epochs, {LAST} is of epoch {last.epoch}"
        )
    if last is not None and last.table not in (None, checksum(rows[: last.epoch])):
        raise RunFolderError(f"{file} is damaged: it is not as it was when {LAST} was saved")
    return rows


#: What a number of the table may be. Those of a class or of the signal may be NaN: not measured.
MOST = sys.float_info.max
RANGES = {
    "epoch": (1, MOST),
    "train_loss": (-MOST, MOST),
    "validation_accuracy": (0, 1),
    "recall": (0, 1),
    "answers": (0, 1),
    "margin": (-np.inf, np.inf),
    "gradient_norm": (0, np.inf),
    "signal_to_noise": (0, np.inf),
    "cosine": (-1.001, 1.001),  # rounded
    "signal_share": (0, 1),
    "dead": (0, 1),
    "seconds": (0, MOST),
}
ALWAYS = {"epoch", "train_loss", "validation_accuracy", "dead", "seconds"}


def _number(row: Row, name: str) -> float:
    """Read a cell. The first version had no answers, and a run that goes on leaves them empty."""
    value = float(row.get(name) or "nan") if name in ANSWERS else float(row[name])
    group = name if name in RANGES else name.rpartition("_")[0]
    least, most = RANGES[group]
    if not least <= value <= most and not (np.isnan(value) and group not in ALWAYS):
        raise ValueError(f"{name} is {row[name]}")
    return value
