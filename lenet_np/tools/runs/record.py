"""What a run leaves in its folder, written so that a crash at any moment leaves it whole.

The order decides. What a state stands for is on the disk before the state itself: first the
histograms, then `best.npz` and the table, then `last.npz`. A run that goes on from `last.npz`
cuts off what is later, and writes it again.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from lenet_np.diagnostics import Diagnostics
from lenet_np.evaluate import Evaluation
from lenet_np.loop import State, StepMetrics
from lenet_np.tools.runs.checkpoint import Checkpoint, save
from lenet_np.tools.runs.folder import BEST, EVENTS, HISTOGRAMS, LAST, METRICS
from lenet_np.tools.runs.histograms import Recorder
from lenet_np.tools.runs.start import Run
from lenet_np.tools.runs.table import COLUMNS, checksum, metrics_row, write_table
from lenet_np.tools.runs.tensorboard import TensorBoard, TensorBoardError

SAVE_SECONDS = 30.0


class Record:
    """Keeps a run's folder up to date. A file that cannot be written is tried again later.

    ``warn`` is told when a file cannot be written, ``listener`` each event as a line of JSON.
    Within an epoch the state is saved every so many steps, by default when `SAVE_SECONDS` have
    passed; histograms are taken every so many steps, by default once an epoch, and never for 0.
    RunFolderError or WriteError if the histograms cannot be opened.
    """

    def __init__(
        self,
        run: Run,
        warn: Callable[[str], None],
        listener: Callable[[str], None] | None = None,
        save_every: int | None = None,
        histograms_every: int | None = None,
        tensorboard: TensorBoard | None = None,
    ) -> None:
        self._run = run
        self._warn = warn
        self._listener = listener
        self._save_every = save_every
        self._histograms_every = histograms_every
        self._tensorboard = tensorboard
        parameters, optimizer = run.checkpoint.state
        self._histograms = Recorder(run.folder, list(parameters), optimizer.step)
        accuracies = [float(row["validation_accuracy"]) for row in run.rows]
        # Without the file, the best of the epochs to come takes its place.
        self._best = max(accuracies, default=-1.0) if (run.folder / BEST).exists() else -1.0
        self._unwritten_best: Checkpoint | None = None
        self._failing: set[str] = set()
        self._loss_sum = run.checkpoint.loss_sum
        self._seconds_before = run.checkpoint.seconds
        self._since = self._saved_at = time.monotonic()
        self.saved_step = optimizer.step

    def after_step(self, state: State, metrics: StepMetrics) -> None:
        """Count a step, and record histograms when it is time."""
        self._loss_sum += metrics.loss
        step = state.optimizer.step
        every = self._histograms_every
        if every is None:
            every = metrics.steps_per_epoch
        if every and step % every == 0:
            weights, gradients = state.parameters, metrics.gradients
            self._histograms.append(step, weights, gradients)
            self._attempt(HISTOGRAMS, self._histograms.flush)
            if (board := self._tensorboard) is not None:
                self._attempt("tensorboard", lambda: board.histograms(step, weights, gradients))

    def after_epoch(
        self, state: State, metrics: StepMetrics, validation: Evaluation, health: Diagnostics
    ) -> None:
        """Add the row of an epoch, after its last step; the next `save` writes it to the disk."""
        loss = self._loss_sum / metrics.steps_per_epoch
        row = metrics_row(metrics.epoch, loss, validation, health, self._seconds())
        self._run.rows.append(row)
        accuracy = float(row["validation_accuracy"])
        if accuracy > self._best:
            self._best = accuracy
            self._unwritten_best = self._checkpoint(state, 0.0, 0.0)
        measured = {name: float(value) for name, value in row.items()}
        self.event("epoch", **(measured | {"epoch": metrics.epoch}))
        if (board := self._tensorboard) is not None:
            step = state.optimizer.step
            self._attempt("tensorboard", lambda: board.epoch(step, row, state.parameters))
        self._loss_sum, self._seconds_before = 0.0, 0.0
        self._since = time.monotonic()

    def save_is_due(self, step: int) -> bool:
        """Say whether it is time to save within an epoch, so many steps after the run's start."""
        if self._save_every is not None:
            return step % self._save_every == 0
        return time.monotonic() - self._saved_at >= SAVE_SECONDS

    def save(self, state: State) -> None:
        """Save the state, and before it all that it stands for.

        Then `saved_step` is the state's; if it is not, the state saved before is as it was.
        """
        run = self._run

        def write() -> None:
            if self._unwritten_best is not None:
                save(run.folder / BEST, self._unwritten_best)
                self._unwritten_best = None
            write_table(run.folder / METRICS, COLUMNS, run.rows)
            save(run.folder / LAST, self._checkpoint(state, self._loss_sum, self._seconds()))
            self.saved_step = state.optimizer.step

        self._saved_at = time.monotonic()
        self._attempt(HISTOGRAMS, self._histograms.flush)
        self._attempt(LAST, write)

    def event(self, name: str, **content: object) -> None:
        """Append an event of what JSON can hold; if that fails, the run goes on.

        A number that JSON cannot hold, NaN or infinity, becomes null.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for key, value in content.items():
            if isinstance(value, float) and not math.isfinite(value):
                content[key] = None
        line = json.dumps({"event": name, "time": now, **content}, allow_nan=False)
        if self._listener is not None:
            self._listener(line)
        self._attempt(EVENTS, lambda: append_line(self._run.folder / EVENTS, line))

    def _checkpoint(self, state: State, loss_sum: float, seconds: float) -> Checkpoint:
        run, rows = self._run, self._run.rows
        progress = len(rows), run.data.name, loss_sum, seconds, checksum(rows)
        return Checkpoint(state, run.settings, *progress)

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._since

    def _attempt(self, what: str, write: Callable[[], None]) -> None:
        """Write; say once that it fails, and once that it works again."""
        try:
            write()
        except (TensorBoardError, OSError) as error:
            if what not in self._failing:
                self._failing.add(what)
                strerror = getattr(error, "strerror", None)  # a WriteError says all by itself
                reason = f"{what}: {strerror}" if strerror else error
                self._warn(f"{reason}; training goes on, and it is tried again")
            return
        if what in self._failing:
            self._failing.remove(what)
            self._warn(f"{what} is written again")


def append_line(path: Path, line: str) -> None:
    """Append a line to a file that only grows, and force it to the disk."""
    with open(path, "a+b") as file:
        # A crash or a full disk may have left half a line: the new one starts on its own.
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
