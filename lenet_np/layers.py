"""Layers: the hyperparameters of an operation, and how it fits into a network.

A layer is a frozen dataclass. It holds no weights and remembers no batch: parameters and caches
are values that are handed in and given back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lenet_np import init, ops
from lenet_np.ops import Array, Parameters

Shape = tuple[int, ...]
WeightInitializer = Callable[[Shape, np.random.Generator], Array]


class Layer(Protocol):
    """What `Sequential` asks of a layer; all shapes are without the batch axis."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """Say which shape comes out for a shape that goes in; ValueError if it does not fit."""

    def init(
        self, input_shape: Shape, rng: np.random.Generator, weight: WeightInitializer
    ) -> Parameters:
        """Draw the parameters for such an input; an empty dict if there are none."""

    def forward(self, parameters: Parameters, x: Array) -> tuple[Array, Any]:
        """Compute (y, cache)."""

    def backward(self, dy: Array, cache: Any, need_dx: bool) -> tuple[Array | None, Parameters]:
        """Compute (dx, gradients), the gradients under the names of the parameters."""


class WithoutParameters:
    """A layer that has nothing to learn."""

    def init(
        self, input_shape: Shape, rng: np.random.Generator, weight: WeightInitializer
    ) -> Parameters:
        return {}


@dataclass(frozen=True)
class Conv2d:
    """Convolution with ``filters`` square kernels; see `ops.conv2d_forward`."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0

    def output_shape(self, input_shape: Shape) -> Shape:
        _, height, width = _expect_axes("conv2d", input_shape, 3)
        return (
            self.filters,
            ops.output_size(height, self.kernel, self.stride, self.padding),
            ops.output_size(width, self.kernel, self.stride, self.padding),
        )

    def init(
        self, input_shape: Shape, rng: np.random.Generator, weight: WeightInitializer
    ) -> Parameters:
        shape = (self.filters, input_shape[0], self.kernel, self.kernel)
        return {"weight": weight(shape, rng), "bias": init.zeros((self.filters,))}

    def forward(self, parameters: Parameters, x: Array) -> tuple[Array, ops.Conv2dCache]:
        weight, bias = parameters["weight"], parameters["bias"]
        return ops.conv2d_forward(x, weight, bias, self.stride, self.padding)

    def backward(
        self, dy: Array, cache: ops.Conv2dCache, need_dx: bool
    ) -> tuple[Array | None, Parameters]:
        dx, dweight, dbias = ops.conv2d_backward(dy, cache, need_dx)
        return dx, {"weight": dweight, "bias": dbias}


@dataclass(frozen=True)
class MaxPool2d(WithoutParameters):
    """Maximum over square windows; see `ops.max_pool2d_forward`."""

    window: int
    stride: int

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, height, width = _expect_axes("max-pool", input_shape, 3)
        return (
            channels,
            ops.output_size(height, self.window, self.stride),
            ops.output_size(width, self.window, self.stride),
        )

    def forward(self, parameters: Parameters, x: Array) -> tuple[Array, ops.MaxPool2dCache]:
        return ops.max_pool2d_forward(x, self.window, self.stride)

    def backward(
        self, dy: Array, cache: ops.MaxPool2dCache, need_dx: bool
    ) -> tuple[Array, Parameters]:
        return ops.max_pool2d_backward(dy, cache), {}


@dataclass(frozen=True)
class ReLU(WithoutParameters):
    """Rectified linear unit; see `ops.relu_forward`."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(self, parameters: Parameters, x: Array) -> tuple[Array, ops.ReluCache]:
        return ops.relu_forward(x)

    def backward(self, dy: Array, cache: ops.ReluCache, need_dx: bool) -> tuple[Array, Parameters]:
        return ops.relu_backward(dy, cache), {}


@dataclass(frozen=True)
class Flatten(WithoutParameters):
    """Feature maps to one feature vector; see `ops.flatten_forward`."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def forward(self, parameters: Parameters, x: Array) -> tuple[Array, ops.FlattenCache]:
        return ops.flatten_forward(x)

    def backward(
        self, dy: Array, cache: ops.FlattenCache, need_dx: bool
    ) -> tuple[Array, Parameters]:
        return ops.flatten_backward(dy, cache), {}


