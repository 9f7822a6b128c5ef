"""Four ways of feeding the estimate g = dJ/dlogits into the network.

An autodiff framework sees a chain that is broken at the 0-1 loss, and there are several ways to
bridge it. The notebook tried four. All carry the same g to the same parameters, which the tests
show. Each function here takes (network, parameters, images, labels, estimator) and gives the
loss of the batch and the gradients of its sum; ``estimator(logits, labels)`` gives an `Estimate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lenet_np import ops
from lenet_np.es import Estimate
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.losses import squared_error_gradient
from lenet_np.ops import Array, Parameters

Estimator = Callable[[Array, Array], Estimate]


class LossAndGradients(NamedTuple):
    """What one minibatch teaches."""

    loss: Array  # (N,), estimate of the smoothed loss of each example
    gradients: Parameters  # of the sum over the batch


def add_parts(parts: Sequence[LossAndGradients]) -> LossAndGradients:
    """Put a minibatch together from what its parts taught.

    The gradient of a sum over examples is the sum of the gradients of its parts. They are added
    in the order given: floating-point sums depend on their order.

    Parameters
    ----------
    parts : sequence of LossAndGradients, at least one

    Returns
    -------
    LossAndGradients
    """
    gradients = parts[0].gradients
    for part in parts[1:]:
        gradients = {name: total + part.gradients[name] for name, total in gradients.items()}
    return LossAndGradients(np.concatenate([part.loss for part in parts]), gradients)


# --- 1. A custom gradient for the operation that has none ---------------------------------------


class SmoothedLossCache(NamedTuple):
    gradient: Array  # (K, N)


def smoothed_loss_forward(
    logits: Array, labels: Array, estimator: Estimator
) -> tuple[Array, SmoothedLossCache]:
    """Compute the loss under noise as an operation like any other: a pair with a backward.

    Parameters
    ----------
    logits, labels : (K, N)
    estimator : function of (logits, labels)

    Returns
    -------
    loss : (N,)
    cache : SmoothedLossCache
    """
    estimate = estimator(logits, labels)
    return estimate.loss, SmoothedLossCache(estimate.gradient)


def smoothed_loss_backward(dloss: Array, cache: SmoothedLossCache) -> Array:
    """Put the estimate where the derivative should stand: dlogits = dloss g.

    Parameters
    ----------
    dloss : (N,)
    cache : SmoothedLossCache

    Returns
    -------
    (K, N)
    """
    return dloss * cache.gradient


def override(
    network: Sequential, parameters: Parameters, images: Array, labels: Array, estimator: Estimator
) -> LossAndGradients:
    """Train through a custom gradient: the chain rule with the loss's own backward overridden.

    Parameters
    ----------
    network, parameters
    images : (*input_shape, N)
    labels : (K, N), one-hot
    estimator : function of (logits, labels)

    Returns
    -------
    LossAndGradients
    """
    logits, caches = network.forward(parameters, images)
    loss, loss_cache = smoothed_loss_forward(logits, labels, estimator)
    dlogits = smoothed_loss_backward(np.ones_like(loss), loss_cache)
    _, gradients = network.backward(dlogits, caches)
    return LossAndGradients(loss, gradients)


# --- 2. A surrogate loss: the first-order Taylor term -------------------------------------------


def taylor_gradient(g: Array) -> Array:
    """Differentiate the surrogate loss sum_k g_k l_k, in which g is held fixed: it is g.

    The smoothed loss near the logits is J(l + d) ≈ J(l) + g·d. Its linear term is a loss that any
    framework can differentiate, provided that it does not look inside g (stop_gradient).

    Parameters
    ----------
    g : (K, N)

    Returns
    -------
    (K, N), the gradient with respect to the logits.
    """
    return g


def taylor(
    network: Sequential, parameters: Parameters, images: Array, labels: Array, estimator: Estimator
) -> LossAndGradients:
    """Train on the surrogate sum(stop_gradient(g) * logits).

    Parameters and returns: as in `override`.
    """
    logits, caches = network.forward(parameters, images)
    estimate = estimator(logits, labels)
    _, gradients = network.backward(taylor_gradient(estimate.gradient), caches)
    return LossAndGradients(estimate.loss, gradients)


# --- 3. Multiplying the gradients by hand -------------------------------------------------------


def vjp(
    network: Sequential, parameters: Parameters, images: Array, labels: Array, estimator: Estimator
) -> LossAndGradients:
    """Multiply g into the network's Jacobian, layer by layer: dJ/dtheta = gᵀ dlogits/dtheta.

    Nothing but the pairs of `ops`: this is what `Sequential.backward` does for LeNet-5, written
    out. The Jacobian itself is never formed; each line multiplies a vector by the Jacobian of one
    layer. Parameters and returns: as in `override`.

    Raises
    ------
    ValueError
        If the network is not ``lenet5()``, the one that is written out here.
    """
    if network != lenet5():
        raise ValueError("the vjp route is written out for lenet5() alone: use another route")
    logits, caches = network.forward(parameters, images)
    loss, g = estimator(logits, labels)
    conv1, pool1, relu1, conv2, pool2, relu2, flat, dense1, relu3, dense2, relu4, out = caches

    dout = ops.dense_backward(g, out)
    ddense2 = ops.dense_backward(ops.relu_backward(dout.x, relu4), dense2)
    ddense1 = ops.dense_backward(ops.relu_backward(ddense2.x, relu3), dense1)
    dmaps2 = ops.relu_backward(ops.flatten_backward(ddense1.x, flat), relu2)
    dconv2 = ops.conv2d_backward(ops.max_pool2d_backward(dmaps2, pool2), conv2)
    dmaps1 = ops.relu_backward(dconv2.x, relu1)
    dconv1 = ops.conv2d_backward(ops.max_pool2d_backward(dmaps1, pool1), conv1, need_dx=False)

    gradients = {
        "logits.weight": dout.weight,
        "logits.bias": dout.bias,
        "dense2.weight": ddense2.weight,
        "dense2.bias": ddense2.bias,
        "dense1.weight": ddense1.weight,
        "dense1.bias": ddense1.bias,
        "conv2.weight": dconv2.weight,
        "conv2.bias": dconv2.bias,
        "conv1.weight": dconv1.weight,
        "conv1.bias": dconv1.bias,
    }
    return LossAndGradients(loss, gradients)


# --- 4. Moving the logits and regressing on them ------------------------------------------------

#: How far the logits are moved against g before they become the target.
TARGET_RATE = 1.0


def target(
    network: Sequential, parameters: Parameters, images: Array, labels: Array, estimator: Estimator
) -> LossAndGradients:
    """Train by regression on better logits: new = l - rate g, loss = (1/K) |l - new|².

    The gradient of that loss at l is (2/K)(l - new) = (2 rate/K) g: the other routes' gradient
    times a constant. Adam divides a gradient by its own running size, so a constant factor c is
    the same as dividing epsilon by c, and the steps are the same up to that (Kingma & Ba 2015,
    section 2.1). Parameters and returns: as in `override`.
    """
    logits, caches = network.forward(parameters, images)
    estimate = estimator(logits, labels)
    moved = logits - TARGET_RATE * estimate.gradient
    _, gradients = network.backward(squared_error_gradient(logits, moved), caches)
    return LossAndGradients(estimate.loss, gradients)


ROUTES = {"taylor": taylor, "override": override, "vjp": vjp, "target": target}
