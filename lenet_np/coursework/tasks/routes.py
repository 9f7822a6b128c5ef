"""The tasks about the four routes: how an estimate of the gradient enters a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..layouts import Array
from ..task import Exercise, compare, fail, take_apart, task

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
        self.exercise, features = exercise, exercise.layout.features
        classes, batch = 4 + exercise.grow, 3 + exercise.grow
        self.logits, g = (features.from_package(exercise.normal(k, classes, batch)) for k in (4, 5))
        self.labels = features.from_package(np.eye(classes)[:, np.arange(batch) * 2 % classes])
        self.estimator = _Estimator(exercise.rng(6).random(batch), g)

    def ask(self, function: str, results: Sequence[str], *more: Any) -> Sequence[Any]:
        """Call the student's function and take its results apart."""
        given = (self.logits.copy(), self.labels.copy(), self.estimator, *more)
        result = self.exercise.student[function](*given)
        self.estimator.require_one_call()
        return take_apart(function, result, results)

    def judge(self, function: str, results: Sequence[str], *more: Any) -> None:
        """Judge the two results of a function, each as a part."""
        answers = self.ask(function, results, *more)
        known = self.exercise.know(
            function, self.logits, self.labels, self.estimator.loss, self.estimator.g, *more
        )
        for name, answer in zip(results, answers, strict=True):
            with self.exercise.part(name):
                compare(name, answer, known[name])


@task({"surrogate": 1, "dlogits": 1}, "a surrogate loss: what stop_gradient is for", TAYLOR)
def taylor(exercise: Exercise) -> None:
    _Case(exercise).judge("taylor_loss", ("surrogate", "dlogits"))


@task(
    {"loss": 1, "dlogits": 2},
    "a custom gradient: an operation whose backward pass is an estimate",
    OVERRIDE,
)
def override(exercise: Exercise) -> None:
    case = _Case(exercise)
    loss, cache = case.ask("override_forward", ("loss", "cache"))
    given = (case.logits, case.labels, case.estimator.loss, case.estimator.g)
    with exercise.part("loss"):
        compare("loss", loss, exercise.know("override_forward", *given)["loss"])
    with exercise.part("dlogits"):
        dloss = exercise.normal(7, len(case.estimator.loss))
        dlogits = exercise.student["override_backward"](dloss.copy(), cache)
        case.estimator.require_one_call()
        compare("dlogits", dlogits, exercise.know("override_backward", dloss, *given)["dlogits"])


@task(
    {"second layer": 1, "first layer": 2},
    "the chain rule of a whole network by hand: a vector times a Jacobian",
    VJP,
)
def vjp(exercise: Exercise) -> None:
    features, weights = exercise.layout.features, exercise.layout.weights
    inputs, hidden, classes, batch = (size + exercise.grow for size in (4, 6, 2, 3))
    x = features.from_package(exercise.normal(1, inputs, batch))
    labels = features.from_package(np.eye(classes)[:, np.arange(batch) % classes])
    parameters = (
        weights.from_package(exercise.normal(2, hidden, inputs)),
        exercise.normal(3, hidden),
        weights.from_package(exercise.normal(4, classes, hidden)),
        exercise.normal(5, classes),
    )
    g = features.from_package(exercise.normal(6, classes, batch))
    estimator = _Estimator(np.zeros(batch), g)
    given = (x, *parameters, labels)
    result = exercise.student["vjp_gradients"](*(a.copy() for a in given), estimator)
    estimator.require_one_call()
    known = exercise.know("vjp_gradients", *given, g)
    compare("the logits that the estimator is given", estimator.logits[0], known.pop("logits"))
    answers = dict(zip(known, take_apart("vjp_gradients", result, list(known)), strict=True))
    for layer, names in (
        ("second layer", ("dweight2", "dbias2")),
        ("first layer", ("dweight1", "dbias1")),
    ):
        with exercise.part(layer):
            for name in names:
                compare(name, answers[name], known[name])


@task({"targets": 1, "dlogits": 1}, "a gradient step as a regression", TARGET)
def target(exercise: Exercise) -> None:
    _Case(exercise).judge("target_gradient", ("targets", "dlogits"), 0.6)
