"""Ways of learning from a count of errors that the lesson does not have, each in a few lines.

Each gives dlogits (K, N) from logits, one-hot labels (K, N) and a random generator. With
P_k = softmax(l)_k, docs/which-gradient.md says what each of them is the derivative of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from lenet_np.es import Weighing, estimate_weighed, sample_noise
from lenet_np.estimators import leave_one_out, log_success
from lenet_np.losses import Loss, cross_entropy_gradient, margin, zero_one_loss
from lenet_np.ops import Array
from lenet_np.smoothed import negative_log_success, smoothed_zero_one

SAMPLES, SIGMA = 200, 4.0

Method = Callable[[Array, Array, np.random.Generator], Array]


def softmax(logits: Array) -> Array:
    """Compute P_k = exp(l_k) / sum_j exp(l_j), in float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=0))
    probabilities: Array = exponentials / exponentials.sum(axis=0)
    return probabilities


def evolution(
    loss: Loss, weigh: Weighing, logits: Array, labels: Array, rng: np.random.Generator
) -> Array:
    """Estimate as the lesson does, from Gaussian noise: E[F(l + sigma ε) ε] / sigma."""
    noise = sample_noise(rng, len(logits), SAMPLES, logits.shape[1], logits.dtype)
    return estimate_weighed(weigh, loss, logits, labels, noise, SIGMA).gradient


def gumbel(weigh: Weighing, logits: Array, labels: Array, rng: np.random.Generator) -> Array:
    """Estimate from Gumbel noise, which is -log e with e ~ Exp(1): E[F(l - log e) (1 - e)].

    1 - e is the derivative of the noise's log-density by l, as ε/sigma is that of Gaussian noise.
    The label wins with probability P_y exactly (Gumbel 1954; Maddison et al. 2014, A* sampling).
    """
    shape = (len(logits), SAMPLES, logits.shape[1])
    e = np.maximum(rng.standard_exponential(shape, logits.dtype), 1e-30)
    values = zero_one_loss(logits[:, np.newaxis] - np.log(e), labels[:, np.newaxis])
    weights, divisor = weigh(values)
    gradient: Array = ((1 - e) * weights).sum(axis=1) / divisor
    return gradient


def reinforce(logits: Array, labels: Array, rng: np.random.Generator) -> Array:
    """Answer at random with softmax's probabilities, and compare each answer with the others.

    g = sum_i (F_i - mean F) (onehot(a_i) - P) / (n - 1)

    All samples with one answer share F and onehot, so it is enough to count them; the terms with P
    cancel. Source: Williams 1992; the baseline, Kool et al. 2019, as in
    `estimators.leave_one_out`.
    """
    counts = rng.multinomial(SAMPLES, softmax(logits).T).T.astype(logits.dtype)  # (K, N)
    loss = 1 - labels  # F of each answer
    mean = (counts * loss).sum(axis=0) / SAMPLES
    gradient: Array = counts * (loss - mean) / (SAMPLES - 1)
    return gradient


def straight_through(logits: Array, labels: Array, rng: np.random.Generator) -> Array:
    """Go forward through argmax and back through softmax, for F = 1 - y·onehot(argmax l).

    dF/donehot = -y, and softmax's Jacobian makes of it dl = P * (P_y - y): the derivative of
    1 - P_y. Source: Bengio et al. 2013 (arXiv 1308.3432).
    """
    p, danswer = softmax(logits), -labels
    gradient: Array = p * (danswer - (p * danswer).sum(axis=0))
    return gradient.astype(logits.dtype)


def hinge(logits: Array, labels: Array, rng: np.random.Generator) -> Array:
    """Differentiate max(0, 1 - margin): the best rival down and the label up where it leads by < 1.

    Source: Crammer & Singer 2001.
    """
    rivals = np.where(labels > 0, -np.inf, logits)
    best = np.arange(len(logits))[:, np.newaxis] == rivals.argmax(axis=0)
    gradient: Array = (best - labels) * (margin(logits, labels) < 1)
    return gradient


class Way(NamedTuple):
    """A method, and what it estimates from (logits, labels): None where it is without noise."""

    method: Method
    exact: Callable[[Array, Array], Array] | None = None


def _one_minus_p(logits: Array, labels: Array) -> Array:
    return straight_through(logits, labels, np.random.default_rng())  # which it does not use


WAYS = {
    "ES error": Way(
        partial(evolution, zero_one_loss, leave_one_out),
        lambda logits, labels: smoothed_zero_one(logits, labels, SIGMA).gradient,
    ),
    "ES log-success": Way(
        partial(evolution, zero_one_loss, log_success),
        lambda logits, labels: negative_log_success(logits, labels, SIGMA).gradient,
    ),
    "REINFORCE": Way(reinforce, _one_minus_p),
    "Gumbel error": Way(partial(gumbel, leave_one_out), _one_minus_p),
    "Gumbel log-success": Way(partial(gumbel, log_success), cross_entropy_gradient),
    "straight-through": Way(straight_through),
    "hinge": Way(hinge),
    "cross-entropy": Way(lambda logits, labels, rng: cross_entropy_gradient(logits, labels)),
}
