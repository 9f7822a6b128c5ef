"""How a run went, epoch by epoch: its settings and its table, as numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES
from lenet_np.tools.runs.folder import METRICS, Config, RunFolderError, read_config
from lenet_np.tools.runs.table import COLUMNS, read_table

Float64 = NDArray[np.float64]


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

    Parameters
    ----------
    folder : Path

    Returns
    -------
    History

    Raises
    ------
    RunFolderError
        If the folder holds no run, no epoch is complete, or a file is damaged.
    """
    config, file = read_config(folder), folder / METRICS
    try:
        rows = read_table(file)
        columns = {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS}
    except OSError as error:
        raise RunFolderError(f"cannot read {file}: {error.strerror or error}") from error
    except KeyError as error:
        raise RunFolderError(f"{file} is damaged: it has no column {error}") from error
    except (TypeError, ValueError, csv.Error) as error:
        raise RunFolderError(f"{file} is damaged: {error}") from error
    if not rows:
        raise RunFolderError(f"no epoch of {folder} is complete yet")
    return History(config, columns)
