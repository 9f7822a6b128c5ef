"""Where a run begins: in a new folder, or where an interrupted one has come to."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy

import lenet_np
from lenet_np.data import Dataset, load_dataset
from lenet_np.data.others import kind_of
from lenet_np.layers import Sequential
from lenet_np.loop import initial_state
from lenet_np.losses import Loss
from lenet_np.settings import SettingError, Settings
from lenet_np.threads import cores
from lenet_np.tools.cli.machine import blas, processor
from lenet_np.tools.cli.screen import complain
from lenet_np.tools.runs.checkpoint import Checkpoint, CheckpointError, check_same_run, load, save
from lenet_np.tools.runs.folder import (
    BEST,
    HISTOGRAMS,
    LAST,
    METRICS,
    SUMMARY,
    Config,
    RunFolderError,
    differences,
    hashes,
    read_config,
    refuse_files,
    remove_leftovers,
    same_data,
    write_config,
)
from lenet_np.tools.runs.histograms import read_records
from lenet_np.tools.runs.history import read_rows
from lenet_np.tools.runs.loss import load_loss, try_loss
from lenet_np.tools.runs.table import COLUMNS, Row, write_table


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
    loss: Loss | None = None  # the user's own

    @property
    def all_steps(self) -> int:
        """Steps from the run's start to its end."""
        return self.settings.epochs * self.settings.steps_per_epoch(len(self.data.train))


def start(
    folder: Path,
    data: Dataset,
    settings: Settings,
    network: Sequential,
    words: list[str],
    loss_sha256: str | None = None,
) -> Run:
    """Begin a new run with a command line, and leave in its folder what it was started with.

    The folder is as `lenet_np.tools.runs.folder.create` makes it, and locked. RunExistsError if
    another process has put a run there meanwhile; WriteError if it cannot hold the files, which is
    found now and not after the work.
    """
    refuse_files(folder)
    remove_leftovers(folder)
    rest = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": words,
        "commit": _commit(),
    }
    if loss_sha256 is not None:
        rest["loss_sha256"] = loss_sha256
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

    The folder is locked. ``given`` are settings that were named: they must be the run's, only the
    epochs may be more; a loss of the user's own may have moved. So must the data set be; it is
    looked for as by `lenet_np.data.load_dataset`. UsageError if they are others; RunFolderError or
    CheckpointError if a file is missing or damaged, WriteError if it cannot be written; DataError
    if the run's data cannot be had, or are others now.
    """
    remove_leftovers(folder)
    config = read_config(folder)
    loss = _same_loss(config, given)
    try:
        settings = replace(config.settings, epochs=_same_epochs(config.settings, given))
    except SettingError as error:  # a pair that an older version allowed
        raise RunFolderError(f"{folder} can be read, but not gone on with: {error}") from error
    if dataset not in (None, "auto", config.dataset, kind_of(config.dataset)):
        raise UsageError(f"--dataset: the run was started on {config.dataset}, got {dataset}")
    checkpoint = _load_last(folder, network)
    check_same_run(folder / LAST, checkpoint, config)
    rows = read_rows(folder, checkpoint)[: checkpoint.epoch]  # later ones are measured again
    if (folder / HISTOGRAMS).exists():
        read_records(folder, list(checkpoint.state.parameters))
    notes = _check_best(folder, network, checkpoint.epoch)
    data = same_data(config, load_dataset(config.dataset, data_dir, complain))
    _check_step(folder / LAST, checkpoint, len(data.train))
    if difference := differences(_decisive(config.machine), _decisive(_machine())):
        notes.append(f"not as at the start, so the last bits may differ: {difference}")
    if settings != config.settings:
        with suppress(OSError):
            (folder / SUMMARY).unlink(missing_ok=True)  # of fewer epochs
        write_config(folder, config._replace(settings=settings))
    return Run(folder, settings, data, checkpoint, rows, notes, loss)


def _same_epochs(before: Settings, given: dict[str, Any]) -> Any:
    """Refuse other settings than the run's, and give the epochs, which may be more."""
    for name, value in given.items():
        old, flag = getattr(before, name), f"--{name.replace('_', '-')}"
        if name == "epochs" and value < old:
            raise UsageError(f"{flag}: the run was started for {old} epochs, takes {old} or more")
        moved = name == "loss" and before.own_loss and ":" in value  # see `_same_loss`
        if name != "epochs" and value != old and not moved:
            raise UsageError(f"{flag}: the run was started with {old}, got {value}")
    return given.get("epochs", before.epochs)


def _same_loss(config: Config, given: dict[str, Any]) -> Loss | None:
    """Load the user's own loss of a run again, from another place if one is given."""
    before, name = config.settings.loss, given.get("loss", config.settings.loss)
    if not config.settings.own_loss or ":" not in name:
        return None
    try:
        own = load_loss(name)
    except SettingError as error:
        raise UsageError(
            f"--loss: the run was started with {before}, which it needs to go on: {error.reason}; "
            f"if the file has moved, name it with --loss FILE.py:FUNCTION"
        ) from error
    then, now = (
        {"function": one.rpartition(":")[2], "SHA-256 of the file": sha256}
        for one, sha256 in ((before, config.rest.get("loss_sha256")), (name, own.sha256()))
    )
    if difference := differences(then, now):
        raise UsageError(f"--loss: {name} is not what the run was started with: {difference}")
    return try_loss(own, config.settings)


def _load_last(folder: Path, network: Sequential) -> Checkpoint:
    try:
        return load(folder / LAST, network)
    except CheckpointError as error:
        if isinstance(error.__cause__, OSError):
            raise  # It may well be whole: nothing else should take its place.
        try:
            epoch = load(folder / BEST, network).epoch
        except CheckpointError:
            raise error from None
        raise CheckpointError(
            f"{error}. {BEST} is whole: to go on from epoch {epoch}, copy it to {LAST}"
        ) from None


def _check_step(file: Path, checkpoint: Checkpoint, examples: int) -> None:
    """Refuse a step that does not follow so many epochs."""
    step, epoch = checkpoint.state.optimizer.step, checkpoint.epoch
    try:
        steps = checkpoint.settings.steps_per_epoch(examples)
    except SettingError as error:
        raise RunFolderError(f"{file} is damaged: {error}") from error
    if step // steps != epoch:
        where = f"step {step} is not in the epoch after {epoch} epochs of {steps} steps"
        raise RunFolderError(f"{file} is damaged: {where}")


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


def _machine() -> dict[str, Any]:
    """Describe what the last bits of a result, and its speed, may depend on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": cores(),
        "blas": blas(),
        "lenet_np": lenet_np.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def _decisive(machine: dict[str, Any]) -> dict[str, Any]:
    """Pick what the last bits depend on: neither cores nor threads."""
    names = ("system", "processor", "lenet_np", "numpy", "scipy")
    blas_name = str(machine.get("blas")).partition(",")[0]
    return {name: machine.get(name) for name in names} | {"blas": blas_name}


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
