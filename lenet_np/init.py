"""Where the weights start: functions of a shape and a random generator."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lenet_np.ops import Array


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Count the inputs and outputs that a weight connects: (fan_in, fan_out).

    fan_in = I KH KW,  fan_out = O KH KW for a weight (O, I, KH, KW); KH = KW = 1 when dense.
    """
    if len(shape) not in (2, 4):
        raise ValueError(f"a weight has shape (O, I) or (O, I, KH, KW), got {shape}")
    receptive_field = math.prod(shape[2:])
    return shape[1] * receptive_field, shape[0] * receptive_field


def glorot_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw float32 weights from U(-a, a) with a = sqrt(6 / (fan_in + fan_out)).

    The variance 2 / (fan_in + fan_out) keeps activations and gradients of about one size through
    the layers. Source: Glorot & Bengio 2010, eq. 16.
    """
    limit = math.sqrt(6 / sum(fans(shape)))
    return rng.uniform(-limit, limit, shape).astype(np.float32)


def truncated_normal(
    shape: tuple[int, ...], rng: np.random.Generator, std: float = 0.1
) -> NDArray[np.float32]:
    """Draw float32 weights from N(0, std²), each value beyond two standard deviations drawn again.

    The initialiser of the course lab from which the notebook grew. ``std`` is the deviation before
    the tails are cut off.
    """
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return (std * values).astype(np.float32)


def zeros(shape: tuple[int, ...]) -> Array:
    """Start at zero, in float32, as every bias does."""
    return np.zeros(shape, np.float32)
