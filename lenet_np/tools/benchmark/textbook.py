"""The same network and pipeline the way courses write them in NumPy: something to compare with.

Images are (N, C, H, W). im2col makes a matrix with a row for each window of each image; the
product is shaped and transposed back. Pooling goes through im2col too. Layers are objects that
remember their batch. Everything is as float64 as NumPy makes it, unless float32 is asked for.
The package itself uses nothing of this.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lenet_np.tools.benchmark.work import Start

Array = NDArray[Any]


def im2col(images: Array, size: int, stride: int) -> tuple[Array, int, int]:
    """Write every window as a row: (N*OH*OW, C*size*size), and OH and OW."""
    batch, channels, height, width = images.shape
    out_height, out_width = (height - size) // stride + 1, (width - size) // stride + 1
    columns = np.zeros((batch, channels, size, size, out_height, out_width), images.dtype)
    for i in range(size):
        for j in range(size):
            columns[:, :, i, j] = images[
                :, :, i : i + stride * out_height : stride, j : j + stride * out_width : stride
            ]
    matrix = columns.transpose(0, 4, 5, 1, 2, 3).reshape(batch * out_height * out_width, -1)
    return matrix, out_height, out_width


def col2im(matrix: Array, shape: tuple[int, ...], size: int, stride: int) -> Array:
    """Add every window back to its image: (N, C, H, W)."""
    batch, channels, height, width = shape
    out_height, out_width = (height - size) // stride + 1, (width - size) // stride + 1
    columns = matrix.reshape(batch, out_height, out_width, channels, size, size)
    columns = columns.transpose(0, 3, 4, 5, 1, 2)
    images = np.zeros(shape, matrix.dtype)
    for i in range(size):
        for j in range(size):
            images[
                :, :, i : i + stride * out_height : stride, j : j + stride * out_width : stride
            ] += columns[:, :, i, j]
    return images


class Convolution:
    """Convolution by im2col."""

    def __init__(self, weight: Array, bias: Array) -> None:
        self.weight, self.bias = weight, bias

    def forward(self, x: Array) -> Array:
        filters, _, size, _ = self.weight.shape
        self.shape = x.shape
        self.matrix, out_height, out_width = im2col(x, size, 1)
        y: Array = np.dot(self.matrix, self.weight.reshape(filters, -1).T) + self.bias
        return y.reshape(len(x), out_height, out_width, filters).transpose(0, 3, 1, 2)

    def backward(self, dy: Array) -> Array:
        filters, _, size, _ = self.weight.shape
        dy = dy.transpose(0, 2, 3, 1).reshape(-1, filters)
        self.dbias = dy.sum(axis=0)
        self.dweight = np.dot(self.matrix.T, dy).T.reshape(self.weight.shape)
        return col2im(np.dot(dy, self.weight.reshape(filters, -1)), self.shape, size, 1)


class Pooling:
    """Max-pooling by im2col and argmax."""

    def __init__(self, size: int) -> None:
        self.size = size

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        matrix, out_height, out_width = im2col(x, self.size, self.size)
        windows = matrix.reshape(-1, self.size * self.size)
        self.winner = windows.argmax(axis=1)
        y: Array = windows.max(axis=1).reshape(len(x), out_height, out_width, -1)
        return y.transpose(0, 3, 1, 2)

    def backward(self, dy: Array) -> Array:
        dy = dy.transpose(0, 2, 3, 1)
        windows = np.zeros((dy.size, self.size * self.size), dy.dtype)
        windows[np.arange(dy.size), self.winner] = dy.reshape(-1)
        rows = math.prod(dy.shape[:3])
        return col2im(windows.reshape(rows, -1), self.shape, self.size, self.size)


class Rectifier:
    """ReLU by a mask."""

    def forward(self, x: Array) -> Array:
        self.mask = x <= 0
        y = x.copy()
        y[self.mask] = 0
        return y

    def backward(self, dy: Array) -> Array:
        dy[self.mask] = 0
        return dy


class Affine:
    """A dense layer, which also flattens what comes in."""

    def __init__(self, weight: Array, bias: Array) -> None:
        self.weight, self.bias = weight, bias

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        self.x = x.reshape(len(x), -1)
        y: Array = np.dot(self.x, self.weight.T) + self.bias
        return y

    def backward(self, dy: Array) -> Array:
        self.dbias = dy.sum(axis=0)
        self.dweight = np.dot(self.x.T, dy).T
        dx: Array = np.dot(dy, self.weight).reshape(self.shape)
        return dx


class TextbookLeNet:
    """LeNet-5 with its optimiser, as an object that changes; the parameters are copied."""

    def __init__(self, parameters: dict[str, Array], dtype: DTypeLike = np.float64) -> None:
        own = {name: np.array(value, dtype) for name, value in parameters.items()}

        def pair(name: str) -> tuple[Array, Array]:
            return own[f"{name}.weight"], own[f"{name}.bias"]

        self.dtype = np.dtype(dtype)
        self.layers: list[Any] = [
            Convolution(*pair("conv1")),
            Rectifier(),
            Pooling(2),
            Convolution(*pair("conv2")),
            Rectifier(),
            Pooling(2),
            Affine(*pair("dense1")),
            Rectifier(),
            Affine(*pair("dense2")),
            Rectifier(),
            Affine(*pair("logits")),
        ]
        self.trained = [x for x in self.layers if isinstance(x, Convolution | Affine)]
        self.mean = [[np.zeros_like(x.weight), np.zeros_like(x.bias)] for x in self.trained]
        self.square = [[np.zeros_like(x.weight), np.zeros_like(x.bias)] for x in self.trained]
        self.updates = 0

    def forward(self, x: Array) -> Array:
        """Compute the logits (N, 10) of images (N, 1, 32, 32)."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dlogits: Array) -> None:
        """Leave the gradients in the layers."""
        dy = dlogits
        for layer in reversed(self.layers):
            dy = layer.backward(dy)

    def estimate(self, logits: Array, labels: Array, noise: Array, sigma: float) -> Array:
        """Estimate the gradient of the smoothed 0-1 loss from noise (n, N, 10)."""
        errors = (logits + sigma * noise).argmax(axis=2) != labels
        gradient: Array = (errors[:, :, np.newaxis] * noise).mean(axis=0) / sigma
        return gradient

    def adam(self, rate: float) -> None:
        """Move every parameter in place."""
        self.updates += 1
        rate_t = rate * math.sqrt(1 - 0.999**self.updates) / (1 - 0.9**self.updates)
        for layer, mean, square in zip(self.trained, self.mean, self.square, strict=True):
            for k, (value, gradient) in enumerate(
                [(layer.weight, layer.dweight), (layer.bias, layer.dbias)]
            ):
                mean[k] += 0.1 * (gradient - mean[k])
                square[k] += 0.001 * (gradient**2 - square[k])
                value -= rate_t * mean[k] / (np.sqrt(square[k]) + 1e-8)


class Single:
    """This network and its pipeline as a rival."""

    dtype: type[np.floating[Any]] = np.float32

    def __init__(self, start: Start) -> None:
        self.title = f"textbook im2col, {np.dtype(self.dtype)}"
        self.settings, self.labels = start.settings, start.classes
        self.images = start.images.astype(self.dtype)
        self.network = TextbookLeNet(start.parameters, self.dtype)
        self.rng = np.random.default_rng(0)

    def step(self, here: Array) -> None:
        logits = self.network.forward(self.images[here])
        shape = (self.settings.samples, *logits.shape)
        noise = self.rng.standard_normal(shape, dtype=self.dtype)
        dlogits = self.network.estimate(logits, self.labels[here], noise, self.settings.sigma)
        self.network.backward(dlogits)
        self.network.adam(self.settings.learning_rate)

    def wait(self) -> None:
        """Nothing is left running behind a step."""

    def read(self, here: slice) -> Array:
        answers: Array = self.network.forward(self.images[here]).argmax(axis=1)
        return answers


class Double(Single):
    """In float64, as NumPy makes numbers."""

    dtype = np.float64
