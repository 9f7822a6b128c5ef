"""What happened in a run, as it happens: one JSON object a line, only ever appended."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lenet_np.tools.runs.folder import EVENTS


class Events:
    """Appends to the file of events, and passes each on.

    Parameters
    ----------
    folder : Path
        Of the run.
    listener : function of a str, optional
        Given each line too; ``--json`` prints them.
    """

    def __init__(self, folder: Path, listener: Callable[[str], None] | None = None) -> None:
        self._file = folder / EVENTS
        self._listener = listener

    def write(self, event: str, **content: Any) -> None:
        """Append an event with the time of day, and force it to the disk.

        Parameters
        ----------
        event : str
            Its name.
        content : what JSON can hold; numbers that it cannot, NaN and infinity, become null.

        Raises
        ------
        OSError
            If it cannot be written; the listener has had it then.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"event": event, "time": now, **_finite(content)}, allow_nan=False)
        if self._listener is not None:
            self._listener(line)
        with open(self._file, "a+b") as file:
            # A crash or a full disk may have left half a line: the new one starts on its own.
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
