"""Minibatches: the one place where the user's layout becomes the network's, batch last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.dataset import Split, pad_to_32


def batch_last(
    images: NDArray[np.float32], labels: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pad images, and move the batch to the last axis.

    Parameters
    ----------
    images : (N, 28, 28, 1) float32
    labels : (N, 10) float32, one-hot

    Returns
    -------
    images : (1, 32, 32, N) float32
    labels : (10, N) float32

    Raises
    ------
    ValueError
        If the images are not 28x28 with one channel.
    """
    return np.ascontiguousarray(pad_to_32(images).T.swapaxes(1, 2)), np.ascontiguousarray(labels.T)


def gather(split: Split, indices: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pick the examples of a minibatch, ready for the network.

    Parameters
    ----------
    split : Split
    indices : slice or (N,) integers

    Returns
    -------
    images : (1, 32, 32, N) float32
    labels : (10, N) float32, one-hot
    """
    return batch_last(*split[indices])
