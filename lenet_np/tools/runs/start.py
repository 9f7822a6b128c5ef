"""Where a run begins: in a new folder, or where an interrupted one has come to."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import lenet_np
from lenet_np.data import DataError, Dataset, load_dataset
from lenet_np.data.files import WriteError
from lenet_np.layers import Sequential
from lenet_np.loop import initial_state
from lenet_np.settings import Settings
from lenet_np.threads import cores
from lenet_np.tools.cli.machine import blas, processor
from lenet_np.tools.cli.screen import complain
from lenet_np.tools.runs.checkpoint import Checkpoint, CheckpointError, load, save
from lenet_np.tools.runs.folder import (
    BEST,
    LAST,
    METRICS,
    SUMMARY,
    Config,
    RunExistsError,
    RunFolderError,
    hashes,
    read_config,
    remove_leftovers,
    write_config,
)
from lenet_np.tools.runs.table import COLUMNS, Row, read_table, write_table


class UsageError(ValueError):
    """A flag's value does not fit; the message begins with its name."""


class Run(NamedTuple):
    """A run that is ready for its next step."""

    folder: Path
    settings: Settings
    data: Dataset
    checkpoint: Checkpoint  # where it has come to
    rows: list[Row]  # of the completed epochs
    notes: list[str]  # what the user should know before it goes on


def start(
    folder: Path, data: Dataset, settings: Settings, network: Sequential, words: list[str]
) -> Run:
    """Begin a new run, and leave in its folder what it was started with.

    Parameters
    ----------
    folder : Path
        As `lenet_np.tools.runs.folder.create` makes it, and locked.
    data : Dataset
    settings : Settings
    network : Sequential
    words : list of str
        The command line.

    Returns
    -------
    Run

    Raises
    ------
    RunExistsError
        If another process has put a run there meanwhile.
    WriteError
        If the folder cannot hold the files: found now, not after the work.
    """
    if (folder / LAST).exists():
        raise RunExistsError(f"{folder} holds a run already ({LAST}): name another folder")
    remove_leftovers(folder)
    rest = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": words,
        "commit": _commit(),
    }
    write_config(folder, Config(settings, data.name, hashes(data), _machine(), rest))
    write_table(folder / METRICS, COLUMNS, [])
    checkpoint = Checkpoint(initial_state(network, settings), settings, 0, data.name)
    save(folder / LAST, checkpoint)
    return Run(folder, settings, data, checkpoint, [], [])


def resume(
    folder: Path,
    network: Sequential,
    given: dict[str, Any],
    dataset: str | None = None,
    data_dir: Path | None = None,
) -> Run:
    """Take a run up again where it was last saved, if nothing that decides its steps has changed.

    Parameters
    ----------
    folder : Path
        Locked.
    network : Sequential
    given : dict
        Settings that were named. They must be the run's; only the epochs may be more.
    dataset, data_dir
        As for `lenet_np.data.load_dataset`; a data set that is named must be the run's.

    Returns
    -------
    Run

    Raises
    ------
    UsageError
        If a setting or the data set that was named is not the run's.
    RunFolderError, CheckpointError
        If a file is missing, damaged or cannot be written.
    DataError
        If the run's data cannot be had, or are others now.
    """
    remove_leftovers(folder)
    config = read_config(folder)
    settings = _same_settings(config.settings, given)
    if dataset not in (None, "auto", config.dataset):
        raise UsageError(f"--dataset: the run was started on {config.dataset}, got {dataset}")
    checkpoint = _load_last(folder, network)
    if (
        replace(checkpoint.settings, epochs=1) != replace(config.settings, epochs=1)
        or checkpoint.dataset != config.dataset
    ):
        raise RunFolderError(
            f"{folder / LAST} is of another run than config.json: "
            f"{_differences(asdict(config.settings), asdict(checkpoint.settings)) or 'data set'}"
        )
    rows = _load_rows(folder, checkpoint.epoch)
    notes = _check_best(folder, network, checkpoint.epoch)
    data = load_dataset(config.dataset, data_dir, complain)
    changed = [name for name, value in hashes(data).items() if config.sha256.get(name) != value]
    if changed:
        raise DataError(
            f"the {config.dataset} data are not those that the run was started with: "
            f"another SHA-256 of {', '.join(changed)}"
        )
    if difference := _differences(_decisive(config.machine), _decisive(_machine())):
        notes.append(f"not as at the start, so the last bits may differ: {difference}")
    if settings != config.settings:
        try:
            with suppress(OSError):
                (folder / SUMMARY).unlink(missing_ok=True)  # of fewer epochs
            write_config(folder, config._replace(settings=settings))
        except WriteError as error:
            raise RunFolderError(str(error)) from error
    return Run(folder, settings, data, checkpoint, rows, notes)


