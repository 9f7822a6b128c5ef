"""The tasks about training: softmax cross-entropy, Adam, and the estimators of a gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lenet_np import losses
from lenet_np.coursework.task import (
    Exercise,
    Guess,
    check_gradients,
    compare,
    fail,
    require_array,
    require_unchanged,
    take_apart,
    task,
)
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


@task(
    10, "the gradient that ends in softmax minus labels; computing without overflow", CROSS_ENTROPY
)
def cross_entropy(exercise: Exercise) -> None:
    features = exercise.layout.features
    labels = features.from_package(_one_hot(5, 3))
    small = features.from_package(np.random.default_rng(1).standard_normal((5, 3)))

    def loss_and_gradient(logits: Array) -> tuple[Any, Array]:
        result = exercise.student["softmax_cross_entropy"](logits, labels.copy())
        loss, dlogits = take_apart("softmax_cross_entropy", result, ("loss", "dlogits"))
        return loss, require_array("dlogits", dlogits, logits.shape)

    check_gradients(
        "5 classes, a batch of 3",
        loss_and_gradient,
        lambda dloss, dlogits: np.expand_dims(dloss, features.place_of(0)) * dlogits,
        {"logits": small},
        lambda logits: exercise.solution["softmax_cross_entropy"](logits, labels)[0],
        batch_axis=exercise.layout.batch_axis,
    )
    large = 1000 * small
    loss, dlogits = loss_and_gradient(large.copy())
    right = exercise.solution["softmax_cross_entropy"](large, labels)
    for what, values, wanted in zip(("loss", "dlogits"), (loss, dlogits), right, strict=True):
        if not np.isfinite(values).all():
            fail("overflow", f"with logits around 1000: {what} has nan or infinity")
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


@task(10, "running means, and why they are corrected at the start", ADAM)
def adam(exercise: Exercise) -> None:
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
            Guess("order", "is v: return the parameter, then m, then v", new_v),
            Guess("weights", "lacks the factor (1 - beta1)", beta1 * m + g),
            Guess("weights", "has beta1 and 1 - beta1 swapped", (1 - beta1) * m + beta1 * g),
            Guess("weights", "uses beta2", beta2 * m + (1 - beta2) * g),
            Guess("corrected", "is bias-corrected: return m as it is", new_m / c1),
        )
        compare(
            f"{case}v",
            answers[2],
            new_v,
            Guess("square", "averages g, not its square", beta2 * v + (1 - beta2) * g),
            Guess("weights", "lacks the factor (1 - beta2)", beta2 * v + g**2),
            Guess("weights", "has beta2 and 1 - beta2 swapped", (1 - beta2) * v + beta2 * g**2),
            Guess("weights", "uses beta1", beta1 * v + (1 - beta1) * g**2),
            Guess("corrected", "is bias-corrected: return v as it is", new_v / c2),
        )
        root = np.sqrt(new_v)
        move = parameter - new
        compare(
            f"{case}parameter",
            answers[0],
            new,
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
        )
        parameter, m, v = right


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


@task(10, "a gradient from a loss that has none: the score-function trick", ES)
def es(exercise: Exercise) -> None:
    _check_estimator(exercise, "es_gradient", baseline=False)


@task(5, "a baseline that takes away noise and adds no bias", LEAVE_ONE_OUT)
def leave_one_out(exercise: Exercise) -> None:
    _check_estimator(exercise, "leave_one_out_gradient", baseline=True)


def _check_estimator(exercise: Exercise, function: str, baseline: bool) -> None:
    features = exercise.layout.features
    rng = np.random.default_rng(3)
    logits, noise = rng.standard_normal((4, 3)), rng.standard_normal((4, 5, 3))
    labels, sigma, (_, n, batch) = _one_hot(4, 3), 1.7, noise.shape
    given = [features.from_package(logits), features.from_package(labels)]
    given.append(exercise.layout.noise.from_package(noise))

    def weigh(f: Array, compared: bool = baseline) -> Array:
        if compared:
            f = (f - f.mean(axis=0)) * n / (n - 1)
        return features.from_package((noise * f).mean(axis=1) / sigma)

    for ours in (losses.cross_entropy, losses.zero_one_loss):

        def loss(logits: Array, labels: Array, ours: Any = ours) -> Array:
            require_array("the logits that loss is given", logits, given[0].shape)
            require_array("the labels that loss is given", labels, given[1].shape)
            values: Array = ours(features.to_package(logits), features.to_package(labels))
            return values

        copies = [array.copy() for array in given]
        answer = exercise.student[function](loss, *copies, sigma)
        require_unchanged(function, ("logits", "labels", "noise"), copies, given)
        right = exercise.solution[function](loss, *given, sigma)
        values = ours(logits[:, np.newaxis] + sigma * noise, labels[:, np.newaxis])
        unscaled = ours(logits[:, np.newaxis] + noise, labels[:, np.newaxis])
        there = np.broadcast_to(ours(logits, labels), values.shape)
        if baseline:
            mean_of_all = "has a baseline that contains the sample itself: the mean of all, not of"
            guesses = [
                Guess("baseline", "lacks the baseline b_i", weigh(values, False)),
                Guess("baseline", f"{mean_of_all} the others", right * (n - 1) / n),
            ]
        else:
            compares = "compares the samples: here each counts as it is"
            guesses = [Guess("baseline", compares, weigh(values, True))]
        no_sigma = "evaluates the loss at logits + eps: the noise lacks sigma"
        compare(
            f"with {ours.__name__.replace('_', '-')} as the loss: g",
            answer,
            right,
            *guesses,
            Guess("wrong-sign", "has the wrong sign", -right),
            Guess("sigma", "lacks the division by sigma", right * sigma),
            Guess("sigma", "divides by sigma twice", right / sigma),
            Guess("sigma", no_sigma, weigh(unscaled)),
            Guess("not-perturbed", "evaluates the loss without noise", weigh(there)),
            Guess("sum-over-samples", "is the sum over the samples, not the mean", right * n),
            Guess("batch-mean", "is divided by the size of the batch", right / batch),
        )
