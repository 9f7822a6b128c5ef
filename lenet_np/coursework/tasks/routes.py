"""The tasks about the four routes: how an estimate of the gradient enters a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lenet_np.coursework.task import (
    Exercise,
    Guess,
    check_gradients,
    compare,
    fail,
    take_apart,
    task,
)
from lenet_np.ops import Array

TAYLOR = '''\
# The four routes. The 0-1 loss has no gradient, but an estimator has one to offer:
# loss, g = estimator(logits, labels) gives one loss for each example, (N,), and g, an estimate of
# dJ/dlogits, ({features:K, N}). Each call draws new noise, so call it once.
# There are four ways of feeding g into a network, and they agree.


def taylor_loss(logits, labels, estimator):
    """First route: a surrogate loss that any framework can differentiate, with g held fixed.

    surrogate[n] = sum over k of g_k l_k, where l are the logits of example n

    logits, labels : ({features:K, N})
    estimator : function of (logits, labels), gives loss and g

    Returns surrogate, (N,), and the gradient of its sum with respect to the logits.
    """
    raise NotImplementedError
'''

OVERRIDE = '''\
def override_forward(logits, labels, estimator):
    """Second route: the loss under noise as an operation with a backward pass of its own.

    logits, labels : ({features:K, N})
    estimator : function of (logits, labels), gives loss and g

    Returns loss, (N,), as the estimator says, and a cache.
    """
    raise NotImplementedError


def override_backward(dloss, cache):
    """Put g where the derivative should stand: for each example, dlogits = dloss g.

    dloss : (N,), the upstream gradient
    cache : from override_forward

    Returns dlogits, ({features:K, N}).
    """
    raise NotImplementedError
'''

VJP = '''\
def vjp_gradients(x, weight1, bias1, weight2, bias2, labels, estimator):
    """Third route: multiply g into the network's Jacobian by hand, layer by layer.

    logits = dense(relu(dense(x, weight1, bias1)), weight2, bias2)
    The gradient of a parameter is that of sum(g * logits), with g from the estimator held fixed.
    You may call your own dense and relu functions.

    x : ({features:I, N})
    weight1, bias1 : ({weights:H, I}) and (H,)
    weight2, bias2 : ({weights:K, H}) and (K,)
    labels : ({features:K, N})
    estimator : function of (logits, labels), gives loss and g

    Returns dweight1, dbias1, dweight2, dbias2.
    """
    raise NotImplementedError
'''

TARGET = '''\
def target_gradient(logits, labels, estimator, rate):
    """Fourth route: move the logits against g, and regress on where they came to.

    targets = logits - rate g
    loss[n] = (1/K) sum over k of (l_k - targets_k)^2, with the targets held fixed

    logits, labels : ({features:K, N})
    estimator : function of (logits, labels), gives loss and g
    rate : float

    Returns targets, ({features:K, N}), and the gradient of the sum of the losses with respect to
    the logits, at the logits.
    """
    raise NotImplementedError
'''


class _Estimator:
    """Says what it was told to, and remembers what it was asked."""

    def __init__(self, loss: Array, g: Array) -> None:
        self.loss, self.g = loss, g
        self.logits: list[Any] = []

    def __call__(self, logits: Any, labels: Any) -> tuple[Array, Array]:
        self.logits.append(logits)
        return self.loss.copy(), self.g.copy()

    def require_one_call(self) -> None:
        if len(self.logits) != 1:
            fail(
                "estimator-calls",
                f"the estimator was called {len(self.logits)} times; it must be called once",
            )


class _Case:
    """Logits, labels and an estimator in the course's layout."""

    def __init__(self, exercise: Exercise) -> None:
        rng = np.random.default_rng(4)
        self.classes, self.batch = 4, 3
        features = exercise.layout.features
        self.class_axis = features.place_of(0)
        self.logits, g = (features.from_package(rng.standard_normal((4, 3))) for _ in range(2))
        self.labels = features.from_package(np.eye(4)[:, [2, 0, 3]])
        self.estimator = _Estimator(rng.random(3), g)

    def ask(
        self, exercise: Exercise, function: str, results: Sequence[str], *more: Any
    ) -> Sequence[Any]:
        """Call the student's function and take its results apart."""
        given = (self.logits.copy(), self.labels.copy(), self.estimator, *more)
        result = exercise.student[function](*given)
        self.estimator.require_one_call()
        return take_apart(function, result, results)


