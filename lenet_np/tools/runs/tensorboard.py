"""Event files for TensorBoard, where the optional package tensorboardX is installed.

The package's own `SummaryWriter` writes in a thread of its own. On a full disk that thread dies,
and the run would wait for it for ever. So its parts are used here without the thread.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lenet_np.ops import Array, Parameters
from lenet_np.tools.runs.table import Row

BINS = 64


class TensorBoardError(ValueError):
    """The event files cannot be written; the message says why."""


def require_tensorboard() -> None:
    """Raise TensorBoardError if tensorboardX is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise TensorBoardError(
            "needs the package tensorboardX: python -m pip install tensorboardX"
        ) from None


class TensorBoard:
    """Writes scalars, histograms and the first layer's filters, as the notebook did.

    The event files go to ``tensorboard`` in the run's folder. What an interrupted run wrote after
    the given step is hidden.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder / "tensorboard"
        self._first_step: int | None = step + 1  # None once it is written
        self._writer: Any = None  # opened with the first event

    def histograms(self, step: int, weights: Parameters, gradients: Parameters) -> None:
        """Write a histogram of each array.

        TensorBoardError if they cannot be written; the next call starts a new file.
        """
        self._write(
            step,
            "histogram",
            [
                (f"{kind}/{name}", values.ravel(), BINS)
                for kind, arrays in (("weights", weights), ("gradients", gradients))
                for name, values in arrays.items()
            ],
        )

    def epoch(self, step: int, row: Row, weights: Parameters) -> None:
        """Write a row of ``metrics.csv``, and the filters as an image; errors as `histograms`."""
        scalars = []
        for name, text in row.items():
            group = name.rstrip("0123456789").rstrip("_") if name[-1].isdigit() else "epoch"
            if np.isfinite(value := float(text)):
                scalars.append((f"{group}/{name}", value))
        self._write(step, "scalar", scalars)
        self._write(step, "image", [("conv1/filters", filter_strip(weights["conv1.weight"]))])

    def _write(self, step: int, kind: str, contents: list[tuple[Any, ...]]) -> None:
        """Write summaries; ``kind`` is the function of `tensorboardX.summary` that makes them."""
        from tensorboardX import summary
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        try:
            if self._writer is None:
                self._writer = self._open(step)
            if self._first_step is not None:
                start = SessionLog(status=SessionLog.START)
                self._writer.write_event(Event(step=self._first_step, session_log=start))
                self._first_step = None
            make = getattr(summary, kind)
            for content in contents:
                event = Event(wall_time=time.time(), step=step, summary=make(*content))
                self._writer.write_event(event)
            self._writer.flush()
        except Exception as error:  # Another package's code: no fault of it may end the run.
            self.close()
            self._writer = None  # Nothing behind half an event is ever read.
            reason = error.strerror if isinstance(error, OSError) else error
            raise TensorBoardError(f"tensorboard: {reason}") from error

    def _open(self, step: int) -> Any:
        from tensorboardX.event_file_writer import EventsWriter

        self._folder.mkdir(exist_ok=True)
        # TensorBoard reads the files in the order of their names: by step, whatever the clock says.
        return EventsWriter(str(self._folder / f"{step:012d}"))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            with suppress(OSError, ValueError):
                self._writer.close()


def filter_strip(weight: Array) -> Array:
    """Lay the filters of the first layer side by side as a grey picture, zero in the middle.

    (F, 1, KH, KW) become (1, 8 KH, F (8 KW + 8)) in [0, 1], each weight a square of 8 x 8 pixels.
    """
    scale = max(float(np.abs(weight).max()), 1e-12)
    grey = 0.5 + 0.5 * weight[:, 0] / scale
    squares = np.kron(grey, np.ones((1, 8, 8), grey.dtype))
    return (
        np.pad(squares, ((0, 0), (0, 0), (4, 4)), constant_values=1)
        .transpose(1, 0, 2)
        .reshape(1, squares.shape[1], -1)
    )
