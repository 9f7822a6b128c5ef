"""The smoothed 0-1 loss itself, without a single sample: the oracle that judges the estimators."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from lenet_np.es import Estimate
from lenet_np.losses import predict
from lenet_np.ops import Array

# The integrand is analytic and below 1e-14 outside [-8, 8]; there the trapezoid rule converges
# geometrically, and 55 nodes reach the rounding of float64.
NODES: NDArray[np.float64] = np.linspace(-8.0, 8.0, 55)
WEIGHTS: NDArray[np.float64] = (NODES[1] - NODES[0]) * np.exp(-(NODES**2) / 2) / np.sqrt(2 * np.pi)


def smoothed_zero_one(logits: Array, labels: Array, sigma: float) -> Estimate:
    """Compute J(l) = P(argmax(l + sigma eps) != y) and dJ/dl, by quadrature.

    With y the label, a_j = (l_y - l_j)/sigma, phi and Phi the standard normal density and
    distribution, conditioning on t = the noise of the label:

        J       = 1 - ∫ phi(t) prod_{j != y} Phi(t + a_j) dt
        dJ/dl_j = (1/sigma) ∫ phi(t) phi(t + a_j) prod_{k != y, j} Phi(t + a_k) dt,   j != y
        dJ/dl_y = - sum_{j != y} dJ/dl_j

    This is the multinomial probit model with independent noise of equal variance.

    Parameters
    ----------
    logits : (K, N)
    labels : (K, N), one-hot
    sigma : float
        Standard deviation of the noise, in units of the logits.

    Returns
    -------
    Estimate : the exact loss (N,) and gradient (K, N), in the dtype of the logits.

    Raises
    ------
    ValueError
        If sigma is not a positive number or the shapes differ.
    """
    if not (np.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be a positive number, got {sigma}")
    if logits.ndim != 2 or logits.shape != labels.shape:
        raise ValueError(
            f"logits and labels must both be (K, N), got {logits.shape} and {labels.shape}"
        )
    label = predict(labels)[np.newaxis]
    scaled = logits.astype(np.float64) / sigma
    a = np.take_along_axis(scaled, label, axis=0) - scaled
    shifted = NODES[:, np.newaxis, np.newaxis] + a  # t + a_k, (nodes, K, N)
    log_cdf = log_ndtr(shifted)
    # The label's own factor leaves the product; the rest multiply as exp of a sum of logarithms.
    np.put_along_axis(log_cdf, label[np.newaxis], 0.0, axis=1)
    log_product = log_cdf.sum(axis=1)
    success = WEIGHTS @ np.exp(log_product)
    log_density = -(shifted**2) / 2 - np.log(2 * np.pi) / 2
    without_own = log_product[:, np.newaxis] - log_cdf
    gradient = np.tensordot(WEIGHTS, np.exp(log_density + without_own), axes=1) / sigma
    np.put_along_axis(gradient, label, 0.0, axis=0)
    np.put_along_axis(gradient, label, -gradient.sum(axis=0, keepdims=True), axis=0)
    return Estimate(
        (1.0 - success).astype(logits.dtype, copy=False), gradient.astype(logits.dtype, copy=False)
    )
