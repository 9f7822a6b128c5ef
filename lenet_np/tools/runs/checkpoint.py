"""Saving and restoring a training state: one .npz file, without pickle, written whole or not.

It is read with suspicion. What a member is, and how large, is known before it is read; a checksum
holds everything together. What is not ours in the archive is never read.
"""

from __future__ import annotations

import io
import json
import math
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.dataset import check_name
from lenet_np.data.files import write_atomically
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.loop import State
from lenet_np.ops import Parameters
from lenet_np.optim import AdamState
from lenet_np.settings import Settings
from lenet_np.tools.cli.screen import cut
from lenet_np.tools.runs.folder import (
    CONFIG,
    Config,
    RunFolderError,
    checkpoint_file,
    differences,
    parse_json,
    read_config,
)

FORMAT = "lenet_np checkpoint 2"
OLD_FORMAT = "lenet_np checkpoint 1"  # it has no checksum of the whole
GROUPS = ("parameters", "adam_mean", "adam_square")
#: Bytes of a text in the archive, and of all that is in it beside the arrays.
MOST_TEXT = 1 << 15
MOST_BESIDE = 1 << 18


class CheckpointError(ValueError):
    """A file is not a checkpoint that can be used here; the message says why."""


class Checkpoint(NamedTuple):
    """What a checkpoint file holds."""

    state: State
    settings: Settings
    epoch: int  # completed epochs
    dataset: str  # name of the data set
    loss_sum: float = 0.0  # of the steps taken since
    seconds: float = 0.0  # that they took
    table: int | None = None  # checksum of the rows of the completed epochs, where there are any


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a file of that name is replaced in one move, or not at all."""
    parameters, optimizer = checkpoint.state
    header = {
        "settings": asdict(checkpoint.settings),
        "epoch": checkpoint.epoch,
        "dataset": checkpoint.dataset,
        "adam_step": optimizer.step,
        "loss_sum": checkpoint.loss_sum,
        "seconds": checkpoint.seconds,
    }
    arrays = {"format": np.array(FORMAT), "header": np.array(json.dumps(header))}
    groups = (parameters, optimizer.mean, optimizer.square)
    for group, values in zip(GROUPS, groups, strict=True):
        arrays |= {f"{group}/{name}": value for name, value in values.items()}
    # In memory first: an archive that is left half written complains about itself on the screen.
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = _seal(archive, tuple(parameters), checkpoint.table)
    with write_atomically(path) as file:
        file.write(content.getbuffer())


def load(path: Path, network: Sequential) -> Checkpoint:
    """Read a checkpoint and check that it holds the parameters of this network.

    CheckpointError if it cannot be read, is damaged, of another program or format, or of another
    network.
    """
    shapes = {name: value.shape for name, value in network.init(np.random.default_rng(0)).items()}
    most = MOST_BESIDE + len(GROUPS) * sum(4 * math.prod(shape) for shape in shapes.values())
    damaged = f"{path}: damaged, or not a checkpoint of lenet_np"
    try:
        if path.stat().st_size > most:
            raise CheckpointError(f"{damaged}: more than {most:,} bytes")
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy warns about what no version of it would write.
            return _read(archive, path, shapes)
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        if error.strerror:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
        raise CheckpointError(damaged) from error
    except Exception as error:  # where an archive is damaged decides which of a dozen it is
        raise CheckpointError(damaged) from error


def _read(
    archive: zipfile.ZipFile, path: Path, shapes: Mapping[str, tuple[int, ...]]
) -> Checkpoint:
    found = _text(archive, "format") if "format.npy" in archive.namelist() else "nothing"
    if found not in (FORMAT, OLD_FORMAT):
        expected = f"expected {FORMAT!r}, found {found!r:.60}"
        raise CheckpointError(f"{path}: not a checkpoint of lenet_np: {expected}")
    text = _text(archive, "header")
    try:
        header = parse_json(text)
        settings, dataset = Settings.recorded(header["settings"]), check_name(header["dataset"])
        epoch, step = (_number(header, name, 2**63 - 1, int) for name in ("epoch", "adam_step"))
        loss_sum, seconds = (_number(header, name, 1e300) for name in ("loss_sum", "seconds"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"damaged, or not a checkpoint of lenet_np: {cut(str(error), 200)}"
        raise CheckpointError(f"{path}: {reason}") from error
    groups: list[Parameters] = []
    for group in GROUPS:
        groups.append({})
        for name, shape in shapes.items():
            value = _array(archive, f"{group}/{name}", shape)
            if isinstance(value, str):
                raise CheckpointError(
                    f"{path}: of another network: {group} {name} must be float32 of shape "
                    f"{shape}, it is {value}"
                )
            groups[-1][name] = value
    table = None
    if found == FORMAT:
        told = archive.comment.decode("ascii").partition(" ")[2]
        table = int(told) if told != "None" else None
    if archive.comment != (_seal(archive, tuple(shapes), table) if found == FORMAT else b""):
        raise CheckpointError(f"{path}: damaged: its parts do not belong together")
    parameters, mean, square = groups
    state = State(parameters, AdamState(int(step), mean, square))
    return Checkpoint(state, settings, int(epoch), dataset, loss_sum, seconds, table)


def _array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...] | None) -> Any:
    """Read a member that is float32 of this shape, or for None a text; else say what it is."""
    try:
        stream = archive.open(f"{name}.npy")
    except KeyError:
        return "missing"
    with stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("another version of NumPy's format")
        found, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if shape is None:
            right = dtype.kind == "U" and found == () and dtype.itemsize <= MOST_TEXT
        else:
            right = dtype == np.float32 and found == shape
        if not right:
            return cut(f"{dtype} of shape {found}", 100)
        size = math.prod(found) * dtype.itemsize
        content = bytearray(stream.read(size + 1))
    if len(content) != size:
        raise ValueError(f"{name} has another size than it says")
    values: NDArray[Any] = np.frombuffer(content, dtype)
    return values.reshape(found, order="F" if fortran else "C")


def _text(archive: zipfile.ZipFile, name: str) -> str:
    found = _array(archive, name, None)
    if isinstance(found, str):
        raise ValueError(f"{name} is {found}")
    return str(found)


def _number(header: Mapping[str, Any], name: str, most: float, kind: type[float] = float) -> float:
    value, least = header[name], 0 if kind is int else -most
    if type(value) not in (int, kind) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}")
    return kind(value)


def _seal(archive: zipfile.ZipFile, names: tuple[str, ...], table: int | None) -> bytes:
    """Sum up what the archive's own checksums of our members are, and the checksum of the table."""
    members = ["format", "header", *(f"{group}/{name}" for group in GROUPS for name in names)]
    sums = [archive.getinfo(f"{member}.npy").CRC for member in members]
    return f"{zlib.crc32(repr((sums, table)).encode()):08x} {table}".encode()