@task(2, "a surrogate loss: what stop_gradient is for", TAYLOR)
def taylor(exercise: Exercise) -> None:
    case = _Case(exercise)
    surrogate, dlogits = case.ask(exercise, "taylor_loss", ("surrogate", "dlogits"))
    g, logits = case.estimator.g, case.logits
    right = (g * logits).sum(axis=case.class_axis)
    compare(
        "the surrogate",
        surrogate,
        right,
        Guess("other-loss", "is the estimator's loss, which has no gradient", case.estimator.loss),
        Guess("constant-factor", "is a mean over the classes, not a sum", right / case.classes),
        Guess("wrong-sign", "has the wrong sign", -right),
    )
    compare(
        "dlogits",
        dlogits,
        g,
        Guess("wrong-sign", "has the wrong sign", -g),
        Guess("batch-mean", "is divided by the size of the batch", g / case.batch),
        Guess("product", "is g times the logits: g is a constant here", g * logits),
    )


@task(3, "a custom gradient: an operation whose backward pass is an estimate", OVERRIDE)
def override(exercise: Exercise) -> None:
    case = _Case(exercise)
    loss, cache = case.ask(exercise, "override_forward", ("loss", "cache"))
    compare("loss", loss, case.estimator.loss)
    dloss, g = np.array([0.7, -1.3, 2.1]), case.estimator.g
    dlogits = exercise.student["override_backward"](dloss.copy(), cache)
    case.estimator.require_one_call()
    right = np.expand_dims(dloss, case.class_axis) * g
    compare(
        "dlogits",
        dlogits,
        right,
        Guess("upstream-ignored", "ignores dloss, the upstream gradient", g),
        Guess("batch-mean", "is divided by the size of the batch", right / case.batch),
        Guess("wrong-sign", "has the wrong sign", -right),
    )


@task(3, "the chain rule of a whole network by hand: a vector times a Jacobian", VJP)
def vjp(exercise: Exercise) -> None:
    features, weights = exercise.layout.features, exercise.layout.weights
    rng = np.random.default_rng(5)
    x = features.from_package(rng.standard_normal((4, 3)))
    labels = features.from_package(np.eye(2)[:, [0, 1, 0]])
    parameters = {
        "weight1": weights.from_package(rng.standard_normal((6, 4))),
        "bias1": rng.standard_normal(6),
        "weight2": weights.from_package(rng.standard_normal((2, 6))),
        "bias2": rng.standard_normal(2),
    }

    def network(weight1: Array, bias1: Array, weight2: Array, bias2: Array) -> Array:
        hidden = np.maximum(exercise.solution["dense_forward"](x, weight1, bias1)[0], 0)
        logits: Array = exercise.solution["dense_forward"](hidden, weight2, bias2)[0]
        return logits

    def gradients(g: Array, *parameters: Array) -> Any:
        estimator = _Estimator(np.zeros(3), g)
        given = (x.copy(), *parameters, labels.copy())
        result = exercise.student["vjp_gradients"](*given, estimator)
        estimator.require_one_call()
        compare("the logits that the estimator is given", estimator.logits[0], network(*parameters))
        return result

    case = "4 features, 6 hidden units, 2 classes, a batch of 3"
    check_gradients(case, network, gradients, parameters, network, cache="none")


@task(2, "a gradient step as a regression", TARGET)
def target(exercise: Exercise) -> None:
    case, rate = _Case(exercise), 0.6
    targets, dlogits = case.ask(exercise, "target_gradient", ("targets", "dlogits"), rate)
    g, logits = case.estimator.g, case.logits
    compare(
        "targets",
        targets,
        logits - rate * g,
        Guess("wrong-sign", "moved up the gradient instead of down", logits + rate * g),
        Guess("rate", "lacks the rate", logits - g),
    )
    right = 2 / case.classes * rate * g
    compare(
        "dlogits",
        dlogits,
        right,
        Guess("wrong-sign", "has the wrong sign", -right),
        Guess("constant-factor", "lacks the factor 1/K", right * case.classes),
        Guess("constant-factor", "lacks the factor 2 of the square", right / 2),
        Guess("constant-factor", "lacks the factor 2/K", right * case.classes / 2),
        Guess("batch-mean", "is divided by the size of the batch", right / case.batch),
        Guess("other-input", "is g itself: differentiate the squared error", g),
    )
