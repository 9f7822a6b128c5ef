"""Evolution Strategies: the gradient of a loss that has none, from its values alone.

Blur the loss with Gaussian noise, J(l) = E[F(l + sigma ε)], ε ~ N(0, I). J is smooth even
where F jumps, and its gradient is an average over the noise (Salimans et al. 2017,
arXiv 1703.03864, section 2):

    dJ/dl = E[F(l + sigma ε) ε] / sigma

Here l are the logits of one example. An estimate takes four steps: draw the noise, evaluate F,
weigh the samples, apply the weights to the noise. Given the noise, all that follows is an
ordinary function that can be checked to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from lenet_np.losses import Loss, LossError
from lenet_np.ops import Array


class Estimate(NamedTuple):
    """What is known of each example of a batch."""

    loss: Array  # (N,), estimate of J
    gradient: Array  # (K, N), estimate of dJ/dlogits


class Weights(NamedTuple):
    """How much the noise of each sample counts: g = sum_i w_i ε_i / (divisor sigma)."""

    values: Array  # w, (n, N)
    divisor: float


#: A function of F (n, N) alone: it does not matter what the noise was added to.
Weighing = Callable[[Array], Weights]


def sample_noise(
    rng: np.random.Generator,
    classes: int,
    samples: int,
    batch: int,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Draw ε ~ N(0, I), independent for every class, sample and example: (K, n, N).

    ε_1 = sqrt(-2 log u) cos(2 pi v),  ε_2 = sqrt(-2 log u) sin(2 pi v)

    Two independent uniform numbers u and v make two independent normal ones: half the squared
    length of a normal vector in the plane is exponential, and no direction is preferred. On whole
    arrays this is more than three times as fast as the generator's own normal numbers, which it
    makes one by one. A float32 u is a multiple of 2^-24, so no float32 noise lies beyond 5.8,
    where N(0, 1) has 8e-9 of its mass.

    Source: Box & Muller 1958, A Note on the Generation of Random Normal Deviates.
    """
    shape = (classes, samples, batch)
    count = math.prod(shape)
    pairs = -(-count // 2)
    u, v = rng.random((2, pairs), dtype)  # type: ignore[arg-type]
    radius = np.sqrt(-2 * np.log(1 - u))  # u < 1, so the logarithm is finite; 1 - u is uniform too
    angle = 2 * np.pi * v
    noise: Array = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    return noise[:count].reshape(shape)


def evaluate_samples(loss: Loss, logits: Array, labels: Array, noise: Array, sigma: float) -> Array:
    """Evaluate the loss at every noisy copy of the logits: F_i = F(l + sigma ε_i), (n, N).

    The loss is any function of logits (K, n, N) and one-hot labels (K, 1, N), differentiable or
    not. Its values come back in the dtype of the logits, NaN for an example with a logit that is
    not finite. ValueError if it does not give (n, N) numbers, and as `perturb` does.
    """
    perturbed, labels = perturb(logits, noise, sigma), labels[:, np.newaxis]
    samples, batch = noise.shape[1:]
    if samples == batch > 1:  # Only a single example can tell (n, N) from (N, n) here.
        check_losses(loss(perturbed[..., :1], labels[..., :1]), (samples, 1), logits, "n, N")
    values = check_losses(loss(perturbed, labels), (samples, batch), logits, "n, N")
    return nan_where_not_finite(logits, values)


def perturb(logits: Array, noise: Array, sigma: float) -> Array:
    """Make the noisy copies of the logits: l + sigma ε_i, (K, n, N), sigma in units of logits.

    ValueError if sigma is not a positive number, there is no sample, or shapes or dtypes differ.
    """
    scale = noise_scale(sigma, logits)
    classes, batch = logits.shape
    if noise.ndim != 3 or noise.shape[::2] != (classes, batch) or noise.shape[1] < 1:
        raise ValueError(
            f"noise for logits {logits.shape} must have shape ({classes}, n, {batch}) with at "
            f"least one sample, got {noise.shape}"
        )
    _check_dtype(noise, logits)
    perturbed = noise * scale
    perturbed += logits[:, np.newaxis]
    return perturbed


def check_losses(values: Any, shape: tuple[int, ...], logits: Array, axes: str) -> Array:
    """Check what a loss has given, and give it the dtype of the logits.

    A wrong shape would be a wrong gradient in silence: LossError, which is a ValueError.
    """
    is_array = isinstance(values, np.ndarray | np.generic)
    if not is_array or values.shape != shape or values.dtype.kind not in "biuf":
        found = f"shape {values.shape} in {values.dtype}" if is_array else type(values).__name__
        raise LossError(
            f"the loss must give numbers of shape ({axes}) = {shape}, one for each sample"
            f"{' and example' if 'N' in axes else ''}; it gave {found}"
        )
    losses: Array = values.astype(logits.dtype, copy=False)
    return losses


@dataclass(frozen=True)
class BatchLoss:
    """A loss of a whole minibatch, such as an F-measure: every image of it has the same.

    F_s = F(l_1 + sigma ε_s1, ..., l_N + sigma ε_sN),   dJ/dl_i = E[F_s ε_si] / sigma

    The function is one of the same logits and labels as any `Loss`, and gives (n, 1).
    """

    function: Loss

    def __call__(self, logits: Array, labels: Array) -> Array:
        """Give the value of each sample to all images: (n, N)."""
        values = self.function(logits, labels)
        checked = check_losses(values, (logits.shape[1], 1), logits, "n, 1")
        return np.broadcast_to(checked, logits.shape[1:])


def nan_where_not_finite(logits: Array, values: Array) -> Array:
    """Put NaN into values (..., N) where a logit of the example is not finite.

    No number is better than a wrong one.
    """
    finite = np.isfinite(logits).all(axis=0)
    return values if finite.all() else np.where(finite, values, values.dtype.type(np.nan))


def estimate_gradient(
    loss: Loss, logits: Array, labels: Array, noise: Array, sigma: float
) -> Estimate:
    """Estimate the gradient of the smoothed loss, all samples at once.

    g = (1/n) sum_i F(l + sigma ε_i) ε_i / sigma

    Unbiased for every n; the cost is n evaluations of the loss, and none of the network. This is
    the notebook's estimator; `lenet_np.estimators` weighs the same samples in other ways.
    Arguments and errors are those of `evaluate_samples`.
    Source: Salimans et al. 2017 (arXiv 1703.03864), section 2.
    """
    values = evaluate_samples(loss, logits, labels, noise, sigma)  # F, (n, N)
    gradient = (noise * values).mean(axis=1) / noise_scale(sigma, logits)
    return Estimate(values.mean(axis=0), gradient)


def estimate_weighed(
    weigh: Weighing, loss: Loss, logits: Array, labels: Array, noise: Array, sigma: float
) -> Estimate:
    """Estimate a gradient in the four steps, with any weights: g = sum_i w_i ε_i / sigma.

    With w = F/n it is `estimate_gradient`.
    """
    values = evaluate_samples(loss, logits, labels, noise, sigma)
    weights, divisor = weigh(values)
    gradient = (noise * weights).sum(axis=1) / divisor / noise_scale(sigma, logits)
    return Estimate(values.mean(axis=0), gradient)


def estimate_gradient_one_by_one(
    loss: Loss, logits: Array, labels: Array, noise: Iterable[Array], sigma: float
) -> Estimate:
    """Estimate the gradient of `estimate_gradient` sample by sample, in constant memory.

    The sums of F and F ε are all that is kept, so the noise may be a generator that draws each
    sample (K, N) when it is asked for. The loss is called with logits and labels (K, N).
    """
    scale = noise_scale(sigma, logits)
    loss_sum = np.zeros_like(logits[0])
    gradient_sum = np.zeros_like(logits)
    samples = 0
    for eps in noise:
        if eps.shape != logits.shape:
            raise ValueError(f"each sample must have shape {logits.shape}, got {eps.shape}")
        _check_dtype(eps, logits)
        value = check_losses(loss(logits + eps * scale, labels), logits.shape[1:], logits, "N,")
        loss_sum += value
        gradient_sum += value * eps
        samples += 1
    if samples == 0:
        raise ValueError("no estimate without a sample: the noise was empty")
    return Estimate(
        nan_where_not_finite(logits, loss_sum / samples),
        nan_where_not_finite(logits, gradient_sum / samples / scale),
    )


def noise_scale(sigma: float, logits: Array) -> np.floating[Any]:
    """Give sigma the dtype of the logits; ValueError if it is not a positive number in it."""
    with np.errstate(over="ignore"):
        scale: np.floating[Any] = logits.dtype.type(sigma)
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(
            f"sigma must be a positive number, got {sigma} ({scale} in {logits.dtype})"
        )
    return scale


def _check_dtype(noise: Array, logits: Array) -> None:
    if noise.dtype != logits.dtype or not np.issubdtype(noise.dtype, np.floating):
        raise ValueError(
            f"noise and logits must be floats of one dtype, got {noise.dtype} and {logits.dtype}"
        )
