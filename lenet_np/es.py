"""Evolution Strategies: the gradient of a loss that has none, from its values alone.

Blur the loss with Gaussian noise, J(l) = E[F(l + sigma eps)], eps ~ N(0, I). J is smooth even
where F jumps, and its gradient is an average over the noise (Salimans et al. 2017,
arXiv 1703.03864, section 2):

    dJ/dl = E[F(l + sigma eps) eps] / sigma

Here l are the logits of one example. Drawing the noise and using it are two functions: given the
noise, the estimate is an ordinary function that can be checked to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from lenet_np.losses import Loss
from lenet_np.ops import Array


class Estimate(NamedTuple):
    """What the samples say about each example of a batch."""

    loss: Array  # (N,), estimate of J
    gradient: Array  # (K, N), estimate of dJ/dlogits


def sample_noise(
    rng: np.random.Generator,
    classes: int,
    samples: int,
    batch: int,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Draw eps ~ N(0, I), independent for every class, sample and example.

    eps_1 = sqrt(-2 log u) cos(2 pi v),  eps_2 = sqrt(-2 log u) sin(2 pi v)

    Two independent uniform numbers u and v make two independent normal ones: half the squared
    length of a normal vector in the plane is exponential, and no direction is preferred. On whole
    arrays this is more than three times as fast as the generator's own normal numbers, which it
    makes one by one. A float32 u is a multiple of 2^-24, so no float32 noise lies beyond 5.8,
    where N(0, 1) has 8e-9 of its mass.

    Source: Box & Muller 1958, A Note on the Generation of Random Normal Deviates.

    Parameters
    ----------
    rng : numpy.random.Generator
    classes, samples, batch : int
        K, n and N.
    dtype : float32 or float64

    Returns
    -------
    (K, n, N)
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
    """Evaluate the loss at every noisy copy of the logits: F_i = F(l + sigma eps_i).

    Parameters
    ----------
    loss : function of (logits (K, n, N), labels (K, 1, N)) giving (n, N)
        Any loss of the logits, differentiable or not.
    logits : (K, N)
    labels : (K, N), one-hot
    noise : (K, n, N), same dtype as the logits
    sigma : float
        Standard deviation of the blur, in units of the logits.

    Returns
    -------
    (n, N); NaN for an example with a logit that is not finite.

    Raises
    ------
    ValueError
        If sigma is not a positive number, there is no sample, or shapes or dtypes differ.
    """
    perturbed = perturb(logits, noise, sigma)
    return nan_where_not_finite(logits, loss(perturbed, labels[:, np.newaxis]))


def perturb(logits: Array, noise: Array, sigma: float) -> Array:
    """Make the noisy copies of the logits: l + sigma eps_i.

    Parameters
    ----------
    logits : (K, N)
    noise : (K, n, N), same dtype as the logits
    sigma : float

    Returns
    -------
    (K, n, N)

    Raises
    ------
    ValueError
        If sigma is not a positive number, there is no sample, or shapes or dtypes differ.
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


def nan_where_not_finite(logits: Array, values: Array) -> Array:
    """Put NaN where a logit of the example is not finite: no number is better than a wrong one.

    Parameters
    ----------
    logits : (K, N)
    values : (..., N)

    Returns
    -------
    (..., N), same dtype.
    """
    finite = np.isfinite(logits).all(axis=0)
    return values if finite.all() else np.where(finite, values, values.dtype.type(np.nan))


def estimate_gradient(
    loss: Loss, logits: Array, labels: Array, noise: Array, sigma: float
) -> Estimate:
    """Estimate the gradient of the smoothed loss, all samples at once.

    g = (1/n) sum_i F(l + sigma eps_i) eps_i / sigma

    Unbiased for every n; the cost is n evaluations of the loss, and none of the network. This is
    the notebook's estimator; `lenet_np.estimators` has others for the same samples.
    Source: Salimans et al. 2017 (arXiv 1703.03864), section 2.

    Parameters
    ----------
    loss, logits, labels, noise, sigma
        As in `evaluate_samples`.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        As `evaluate_samples` does.
    """
    values = evaluate_samples(loss, logits, labels, noise, sigma)  # F, (n, N)
    gradient = (noise * values).mean(axis=1) / noise_scale(sigma, logits)
    return Estimate(values.mean(axis=0), gradient)


def estimate_gradient_one_by_one(
    loss: Loss, logits: Array, labels: Array, noise: Iterable[Array], sigma: float
) -> Estimate:
    """Estimate the same gradient sample by sample, in constant memory.

    The sums of F and F eps are all that is kept, so ``noise`` may be a generator that draws each
    sample when it is asked for.

    Parameters
    ----------
    loss, logits, labels, sigma
        As in `estimate_gradient`; the loss is called with logits (K, N).
    noise : iterable of (K, N)

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        As `estimate_gradient` does.
    """
    scale = noise_scale(sigma, logits)
    loss_sum = np.zeros_like(logits[0])
    gradient_sum = np.zeros_like(logits)
    samples = 0
    for eps in noise:
        if eps.shape != logits.shape:
            raise ValueError(f"each sample must have shape {logits.shape}, got {eps.shape}")
        _check_dtype(eps, logits)
        value = loss(logits + eps * scale, labels)
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
    """Give sigma the dtype of the logits, in which it must still be a positive number.

    Parameters
    ----------
    sigma : float
    logits : any shape

    Returns
    -------
    NumPy scalar

    Raises
    ------
    ValueError
        If it is none.
    """
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
