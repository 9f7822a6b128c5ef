"""A training run whose disk fails at the k-th write: by a crash, once, or from then on.

Each run is a process forked from this one, which imports everything once. For each k it says in
a line of JSON what the broken run did, what going on did, and what then differs from a run
without a fault.

    python tests/crash.py crash|once|full FOLDER FIRST_K STRIDE
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kill_and_resume import differences
from tiny import tiny_dataset

from lenet_np.data import Dataset, Split, files
from lenet_np.tools.commands import train as command
from lenet_np.tools.runs import histograms, record, start

FILES = ["--save-every", "2", "--histograms-every", "2", "--threads", "1"]
WORDS = ["--epochs", "2", "--batch-size", "40", "--samples", "2", *FILES]
FILE_FULL = OSError(28, "No space left on device")


class Disk:
    """Counts every operation that changes the disk; the k-th fails."""

    def __init__(self, mode: str, k: int) -> None:
        self.mode, self.k, self.count = mode, k, 0

    def operation(self, before: Callable[[], object] = lambda: None) -> None:
        """Count one; ``before`` is what of it still happens when it fails."""
        self.count += 1
        if self.count == self.k or (self.mode == "full" and self.count > self.k):
            before()
            if self.mode == "crash":
                os._exit(9)
            raise FILE_FULL

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any) -> Any:
            self.operation()
            return function(*arguments)

        return counting

    def open(self, file: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+"):
            return open(file, mode, *rest, **options)
        self.operation()
        return File(open(file, mode, *rest, **options), self)

    def install(self) -> None:
        os.fsync, os.replace = self.counted(os.fsync), self.counted(os.replace)
        for module in (files, histograms, record):
            module.open = self.open
        io.open = self.open  # that of pathlib


class File:
    """A file that writes half of what it is given before it fails."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> int:
        self._disk.operation(lambda: (self._file.write(content[: len(content) // 2]), self.flush()))
        written: int = self._file.write(content)
        return written

    def flush(self) -> None:
        self._file.flush()


def train(words: list[str], disk: Disk | None = None) -> int:
    """Run the training command in a process of its own; return its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 99
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if disk is not None:
            disk.install()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        status = command.main(words)
        if disk is not None and disk.count < disk.k:
            status = 77  # The run has no k-th write.
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main(mode: str, top: Path, first: int, stride: int) -> int:
    tiny = tiny_dataset()
    sizes = {"train": 100, "validation": 30, "test": 30}  # 3 steps an epoch
    data = Dataset(
        "tiny",
        **{
            name: Split(getattr(tiny, name).pixels[:size], getattr(tiny, name).classes[:size])
            for name, size in sizes.items()
        },
    )
    os.fsync = lambda file: None  # It takes time, and nothing here cuts the power.
    start._commit = lambda: None  # A process of git for each run.
    command.load_dataset = start.load_dataset = lambda *_: data
    whole = top / "whole"
    assert train([*WORDS, "--out", str(whole)]) == 0
    for k in range(first, 10_000, stride):
        folder = top / f"{mode}-{k}"
        broken = train([*WORDS, "--out", str(folder)], Disk(mode, k))
        if broken == 77:
            return 0
        on = "--resume" if (folder / "last.npz").exists() else "--out"
        then = train([*(FILES if on == "--resume" else WORDS), on, str(folder)]) if broken else 0
        found = differences(whole, folder) if then == 0 else ["not finished"]
        left = [file.name for file in folder.glob(".*.part")]
        print(json.dumps([k, broken, on, then, found + left]), flush=True)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
