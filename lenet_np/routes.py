"""Four ways of feeding the estimate g = dJ/dlogits into the network.

An autodiff framework sees a chain that is broken at the 0-1 loss, and there are several ways to
bridge it. The notebook tried four. All carry the same g to the same parameters, which the tests
show. They share the way forward and the estimate; a `Route` is what makes each of them different:
what is sent back from the logits, and how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lenet_np import ops
from lenet_np.es import Estimate
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.losses import squared_error_gradient
from lenet_np.ops import Array, Parameters

#: Gives the loss of each example and its gradient, from (logits (K, N), labels (K, N)).
LossAtLogits = Callable[[Array, Array], Estimate]


class LossAndGradients(NamedTuple):
    """What one minibatch teaches."""

    loss: Array  # (N,), estimate of the smoothed loss of each example
    gradients: Parameters  # of the sum over the batch


def add_parts(parts: Sequence[LossAndGradients]) -> LossAndGradients:
    """Put a minibatch together from what its parts taught.

    The gradient of a sum over examples is the sum of the gradients of its parts. They are added
    in the order given: floating-point sums depend on their order.
    """
    gradients = parts[0].gradients
    for part in parts[1:]:
        gradients = {name: total + part.gradients[name] for name, total in gradients.items()}
    return LossAndGradients(np.concatenate([part.loss for part in parts]), gradients)


def chain_rule(network: Sequential, dlogits: Array, caches: tuple[Any, ...]) -> Parameters:
    """Carry dlogits back through the network's own backward pass."""
    return network.backward(dlogits, caches)[1]


@dataclass(frozen=True)
class Route:
    """A way from the estimate to the gradients of the parameters."""

    at_logits: Callable[[Array, Array], Array]  # dlogits (K, N) from (logits, g)
    backward: Callable[[Sequential, Array, tuple[Any, ...]], Parameters] = chain_rule

    def __call__(
        self,
        network: Sequential,
        parameters: Parameters,
        images: Array,
        labels: Array,
        loss_at_logits: LossAtLogits,
    ) -> LossAndGradients:
        """Go forward, estimate at the logits, and go back: images (*input_shape, N)."""
        logits, caches = network.forward(parameters, images)
        loss, g = loss_at_logits(logits, labels)
        dlogits = self.at_logits(logits, g)
        return LossAndGradients(loss, self.backward(network, dlogits, caches))


# --- 1. A custom gradient for the operation that has none ---------------------------------------


def smoothed_loss_forward(
    logits: Array, labels: Array, loss_at_logits: LossAtLogits
) -> tuple[Array, Array]:
    """Compute the loss under noise as an operation like any other: (loss (N,), the cache g)."""
    loss, g = loss_at_logits(logits, labels)
    return loss, g


def smoothed_loss_backward(dloss: Array, g: Array) -> Array:
    """Put the estimate where the derivative should stand: dlogits = dloss g."""
    return dloss * g


def override(logits: Array, g: Array) -> Array:
    """Go back through the pair above, from dloss = 1: the loss's own backward is overridden."""
    return smoothed_loss_backward(np.ones_like(g[0]), g)


# --- 2. A surrogate loss: the first-order Taylor term -------------------------------------------


def taylor(logits: Array, g: Array) -> Array:
    """Differentiate the surrogate loss sum_k g_k l_k, in which g is held fixed: it is g.

    The smoothed loss near the logits is J(l + d) ≈ J(l) + g·d. Its linear term is a loss that any
    framework can differentiate, provided that it does not look inside g (stop_gradient).
    """
    return g


# --- 3. Multiplying the gradients by hand -------------------------------------------------------


def vjp(network: Sequential, g: Array, caches: tuple[Any, ...]) -> Parameters:
    """Multiply g into the network's Jacobian, layer by layer: dJ/dtheta = gᵀ dlogits/dtheta.

    Nothing but the pairs of `ops`: this is what `Sequential.backward` does for LeNet-5, written
    out. The Jacobian itself is never formed; each line multiplies a vector by the Jacobian of one
    layer. ValueError if the network is not ``lenet5()``.
    """
    if network != lenet5():
        raise ValueError("the vjp route is written out for lenet5() alone: use another route")
    conv1, pool1, relu1, conv2, pool2, relu2, flat, dense1, relu3, dense2, relu4, out = caches

    dout = ops.dense_backward(g, out)
    ddense2 = ops.dense_backward(ops.relu_backward(dout.x, relu4), dense2)
    ddense1 = ops.dense_backward(ops.relu_backward(ddense2.x, relu3), dense1)
    dmaps2 = ops.relu_backward(ops.flatten_backward(ddense1.x, flat), relu2)
    dconv2 = ops.conv2d_backward(ops.max_pool2d_backward(dmaps2, pool2), conv2)
    dmaps1 = ops.relu_backward(dconv2.x, relu1)
    dconv1 = ops.conv2d_backward(ops.max_pool2d_backward(dmaps1, pool1), conv1, need_dx=False)

    return {
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


# --- 4. Moving the logits and regressing on them ------------------------------------------------

#: How far the logits are moved against g before they become the target.
TARGET_RATE = 1.0


def target(logits: Array, g: Array) -> Array:
    """Regress on better logits: new = l - rate g, loss = (1/K) |l - new|².

    The gradient of that loss at l is (2/K)(l - new) = (2 rate/K) g: the other routes' gradient
    times a constant. Adam divides a gradient by its own running size, so a constant factor c is
    the same as dividing epsilon by c, and the steps are the same up to that (Kingma & Ba 2015,
    section 2.1).
    """
    return squared_error_gradient(logits, logits - TARGET_RATE * g)


ROUTES = {
    "taylor": Route(taylor),
    "override": Route(override),
    "vjp": Route(taylor, backward=vjp),
    "target": Route(target),
}
