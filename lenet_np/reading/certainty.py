"""How sure a network is: the probability that it gives to each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lenet_np.ops import Array
from lenet_np.state import Settings


def class_probabilities(logits: Array, settings: Settings) -> NDArray[np.float64]:
    """Turn logits into probabilities, in the way that the training has given them a meaning.

    ==============  ============================================================
    cross-entropy   p_k = exp(l_k) / sum_j exp(l_j), the softmax
    zero-one        P_k = P(argmax(l + sigma eps) = k), eps ~ N(0, I): the share of noise under
                    which the class wins. Exact, by `lenet_np.smoothed`; no samples are drawn.
    ==============  ============================================================

    Both order the classes as the logits do.

    Parameters
    ----------
    logits : (K, N)
    settings : Settings
        Those of the training: ``loss`` and ``sigma``.

    Returns
    -------
    (K, N) float64, every column sums to 1.
    """
    logits = logits.astype(np.float64)
    if settings.loss == "cross-entropy":
        exponentials = np.exp(logits - logits.max(axis=0))
        softmax: NDArray[np.float64] = exponentials / exponentials.sum(axis=0)
        return softmax
    from lenet_np.smoothed import negative_log_success  # SciPy is slow to start

    classes, batch = logits.shape
    # Each class in turn is the label: its probability of success is its share of the noise.
    labels = np.repeat(np.eye(classes), batch, axis=1)
    surprise = negative_log_success(np.tile(logits, classes), labels, settings.sigma).loss
    shares: NDArray[np.float64] = np.exp(-surprise).reshape(classes, batch)
    return shares


def describe(settings: Settings) -> str:
    """Say in words what `class_probabilities` are."""
    if settings.loss == "cross-entropy":
        return "probability of each class (softmax)"
    noise = f"noise of standard deviation {settings.sigma:g} on the logits"
    return f"share of {noise} under which each class wins (exact)"
