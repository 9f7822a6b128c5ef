"""How well a network reads digits: accuracy, and the recall of each class."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES, Split
from lenet_np.data.minibatch import gather
from lenet_np.layers import Sequential
from lenet_np.losses import predict
from lenet_np.ops import Parameters
from lenet_np.runs.threads import default_threads, one_blas_thread


class Evaluation(NamedTuple):
    """The result of reading every image of a split once."""

    accuracy: float  # share of images read right
    recall: NDArray[np.float64]  # (10,), the same for the images of each class; nan if none
    predicted: NDArray[np.int64]  # (10,), how often each class was the answer

    def dead_classes(self) -> list[int]:
        """List the classes that were never the answer."""
        return [int(k) for k in np.flatnonzero(self.predicted == 0)]


def evaluate(
    network: Sequential,
    parameters: Parameters,
    split: Split,
    batch_size: int = 128,
    threads: int | None = None,
) -> Evaluation:
    """Read every image of a split, batch by batch.

    accuracy = sum_b N_b accuracy_b / sum_b N_b: each batch counts by its size, so that a short
    last batch does not count too much.

    Parameters
    ----------
    network : Sequential
    parameters : dict from `Sequential.init` or training
    split : Split
    batch_size : int
        Bounds the memory; the result does not depend on it.
    threads : int, optional
        How many batches are read at a time; by default one for each core.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If the split is empty or the batch size is below 1.
    """
    if len(split) == 0 or batch_size < 1:
        raise ValueError(
            f"evaluation needs examples and a batch size of at least 1, "
            f"got {len(split)} examples and batch size {batch_size}"
        )

    def read(start: int) -> NDArray[np.uint8]:
        images, _ = gather(split, slice(start, start + batch_size))
        return predict(network.forward(parameters, images)[0])

    count = default_threads() if threads is None else threads
    with one_blas_thread(), ThreadPoolExecutor(count) as pool:
        answers = np.concatenate(list(pool.map(read, range(0, len(split), batch_size))))
    confusion = np.zeros((CLASSES, CLASSES), np.int64)  # [label, answer]
    np.add.at(confusion, (split.classes, answers), 1)
    right, examples = np.diag(confusion), confusion.sum(axis=1)
    recall = np.divide(right, examples, out=np.full(CLASSES, np.nan), where=examples > 0)
    return Evaluation(float(right.sum() / examples.sum()), recall, confusion.sum(axis=0))
