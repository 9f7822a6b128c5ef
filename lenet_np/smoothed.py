"""The smoothed 0-1 loss itself, without a single sample: the oracle that judges the estimators.

With y the label, a_j = (l_y - l_j)/sigma, phi and Phi the standard normal density and
distribution, the label wins with probability P. Conditioning on t, the noise of the label:

    P = ∫ h(t) dt,   h(t) = phi(t) prod_{j != y} Phi(t + a_j)

This is the multinomial probit model with independent noise of equal variance. J = 1 - P.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import log_ndtr

from lenet_np.es import Estimate
from lenet_np.losses import predict
from lenet_np.ops import Array, Float64

# log h is concave, with a second derivative of -1 or less: 8 beyond its mode, h is below 1e-13
# of its top. h is analytic, so there the trapezoid rule converges geometrically. The second
# derivative is -K at least, so h is not too narrow for 55 nodes with ten classes.
NODES: Float64 = np.linspace(-8.0, 8.0, 55)
LOG_SQRT_2PI = math.log(2 * math.pi) / 2


def smoothed_zero_one(logits: Array, labels: Array, sigma: float) -> Estimate:
    """Compute J(l) = P(argmax(l + sigma ε) != y) and dJ/dl, by quadrature.

    dJ/dl_j = (1/sigma) ∫ phi(t) phi(t + a_j) prod_{k != y, j} Phi(t + a_k) dt,   j != y
    dJ/dl_y = - sum_{j != y} dJ/dl_j

    Logits and one-hot labels (K, N), sigma in units of the logits; the result is in the logits'
    dtype, NaN where a logit is not finite. ValueError if sigma is not a positive number or the
    shapes differ.
    """
    log_success, gradient = _negative_log_success(logits, labels, sigma)
    # -log P has the gradient g/P; so g is P times it.
    return _in_dtype_of(logits, -np.expm1(log_success), np.exp(log_success) * gradient)


def negative_log_success(logits: Array, labels: Array, sigma: float) -> Estimate:
    """Compute -log P, in nats, and its gradient (dJ/dl)/P, as `smoothed_zero_one` computes J's.

    d(-log P)/dl_j = (1/sigma) E[lambda(t + a_j)],  lambda = phi/Phi, t with density h/P,  j != y

    Every term is positive and nothing is subtracted: P may be as small as exp(-1000).
    """
    log_success, gradient = _negative_log_success(logits, labels, sigma)
    return _in_dtype_of(logits, -log_success, gradient)


def _negative_log_success(logits: Array, labels: Array, sigma: float) -> tuple[Float64, Float64]:
    """Compute log P (N,) and the gradient of -log P (K, N), in float64."""
    if not (np.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be a positive number, got {sigma}")
    if logits.ndim != 2 or logits.shape != labels.shape:
        raise ValueError(
            f"logits and labels must both be (K, N), got {logits.shape} and {labels.shape}"
        )
    classes = len(logits)
    label = predict(labels).astype(np.intp)[np.newaxis]
    rivals = (label + np.arange(1, classes)[:, np.newaxis]) % classes  # (K-1, N)
    finite = np.isfinite(logits).all(axis=0)
    scaled = np.where(finite, logits, 0).astype(np.float64) / sigma
    a = np.take_along_axis(scaled, label, axis=0) - np.take_along_axis(scaled, rivals, axis=0)

    t = _mode(a) + NODES[:, np.newaxis]  # (nodes, N)
    x = t[:, np.newaxis] + a  # (nodes, K-1, N)
    log_cdf = log_ndtr(x)
    log_h = log_cdf.sum(axis=1) - t**2 / 2 - LOG_SQRT_2PI
    top = log_h.max(axis=0)
    h = np.exp(log_h - top)
    log_success = np.minimum(top + np.log(h.sum(axis=0) * (NODES[1] - NODES[0])), 0.0)

    inverse_mills = np.exp(-(x**2) / 2 - LOG_SQRT_2PI - log_cdf)  # lambda
    gradient = np.empty(logits.shape)
    from_rivals = np.einsum("tn,tkn->kn", h / h.sum(axis=0), inverse_mills) / sigma
    np.put_along_axis(gradient, rivals, from_rivals, axis=0)
    np.put_along_axis(gradient, label, -from_rivals.sum(axis=0, keepdims=True), axis=0)
    log_success[~finite] = np.nan
    gradient[:, ~finite] = np.nan
    return log_success, gradient


def _mode(a: Float64) -> Float64:
    """Find the t (N,) where h is largest, by Newton's method; near enough for the nodes."""
    t = np.zeros(a.shape[1:])
    for _ in range(6):
        x = t + a
        inverse_mills = np.exp(-(x**2) / 2 - LOG_SQRT_2PI - log_ndtr(x))
        slope = inverse_mills.sum(axis=0) - t
        curvature = -1 - (inverse_mills * (inverse_mills + x)).sum(axis=0)
        t -= slope / curvature
    return t


def _in_dtype_of(logits: Array, loss: Float64, gradient: Float64) -> Estimate:
    return Estimate(
        loss.astype(logits.dtype, copy=False), gradient.astype(logits.dtype, copy=False)
    )