def check_same_run(file: Path, checkpoint: Checkpoint, config: Config) -> None:
    """Refuse a checkpoint of another run than the configuration: RunFolderError."""
    started, saved = (
        asdict(one.settings) | {"epochs": 0, "data set": one.dataset}
        for one in (config, checkpoint)
    )
    if difference := differences(started, saved):
        raise RunFolderError(f"{file} is of another run than {CONFIG}: {difference}")


# --- the trained network that a user names: a run's folder, or a checkpoint -----------------------


class Saved(NamedTuple):
    """A network with its trained weights."""

    file: Path
    network: Sequential
    checkpoint: Checkpoint

    def __str__(self) -> str:
        epochs = "1 epoch" if self.checkpoint.epoch == 1 else f"{self.checkpoint.epoch} epochs"
        loss = self.checkpoint.settings.loss
        return f"{self.file}: {epochs} on {self.checkpoint.dataset}, {loss} loss"


def load_network(path: Path, which: str | None = None) -> Saved:
    """Load LeNet-5 with the weights of a checkpoint, or of the ``last`` or ``best`` of a run.

    RunFolderError or CheckpointError if there is none, it is damaged or of another network, or its
    weights are not finite.
    """
    file = checkpoint_file(path, which)
    network = lenet5()
    checkpoint = load(file, network)
    if path.is_dir() and (path / CONFIG).exists():
        check_same_run(file, checkpoint, read_config(path))
    for name, value in checkpoint.state.parameters.items():
        if not np.isfinite(value).all():
            raise CheckpointError(f"{file}: {name} is not finite: this run diverged")
    return Saved(file, network, checkpoint)