def _same_settings(before: Settings, given: dict[str, Any]) -> Settings:
    for name, value in given.items():
        old, flag = getattr(before, name), f"--{name.replace('_', '-')}"
        if name == "epochs" and value < old:
            raise UsageError(f"{flag}: the run was started for {old} epochs, takes {old} or more")
        if name != "epochs" and value != old:
            raise UsageError(f"{flag}: the run was started with {old}, got {value}")
    return replace(before, epochs=given.get("epochs", before.epochs))


def _load_last(folder: Path, network: Sequential) -> Checkpoint:
    try:
        return load(folder / LAST, network)
    except CheckpointError as error:
        try:
            epoch = load(folder / BEST, network).epoch
        except CheckpointError:
            raise error from None
        raise CheckpointError(
            f"{error}. {BEST} is whole: to go on from epoch {epoch}, copy it to {LAST}"
        ) from None


def _load_rows(folder: Path, epochs: int) -> list[Row]:
    """Read the rows of the completed epochs; those of later ones are measured again."""
    file = folder / METRICS
    try:
        rows = read_table(file)[:epochs]
        numbers = [[float(row[column]) for column in COLUMNS] for row in rows]
    except OSError as error:
        raise RunFolderError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError) as error:  # no number, no cell, no column
        raise RunFolderError(f"{file} is damaged: {error}") from error
    if [row[0] for row in numbers] != list(range(1, epochs + 1)):
        raise RunFolderError(f"{file} is damaged: it should hold the epochs 1 to {epochs}")
    return rows


def _check_best(folder: Path, network: Sequential, epochs: int) -> list[str]:
    """Refuse a damaged `best.npz`; return a note if one should be there and is missing."""
    file = folder / BEST
    if file.exists():
        try:
            load(file, network)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}. {LAST} is whole: to go on without the best epoch so far, remove {BEST}"
            ) from None
    elif epochs:
        return [f"{BEST} is missing: the best of the epochs to come will take its place"]
    return []


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {before.get(name)} -> {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    )


def _machine() -> dict[str, Any]:
    """Describe what the last bits of a result, and its speed, may depend on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": cores(),
        "blas": blas(),
        "lenet_np": lenet_np.__version__,
        **{name: _version(name) for name in ("numpy", "scipy")},
    }


def _decisive(machine: dict[str, Any]) -> dict[str, Any]:
    """Pick what the last bits depend on: neither cores nor threads."""
    names = ("system", "processor", "lenet_np", "numpy", "scipy")
    blas_name = str(machine.get("blas")).partition(",")[0]
    return {name: machine.get(name) for name in names} | {"blas": blas_name}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Name the commit of the program itself, where it runs from a repository."""
    place = Path(lenet_np.__file__).parent
    if not (place.parent / ".git").exists():
        return None
    try:
        commit = _git(place, "rev-parse", "HEAD")
        changed = _git(place, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(place: Path, *words: str) -> str:
    # Without locks: a run that is killed here would leave one behind, and git would refuse to work.
    answer = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(place), *words],
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
    )
    return answer.stdout.strip()
