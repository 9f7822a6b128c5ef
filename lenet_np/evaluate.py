"""How well a network reads digits: accuracy, recall of each class, and what is taken for what."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES, Split
from lenet_np.data.minibatch import gather
from lenet_np.layers import Sequential
from lenet_np.losses import predict
from lenet_np.ops import Array, Parameters
from lenet_np.threads import default_threads, one_blas_thread


class Evaluation(NamedTuple):
    """The result of reading every image of a split once."""

    confusion: NDArray[np.int64]  # (10, 10), images of each label (row) by the answer (column)

    @property
    def accuracy(self) -> float:
        """The share of images that were read right."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def recall(self) -> NDArray[np.float64]:
        """(10,), the share read right of the images of each class; NaN if there are none."""
        return _shares(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def precision(self) -> NDArray[np.float64]:
        """(10,), the share that is right of each answer; NaN if it was never given."""
        return _shares(np.diag(self.confusion), self.predicted)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(10,), how often each class was the answer."""
        counts: NDArray[np.int64] = self.confusion.sum(axis=0)
        return counts

    def dead_classes(self) -> list[int]:
        """List the classes that were never the answer."""
        return [int(k) for k in np.flatnonzero(self.predicted == 0)]


def logits_of(
    network: Sequential,
    parameters: Parameters,
    split: Split,
    batch_size: int = 128,
    threads: int | None = None,
) -> Array:
    """Run every image of a split through the network, batch by batch: (10, N) float32.

    The result depends neither on the batch size, which bounds the memory, nor on the number of
    threads, by default one for each core. ValueError if the split is empty or the batch size is
    below 1.
    """
    if len(split) == 0 or batch_size < 1:
        raise ValueError(
            f"evaluation needs examples and a batch size of at least 1, "
            f"got {len(split)} examples and batch size {batch_size}"
        )

    def read(start: int) -> Array:
        images, _ = gather(split, slice(start, start + batch_size))
        return network.forward(parameters, images, need_caches=False)[0]

    count = default_threads() if threads is None else threads
    with one_blas_thread(), ThreadPoolExecutor(count) as pool:
        return np.concatenate(list(pool.map(read, range(0, len(split), batch_size))), axis=1)


def evaluate(
    network: Sequential,
    parameters: Parameters,
    split: Split,
    batch_size: int = 128,
    threads: int | None = None,
) -> Evaluation:
    """Read every image of a split, as `logits_of` does, and count the answers."""
    return count_answers(
        split.classes, predict(logits_of(network, parameters, split, batch_size, threads))
    )


def count_answers(classes: NDArray[np.uint8], answers: NDArray[np.uint8]) -> Evaluation:
    """Count how often each label (N,) got each answer (N,)."""
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(confusion, (classes, answers), 1)
    return Evaluation(confusion)


def _shares(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.divide(
        part, whole, out=np.full(CLASSES, np.nan), where=whole > 0
    )
    return shares
