"""What the functions of the exercise must give, and what people's mistakes would give."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..es import Estimate
from .layouts import Array, Layout
from .reference import solutions
from .task import Guess, Known

GRADIENTS = ("x", "weight", "bias")


def answer(layout: Layout, function: str, *arguments: Any) -> dict[str, Known]:
    """Compute the results of a function of the exercise, by their names.

    A backward pass is given dy and then what its forward pass is given; an estimator is given as
    its two results, loss and g.
    """
    solve = solutions(layout)
    pair = function.removesuffix("_forward").removesuffix("_backward")
    if function == "im2col" or (function.endswith("_forward") and pair != "override"):
        return {"y": _forward(solve[function], arguments)}
    if function == "col2im":
        dy, x, *how = arguments
        return {"x": Known(solve["col2im"](dy, x.shape, *how))}
    if function.endswith("_backward") and pair != "override":
        dy, *given = arguments
        _, cache = solve[f"{pair}_forward"](*given)
        gradients = solve[function](dy, cache)
        if pair == "max_pool":
            return {"x": _max_pool(layout, gradients, dy, *given)}
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        return {name: Known(right) for name, right in zip(GRADIENTS, gradients, strict=False)}
    others: dict[str, Callable[..., dict[str, Known]]] = {
        "softmax_cross_entropy": _cross_entropy,
        "adam_update": _adam,
        "es_gradient": _estimator,
        "leave_one_out_gradient": _estimator,
        "taylor_loss": _taylor,
        "override_forward": _override,
        "override_backward": _override_backward,
        "vjp_gradients": _vjp,
        "target_gradient": _target,
    }
    return others[function](layout, solve[function], *arguments)


def _known(right: Array, *guesses: tuple[str, str, Array]) -> Known:
    return Known(right, tuple(Guess(*guess) for guess in guesses))


# --- layers -------------------------------------------------------------------------------------


def _forward(solve: Callable[..., Any], arguments: tuple[Any, ...]) -> Known:
    def y_of(*given: Any) -> Array:
        result = solve(*given)
        y: Array = result[0] if isinstance(result, tuple) else result
        return y

    guesses = []
    for position, (name, x) in enumerate(zip(GRADIENTS, arguments, strict=False)):
        if not isinstance(x, np.ndarray):
            break
        changes = {f"is what it would be without {name}": np.zeros_like(x)}
        for axes in ((-2, -1), (1, 2), (0, 1)) if x.ndim > 2 else ():
            text = f"is that of {name} flipped along axes {axes}: a convolution for a correlation?"
            changes[text] = np.ascontiguousarray(np.flip(x, axes))
        if x.ndim == 2 and x.shape[0] == x.shape[1]:
            changes[f"is that of {name} transposed"] = x.T.copy()
        for text, changed in changes.items():
            given = (*arguments[:position], changed, *arguments[position + 1 :])
            guesses.append(("forward-wrong", text, y_of(*given)))
    return _known(y_of(*arguments), *guesses)


def _max_pool(layout: Layout, right: Array, dy: Array, x: Array, window: int, stride: int) -> Known:
    images = layout.images
    x, upstream = images.to_package(x), images.to_package(dy)
    marked, ties = np.zeros_like(x), np.zeros_like(x)
    for p in range(upstream.shape[1]):
        for q in range(upstream.shape[2]):
            block = np.s_[:, p * stride : p * stride + window, q * stride : q * stride + window]
            wins = x[block] == x[block].max(axis=(1, 2), keepdims=True)
            sent = wins * upstream[:, p : p + 1, q : q + 1]
            marked[block] += sent
            ties[block] += sent / wins.sum(axis=(1, 2), keepdims=True)
    return _known(
        right,
        ("ties", "gives dy to every pixel that ties", images.from_package(marked)),
        ("ties", "shares dy among the pixels that tie", images.from_package(ties)),
    )


# --- training -----------------------------------------------------------------------------------


def _cross_entropy(_: Layout, solve: Any, logits: Array, labels: Array) -> dict[str, Known]:
    loss, dlogits = solve(logits, labels)
    mean = ("forward-wrong", "is a mean over the batch, not one for each example", loss / len(loss))
    return {"loss": _known(loss, mean), "dlogits": Known(dlogits)}


def _adam(
    _: Layout,
    solve: Any,
    parameter: Array,
    g: Array,
    m: Array,
    v: Array,
    step: int,
    *constants: float,
) -> dict[str, Known]:
    new, new_m, new_v = solve(parameter, g, m, v, step, *constants)
    rate, beta1, beta2, epsilon = constants
    c1, c2 = 1 - beta1**step, 1 - beta2**step
    root, move = np.sqrt(new_v), parameter - new
    wrong_epsilon = "adds epsilon to the corrected root; here it is added to sqrt(v) itself"
    corrected = rate * math.sqrt(c2) / c1
    moves = (
        ("bias-correction", "lacks the bias correction", rate * new_m / (root + epsilon)),
        (
            "bias-correction",
            "has the bias correction of m but not that of v",
            rate / c1 * new_m / (root + epsilon),
        ),
        (
            "bias-correction",
            "has the bias correction of v but not that of m",
            rate * math.sqrt(c2) * new_m / (root + epsilon),
        ),
        ("epsilon", wrong_epsilon, rate * (new_m / c1) / (np.sqrt(new_v / c2) + epsilon)),
        ("epsilon", "has epsilon under the root", corrected * new_m / np.sqrt(new_v + epsilon)),
        ("square", "divides by v, not by its root", corrected * new_m / (new_v + epsilon)),
        ("wrong-sign", "went up the gradient instead of down", -move),
    )
    return {
        "parameter": _known(
            new,
            *((code, text, parameter - wrong) for code, text, wrong in moves),
            ("not-applied", "is the step alone: subtract it from the parameter", move),
        ),
        "m": _known(
            new_m,
            ("order", "is v: return the parameter, then m, then v", new_v),
            ("weights", "lacks the factor (1 - beta1)", beta1 * m + g),
            ("weights", "has beta1 and 1 - beta1 swapped", (1 - beta1) * m + beta1 * g),
            ("weights", "uses beta2", beta2 * m + (1 - beta2) * g),
            ("corrected", "is bias-corrected: return m as it is", new_m / c1),
        ),
        "v": _known(
            new_v,
            ("square", "averages g, not its square", beta2 * v + (1 - beta2) * g),
            ("weights", "lacks the factor (1 - beta2)", beta2 * v + g**2),
            ("weights", "has beta2 and 1 - beta2 swapped", (1 - beta2) * v + beta2 * g**2),
            ("weights", "uses beta1", beta1 * v + (1 - beta1) * g**2),
            ("corrected", "is bias-corrected: return v as it is", new_v / c2),
        ),
    }


def _estimator(
    layout: Layout,
    solve: Any,
    loss: Callable[[Array, Array], Array],
    logits: Array,
    labels: Array,
    noise: Array,
    sigma: float,
) -> dict[str, Known]:
    right = solve(loss, logits, labels, noise, sigma)
    eps = layout.noise.to_package(noise)
    _, n, batch = eps.shape
    baseline = solve.__name__ == "leave_one_out_gradient"
    samples = [layout.features.from_package(eps[:, i]) for i in range(n)]

    def weigh(f: Array, compared: bool = baseline) -> Array:
        if compared:
            f = (f - f.mean(axis=0)) * n / (n - 1)
        return layout.features.from_package((eps * f).mean(axis=1) / sigma)

    values = np.stack([loss(logits + sigma * sample, labels) for sample in samples])
    unscaled = np.stack([loss(logits + sample, labels) for sample in samples])
    there = np.broadcast_to(loss(logits, labels), values.shape)
    of_all = "has a baseline that contains the sample itself: the mean of all, not of the others"
    about_baseline: list[tuple[str, str, Array]] = [
        ("baseline", "compares the samples: here each counts as it is", weigh(values, True))
    ]
    if baseline:
        about_baseline = [
            ("baseline", "lacks the baseline b_i", weigh(values, False)),
            ("baseline", of_all, right * (n - 1) / n),
        ]
    no_sigma = "evaluates the loss at logits + noise: the noise lacks sigma"
    known = _known(
        right,
        *about_baseline,
        ("wrong-sign", "has the wrong sign", -right),
        ("sigma", "lacks the division by sigma", right * sigma),
        ("sigma", "divides by sigma twice", right / sigma),
        ("sigma", no_sigma, weigh(unscaled)),
        ("not-perturbed", "evaluates the loss without noise", weigh(there)),
        ("sum-over-samples", "is the sum over the samples, not the mean", right * n),
        ("batch-mean", "is divided by the size of the batch", right / batch),
    )
    return {"g": known}


# --- routes -------------------------------------------------------------------------------------


def _given(loss: Array, g: Array) -> Callable[..., Estimate]:
    return lambda *_: Estimate(loss, g)


def _taylor(
    layout: Layout, solve: Any, logits: Array, labels: Array, loss: Array, g: Array
) -> dict[str, Known]:
    surrogate, dlogits = solve(logits, labels, _given(loss, g))
    classes = logits.shape[layout.features.place_of(0)]
    return {
        "surrogate": _known(
            surrogate,
            ("other-loss", "is the estimator's loss, which has no gradient", loss),
            ("constant-factor", "is a mean over the classes, not a sum", surrogate / classes),
        ),
        "dlogits": _known(
            dlogits,
            ("batch-mean", "is divided by the size of the batch", g / len(loss)),
            ("product", "is g times the logits: g is a constant here", g * logits),
        ),
    }


def _override(
    _: Layout, solve: Any, logits: Array, labels: Array, loss: Array, g: Array
) -> dict[str, Known]:
    return {"loss": Known(solve(logits, labels, _given(loss, g))[0])}


def _override_backward(
    layout: Layout, solve: Any, dloss: Array, logits: Array, labels: Array, loss: Array, g: Array
) -> dict[str, Known]:
    _, cache = solutions(layout)["override_forward"](logits, labels, _given(loss, g))
    right = solve(dloss, cache)
    known = _known(
        right,
        ("upstream-ignored", "ignores dloss, the upstream gradient", g),
        ("batch-mean", "is divided by the size of the batch", right / len(loss)),
    )
    return {"dlogits": known}


def _vjp(layout: Layout, solve: Any, *given: Array) -> dict[str, Known]:
    *inputs, g = given
    seen = []

    def estimator(logits: Array, _: Array) -> Estimate:
        seen.append(logits)
        return Estimate(np.zeros(1), g)

    gradients = solve(*inputs, estimator)
    batch = g.shape[layout.features.place_of(1)]
    # Without the mask of the relu: as if all hidden units were positive.
    x, weight1, bias1, weight2, bias2, labels = inputs
    lifted = solve(x, weight1, bias1 + 1e3, weight2, bias2, labels, estimator)
    guesses = {"dweight1": lifted[0], "dbias1": lifted[1]}
    known = {"logits": Known(seen[0])}
    names = ("dweight1", "dbias1", "dweight2", "dbias2")
    for name, right in zip(names, gradients, strict=True):
        mean = ("batch-mean", "is divided by the size of the batch", right / batch)
        mask = [
            ("missing-mask", "lacks the mask of the relu", guesses[n]) for n in guesses if n == name
        ]
        known[name] = _known(right, mean, *mask)
    return known


def _target(
    layout: Layout, solve: Any, logits: Array, labels: Array, loss: Array, g: Array, rate: float
) -> dict[str, Known]:
    targets, right = solve(logits, labels, _given(loss, g), rate)
    classes = logits.shape[layout.features.place_of(0)]
    return {
        "targets": _known(
            targets,
            ("wrong-sign", "moved up the gradient instead of down", logits + rate * g),
            ("rate", "lacks the rate", logits - g),
        ),
        "dlogits": _known(
            right,
            ("constant-factor", "lacks the factor 1/K", right * classes),
            ("constant-factor", "lacks the factor 2 of the square", right / 2),
            ("constant-factor", "lacks the factor 2/K", right * classes / 2),
            ("batch-mean", "is divided by the size of the batch", right / len(loss)),
            ("other-input", "is g itself: differentiate the squared error", g),
        ),
    }
