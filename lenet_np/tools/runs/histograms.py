"""Histograms of every weight and every gradient, as compact records in one growing file.

The file begins with a line of JSON that names the arrays. Records of equal size follow. A record
that was cut off by a crash is not read, and the next one is written in its place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.files import write_atomically
from lenet_np.ops import Parameters
from lenet_np.tools.runs.folder import HISTOGRAMS, RunFolderError

BINS = 64
FORMAT = "lenet_np histograms 1"
KINDS = ("weights", "gradients")


class Histograms(NamedTuple):
    """The histograms of one kind, of every array, at several steps."""

    steps: NDArray[np.int64]  # (R,)
    low: dict[str, NDArray[np.float64]]  # by name, (R,): the smallest value
    high: dict[str, NDArray[np.float64]]  # (R,): the largest
    counts: dict[str, NDArray[np.int64]]  # (R, BINS): values in each of equal bins between them


class Recorder:
    """Appends a record to the file now and then; one that cannot be written is kept for later.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        The arrays' names.
    last_step : int
        Records of later steps are cut off: a resumed run writes them again.

    Raises
    ------
    RunFolderError
        If the file is of another network, or damaged.
    WriteError
        If it cannot be written.
    """

    def __init__(self, folder: Path, names: Sequence[str], last_step: int) -> None:
        self._file = folder / HISTOGRAMS
        self._names = tuple(names)
        self._type = _record_type(self._names)
        if not self._file.exists() or last_step == 0:
            with write_atomically(self._file) as file:
                file.write(_header(self._names))
        names_there, records, start = _read(self._file)
        if names_there != self._names:
            raise RunFolderError(f"{self._file} is of another network: it holds {names_there}")
        kept = int((records["step"] <= last_step).sum())
        self._end = start + kept * self._type.itemsize
        self._unwritten: list[bytes] = []

    def append(self, step: int, weights: Parameters, gradients: Parameters) -> None:
        """Take the histograms of all arrays, to be written by `flush`.

        Parameters
        ----------
        step : int
            Steps taken, counted from the start of the run.
        weights, gradients : dicts of arrays
            After the step, and what made it.
        """
        record = np.zeros((), self._type)
        record["step"] = step
        for kind, arrays in zip(KINDS, (weights, gradients), strict=True):
            for name in self._names:
                record[kind][name] = _histogram(arrays[name])
        self._unwritten.append(record.tobytes())

    def flush(self) -> None:
        """Write the records that are not in the file yet, and force them to the disk.

        Raises
        ------
        OSError
            If they cannot be written; the next call then writes in the same place.
        """
        if not self._unwritten:
            return
        content = b"".join(self._unwritten)
        with open(self._file, "r+b") as file:
            file.seek(self._end)
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        self._end += len(content)
        self._unwritten.clear()


def read_histograms(folder: Path) -> dict[str, Histograms]:
    """Read the histograms of a run.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict with the keys ``"weights"`` and ``"gradients"``

    Raises
    ------
    RunFolderError
        If there are none, or the file is damaged.
    """
    names, records, _ = _read(folder / HISTOGRAMS)
    return {
        kind: Histograms(
            records["step"].astype(np.int64),
            {name: records[kind][name]["low"].astype(np.float64) for name in names},
            {name: records[kind][name]["high"].astype(np.float64) for name in names},
            {name: records[kind][name]["counts"].astype(np.int64) for name in names},
        )
        for kind in KINDS
    }


def _record_type(names: Sequence[str]) -> np.dtype[Any]:
    histogram = np.dtype([("low", "<f4"), ("high", "<f4"), ("counts", "<u4", (BINS,))])
    group = np.dtype([(name, histogram) for name in names])
    return np.dtype([("step", "<i8"), *((kind, group) for kind in KINDS)])


def _header(names: Sequence[str]) -> bytes:
    return (json.dumps({"format": FORMAT, "bins": BINS, "names": list(names)}) + "\n").encode()


def _histogram(values: NDArray[Any]) -> tuple[float, float, NDArray[np.int64]]:
    low, high = float(values.min()), float(values.max())
    # In float64: the bins of a range near the ends of float32 would overflow.
    counts, _ = np.histogram(values.astype(np.float64), BINS, (low, high))
    return low, high, counts


def _read(file: Path) -> tuple[tuple[str, ...], NDArray[Any], int]:
    """Read (names, whole records, where the first one starts)."""
    try:
        content = file.read_bytes()
        header, newline, body = content.partition(b"\n")
        description = json.loads(header)
        if description["format"] != FORMAT or description["bins"] != BINS or not newline:
            raise ValueError("another format")
        names = tuple(map(str, description["names"]))
        record_type = _record_type(names)
    except OSError as error:
        raise RunFolderError(f"no histograms: {file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{file} is damaged: {error}") from error
    whole = len(body) // record_type.itemsize
    return names, np.frombuffer(body, record_type, whole), len(header) + 1
