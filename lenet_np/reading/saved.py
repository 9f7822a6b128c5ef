"""The trained network that a user names: a run's folder, or a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lenet_np.checkpoint import Checkpoint, CheckpointError, load
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.runs.folder import checkpoint_file


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
    """Load LeNet-5 with the weights of a checkpoint.

    Parameters
    ----------
    path : Path
        The folder of a run, or a checkpoint.
    which : str, optional
        ``"last"`` or ``"best"`` of the run; the last by default.

    Returns
    -------
    Saved

    Raises
    ------
    RunFolderError, CheckpointError
        If there is none, it is damaged or of another network, or its weights are not finite.
    """
    file = checkpoint_file(path, which)
    network = lenet5()
    checkpoint = load(file, network)
    for name, value in checkpoint.state.parameters.items():
        if not np.isfinite(value).all():
            raise CheckpointError(f"{file}: {name} is not finite: this run diverged")
    return Saved(file, network, checkpoint)
