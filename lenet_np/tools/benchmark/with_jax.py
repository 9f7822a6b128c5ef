"""The rival in JAX: a pure function of parameters and a key, compiled as a whole by `jax.jit`."""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lenet_np.ops import Array, Parameters
from lenet_np.tools.benchmark.work import Start, channels_first, channels_last


def logits_of(weights: Any, x: Any) -> Any:
    """Run images (N, 32, 32, 1) through the network."""
    for name in ("conv1", "conv2"):
        x = lax.conv_general_dilated(
            x,
            weights[f"{name}.weight"],
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        n, height, width, channels = x.shape
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
        x = jax.nn.relu(x + weights[f"{name}.bias"])
    x = x.reshape(len(x), -1)
    for name in ("dense1", "dense2"):
        x = jax.nn.relu(x @ weights[f"{name}.weight"] + weights[f"{name}.bias"])
    return x @ weights["logits.weight"] + weights["logits.bias"]


class Jit:
    """The same pipeline with everything, also the noise and Adam, in one compiled function.

    Images are (N, H, W, C), as JAX's libraries have them. The maximum comes before its ReLU, over
    the axes of a reshaped image, and the classes are the first axis of the noise: it was faster so.
    """

    def __init__(self, start: Start) -> None:
        # XLA has no switch for its threads: it starts one for each core that it may use.
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: start.threads])
        self.title, self.settings = f"JAX {jax.__version__}, jit", start.settings
        self.images = jnp.asarray(start.images.transpose(0, 2, 3, 1))
        self.labels = jnp.asarray(start.classes)
        self._update = jax.jit(self.update, donate_argnums=0)
        self._gradients = jax.jit(self.gradients_of)
        self._read = jax.jit(lambda weights, images: logits_of(weights, images).argmax(axis=1))
        self.reset(start.parameters)

    def reset(self, parameters: Parameters) -> None:
        """Begin again, with these weights."""
        weights = jax.tree.map(jnp.asarray, channels_last(parameters))
        mean, square = (jax.tree.map(jnp.zeros_like, weights) for _ in range(2))
        self.state = (weights, mean, square, jnp.zeros(()), jax.random.key(0))

    def gradients_of(self, weights: Any, images: Any, labels: Any, noise: Any) -> Any:
        """Differentiate the loss, or the surrogate sum(stop_gradient(g) * logits)."""

        def loss(weights: Any) -> Any:
            logits = logits_of(weights, images)
            if self.settings.loss == "cross-entropy":
                own = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
                return (jax.nn.logsumexp(logits, axis=1) - own).sum()
            return (lax.stop_gradient(self.estimate(logits.T, labels, noise)).T * logits).sum()

        return jax.grad(loss)(weights)

    def estimate(self, logits: Any, labels: Any, noise: Any) -> Any:
        n, sigma = self.settings.samples, self.settings.sigma
        errors = ((logits[:, None] + sigma * noise).argmax(axis=0) != labels).astype(jnp.float32)
        weights = errors / n
        if self.settings.objective == "log-success":
            successes = 1 - errors
            count = successes.sum(axis=0)
            weights = (1 / n - successes / jnp.maximum(count, 1)) * (count > 0)
        return (noise * weights).sum(axis=1) / sigma

    def update(self, state: Any, images: Any, labels: Any, here: Any) -> Any:
        weights, mean, square, steps, key = state
        key, own = jax.random.split(key)
        noise = jax.random.normal(own, (10, self.settings.samples, len(here)))
        gradients = self.gradients_of(weights, images[here], labels[here], noise)
        steps += 1
        rate = self.settings.learning_rate * jnp.sqrt(1 - 0.999**steps) / (1 - 0.9**steps)
        mean = jax.tree.map(lambda m, g: m + 0.1 * (g - m), mean, gradients)
        square = jax.tree.map(lambda v, g: v + 0.001 * (g * g - v), square, gradients)
        weights = jax.tree.map(
            lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), weights, mean, square
        )
        return weights, mean, square, steps, key

    def step(self, here: Array) -> None:
        self.state = self._update(self.state, self.images, self.labels, here)

    def wait(self) -> None:
        jax.block_until_ready(self.state)

    def read(self, here: slice) -> Array:
        return np.asarray(self._read(self.state[0], self.images[here]))

    def gradients(self, here: Array, noise: Array) -> Parameters:
        """Compute the gradients from our noise (K, n, N), for the tests."""
        found = self._gradients(self.state[0], self.images[here], self.labels[here], noise)
        return channels_first({name: np.asarray(value) for name, value in found.items()})
