"""Tables: a CSV file that is always whole, and the columns of a run's ``metrics.csv``."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Sequence
from pathlib import Path

from lenet_np.data import CLASSES
from lenet_np.data.files import write_atomically
from lenet_np.diagnostics import Diagnostics
from lenet_np.evaluate import Evaluation

RECALLS = tuple(f"recall_{k}" for k in range(CLASSES))
ANSWERS = tuple(f"answers_{k}" for k in range(CLASSES))
SIGNALS = ("signal_to_noise", "cosine", "signal_share")
DEAD_UNITS = tuple(f"dead_{name}" for name in ("relu1", "relu2", "relu3", "relu4"))
DIAGNOSTICS = (
    *(f"margin_{k}" for k in range(CLASSES)),
    *(f"gradient_norm_{k}" for k in range(CLASSES)),
    *SIGNALS,
    *DEAD_UNITS,
)
#: Of each epoch. The last is the only one that another run with the same settings may differ in.
COLUMNS = (
    "epoch",
    "train_loss",
    "validation_accuracy",
    *RECALLS,
    *ANSWERS,
    *DIAGNOSTICS,
    "seconds",
)
OLD_COLUMNS = tuple(name for name in COLUMNS if name not in ANSWERS)  # of the first version
Row = dict[str, str]


def read_table(file: Path) -> list[Row]:
    """Read a table; an empty list if there is none. ValueError if it is no text, or no table."""
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8") as lines:
        try:
            return list(csv.DictReader(lines))
        except csv.Error as error:
            raise ValueError(f"{file} is no table: {error}") from error


def write_table(file: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a table, whole or not at all."""
    with write_atomically(file) as out:
        out.write((",".join(columns) + "\n" + _text(columns, rows)).encode())


def checksum(rows: Sequence[Row]) -> int:
    """Compute the CRC-32 of rows of ``metrics.csv``."""
    return zlib.crc32(_text(COLUMNS, rows).encode())


def _text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    return "".join(",".join(row.get(name, "") for name in columns) + "\n" for row in rows)


def metrics_row(
    epoch: int, train_loss: float, evaluation: Evaluation, diagnostics: Diagnostics, seconds: float
) -> Row:
    """Write what was measured in an epoch as a row with the `COLUMNS`.

    The loss is the mean over the epoch's steps, the evaluation that of the validation set, and the
    seconds are those of the steps.
    """
    margin, gradient_norm, *signal, dead_units = diagnostics
    answers = evaluation.predicted / evaluation.confusion.sum()
    numbers = (
        *(train_loss, evaluation.accuracy, *evaluation.recall, *answers),
        *(*margin, *gradient_norm, *signal, *dead_units.values()),
    )
    cells = (str(epoch), *(f"{number:.6g}" for number in numbers), f"{seconds:.3f}")
    return dict(zip(COLUMNS, cells, strict=True))
