"""Estimators of the smoothed loss's gradient: other noise, other weights, the same samples.

Every estimator here is a way of drawing the noise and a way of weighing it. The first five take
any loss and see nothing but its values; the last two know that the loss is the 0-1 loss of an
argmax, and use it.

Two objectives can be descended. ``error`` is the notebook's: J = 1 - P, the probability of an
error under the noise. ``log-success`` is -log P, whose gradient is g/P: it divides by the number
of samples that succeed instead of by the number of samples, and so keeps pulling where success is
rare (maximum likelihood reinforcement learning, arXiv 2602.02710). ``docs/estimators.md`` compares
them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lenet_np.es import (
    Estimate,
    Weighing,
    Weights,
    estimate_weighed,
    nan_where_not_finite,
    perturb,
    sample_noise,
)
from lenet_np.losses import Loss, LossError, predict, zero_one_loss
from lenet_np.ops import Array

#: Draws noise (K, n, N): (rng, classes, samples, batch, dtype), as `es.sample_noise` does.
Draw = Callable[[np.random.Generator, int, int, int, DTypeLike], Array]
#: Estimates from (loss, logits (K, N), labels (K, N), noise (K, n, N), sigma).
EstimateFunction = Callable[[Loss, Array, Array, Any, float], Estimate]

OBJECTIVES = ("error", "log-success")

#: What an estimator asks of the number of samples: in words, and as a test.
Requirement = tuple[str, Callable[[int], bool]]
AT_LEAST_ONE: Requirement = ("takes at least one sample", lambda n: n >= 1)
AT_LEAST_TWO: Requirement = ("comparing samples takes at least two of them", lambda n: n >= 2)
EVEN: Requirement = (
    "antithetic samples come in pairs: takes an even number",
    lambda n: n >= 2 and n % 2 == 0,
)
POWER_OF_TWO: Requirement = (
    "a Sobol sequence is balanced for a power of two: takes 1, 2, 4, ..., 128, 256, ...",
    lambda n: n >= 1 and n & (n - 1) == 0,
)


def require(requirement: Requirement, samples: int) -> None:
    """Raise ValueError if the number of samples will not do."""
    text, is_met = requirement
    if not is_met(samples):
        raise ValueError(f"{text}, got {samples}")


# --- ways of drawing the noise ------------------------------------------------------------------


def antithetic_noise(
    rng: np.random.Generator,
    classes: int,
    samples: int,
    batch: int,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Draw n/2 samples and take each with its negative: the noise then sums to zero exactly."""
    require(EVEN, samples)
    half = sample_noise(rng, classes, samples // 2, batch, dtype)
    return np.concatenate([half, -half], axis=1)


def orthogonal_noise(
    rng: np.random.Generator,
    classes: int,
    samples: int,
    batch: int,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Draw noise in blocks of K samples that are orthogonal to each other, each still N(0, I).

    Of B blocks, block b holds the samples b, b + B, b + 2B and so on.
    Gram-Schmidt turns K Gaussian vectors into a uniformly random orthonormal frame (the Q of a QR
    decomposition whose R has a positive diagonal); the lengths of other Gaussian vectors give
    each its norm back. Source: Choromanski et al. 2018 (arXiv 1804.02395).
    """
    blocks = -(-samples // classes)
    vectors = sample_noise(rng, classes, classes * blocks, batch, np.float64)
    lengths = np.linalg.norm(
        sample_noise(rng, classes, classes * blocks, batch, np.float64), axis=0
    )
    frames = vectors.reshape(classes, classes, -1)  # [component, vector, block]
    for i in range(classes):
        # Against those before it, one after the other (modified Gram-Schmidt).
        for j in range(i):
            frames[:, i] -= (frames[:, j] * frames[:, i]).sum(axis=0) * frames[:, j]
        frames[:, i] /= np.linalg.norm(frames[:, i], axis=0)
    noise = frames.reshape(classes, classes * blocks, batch) * lengths
    return np.ascontiguousarray(noise[:, :samples], dtype=dtype)


def sobol_noise(
    rng: np.random.Generator,
    classes: int,
    samples: int,
    batch: int,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Draw noise from a scrambled Sobol sequence, which fills the space evenly.

    The scrambled points are uniform on (0, 1)^K, each by itself. All examples share the
    scrambling, and a digital shift of its own for each makes them uncorrelated. Phi⁻¹ makes the
    points normal. Source: Owen 1997, Monte Carlo variance of scrambled net quadrature.
    """
    from scipy.special import ndtri
    from scipy.stats.qmc import Sobol  # Heavy, and needed by this estimator alone.

    require(POWER_OF_TWO, samples)
    bits = 30
    points = Sobol(classes, scramble=True, bits=bits, seed=rng).random(samples)
    digits = (points * 2**bits).astype(np.uint32).T[:, :, np.newaxis]
    shift = rng.integers(0, 2**bits, (classes, 1, batch), dtype=np.uint32)
    uniform = ((digits ^ shift) + 0.5) / 2**bits
    return np.asarray(ndtri(uniform), dtype=dtype)


# --- ways of weighing it: functions of F (n, N) alone -------------------------------------------


def plain(values: Array) -> Weights:
    """Take each sample as it is: w_i = F_i / n."""
    return Weights(values, len(values))


def leave_one_out(values: Array) -> Weights:
    """Compare each sample with the mean of all others: what all share teaches nothing.

    w_i = (F_i - mean F) / (n - 1)

    The same as subtracting from each F_i the mean of the others. Unbiased for independent samples,
    and for orthogonal ones, where the sign of each is free.
    Source: Kool et al. 2019, Buy 4 REINFORCE samples, get a baseline for free!
    """
    require(AT_LEAST_TWO, len(values))
    return Weights(values - values.mean(axis=0), len(values) - 1)


def log_success(values: Array) -> Weights:
    """Weigh for the gradient of -log P: the noise of all samples less that of the successes.

    w_i = 1/n - success_i / number of successes,   0 without a success

    Without the first mean it is unbiased for the gradient of -log P truncated after n terms of
    its series, sum_{k=1..n} (1 - P)^k / k. The first mean takes away the noise where nearly all
    succeed; left out where none does, it costs one term of the series: n - 1 are left. It equals
    `leave_one_out` divided by the share of successes, times (n - 1)/n. LossError if F takes other
    values than 0 and 1. Source: Maximum Likelihood Reinforcement Learning (arXiv 2602.02710).
    """
    if not np.isin(values[np.isfinite(values)], (0, 1)).all():
        raise LossError(
            "log-success counts successes: the loss must be 0 or 1 for every sample, "
            "as the 0-1 loss is"
        )
    success = 1 - values
    count = success.sum(axis=0)
    # Without a success there is no signal, and the mean of all is nothing but noise.
    weights = 1 / values.dtype.type(len(values)) - success / np.maximum(count, 1)
    return Weights(weights * (count > 0), 1)


def leave_one_out_log_success(values: Array) -> Weights:
    """Divide `leave_one_out` by the share of successes; 0 without one."""
    require(AT_LEAST_TWO, len(values))
    return Weights(log_success(values).values, (len(values) - 1) / len(values))


def centred_ranks(values: Array) -> Weights:
    """Shape by ranks, as the paper does: w_i = (rank_i / (n - 1) - 1/2) / n; ties share their mean.

    The size of a loss no longer counts, only its order. Salimans et al. 2017, section 2.1.
    """
    require(AT_LEAST_TWO, len(values))
    less = (values[:, np.newaxis] > values).sum(axis=1)
    equal = (values[:, np.newaxis] == values).sum(axis=1) - 1
    ranks = (less + equal / 2).astype(values.dtype) / (len(values) - 1)
    return Weights(np.where(np.isnan(values), np.nan, ranks - ranks.dtype.type(0.5)), len(values))


# --- those that know the argmax -----------------------------------------------------------------


def rao_blackwell(loss: Loss, logits: Array, labels: Array, noise: Array, sigma: float) -> Estimate:
    """Integrate over the label's own noise exactly, and sample that of its rivals.

    With M = max_{j != y} (l_j + sigma ε_j) and c = (M - l_y)/sigma, a sample fails with
    probability Phi(c), and a rival that holds the maximum pulls with phi(c):

        J = mean Phi(c),  g_y = - mean phi(c) / sigma,  g_j = mean phi(c) [j holds M] / sigma

    Unbiased, as conditioning on part of the noise always is, and bounded; the gradient of each
    example sums to zero. ValueError if the loss is not the 0-1 loss.
    Source: Casella & Robert 1996, Rao-Blackwellisation of sampling schemes.
    """
    from scipy.special import ndtr

    c, holds = _integrate_label(loss, logits, labels, noise, sigma)
    density = np.exp(-(c**2) / 2) / np.sqrt(2 * np.pi)  # phi(c)
    gradient = (holds * density).mean(axis=1) - labels * density.mean(axis=0)
    return _estimate(logits, ndtr(c).mean(axis=0), gradient / sigma)


def rao_blackwell_log_success(
    loss: Loss, logits: Array, labels: Array, noise: Array, sigma: float
) -> Estimate:
    """Divide `rao_blackwell` by its own estimate of P, mean Phi(-c), which is never zero.

    However small P is: numerator and denominator are brought to one scale before they are formed.
    """
    from scipy.special import log_ndtr, ndtr

    c, holds = _integrate_label(loss, logits, labels, noise, sigma)
    log_success = log_ndtr(-c)
    top = log_success.max(axis=0)
    weight = np.exp(-(c**2) / 2 - np.log(2 * np.pi) / 2 - top)  # phi(c), scaled
    weight /= np.exp(log_success - top).sum(axis=0)
    gradient = (holds * weight).sum(axis=1) - labels * weight.sum(axis=0)
    return _estimate(logits, ndtr(c).mean(axis=0), gradient / sigma)


def _integrate_label(
    loss: Loss, logits: Array, labels: Array, noise: Array, sigma: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give c (n, N) in float64, and which rival holds the maximum (K, n, N)."""
    _require_zero_one("rao-blackwell", loss)
    logits = np.where(np.isfinite(logits), logits, 0)  # NaN comes back in `_estimate`
    rivals = perturb(logits, noise, sigma)
    rivals[np.broadcast_to(labels[:, np.newaxis] > 0, rivals.shape)] = -np.inf
    c = (rivals.max(axis=0).astype(np.float64) - (labels * logits).sum(axis=0)) / sigma
    classes = np.arange(len(logits), dtype=np.uint8).reshape(-1, 1, 1)
    return c, predict(rivals) == classes


def _estimate(logits: Array, loss: NDArray[np.float64], gradient: NDArray[np.float64]) -> Estimate:
    return Estimate(
        nan_where_not_finite(logits, loss.astype(logits.dtype)),
        nan_where_not_finite(logits, gradient.astype(logits.dtype)),
    )


def exact(loss: Loss, logits: Array, labels: Array, noise: Any, sigma: float) -> Estimate:
    """Take the gradient of J itself, from `smoothed.smoothed_zero_one`; the noise is not used."""
    from lenet_np.smoothed import smoothed_zero_one

    _require_zero_one("exact", loss)
    return smoothed_zero_one(logits, labels, sigma)


def exact_log_success(
    loss: Loss, logits: Array, labels: Array, noise: Any, sigma: float
) -> Estimate:
    """Take the gradient of -log P itself; the loss returned is J. The noise is not used."""
    from lenet_np.smoothed import negative_log_success

    _require_zero_one("exact", loss)
    minus_log, gradient = negative_log_success(logits, labels, sigma)
    return Estimate(-np.expm1(-minus_log), gradient)


def _require_zero_one(name: str, loss: Loss) -> None:
    if loss is not zero_one_loss:
        raise ValueError(
            f"the estimator {name} is made for losses.zero_one_loss alone: for another loss "
            f"use one that asks for nothing but values, such as leave-one-out"
        )


# --- the table ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimator:
    """How to draw the noise, None if no noise is needed, and how to estimate each objective."""

    draw: Draw | None
    objectives: dict[str, EstimateFunction]  # by the names in `OBJECTIVES`
    samples: Requirement = AT_LEAST_ONE

    def check_samples(self, samples: int, objective: str) -> None:
        """Raise ValueError, with the reason, where it cannot work with this number of samples."""
        require(self.samples, samples)
        if self.objectives is PLAIN and objective == "log-success" and samples == 1:
            raise ValueError(
                "log-success compares the successes with all samples: with a single sample its "
                "gradient is always zero, takes at least 2"
            )


def weighed(error: Weighing, log_success: Weighing) -> dict[str, EstimateFunction]:
    """Make estimates for both objectives from ways of weighing."""
    return {
        "error": partial(estimate_weighed, error),
        "log-success": partial(estimate_weighed, log_success),
    }


PLAIN = weighed(plain, log_success)
CENTRED = weighed(leave_one_out, leave_one_out_log_success)

ESTIMATORS = {
    "plain": Estimator(sample_noise, PLAIN),
    "leave-one-out": Estimator(sample_noise, CENTRED, AT_LEAST_TWO),
    "antithetic": Estimator(antithetic_noise, PLAIN, EVEN),
    "orthogonal": Estimator(orthogonal_noise, CENTRED, AT_LEAST_TWO),
    "sobol": Estimator(sobol_noise, PLAIN, POWER_OF_TWO),
    "rao-blackwell": Estimator(
        sample_noise, {"error": rao_blackwell, "log-success": rao_blackwell_log_success}
    ),
    "exact": Estimator(None, {"error": exact, "log-success": exact_log_success}),
}


class WeightEstimator(NamedTuple):
    """How noise in the weights is drawn, and how it is weighed for each objective."""

    mirrored: bool  # half of the samples are the others with the opposite sign
    weighings: dict[str, Weighing]
    samples: Requirement = AT_LEAST_ONE


#: Of `lenet_np.weights`. Mirrored noise sums to zero: `leave_one_out`, which divides by n - 1 for a
#: mean that it takes away, would be n / (n - 1) too long on it.
WEIGHT_ESTIMATORS = {
    "plain": WeightEstimator(False, {"error": plain, "log-success": log_success}),
    "leave-one-out": WeightEstimator(
        False,
        {"error": leave_one_out, "log-success": leave_one_out_log_success},
        AT_LEAST_TWO,
    ),
    "antithetic": WeightEstimator(True, {"error": plain, "log-success": log_success}, EVEN),
    "ranks": WeightEstimator(True, {"error": centred_ranks}, EVEN),
}
