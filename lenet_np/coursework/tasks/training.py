"""The tasks about training: softmax cross-entropy, Adam, and the estimators of a gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lenet_np.coursework.layouts import Layout
from lenet_np.coursework.task import (
    Exercise,
    Failed,
    Guess,
    Remark,
    Task,
    check_gradients,
    compare,
    require_array,
    require_unchanged,
    take_apart,
)
from lenet_np.losses import cross_entropy, zero_one_loss
from lenet_np.ops import Array


def _one_hot(classes: int, batch: int) -> Array:
    """Make labels (K, N)."""
    return np.eye(classes)[:, np.arange(batch) * 2 % classes]


# --- softmax cross-entropy ----------------------------------------------------------------------

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


def _check_cross_entropy(exercise: Exercise) -> None:
    features = exercise.layout.features
    labels = np.ascontiguousarray(features.from_package(_one_hot(5, 3)))
    small = np.ascontiguousarray(
        features.from_package(np.random.default_rng(1).standard_normal((5, 3)))
    )

    def loss_and_gradient(logits: Array) -> tuple[Any, Array]:
        result = exercise.student["softmax_cross_entropy"](logits, labels.copy())
        loss, dlogits = take_apart("softmax_cross_entropy", result, ("loss", "dlogits"))
        return loss, require_array("dlogits", dlogits, logits.shape)

    def right(logits: Array) -> tuple[Array, Array]:
        loss, dlogits = exercise.solution["softmax_cross_entropy"](logits, labels)
        return loss, dlogits

    check_gradients(
        "5 classes, a batch of 3",
        loss_and_gradient,
        lambda dloss, dlogits: np.expand_dims(dloss, features.place_of(0)) * dlogits,
        (small,),
        ("logits",),
        lambda logits: right(logits)[0],
        batch_axis=exercise.layout.batch_axis,
    )
    large = 1000 * small
    loss, dlogits = loss_and_gradient(large.copy())
    for what, values, wanted in zip(
        ("loss", "dlogits"), (loss, dlogits), right(large), strict=True
    ):
        if not np.isfinite(values).all():
            raise Failed(Remark("overflow", f"with logits around 1000: {what} has nan or infinity"))
        compare(f"with logits around 1000: {what}", values, wanted)


# --- Adam ---------------------------------------------------------------------------------------

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


def _check_adam(exercise: Exercise) -> None:
    rng = np.random.default_rng(2)
    rate, beta1, beta2, epsilon = 0.1, 0.8, 0.95, 0.03
    parameter, m, v = rng.standard_normal((2, 3)), np.zeros((2, 3)), np.zeros((2, 3))
    for step in (1, 2, 3):
        g = rng.standard_normal((2, 3))
        given = [parameter, g, m, v]
        copies = [array.copy() for array in given]
        result = exercise.student["adam_update"](*copies, step, rate, beta1, beta2, epsilon)
        names = ("parameter", "m", "v")
        answers = take_apart("adam_update", result, names)
        require_unchanged("adam_update", ("parameter", "gradient", "m", "v"), copies, given)
        right = exercise.solution["adam_update"](*given, step, rate, beta1, beta2, epsilon)
        new, new_m, new_v = right
        c1, c2 = 1 - beta1**step, 1 - beta2**step
        case = f"at step {step}: the new "
        compare(
            f"{case}m",
            answers[1],
            new_m,
            (
                Guess("order", "is v: return the parameter, then m, then v", new_v),
                Guess("weights", "lacks the factor (1 - beta1)", beta1 * m + g),
                Guess("weights", "has beta1 and 1 - beta1 swapped", (1 - beta1) * m + beta1 * g),
                Guess("weights", "uses beta2", beta2 * m + (1 - beta2) * g),
                Guess("corrected", "is bias-corrected: return m as it is", new_m / c1),
            ),
        )
        compare(
            f"{case}v",
            answers[2],
            new_v,
            (
                Guess("square", "averages g, not its square", beta2 * v + (1 - beta2) * g),
                Guess("weights", "lacks the factor (1 - beta2)", beta2 * v + g**2),
                Guess("weights", "has beta2 and 1 - beta2 swapped", _mix(1 - beta2, v, g**2)),
                Guess("weights", "uses beta1", beta1 * v + (1 - beta1) * g**2),
                Guess("corrected", "is bias-corrected: return v as it is", new_v / c2),
            ),
        )
        root = np.sqrt(new_v)
        move = parameter - new
        compare(
            f"{case}parameter",
            answers[0],
            new,
            (
                Guess("wrong-sign", "went up the gradient instead of down", parameter + move),
                Guess(
                    "bias-correction",
                    "lacks the bias correction",
                    parameter - rate * new_m / (root + epsilon),
                ),
                Guess(
                    "bias-correction",
                    "has the bias correction of m but not that of v",
                    parameter - rate / c1 * new_m / (root + epsilon),
                ),
                Guess(
                    "bias-correction",
                    "has the bias correction of v but not that of m",
                    parameter - rate * math.sqrt(c2) * new_m / (root + epsilon),
                ),
                Guess(
                    "epsilon",
                    "adds epsilon to the corrected root; here it is added to sqrt(v) itself",
                    parameter - rate * (new_m / c1) / (np.sqrt(new_v / c2) + epsilon),
                ),
                Guess(
                    "epsilon",
                    "has epsilon under the root",
                    parameter - rate * math.sqrt(c2) / c1 * new_m / np.sqrt(new_v + epsilon),
                ),
                Guess(
                    "square",
                    "divides by v, not by its root",
                    parameter - rate * math.sqrt(c2) / c1 * new_m / (new_v + epsilon),
                ),
                Guess("not-applied", "is the step alone: subtract it from the parameter", move),
            ),
        )
        parameter, m, v = right


def _mix(beta: float, old: Array, new: Array) -> Array:
    return beta * old + (1 - beta) * new


# --- estimators ---------------------------------------------------------------------------------

ES = '''\
def es_gradient(loss, logits, labels, noise, sigma):
    """Estimate the gradient of a smoothed loss from values of the loss alone.

    F_i = loss(logits + sigma eps_i, labels), one number for each example
    g = (1/n) sum over i of F_i eps_i / sigma, for each example by itself

    loss : function of (logits, labels) that gives one number for each example, (N,)
    logits : ({features:K, N})
    labels : ({features:K, N}), one-hot
    noise : ({noise:K, n, N}), the n samples eps_i
    sigma : float

    Returns g, ({features:K, N}).
    """
    raise NotImplementedError
'''

LEAVE_ONE_OUT = '''\
def leave_one_out_gradient(loss, logits, labels, noise, sigma):
    """Estimate the same gradient, and compare each sample with the others: less noise.

    b_i = the mean of F_j over all j that are not i
    g = (1/n) sum over i of (F_i - b_i) eps_i / sigma, for each example by itself

    Arguments and result: as in es_gradient. n is at least 2.
    """
    raise NotImplementedError
'''


def _check_es(exercise: Exercise) -> None:
    _check_estimator(exercise, "es_gradient", baseline=False)


def _check_leave_one_out(exercise: Exercise) -> None:
    _check_estimator(exercise, "leave_one_out_gradient", baseline=True)


def _check_estimator(exercise: Exercise, function: str, baseline: bool) -> None:
    layout = exercise.layout
    rng = np.random.default_rng(3)
    logits, noise = rng.standard_normal((4, 3)), rng.standard_normal((4, 5, 3))
    labels, sigma = _one_hot(4, 3), 1.7
    given = [
        np.ascontiguousarray(axes.from_package(array))
        for axes, array in (
            (layout.features, logits),
            (layout.features, labels),
            (layout.noise, noise),
        )
    ]
    for ours in (cross_entropy, zero_one_loss):

        def loss(logits: Array, labels: Array, ours: Any = ours) -> Array:
            to_package = layout.features.to_package
            require_array("the logits that loss is given", logits, given[0].shape)
            require_array("the labels that loss is given", labels, given[1].shape)
            values: Array = ours(to_package(logits), to_package(labels))
            return values

        copies = [array.copy() for array in given]
        answer = exercise.student[function](loss, *copies, sigma)
        require_unchanged(function, ("logits", "labels", "noise"), copies, given)
        right = exercise.solution[function](loss, *given, sigma)
        values = ours(logits[:, np.newaxis] + sigma * noise, labels[:, np.newaxis])
        unscaled = ours(logits[:, np.newaxis] + noise, labels[:, np.newaxis])
        there = np.broadcast_to(ours(logits, labels), values.shape)
        guesses = _estimator_guesses(layout, values, unscaled, there, noise, sigma, baseline)
        compare(f"with {ours.__name__.replace('_', '-')} as the loss: g", answer, right, guesses)


def _estimator_guesses(
    layout: Layout,
    values: Array,
    unscaled: Array,
    there: Array,
    noise: Array,
    sigma: float,
    baseline: bool,
) -> list[Guess]:
    n, batch = values.shape

    def weigh(f: Array, compared: bool = baseline) -> Array:
        if compared:
            f = (f - f.mean(axis=0)) * n / (n - 1)
        return layout.features.from_package((noise * f).mean(axis=1) / sigma)

    right = weigh(values)
    own = (
        Guess("baseline", "lacks the baseline b_i", weigh(values, False)),
        Guess(
            "baseline",
            "has a baseline that contains the sample itself: the mean of all, not of the others",
            right * (n - 1) / n,
        ),
    )
    other = (
        Guess("baseline", "compares the samples: here each counts as it is", weigh(values, True)),
    )
    return [
        *(own if baseline else other),
        Guess("wrong-sign", "has the wrong sign", -right),
        Guess("sigma", "lacks the division by sigma", right * sigma),
        Guess("sigma", "divides by sigma twice", right / sigma),
        Guess(
            "sigma", "evaluates the loss at logits + eps: the noise lacks sigma", weigh(unscaled)
        ),
        Guess("not-perturbed", "evaluates the loss without noise", weigh(there)),
        Guess("sum-over-samples", "is the sum over the samples, not the mean", right * n),
        Guess("batch-mean", "is divided by the size of the batch", right / batch),
    ]


TRAINING_TASKS = (
    Task(
        "cross_entropy",
        10,
        "the gradient that ends in softmax minus labels; computing without overflow",
        ("softmax_cross_entropy",),
        CROSS_ENTROPY,
        _check_cross_entropy,
    ),
    Task(
        "adam",
        10,
        "running means, and why they are corrected at the start",
        ("adam_update",),
        ADAM,
        _check_adam,
    ),
    Task(
        "es",
        10,
        "a gradient from a loss that has none: the score-function trick",
        ("es_gradient",),
        ES,
        _check_es,
    ),
    Task(
        "leave_one_out",
        5,
        "a baseline that takes away noise and adds no bias",
        ("leave_one_out_gradient",),
        LEAVE_ONE_OUT,
        _check_leave_one_out,
    ),
)
