"""The folder of a run: which files it holds, who may write in it, and what it was started with."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lenet_np.data.dataset import DataError, Dataset, check_name
from lenet_np.data.files import write_atomically
from lenet_np.settings import Settings
from lenet_np.tools.cli.screen import cut

CONFIG = "config.json"  # what the run was started with
METRICS = "metrics.csv"  # a row for each epoch
EVENTS = "events.jsonl"  # what happened, a JSON object a line
HISTOGRAMS = "histograms.bin"  # see `lenet_np.tools.runs.histograms`
LAST = "last.npz"  # the state to go on from
BEST = "best.npz"  # the state with the best validation accuracy
CHECKPOINTS = {"last": LAST, "best": BEST}  # as the command lines name them
SUMMARY = "summary.json"  # the result, once there is one
FILES = (CONFIG, METRICS, EVENTS, HISTOGRAMS, LAST, BEST, SUMMARY)
LOCK = ".lock"
FORMAT = "lenet_np run 2"
OLD_FORMAT = "lenet_np run 1"  # it has no checksum
MOST_CONFIG = 1 << 19  # bytes


class RunFolderError(ValueError):
    """The run's folder cannot be used; the message says why."""


class RunExistsError(RunFolderError):
    """The folder holds a run already, which is never overwritten."""


class Config(NamedTuple):
    """What a run was started with."""

    settings: Settings
    dataset: str
    sha256: dict[str, str]  # of each split
    machine: dict[str, Any]  # versions, processor, BLAS
    rest: dict[str, Any]  # the date, the command line, the commit


def create(out: Path | None, dataset: str, settings: Settings) -> Path:
    """Make the folder of a new run, and never touch that of an older one.

    Without a name it is a new one below ``runs``, named after date, data set and settings.
    RunExistsError if it holds a run, or a file that a run writes; RunFolderError if it cannot be
    made.
    """
    try:
        if out is not None:
            refuse_files(out)
            out.mkdir(parents=True, exist_ok=True)
            return out
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{dataset}-{_described(settings)}"
        for suffix in ("", *(f"-{number}" for number in range(2, 1000))):
            folder = Path("runs", name + suffix)
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                continue  # Two runs in one second.
        raise RunFolderError(f"runs/{name} and 999 more exist already: name a folder with --out")
    except OSError as error:
        where = out or Path("runs")
        raise RunFolderError(f"cannot write in {where}: {error.strerror or error}") from error


def refuse_files(folder: Path) -> None:
    """Refuse to write over anything but what a run leaves that could not even start.

    That is its configuration, and a table without a row. RunExistsError for anything else.
    """
    there = [name for name in FILES if os.path.lexists(folder / name)]
    if LAST in there:
        raise RunExistsError(
            f"{folder} holds a run already ({LAST}): name another folder, or go on with "
            f"--resume {folder}"
        )
    if set(there) <= {CONFIG, METRICS} and CONFIG in there:
        with suppress(RunFolderError, OSError, ValueError):
            read_config(folder)
            if METRICS not in there or (folder / METRICS).read_text("utf-8").count("\n") == 1:
                return
    if there:
        raise RunExistsError(
            f"{folder} holds {', '.join(there)} already, which a run writes: name another folder"
        )


_SHORT = {"estimator": "", "route": "", "learning_rate": "lr", "samples": "n"}
_SHORT |= {"sigma": "sigma", "batch_size": "batch", "rank": "rank", "decay": "decay"}


