"""What a run says on the screen: lines that last, and on a terminal a bar that moves."""

from __future__ import annotations

import os
import shutil
import sys
import time

REFRESH_SECONDS = 0.1
BAR_CELLS = 20


def say(line: str) -> None:
    """Print a line; a reader that has gone away (``| head``) does not end the run.

    Parameters
    ----------
    line : str
    """
    if sys.stdout is None:  # closed by the caller (>&-)
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        # A folder's name may hold letters that the terminal cannot show.
        print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        talk_to_nobody()


def talk_to_nobody() -> None:
    """Throw away what is still to be printed, because nobody can read it.

    Python would otherwise try again at exit, and fail again.
    """
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class ProgressBar:
    """One line on the terminal that shows how far an epoch has come and how long the run will take.

    Where stderr is no terminal it does nothing.

    Parameters
    ----------
    total_steps : int
        Steps of the whole run that are still to be made.
    """

    def __init__(self, total_steps: int) -> None:
        self._total = total_steps
        self._done = 0
        self._start = time.monotonic()
        self._drawn = 0.0
        self._live = (
            sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        )

    def step(self, epoch: int, step: int, steps_per_epoch: int) -> None:
        """Count a step, and redraw the bar now and then.

        Parameters
        ----------
        epoch, step, steps_per_epoch : int
        """
        self._done += 1
        now = time.monotonic()
        if not self._live or now - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = now
        left = (now - self._start) / self._done * (self._total - self._done)
        cells = BAR_CELLS * step // steps_per_epoch
        bar = "#" * cells + "." * (BAR_CELLS - cells)
        text = f"epoch {epoch} [{bar}] {step}/{steps_per_epoch}, {_duration(left)} left"
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r" + text[:width].ljust(width))
        sys.stderr.flush()

    def clear(self) -> None:
        """Wipe the bar, so that a line can be printed in its place."""
        if self._live:
            sys.stderr.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            sys.stderr.flush()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
