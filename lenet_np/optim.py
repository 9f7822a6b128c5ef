"""Optimisers: how a gradient becomes a step. The state is a value, never hidden in an object."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lenet_np.ops import Array, Parameters


class AdamState(NamedTuple):
    """What Adam remembers."""

    step: int  # t, updates made so far
    mean: Parameters  # m, running mean of the gradient
    square: Parameters  # v, running mean of its square


@dataclass(frozen=True)
class SGD:
    """Plain gradient descent: theta <- theta - rate g. It remembers nothing."""

    learning_rate: float

    def init(self, parameters: Parameters) -> None:
        """Start: there is nothing to remember."""

    def update(
        self, parameters: Parameters, gradients: Parameters, state: None = None
    ) -> tuple[Parameters, None]:
        """Take one step, as `Adam.update` does."""
        _check(parameters, gradients)
        return {
            k: p - p.dtype.type(self.learning_rate) * gradients[k] for k, p in parameters.items()
        }, None


@dataclass(frozen=True)
class Adam:
    """Adam, in the form that TensorFlow 1 used.

    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g²
    rate_t = rate sqrt(1 - beta2^t) / (1 - beta1^t)
    theta <- theta - rate_t m / (sqrt(v) + epsilon)

    Source: Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1 in the order of operations given at
    the end of section 2. There epsilon (their epsilon-hat) stands outside the bias correction;
    algorithm 1 itself divides by sqrt(v / (1 - beta2^t)) + epsilon.
    """

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def init(self, parameters: Parameters) -> AdamState:
        """Start with no memory: t = 0, m = v = 0."""
        return AdamState(
            0,
            {name: np.zeros_like(value) for name, value in parameters.items()},
            {name: np.zeros_like(value) for name, value in parameters.items()},
        )

    def update(
        self, parameters: Parameters, gradients: Parameters, state: AdamState
    ) -> tuple[Parameters, AdamState]:
        """Take one step: (new parameters, new state). The arguments are left as they were.

        ValueError if parameters and gradients do not have the same keys and shapes.
        """
        _check(parameters, gradients)
        step = state.step + 1
        rate = self.learning_rate * math.sqrt(1 - self.beta2**step) / (1 - self.beta1**step)
        moved: Parameters = {}
        mean: Parameters = {}
        square: Parameters = {}
        for name, parameter in parameters.items():
            gradient = gradients[name]
            m: Array = self.beta1 * state.mean[name] + (1 - self.beta1) * gradient
            v: Array = self.beta2 * state.square[name] + (1 - self.beta2) * np.square(gradient)
            moved[name] = parameter - rate * m / (np.sqrt(v) + self.epsilon)
            mean[name], square[name] = m, v
        return moved, AdamState(step, mean, square)


def _check(parameters: Parameters, gradients: Parameters) -> None:
    ours = {name: value.shape for name, value in parameters.items()}
    theirs = {name: value.shape for name, value in gradients.items()}
    if ours != theirs:
        wrong = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        raise ValueError(
            f"parameters and gradients must have the same keys and shapes; "
            f"they differ at {', '.join(wrong)}"
        )
