"""What a run says while it goes on: lines that last, and on a terminal a bar that moves."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

from lenet_np.tools.cli.screen import complain, say, silence

REFRESH_SECONDS = 0.1
BAR_CELLS = 20


class Screen:
    """Where the words of a run go.

    If ``quiet``, only results, warnings and errors are shown. If ``json``, stdout belongs to JSON
    lines, and words for people go to stderr.
    """

    def __init__(self, quiet: bool = False, json: bool = False) -> None:
        self._quiet = quiet
        self._say = complain if json else say
        self.live = not quiet and not json and _is_terminal(sys.stderr)

    def say(self, line: str) -> None:
        """Show a line of the run's story."""
        if not self._quiet:
            self._say(line)

    def result(self, line: str) -> None:
        """Show a line that is also wanted by those who want quiet."""
        self._say(line)


class ProgressBar:
    """One line on the terminal: how far the run has come, how fast it is, how long it will take.

    Unless ``live``, as where stderr is no terminal, it does nothing. It is plain ASCII, without
    colours.
    """

    def __init__(self, live: bool, epochs: int, steps_left: int, batch_size: int) -> None:
        self._live = live
        self._epochs = epochs
        self._steps_left = steps_left
        self._batch_size = batch_size
        self._done = 0
        self._start = time.monotonic()
        self._drawn = 0.0
        self.validation: float | None = None  # the last epoch's accuracy

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def step(self, epoch: int, step: int, steps_per_epoch: int) -> None:
        """Count a step, and redraw the bar now and then."""
        self._done += 1
        now = time.monotonic()
        if not self._live or now - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = now
        pace = (now - self._start) / self._done
        cells = BAR_CELLS * step // steps_per_epoch
        where = f"epoch {epoch}/{self._epochs} {step}/{steps_per_epoch}"
        bar = f"[{'#' * cells}{'.' * (BAR_CELLS - cells)}]"
        left = f"{_duration(pace * (self._steps_left - self._done))} left"
        speed = f"{self._batch_size / max(pace, 1e-9):,.0f} images/s"
        known = [] if self.validation is None else [f"validation {self.validation:.4f}"]
        width = _columns() - 1
        # What a narrow terminal has no room for goes in this order.
        for words in (
            [where, bar, left, speed, *known],
            [where, left, speed, *known],
            [where, left, *known],
            [where, left],
            [where],
        ):
            text = "  ".join(words)
            if len(text) <= width:
                break
        self._write("\r" + text[:width].ljust(width))

    def clear(self) -> None:
        """Wipe the bar, so that a line can be printed in its place."""
        if self._live:
            self._write("\r" + " " * (_columns() - 1) + "\r")

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):  # The terminal is gone.
            self._live = False
            silence(sys.stderr)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