def _described(settings: Settings) -> str:
    """Name the settings that are not the defaults, and the seed always."""
    kind = settings.loss.rpartition(":")[2]  # of a user's own its function
    if kind == "zero-one" and settings.objective != "error":
        kind = settings.objective
    words = [kind] if settings.perturb == "logits" else ["weights", kind]
    for name, short in _SHORT.items():
        value = getattr(settings, name)
        if value != getattr(Settings(), name):
            words.append(f"{short}{value:g}" if isinstance(value, float) else f"{short}{value}")
    return "-".join([*words, f"seed{settings.seed}"])


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep every other process from writing in the folder of a run, for a while.

    The system itself gives the lock back when the process ends, however it ends. RunFolderError
    if another process has it, or the folder cannot be written.
    """
    try:
        file = open(folder / LOCK, "ab")  # noqa: SIM115 (the lock lasts as long as it is open)
    except OSError as error:
        raise RunFolderError(f"cannot write in {folder}: {error.strerror or error}") from error
    with file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise RunFolderError(
                f"{folder} is in use: another process is training in it"
            ) from error
        except OSError:
            pass  # A file system without locks (some network drives): go on unprotected.
        yield


def remove_leftovers(folder: Path) -> None:
    """Remove the files that a process was writing when it was killed.

    The folder must be locked: the files of a living process stay.
    """
    for name in FILES:
        for leftover in folder.glob(f".{name}.*.part"):
            with suppress(OSError):
                leftover.unlink()


def hashes(data: Dataset) -> dict[str, str]:
    """Compute the SHA-256 of each split: of its pixels, then its labels."""
    result = {}
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        digest = hashlib.sha256(np.ascontiguousarray(split.pixels).data)
        digest.update(np.ascontiguousarray(split.classes).data)
        result[name] = digest.hexdigest()
    return result


def same_data(config: Config, data: Dataset) -> Dataset:
    """Give data their name in a run that was started with them; DataError if it was with others."""
    changed = [name for name, value in hashes(data).items() if config.sha256.get(name) != value]
    if changed:
        raise DataError(
            f"the {config.dataset} data are not those that the run was started with: "
            f"another SHA-256 of {', '.join(changed)}"
        )
    return replace(data, name=config.dataset)


def write_config(folder: Path, config: Config) -> None:
    """Write what the run was started with."""
    content = {
        **config.rest,
        "settings": asdict(config.settings),
        "dataset": {"name": config.dataset, "sha256": config.sha256},
        "machine": config.machine,
    }
    write_json(folder / CONFIG, {"format": FORMAT, **content, "checksum": _checksum(content)})


def read_config(folder: Path) -> Config:
    """Read what the run was started with; RunFolderError if there is no run, or it is damaged."""
    file = folder / CONFIG
    try:
        if file.stat().st_size > MOST_CONFIG:
            raise RunFolderError(f"{file} is damaged: more than {MOST_CONFIG:,} bytes")
        content = parse_json(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunFolderError(f"{folder} is no run: {CONFIG}: {error.strerror}") from error
    except OSError as error:
        raise RunFolderError(f"cannot read {file}: {error.strerror or error}") from error
    except RunFolderError:
        raise
    except ValueError as error:
        raise RunFolderError(f"{file} is damaged: {cut(str(error), 200)}") from error
    try:
        found = content.pop("format")
        if found not in (FORMAT, OLD_FORMAT):
            raise ValueError(f"format {found!r}")
        changed = found == FORMAT and content.pop("checksum") != _checksum(content)
        settings = Settings.recorded(content.pop("settings"))
        dataset, machine = content.pop("dataset"), dict(content.pop("machine"))
        name, sha256 = check_name(dataset["name"]), dict(dataset["sha256"])
        if changed:  # Last, since any other reason tells more.
            raise ValueError("it is not as it was written")
        return Config(settings, name, sha256, machine, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(
            f"{file} is damaged, or of another version of this program: {cut(str(error), 200)}"
        ) from error


def _checksum(content: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(content).encode()):08x}"


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """List what is not the same, each with its value before and now."""
    return ", ".join(
        f"{name} {before.get(name)} -> {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    )


def parse_json(text: str) -> Any:
    """Parse JSON, which has no NaN, and is not nested without end: ValueError."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file for people to read, whole or not at all."""
    with write_atomically(file) as out:
        out.write((json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def checkpoint_file(path: Path, which: str | None = None) -> Path:
    """Find the checkpoint that a user means: a file itself, or one of `CHECKPOINTS` of a folder.

    That is the last by default. RunFolderError if there is none.
    """
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return path
        there = os.listdir(path)
    except FileNotFoundError:
        raise RunFolderError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from error
    wanted = CHECKPOINTS[which or "last"]
    if wanted in there:
        return path / wanted
    for other, name in CHECKPOINTS.items():
        if name in there:
            raise RunFolderError(
                f"{path} has no {wanted}, only {name}: --checkpoint {other} takes that"
            )
    raise RunFolderError(f"{path} is no run: there is no {wanted} in it")
