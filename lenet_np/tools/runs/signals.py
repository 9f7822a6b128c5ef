"""A wish to stop: Ctrl-C, or the signals that systems send before they end a program."""

from __future__ import annotations

import signal
from types import TracebackType
from typing import Any


class Interruption:
    """Turns the first signal into a wish to stop after the step; the second stops at once.

    ======================================  ===========
    SIGINT (Ctrl-C)                         status 130
    SIGTERM (kill, the end of a batch job)  status 143
    SIGHUP (the terminal is gone)           status 129
    ======================================  ===========

    A signal that the caller has set to be ignored, as ``nohup`` does, stays ignored.
    """

    def __init__(self) -> None:
        self.status: int | None = None  # 128 + the signal's number, once one has come
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP.
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.status is not None:
            raise KeyboardInterrupt(self.status)
        self.status = 128 + number
