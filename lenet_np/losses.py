"""Losses: one number for each example, never summed or averaged behind the reader's back.

What a minibatch optimises is the SUM over its examples, so the gradient of a minibatch is the sum
of the gradients of its examples, whatever way it is cut into parts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lenet_np.ops import Array

#: Any function of (logits, one-hot labels) that gives one loss for each example. With samples,
#: logits are (K, n, N), labels (K, 1, N) and losses (n, N): the same labels for every sample.
Loss = Callable[[Array, Array], Array]


class LossError(ValueError):
    """A loss did not give what it must; the message says what is expected, and what it gave."""


def predict(logits: Array) -> NDArray[np.uint8]:
    """Name the class of the largest logit: argmax over the first axis, the first one on ties.

    Logits (K, ...) give classes (...). Where a logit is NaN the answer means nothing: check first.
    ValueError if there are more than 256 classes.
    """
    return _argmax_by_planes(logits)


def _argmax_by_planes(x: Array) -> NDArray[np.uint8]:
    """Compute argmax over a short first axis several times faster than np.argmax does.

    Whole planes are read in order of memory. Plane k has rank K - 1 - k: of the planes that hold
    the maximum, the first has the highest.
    """
    if len(x) > 256:
        raise ValueError(f"classes are counted in a byte: at most 256, got {len(x)}")
    rank = np.arange(len(x), dtype=np.uint8)[::-1].reshape(-1, *[1] * (x.ndim - 1))
    winner: NDArray[np.uint8] = rank[0] - ((x == x.max(axis=0)) * rank).max(axis=0)
    return winner


def zero_one_loss(logits: Array, labels: Array) -> Array:
    """Count an error: F = [argmax_k logits_k != argmax_k labels_k], 0 or 1 in the logits' dtype.

    It is flat almost everywhere and jumps where two logits are equal: there is no gradient to
    descend. As for every `Loss` here, logits and labels are (K, ..., N), the losses (..., N).
    """
    errors: Array = (predict(logits) != predict(labels)).astype(logits.dtype)
    return errors


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Measure the surprise at the label, in nats: -log softmax(logits)_y.

    = log sum_k exp(l_k - m) - (l_y - m) with m = max_k l_k, which cannot overflow.
    """
    shifted = logits - logits.max(axis=0)
    log_sum: Array = np.log(np.exp(shifted).sum(axis=0))
    label_logits: Array = (labels * shifted).sum(axis=0)
    return log_sum - label_logits


def cross_entropy_gradient(logits: Array, labels: Array) -> Array:
    """Differentiate the cross-entropy of each example: softmax(logits) - labels, both (K, N)."""
    exponentials = np.exp(logits - logits.max(axis=0))
    gradient: Array = exponentials / exponentials.sum(axis=0) - labels
    return gradient


def squared_error(logits: Array, targets: Array) -> Array:
    """Average the squared distance over the classes: (1/K) sum_k (l_k - t_k)²."""
    error: Array = np.square(logits - targets).mean(axis=0)
    return error


def squared_error_gradient(logits: Array, targets: Array) -> Array:
    """Differentiate the squared error of each example: (2/K) (l - t)."""
    return (logits - targets) * (2 / len(logits))


def margin(logits: Array, labels: Array) -> Array:
    """Measure by how much the label leads its best rival: l_y - max_{j != y} l_j, (N,)."""
    label_logits: Array = (labels * logits).sum(axis=0)
    best_rivals: Array = np.where(labels > 0, -np.inf, logits).max(axis=0)
    return label_logits - best_rivals
