"""The tasks about training: softmax cross-entropy, Adam, and the estimators of a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..layouts import Array
from ..pairs import UNCHANGED, Pair, judge_pairs, pair_parts
from ..task import (
    Exercise,
    Known,
    compare,
    fail,
    require_array,
    require_unchanged,
    take_apart,
    task,
)


def _one_hot(classes: int, batch: int) -> Array:
    """Make labels (K, N)."""
    return np.eye(classes)[:, np.arange(batch) * 2 % classes]


# --- softmax cross-entropy ------------------------------------------------------------------------

CROSS_ENTROPY = '''\
def softmax_cross_entropy(logits, labels):
    """Measure the surprise at the label of each example, and differentiate it.

    loss[n] = -log softmax(l)_y, where l are the logits of example n and y is its label
            = log(sum over k of exp(l_k)) - l_y
    softmax(l)_k = exp(l_k) / (sum over j of exp(l_j))

    Logits of 1000 must not overflow.

    logits : ({features:K, N})
    labels : ({features:K, N}), one-hot

    Returns loss, (N,), one number for each example, neither summed nor averaged; and dlogits,
    ({features:K, N}), the gradient of the SUM of the losses.
    """
    raise NotImplementedError
'''


@task(
    {**pair_parts(2, logits=4), "large logits": 2},
    "the gradient that ends in softmax minus labels; computing without overflow",
    CROSS_ENTROPY,
)
def cross_entropy(exercise: Exercise) -> None:
    features = exercise.layout.features
    classes, batch = 5 + exercise.grow, 3 + exercise.grow
    labels = features.from_package(_one_hot(classes, batch))
    small = features.from_package(exercise.normal(1, classes, batch))

    def loss_and_gradient(logits: Array) -> tuple[Any, Array]:
        result = exercise.student["softmax_cross_entropy"](logits, labels.copy())
        loss, dlogits = take_apart("softmax_cross_entropy", result, ("loss", "dlogits"))
        return loss, require_array("dlogits", dlogits, logits.shape)

    def backward(dloss: Array, dlogits: Array) -> Array:
        return np.expand_dims(dloss, features.place_of(0)) * dlogits

    known = exercise.know("softmax_cross_entropy", small, labels)
    pair = Pair(
        f"{classes} classes, a batch of {batch}",
        loss_and_gradient,
        backward,
        {"logits": small},
        known["loss"],
        np.ones(batch),
        {"logits": known["dlogits"]},
    )
    judge_pairs(exercise, exercise.layout.batch_axis, pair)
    large = 1000 * small
    with exercise.part("large logits"):
        answers = loss_and_gradient(large.copy())
        known = exercise.know("softmax_cross_entropy", large, labels)
        for (what, right), values in zip(known.items(), answers, strict=True):
            if not np.isfinite(values).all():
                fail("overflow", f"with logits around 1000: {what} has nan or infinity")
            compare(f"with logits around 1000: {what}", values, right)


# --- Adam -----------------------------------------------------------------------------------------

ADAM = '''\
def adam_update(
    parameter, gradient, m, v, step, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8
):
    """Take one step of Adam, in the form in which epsilon stands outside the bias correction.

    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    rate = learning_rate sqrt(1 - beta2^step) / (1 - beta1^step)
    parameter <- parameter - rate m / (sqrt(v) + epsilon)

    parameter, gradient, m, v : arrays of one shape; m and v are zero before the first step
    step : int, 1 for the first step

    Returns the new parameter, m and v, as new arrays: the arguments stay as they are.
    """
    raise NotImplementedError
'''


@task(
    {"m": 2, "v": 2, "parameter": 5, UNCHANGED: 1},
    "running means, and why they are corrected at the start",
    ADAM,
)
def adam(exercise: Exercise) -> None:
    rng = exercise.rng(2)
    shape = (2, 3 + exercise.grow)
    constants = (0.1, 0.8, 0.95, 0.03)  # learning rate, beta1, beta2, epsilon
    parameter: Array = rng.standard_normal(shape)
    m: Array = np.zeros(shape)
    v: Array = np.zeros(shape)
    names = ("parameter", "m", "v")
    steps: list[tuple[int, Any, dict[str, Known]]] = []
    changed = []
    for step in (1, 2, 3):
        given = [parameter, rng.standard_normal(shape), m, v]
        copies = [array.copy() for array in given]
        result = exercise.student["adam_update"](*copies, step, *constants)
        answers = dict(zip(names, take_apart("adam_update", result, names), strict=True))
        known = exercise.know("adam_update", *given, step, *constants)
        steps.append((step, answers, known))
        changed.append((copies, given))
        parameter, m, v = (known[name].right for name in names)
    for name in ("m", "v", "parameter"):
        with exercise.part(name):
            for step, answers, known in steps:
                compare(f"at step {step}: the new {name}", answers[name], known[name])
    with exercise.part(UNCHANGED):
        exercise.require_something_right()
        for copies, given in changed:
            require_unchanged("adam_update", ("parameter", "gradient", "m", "v"), copies, given)


# --- estimators -----------------------------------------------------------------------------------

ES = '''\
def es_gradient(loss, logits, labels, noise, sigma):
    """Estimate the gradient of a smoothed loss from values of the loss alone.

    F_i = loss(logits + sigma noise_i, labels), one number for each example
    g = (1/n) sum over i of F_i noise_i / sigma, for each example by itself

    loss : function of (logits, labels) that gives one number for each example, (N,)
    logits : ({features:K, N})
    labels : ({features:K, N}), one-hot
    noise : ({noise:K, n, N}), the n samples noise_i
    sigma : float

    Returns g, ({features:K, N}).
    """
    raise NotImplementedError
'''

LEAVE_ONE_OUT = '''\
def leave_one_out_gradient(loss, logits, labels, noise, sigma):
    """Estimate the same gradient, and compare each sample with the others: less noise.

    b_i = the mean of F_j over all j that are not i
    g = (1/n) sum over i of (F_i - b_i) noise_i / sigma, for each example by itself

    Arguments and result: as in es_gradient. n is at least 2.
    """
    raise NotImplementedError
'''

SQUARED, COUNTED = "squared error", "0-1 loss"


@task(
    {SQUARED: 5, COUNTED: 4, UNCHANGED: 1},
    "a gradient from a loss that has none: the score-function trick",
    ES,
)
def es(exercise: Exercise) -> None:
    _judge_estimator(exercise, "es_gradient")


@task(
    {SQUARED: 2, COUNTED: 2, UNCHANGED: 1},
    "a baseline that takes away noise and adds no bias",
    LEAVE_ONE_OUT,
)
def leave_one_out(exercise: Exercise) -> None:
    _judge_estimator(exercise, "leave_one_out_gradient")


def _judge_estimator(exercise: Exercise, function: str) -> None:
    features, sigma = exercise.layout.features, 1.7 + exercise.grow
    classes, samples, batch = 4, 5 + exercise.grow, 3
    given = [
        features.from_package(exercise.normal(3, classes, batch)),
        features.from_package(_one_hot(classes, batch)),
        exercise.layout.noise.from_package(exercise.normal(4, classes, samples, batch)),
    ]
    axis = features.place_of(0)

    def squared_error(logits: Array, labels: Array) -> Array:
        return np.asarray(np.square(logits - labels).sum(axis=axis))

    def zero_one(logits: Array, labels: Array) -> Array:
        return np.asarray(1.0 * (logits.argmax(axis=axis) != labels.argmax(axis=axis)))

    copies = [array.copy() for array in given]
    for name, ours in ((SQUARED, squared_error), (COUNTED, zero_one)):

        def loss(logits: Array, labels: Array, ours: Any = ours) -> Array:
            require_array("the logits that loss is given", logits, given[0].shape)
            require_array("the labels that loss is given", labels, given[1].shape)
            values: Array = ours(logits, labels)
            return values

        with exercise.part(name):
            answer = exercise.student[function](loss, *copies, sigma)
            known = exercise.know(function, ours, *given, sigma)["g"]
            compare(f"with the {name}: g", answer, known)
            copies = [array.copy() for array in given]
    with exercise.part(UNCHANGED):
        exercise.require_something_right()
        copies = [array.copy() for array in given]
        exercise.student[function](squared_error, *copies, sigma)
        require_unchanged(function, ("logits", "labels", "noise"), copies, given)
