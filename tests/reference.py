"""The definitions, spelled out in loops: slow, obvious, and never part of the package."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm


def conv2d(x, weight, bias, stride=1, padding=0):
    """y[f, p, q, n] = bias[f] + sum_{c,i,j} weight[f, c, i, j] x_padded[c, p s + i, q s + j, n]."""
    channels, height, width, batch = x.shape
    filters, _, kernel_height, kernel_width = weight.shape
    out_height = (height + 2 * padding - kernel_height) // stride + 1
    out_width = (width + 2 * padding - kernel_width) // stride + 1
    y = np.zeros((filters, out_height, out_width, batch))
    for f, p, q, n in np.ndindex(y.shape):
        total = bias[f]
        for c, i, j in np.ndindex(channels, kernel_height, kernel_width):
            row, column = p * stride + i - padding, q * stride + j - padding
            if 0 <= row < height and 0 <= column < width:
                total += weight[f, c, i, j] * x[c, row, column, n]
        y[f, p, q, n] = total
    return y


def conv2d_gradients(dy, x, weight, stride=1, padding=0):
    """Every product of `conv2d`, weight * x, sends dy * x to the weight and dy * weight to x."""
    dx, dweight, dbias = np.zeros_like(x), np.zeros_like(weight), np.zeros(len(weight))
    _, height, width, _ = x.shape
    for f, p, q, n in np.ndindex(dy.shape):
        dbias[f] += dy[f, p, q, n]
        for c, i, j in np.ndindex(weight.shape[1:]):
            row, column = p * stride + i - padding, q * stride + j - padding
            if 0 <= row < height and 0 <= column < width:
                dweight[f, c, i, j] += dy[f, p, q, n] * x[c, row, column, n]
                dx[c, row, column, n] += dy[f, p, q, n] * weight[f, c, i, j]
    return dx, dweight, dbias


def max_pool2d(x, window, stride):
    """Give the maximum of each window and where it is: (y, rows, columns); the first on ties."""
    channels, height, width, batch = x.shape
    shape = (channels, (height - window) // stride + 1, (width - window) // stride + 1, batch)
    y, rows, columns = np.full(shape, -math.inf), np.zeros(shape, int), np.zeros(shape, int)
    for c, p, q, n in np.ndindex(shape):
        for i, j in itertools.product(range(window), range(window)):
            value = x[c, p * stride + i, q * stride + j, n]
            if value > y[c, p, q, n]:
                y[c, p, q, n] = value
                rows[c, p, q, n], columns[c, p, q, n] = p * stride + i, q * stride + j
    return y, rows, columns


def max_pool2d_gradient(dy, x, window, stride):
    """dx[winner of each window] += dy."""
    _, rows, columns = max_pool2d(x, window, stride)
    dx = np.zeros_like(x)
    for c, p, q, n in np.ndindex(dy.shape):
        dx[c, rows[c, p, q, n], columns[c, p, q, n], n] += dy[c, p, q, n]
    return dx


def smoothed_zero_one_gradient(logits, label, sigma, nodes=96):
    """Differentiate the smoothed 0-1 loss of one example by conditioning on ties instead.

    The loss changes only where the label ties with a rival j:
    dJ/dl_j = exp(-a_j²/4) / (2 sigma sqrt(pi)) E_z[prod_{k != y,j} Phi(((l_y + l_j)/2 - l_k)/sigma
    + z/sqrt(2))], z ~ N(0, 1), a_j = (l_y - l_j)/sigma; here by Gauss-Hermite quadrature.
    """
    z, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / math.sqrt(2 * math.pi)
    gradient = np.zeros(len(logits))
    for j in range(len(logits)):
        if j == label:
            continue
        a = (logits[label] - logits[j]) / sigma
        middle = (logits[label] + logits[j]) / 2
        product = np.ones(nodes)
        for k in range(len(logits)):
            if k not in (label, j):
                product *= ndtr((middle - logits[k]) / sigma + z / math.sqrt(2))
        tie_density = math.exp(-(a**2) / 4) / (2 * sigma * math.sqrt(math.pi))
        gradient[j] = tie_density * float(weights @ product)
        gradient[label] -= gradient[j]
    return gradient


# --- inputs and statistics ----------------------------------------------------------------------


def spaced(rng, shape):
    """Draw distinct values, all 0.1 apart and none within 0.05 of zero: no kink is near."""
    size = math.prod(shape)
    return (rng.permutation(size) - size // 2 + 0.5).reshape(shape) * 0.1


#: The probability that a correct estimator fails all the z-tests of one test together.
ALPHA = 1e-6


def z_threshold(count):
    """How large |z| may be in ``count`` two-sided tests: Phi⁻¹(1 - alpha/(2 count))."""
    return float(norm.isf(ALPHA / (2 * count)))


def z_scores(estimates, exact):
    """(mean - exact) / standard error, for estimates (K, R); only where |exact| > 1e-4."""
    error = estimates.std(axis=1, ddof=1) / math.sqrt(estimates.shape[1])
    large = np.abs(exact) > 1e-4
    return ((estimates.mean(axis=1) - exact)[large]) / error[large]


#: (logits, label, sigma): a tie, spread-out logits, right and wrong by a margin, few classes.
LOGIT_CASES = {
    "all equal": (np.zeros(10), 3, 1.0),
    "spread": (np.linspace(-3, 3, 10), 4, 1.75),
    "right by two sigma": (np.r_[8.0, np.linspace(-4, 0, 9)], 0, 4.0),
    "wrong by one sigma": (np.r_[4.0, np.linspace(-2, 0, 9)], 9, 4.0),
    "two classes": (np.array([0.5, -0.5]), 0, 2.0),
    "three classes": (np.array([1.0, 0.0, -2.0]), 1, 0.5),
}
