"""Histograms of every weight and every gradient, as compact records in one growing file.

The file begins with a line of JSON that names the arrays. Records of equal size follow, each with
a checksum. A record that was cut off by a crash is not read, and the next takes its place.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.files import write_atomically
from lenet_np.ops import Parameters
from lenet_np.tools.cli.screen import cut
from lenet_np.tools.runs.folder import HISTOGRAMS, RunFolderError, parse_json

BINS = 64
FORMAT = "lenet_np histograms 2"
OLD_FORMAT = "lenet_np histograms 1"  # its records have no checksum
KINDS = ("weights", "gradients")


class Histograms(NamedTuple):
    """The histograms of one kind, of every array, at several steps."""

    steps: NDArray[np.int64]  # (R,)
    low: dict[str, NDArray[np.float64]]  # by name, (R,): the smallest value
    high: dict[str, NDArray[np.float64]]  # (R,): the largest
    counts: dict[str, NDArray[np.int64]]  # (R, BINS): values in each of equal bins between them


class Recorder:
    """Appends a record to the file now and then; one that cannot be written is kept for later.

    Records later than the last step are cut off: a resumed run writes them again. RunFolderError
    if the file is of another network, or damaged; WriteError if it cannot be written.
    """

    def __init__(self, folder: Path, names: Sequence[str], last_step: int) -> None:
        self._file = folder / HISTOGRAMS
        self._names = tuple(names)
        self._header = content = _header(self._names)
        if self._file.exists() and last_step > 0:
            records = read_records(folder, self._names)
            kept = records[records["step"] <= last_step]
            content += b"".join(_sealed(self._header, record) for record in kept)
        with write_atomically(self._file) as file:
            file.write(content)
        self._end = len(content)
        self._unwritten: list[bytes] = []

    def append(self, step: int, weights: Parameters, gradients: Parameters) -> None:
        """Take the histograms of all arrays after a step, to be written by `flush`."""
        record = np.zeros((), _record_type(self._names))
        record["step"] = step
        for kind, arrays in zip(KINDS, (weights, gradients), strict=True):
            for name in self._names:
                record[kind][name] = _histogram(arrays[name])
        self._unwritten.append(_sealed(self._header, record))

    def flush(self) -> None:
        """Write the records that are not in the file yet, and force them to the disk.

        OSError if they cannot be written; the next call then writes in the same place.
        """
        if not self._unwritten:
            return
        content = b"".join(self._unwritten)
        with open(self._file, "r+b") as file:
            file.truncate(self._end)
            file.seek(self._end)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._end += len(content)
        self._unwritten.clear()


def read_histograms(folder: Path) -> dict[str, Histograms]:
    """Read the histograms of a run: of its ``"weights"`` and ``"gradients"``.

    RunFolderError if there are none, or the file is damaged.
    """
    names, records = _read(folder / HISTOGRAMS)
    return {
        kind: Histograms(
            records["step"].astype(np.int64),
            {name: records[kind][name]["low"].astype(np.float64) for name in names},
            {name: records[kind][name]["high"].astype(np.float64) for name in names},
            {name: records[kind][name]["counts"].astype(np.int64) for name in names},
        )
        for kind in KINDS
    }


def read_records(folder: Path, names: Sequence[str]) -> NDArray[Any]:
    """Read the records of the arrays of these names; RunFolderError if there are others."""
    names_there, records = _read(folder / HISTOGRAMS)
    if names_there != tuple(names):
        others = cut(str(names_there), 200)
        raise RunFolderError(f"{folder / HISTOGRAMS} is of another network: it holds {others}")
    return records


def _record_type(names: Sequence[str]) -> np.dtype[Any]:
    histogram = np.dtype([("low", "<f4"), ("high", "<f4"), ("counts", "<u4", (BINS,))])
    group = np.dtype([(name, histogram) for name in names])
    return np.dtype([("step", "<i8"), *((kind, group) for kind in KINDS)])


def _header(names: Sequence[str]) -> bytes:
    return (json.dumps({"format": FORMAT, "bins": BINS, "names": list(names)}) + "\n").encode()


def _sealed(header: bytes, record: NDArray[Any]) -> bytes:
    """Add the CRC-32 of the header and the record: neither can change unseen."""
    content = record.tobytes()
    return content + zlib.crc32(content, zlib.crc32(header)).to_bytes(4, "little")


def _histogram(values: NDArray[Any]) -> tuple[float, float, NDArray[np.int64]]:
    low, high = float(values.min()), float(values.max())
    # In float64: the bins of a range near the ends of float32 would overflow.
    counts, _ = np.histogram(values.astype(np.float64), BINS, (low, high))
    return low, high, counts


def _read(file: Path) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Read the names and the whole records, and check them."""
    try:
        header, newline, body = file.read_bytes().partition(b"\n")
        description = parse_json(header.decode())
        if description["format"] not in (FORMAT, OLD_FORMAT) or description["bins"] != BINS:
            raise ValueError("another format")
        names = tuple(map(str, description["names"]))
        record_type = _record_type(names)
    except OSError as error:
        raise RunFolderError(f"no histograms: {file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{file} is damaged: {cut(str(error), 200)}") from error
    size, sealed = record_type.itemsize, description["format"] == FORMAT
    whole = size + (4 if sealed else 0)
    # What is shorter at the end was cut off by a crash, or is being written just now.
    pieces = [body[start : start + whole] for start in range(0, len(body) - whole + 1, whole)]
    records = np.frombuffer(b"".join(piece[:size] for piece in pieces), record_type)
    right = _plausible(records, names)
    for number, piece in enumerate(pieces):
        if not right[number] or (sealed and piece != _sealed(header + newline, records[number])):
            raise RunFolderError(f"{file} is damaged: record {number + 1} of {len(pieces)}")
    return names, records


def _plausible(records: NDArray[Any], names: Sequence[str]) -> NDArray[np.bool_]:
    """Say of each record whether it can be one: all that the old format allows to check. (R,)"""
    right = np.diff(records["step"], prepend=0) > 0
    for kind in KINDS:
        for name in names:
            low, high, counts = (records[kind][name][part] for part in ("low", "high", "counts"))
            total = counts.sum(axis=1)
            right &= (-np.inf < low) & (low <= high) & (high < np.inf) & (total == total[:1])
    return right
