"""The solutions: the package's own functions, with the axes of the course's layout.

Every check holds a student's forward pass against these; and a file made of them must pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import ops
from ..es import Estimate, estimate_gradient
from ..estimators import ESTIMATORS
from ..layers import Dense, ReLU, Sequential
from ..losses import Loss, cross_entropy, cross_entropy_gradient, squared_error_gradient
from ..optim import Adam, AdamState
from ..routes import (
    ROUTES,
    LossAtLogits,
    smoothed_loss_backward,
    smoothed_loss_forward,
    taylor,
)
from .layouts import Array, Layout
from .task import Functions


def solutions(layout: Layout) -> Functions:
    """Give every function of the exercise file, right, by its name."""
    functions = (*_layers(layout), *_training(layout), *_routes(layout))
    return {function.__name__: function for function in functions}


def _layers(layout: Layout) -> Iterator[Callable[..., Any]]:
    images, features = layout.images, layout.features
    weights, kernels, columns = layout.weights, layout.kernels, layout.columns

    def dense_forward(x: Array, weight: Array, bias: Array) -> tuple[Array, Any]:
        y, cache = ops.dense_forward(features.to_package(x), weights.to_package(weight), bias)
        return features.from_package(y), cache

    def dense_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
        dx, dweight, dbias = ops.dense_backward(features.to_package(dy), cache)
        return features.from_package(dx), weights.from_package(dweight), dbias

    yield from (dense_forward, dense_backward, ops.relu_forward, ops.relu_backward)

    def im2col(x: Array, kernel: tuple[int, int], stride: int, padding: int) -> Array:
        return columns.from_package(ops.im2col(images.to_package(x), kernel, stride, padding))

    def col2im(windows: Array, x_shape: Any, kernel: Any, stride: int, padding: int) -> Array:
        channels, height, width, batch = (x_shape[images.place_of(axis)] for axis in range(4))
        oh = ops.output_size(height, kernel[0], stride, padding)
        ow = ops.output_size(width, kernel[1], stride, padding)
        shape = (kernel[0], oh, channels, kernel[1], ow, batch)
        ours = columns.to_package(windows, shape)
        return images.from_package(ops.col2im(ours, (height, width), kernel, stride, padding))

    yield from (im2col, col2im)

    def conv2d_forward(x: Array, weight: Array, bias: Array, *how: int) -> tuple[Array, Any]:
        y, cache = ops.conv2d_forward(images.to_package(x), kernels.to_package(weight), bias, *how)
        return images.from_package(y), cache

    def conv2d_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
        dx, dweight, dbias = ops.conv2d_backward(images.to_package(dy), cache)
        return images.from_package(dx), kernels.from_package(dweight), dbias

    yield from (conv2d_forward, conv2d_backward)

    def max_pool_forward(x: Array, window: int, stride: int) -> tuple[Array, Any]:
        y, cache = ops.max_pool2d_forward(images.to_package(x), window, stride)
        return images.from_package(y), cache

    def max_pool_backward(dy: Array, cache: Any) -> Array:
        return images.from_package(ops.max_pool2d_backward(images.to_package(dy), cache))

    yield from (max_pool_forward, max_pool_backward)


def _training(layout: Layout) -> Iterator[Callable[..., Any]]:
    features, noises = layout.features, layout.noise

    def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
        ours, one_hot = features.to_package(logits), features.to_package(labels)
        gradient = cross_entropy_gradient(ours, one_hot)
        return cross_entropy(ours, one_hot), features.from_package(gradient)

    def adam_update(
        parameter: Array, gradient: Array, m: Array, v: Array, step: int, *constants: float
    ) -> tuple[Array, Array, Array]:
        state = AdamState(step - 1, {"": m}, {"": v})
        moved, state = Adam(*constants).update({"": parameter}, {"": gradient}, state)
        return moved[""], state.mean[""], state.square[""]

    def estimate(
        rule: Any, loss: Loss, logits: Array, labels: Array, noise: Array, sigma: float
    ) -> Array:
        def every_sample(perturbed: Array, one_hot: Array) -> Array:
            theirs = features.from_package(one_hot[:, 0])
            samples = perturbed.swapaxes(0, 1)
            return np.stack([loss(features.from_package(sample), theirs) for sample in samples])

        ours, one_hot = features.to_package(logits), features.to_package(labels)
        _, gradient = rule(every_sample, ours, one_hot, noises.to_package(noise), sigma)
        return features.from_package(gradient)

    def es_gradient(*arguments: Any) -> Array:
        return estimate(estimate_gradient, *arguments)

    def leave_one_out_gradient(*arguments: Any) -> Array:
        return estimate(ESTIMATORS["leave-one-out"].objectives["error"], *arguments)

    yield from (softmax_cross_entropy, adam_update, es_gradient, leave_one_out_gradient)


def _routes(layout: Layout) -> Iterator[Callable[..., Any]]:
    features, weights = layout.features, layout.weights

    def taylor_loss(logits: Array, labels: Array, estimator: LossAtLogits) -> tuple[Array, Array]:
        _, g = estimator(logits, labels)
        return (g * logits).sum(axis=features.place_of(0)), taylor(logits, g)

    def override_forward(
        logits: Array, labels: Array, estimator: LossAtLogits
    ) -> tuple[Array, Any]:
        # An estimator of the exercise gives a plain pair.
        return smoothed_loss_forward(logits, labels, lambda *given: Estimate(*estimator(*given)))

    def override_backward(dloss: Array, cache: Any) -> Array:
        along_batch = np.expand_dims(dloss, features.place_of(0))
        return smoothed_loss_backward(along_batch, cache)

    def vjp_gradients(
        *given: *tuple[Array, Array, Array, Array, Array, Array, LossAtLogits],
    ) -> tuple[Array, ...]:
        x, weight1, bias1, weight2, bias2, labels, estimator = given

        def ours(logits: Array, one_hot: Array) -> Estimate:
            estimate = estimator(features.from_package(logits), features.from_package(one_hot))
            return Estimate(estimate[0], features.to_package(estimate[1]))

        layers = (("1", Dense(len(bias1))), ("relu", ReLU()), ("2", Dense(len(bias2))))
        network = Sequential((x.shape[features.place_of(0)],), layers)
        parameters = {
            "1.weight": weights.to_package(weight1),
            "1.bias": bias1,
            "2.weight": weights.to_package(weight2),
            "2.bias": bias2,
        }
        one_hot = features.to_package(labels)
        route, images = ROUTES["override"], features.to_package(x)
        taught = route(network, parameters, images, one_hot, ours).gradients
        return (
            weights.from_package(taught["1.weight"]),
            taught["1.bias"],
            weights.from_package(taught["2.weight"]),
            taught["2.bias"],
        )

    def target_gradient(
        logits: Array, labels: Array, estimator: LossAtLogits, rate: float
    ) -> tuple[Array, Array]:
        _, g = estimator(logits, labels)
        targets = logits - rate * g
        gradient = squared_error_gradient(features.to_package(logits), features.to_package(targets))
        return targets, features.from_package(gradient)

    yield from (taylor_loss, override_forward, override_backward, vjp_gradients, target_gradient)
