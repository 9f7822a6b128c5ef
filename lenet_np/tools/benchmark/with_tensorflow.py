"""The rival in TensorFlow: a Keras model and a training step in a graph, by `tf.function`."""

from __future__ import annotations

import os
from typing import Any

from lenet_np.ops import Array, Parameters
from lenet_np.tools.benchmark.work import Start, channels_first, channels_last

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the import, else it says much
import tensorflow as tf


class Graph:
    """The same pipeline as its guides write it.

    What differs from ours: images are (N, H, W, C), each ReLU comes before its maximum, and the
    noise is (n, N, K). Neither another order nor XLA (``jit_compile``) made it faster.
    """

    def __init__(self, start: Start) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(start.threads)
        tf.config.threading.set_inter_op_parallelism_threads(start.threads)
        tf.random.set_seed(0)
        self.title, self.settings = f"TensorFlow {tf.__version__}, tf.function", start.settings
        self.images = tf.constant(start.images.transpose(0, 2, 3, 1))
        self.labels = tf.constant(start.classes)
        layers = tf.keras.layers
        self.model = tf.keras.Sequential(
            [
                layers.Input((32, 32, 1)),
                layers.Conv2D(6, 5, activation="relu"),
                layers.MaxPool2D(),
                layers.Conv2D(16, 5, activation="relu"),
                layers.MaxPool2D(),
                layers.Flatten(),
                layers.Dense(120, activation="relu"),
                layers.Dense(84, activation="relu"),
                layers.Dense(10),
            ]
        )
        self.names = list(start.parameters)
        self.optimizer = tf.keras.optimizers.Adam(start.settings.learning_rate, epsilon=1e-8)
        self.optimizer.build(self.model.trainable_variables)
        self._step = tf.function(self.update)
        self._read = tf.function(lambda images: tf.argmax(self.model(images), axis=1))
        self.reset(start.parameters)

    def reset(self, parameters: Parameters) -> None:
        """Begin again, with these weights."""
        self.model.set_weights(list(channels_last(parameters).values()))
        for variable in self.optimizer.variables:
            if variable.name != "learning_rate":
                variable.assign(tf.zeros_like(variable))

    def gradients_of(self, images: Any, labels: Any, noise: Any) -> Any:
        """Differentiate the loss, or the surrogate sum(stop_gradient(g) * logits)."""
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            if self.settings.loss == "cross-entropy":
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            else:
                loss = tf.stop_gradient(self.estimate(logits, labels, noise)) * logits
            loss = tf.reduce_sum(loss)
        return tape.gradient(loss, self.model.trainable_variables)

    def estimate(self, logits: Any, labels: Any, noise: Any) -> Any:
        n, sigma = self.settings.samples, self.settings.sigma
        errors = tf.cast(tf.argmax(logits + sigma * noise, axis=2) != labels, tf.float32)
        weights = errors / n
        if self.settings.objective == "log-success":
            successes = 1 - errors
            count = tf.reduce_sum(successes, axis=0)
            weights = 1 / n - successes / tf.maximum(count, 1)
            weights *= tf.cast(count > 0, tf.float32)
        return tf.reduce_sum(weights[:, :, None] * noise, axis=0) / sigma

    def update(self, here: Any) -> None:
        images, labels = tf.gather(self.images, here), tf.gather(self.labels, here)
        noise = tf.random.normal((self.settings.samples, len(here), 10))
        gradients = self.gradients_of(images, labels, noise)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))

    def step(self, here: Array) -> None:
        self._step(tf.constant(here))

    def wait(self) -> None:
        """Nothing is left running behind a step."""

    def read(self, here: slice) -> Array:
        answers: Array = self._read(self.images[here]).numpy()
        return answers

    def gradients(self, here: Array, noise: Array) -> Parameters:
        """Compute the gradients from our noise (K, n, N), for the tests."""
        images, labels = tf.gather(self.images, here), tf.gather(self.labels, here)
        found = self.gradients_of(images, labels, noise.transpose(1, 2, 0))
        own = (gradient.numpy() for gradient in found)
        return channels_first(dict(zip(self.names, own, strict=True)))
