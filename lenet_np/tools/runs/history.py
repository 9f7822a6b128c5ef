"""How a run went, epoch by epoch: its settings and its table, as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES
from lenet_np.ops import Float64
from lenet_np.tools.runs.folder import METRICS, Config, RunFolderError, read_config
from lenet_np.tools.runs.table import ANSWERS, COLUMNS, Row, read_table


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
    config, rows = read_config(folder), read_rows(folder)
    if not rows:
        raise RunFolderError(f"no epoch of {folder} is complete yet")
    return History(
        config, {name: np.array([_number(row, name) for row in rows]) for name in COLUMNS}
    )


def read_rows(folder: Path) -> list[Row]:
    """Read the table of a run, and check it; RunFolderError if it is damaged."""
    file = folder / METRICS
    try:
        rows = read_table(file)
        numbers = [[_number(row, name) for name in COLUMNS] for row in rows]
    except OSError as error:
        raise RunFolderError(f"cannot read {file}: {error.strerror or error}") from error
    except KeyError as error:
        raise RunFolderError(f"{file} is damaged: it has no column {error}") from error
    except (ValueError, TypeError) as error:  # no number, no cell
        raise RunFolderError(f"{file} is damaged: {error}") from error
    if [row[0] for row in numbers] != list(range(1, len(rows) + 1)):
        raise RunFolderError(f"{file} is damaged: its epochs are not 1 to {len(rows)}")
    return rows


def _number(row: Row, name: str) -> float:
    """Read a cell; the first version had no column of answers, and going on leaves it empty."""
    return float(row.get(name) or "nan") if name in ANSWERS else float(row[name])
