"""Event files for TensorBoard, where the optional package tensorboardX is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lenet_np.ops import Array, Parameters
from lenet_np.runs.table import Row

BINS = 64


class TensorBoardError(ValueError):
    """The event files cannot be written; the message says why."""


class TensorBoard:
    """Writes scalars, histograms and the first layer's filters, as the notebook did.

    Parameters
    ----------
    folder : Path
        Of the run; the event files go to ``tensorboard`` in it.
    step : int
        What an interrupted run wrote after this step is hidden.

    Raises
    ------
    TensorBoardError
        If tensorboardX is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise TensorBoardError(
                "needs the package tensorboardX: python -m pip install tensorboardX"
            ) from None
        try:
            self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        except OSError as error:
            raise TensorBoardError(f"cannot write in {folder}: {error}") from error

    def histograms(self, step: int, weights: Parameters, gradients: Parameters) -> None:
        """Write a histogram of each array.

        Parameters
        ----------
        step : int
        weights, gradients : dicts of arrays
        """
        for kind, arrays in (("weights", weights), ("gradients", gradients)):
            for name, values in arrays.items():
                self._writer.add_histogram(f"{kind}/{name}", values.ravel(), step, bins=BINS)

    def epoch(self, step: int, row: Row, weights: Parameters) -> None:
        """Write what was measured in an epoch, and the filters as images.

        Parameters
        ----------
        step : int
        row : dict
            Of ``metrics.csv``.
        weights : dict of arrays
        """
        for name, text in row.items():
            group = name.rstrip("0123456789").rstrip("_") if name[-1].isdigit() else "epoch"
            if np.isfinite(value := float(text)):
                self._writer.add_scalar(f"{group}/{name}", value, step)
        self._writer.add_image("conv1/filters", filter_strip(weights["conv1.weight"]), step)
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()


def filter_strip(weight: Array) -> Array:
    """Lay the filters of the first layer side by side as a grey picture, zero in the middle.

    Parameters
    ----------
    weight : (F, 1, KH, KW)

    Returns
    -------
    (1, 8 KH, F (8 KW + 8)) float32 in [0, 1], each weight a square of 8 x 8 pixels
    """
    scale = max(float(np.abs(weight).max()), 1e-12)
    grey = 0.5 + 0.5 * weight[:, 0] / scale
    squares = np.kron(grey, np.ones((1, 8, 8), grey.dtype))
    return (
        np.pad(squares, ((0, 0), (0, 0), (4, 4)), constant_values=1)
        .transpose(1, 0, 2)
        .reshape(1, squares.shape[1], -1)
    )
