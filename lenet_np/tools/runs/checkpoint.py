"""Saving and restoring a training state: one .npz file, without pickle, written whole or not."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lenet_np.data.dataset import check_name
from lenet_np.data.files import write_atomically
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.loop import State
from lenet_np.optim import AdamState
from lenet_np.settings import Settings
from lenet_np.tools.runs.folder import checkpoint_file

FORMAT = "lenet_np checkpoint 1"


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
    for group, values in _groups(parameters, optimizer).items():
        arrays |= {f"{group}/{name}": value for name, value in values.items()}
    # In memory first: an archive that is left half written complains about itself on the screen.
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **arrays)
    with write_atomically(path) as file:
        file.write(archive.getbuffer())


def load(path: Path, network: Sequential) -> Checkpoint:
    """Read a checkpoint and check that it holds the parameters of this network.

    CheckpointError if there is no such file, it is damaged, of another program or format, or of
    another network.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except Exception as error:  # where an archive is damaged decides which of a dozen it is
        raise CheckpointError(
            f"{path}: damaged, or not a checkpoint of lenet_np ({error})"
        ) from error
    found = str(arrays.get("format", "nothing"))
    if found != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint: expected {FORMAT!r}, found {found!r}")
    try:
        header = json.loads(str(arrays["header"]))
        settings = Settings.recorded(header["settings"])
        epoch, step, dataset = header["epoch"], header["adam_step"], check_name(header["dataset"])
        loss_sum, seconds = header["loss_sum"], header["seconds"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its header is damaged ({error})") from error

    expected = {name: value.shape for name, value in network.init(np.random.default_rng(0)).items()}
    groups = []
    for group in ("parameters", "adam_mean", "adam_square"):
        values = {name: arrays.get(f"{group}/{name}") for name in expected}
        for name, shape in expected.items():
            value = values[name]
            if value is None or value.shape != shape or value.dtype != np.float32:
                got = "missing" if value is None else f"{value.dtype} of shape {value.shape}"
                raise CheckpointError(
                    f"{path}: of another network: {group} {name} must be float32 of shape "
                    f"{shape}, it is {got}"
                )
        groups.append({name: value for name, value in values.items() if value is not None})
    parameters, mean, square = groups
    state = State(parameters, AdamState(step, mean, square))
    return Checkpoint(state, settings, epoch, dataset, loss_sum, seconds)


def _groups(
    parameters: dict[str, np.typing.NDArray[np.floating]], optimizer: AdamState
) -> dict[str, dict[str, np.typing.NDArray[np.floating]]]:
    return {"parameters": parameters, "adam_mean": optimizer.mean, "adam_square": optimizer.square}


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
    for name, value in checkpoint.state.parameters.items():
        if not np.isfinite(value).all():
            raise CheckpointError(f"{file}: {name} is not finite: this run diverged")
    return Saved(file, network, checkpoint)