@dataclass(frozen=True)
class Dense:
    """Affine map to ``units`` features; see `ops.dense_forward`."""

    units: int

    def output_shape(self, input_shape: Shape) -> Shape:
        _expect_axes("dense", input_shape, 1)
        return (self.units,)

    def init(
        self, input_shape: Shape, rng: np.random.Generator, weight: WeightInitializer
    ) -> Parameters:
        return {
            "weight": weight((self.units, input_shape[0]), rng),
            "bias": init.zeros((self.units,)),
        }

    def forward(self, parameters: Parameters, x: Array) -> tuple[Array, ops.DenseCache]:
        return ops.dense_forward(x, parameters["weight"], parameters["bias"])

    def backward(
        self, dy: Array, cache: ops.DenseCache, need_dx: bool
    ) -> tuple[Array | None, Parameters]:
        dx, dweight, dbias = ops.dense_backward(dy, cache)
        return dx, {"weight": dweight, "bias": dbias}


@dataclass(frozen=True)
class Sequential:
    """Layers one after the other: the chain rule, once forward and once backward.

    Their names become the first half of the parameters' names: ``conv1.weight``.
    """

    input_shape: Shape
    layers: tuple[tuple[str, Layer], ...]

    def shapes(self) -> dict[str, Shape]:
        """List what comes out of each layer, in order and without the batch axis.

        ValueError if a layer does not fit behind the one before it.
        """
        shapes, shape = {}, self.input_shape
        for name, layer in self.layers:
            shapes[name] = shape = layer.output_shape(shape)
        return shapes

    def init(
        self, rng: np.random.Generator, weight: WeightInitializer = init.glorot_uniform
    ) -> Parameters:
        """Draw all parameters, float32 under dotted names: weights by ``weight``, biases zero."""
        parameters, shape = {}, self.input_shape
        for name, layer in self.layers:
            for key, value in layer.init(shape, rng, weight).items():
                parameters[f"{name}.{key}"] = value
            shape = layer.output_shape(shape)
        return parameters

    def forward(
        self, parameters: Parameters, x: Array, need_caches: bool = True
    ) -> tuple[Array, tuple[Any, ...]]:
        """Run a batch (*input_shape, N) through all layers; give y and the caches for `backward`.

        Caches that nobody needs are dropped at once. ValueError if the input has another shape
        than the network was made for.
        """
        if x.shape[:-1] != self.input_shape:
            raise ValueError(
                f"the network takes inputs of shape {(*self.input_shape, 'N')}, got {x.shape}"
            )
        caches = []
        for name, layer in self.layers:
            x, cache = layer.forward(_of_layer(parameters, name), x)
            if need_caches:
                caches.append(cache)
        return x, tuple(caches)

    def backward(
        self, dy: Array, caches: tuple[Any, ...], need_dx: bool = False
    ) -> tuple[Array | None, Parameters]:
        """Carry the gradient of a scalar from the output back to every parameter.

        Gives dx, None unless it is asked for, and gradients with the names and shapes of the
        parameters.
        """
        gradients: Parameters = {}
        upstream: Any = dy
        for position in reversed(range(len(self.layers))):
            name, layer = self.layers[position]
            upstream, layer_gradients = layer.backward(
                upstream, caches[position], need_dx or position > 0
            )
            for key, value in layer_gradients.items():
                gradients[f"{name}.{key}"] = value
        return upstream, gradients


def _of_layer(parameters: Parameters, name: str) -> Parameters:
    """Pick the parameters of one layer: ``conv1.weight`` becomes ``weight``."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in parameters.items() if k.startswith(prefix)}


def _expect_axes(layer: str, shape: Shape, axes: int) -> Shape:
    if len(shape) != axes:
        raise ValueError(f"a {layer} layer takes inputs of {axes} axes and a batch, got {shape}")
    return shape
