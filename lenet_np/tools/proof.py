"""The proof of lenet_np itself: every operation, loss, route and estimator, checked.

This module and the command beside it know the rest of the package; the library does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from lenet_np import es, losses, ops, routes
from lenet_np.estimators import ESTIMATORS
from lenet_np.gradcheck import Report, check
from lenet_np.lenet import lenet5
from lenet_np.smoothed import negative_log_success, smoothed_zero_one

#: The probability that right estimators fail any of their tests by chance.
FALSE_ALARM = 1e-6
#: Estimates that each estimator makes for its mean, and the samples of each.
REPLICATES, SAMPLES = 20_000, 16
#: A gradient below this says nothing about a bias.
LEAST = 1e-4


class Row(NamedTuple):
    """One line of the table."""

    name: str
    shapes: str
    error: float  # the worst relative error, or the largest |z|
    limit: float  # what it must not exceed
    checked: int  # entries
    excluded: int  # entries at kinks
    seconds: float
    passed: bool
    text: str  # the whole report


Case = tuple[str, Callable[[np.random.Generator], Report]]


def prove(seed: int = 0) -> Iterator[Row]:
    """Check the package, part by part; the seed is of inputs, upstream gradients and noise."""
    for number, (name, run) in enumerate([*_operations(), *_losses(), *_network(), *_routes()]):
        start = time.perf_counter()
        report = run(np.random.default_rng([seed, number]))
        yield _row(name, report, time.perf_counter() - start)
    yield from _estimators(seed)


def _row(name: str, report: Report, seconds: float) -> Row:
    shown = [str(entry.shape).replace(" ", "") for entry in report.inputs[:3]]
    more = [f"+{len(report.inputs) - 3}"] if len(report.inputs) > 3 else []
    return Row(
        name,
        " ".join(shown + more),
        max((entry.relative_error for entry in report.inputs), default=math.nan),
        1e-7,
        sum(entry.checked for entry in report.inputs),
        sum(entry.excluded for entry in report.inputs),
        seconds,
        report.passed,
        str(report),
    )


# --- operations ---------------------------------------------------------------------------------


def _operations() -> Iterator[Case]:
    def im2col(rng: np.random.Generator) -> Report:
        return check(
            lambda x: ops.im2col(x, (3, 2), 2, 1),
            lambda dy, x: ops.col2im(dy, (5, 4), (3, 2), 2, 1),
            [rng.standard_normal((2, 5, 4, 3))],
            cache="none",
        )

    def col2im(rng: np.random.Generator) -> Report:
        return check(
            lambda columns: ops.col2im(columns, (5, 4), (3, 2), 2, 1),
            lambda dx, columns: ops.im2col(dx, (3, 2), 2, 1),
            [rng.standard_normal((3, 3, 2, 2, 3, 3))],
            cache="none",
        )

    yield "im2col", im2col
    yield "col2im", col2im
    for kernel, stride, padding in ((3, 1, 0), (3, 1, 1), (3, 2, 1), (5, 1, 2)):
        yield (
            f"conv2d, {kernel}x{kernel}, stride {stride}, padding {padding}",
            _pair(
                lambda x, w, b, s=stride, p=padding: ops.conv2d_forward(x, w, b, s, p),
                ops.conv2d_backward,
                (2, 5, 7, 3),
                (3, 2, kernel, kernel),
                (3,),
            ),
        )
    for window, stride in ((2, 2), (3, 2), (3, 1)):
        yield (
            f"max_pool2d, {window}x{window}, stride {stride}",
            _pair(
                lambda x, w=window, s=stride: ops.max_pool2d_forward(x, w, s),
                ops.max_pool2d_backward,
                (2, window + 2 * stride, window + stride, 3),
            ),
        )
    yield "max_pool2d with ties", _max_pool_with_ties
    yield "relu", _pair(ops.relu_forward, ops.relu_backward, (3, 4, 5))
    yield "dense", _pair(ops.dense_forward, ops.dense_backward, (6, 4), (5, 6), (5,))
    yield "flatten", _pair(ops.flatten_forward, ops.flatten_backward, (2, 3, 4, 5))


def _pair(forward: Any, backward: Any, *shapes: tuple[int, ...]) -> Any:
    """Make the check of a pair of `ops` at random inputs, the batch last."""

    def run(rng: np.random.Generator) -> Report:
        inputs = [rng.standard_normal(shape) for shape in shapes]
        return check(forward, backward, inputs, seed=int(rng.integers(2**31)), batch_axis=-1)

    return run


def _max_pool_with_ties(rng: np.random.Generator) -> Report:
    x = rng.standard_normal((2, 6, 6, 3))
    x[:, :4] = rng.integers(0, 2, (2, 4, 6, 3))
    return check(lambda x: ops.max_pool2d_forward(x, 2, 2), ops.max_pool2d_backward, [x])


# --- losses -------------------------------------------------------------------------------------


def _one_hot(rng: np.random.Generator, count: int, classes: int = 10) -> ops.Array:
    return np.eye(classes)[:, rng.integers(0, classes, count)]


def _losses() -> Iterator[Case]:
    def plain(loss: Any, gradient: Any) -> Callable[[np.random.Generator], Report]:
        return lambda rng: check(
            loss,
            lambda dloss, logits, labels: dloss * gradient(logits, labels),
            [3 * rng.standard_normal((10, 6)), _one_hot(rng, 6)],
            cache="none",
            constants=[1],
        )

    def smoothed(exact: Any, sigma: float) -> Callable[[np.random.Generator], Report]:
        return lambda rng: check(
            lambda logits, labels: exact(logits, labels, sigma),
            lambda dloss, gradient: dloss * gradient,
            [3 * rng.standard_normal((10, 4)), _one_hot(rng, 4)],
            constants=[1],
        )

    yield "cross_entropy", plain(losses.cross_entropy, losses.cross_entropy_gradient)
    yield "squared_error", plain(losses.squared_error, losses.squared_error_gradient)
    for sigma in (1.0, 4.0):
        yield f"smoothed 0-1 loss, sigma {sigma:g}", smoothed(smoothed_zero_one, sigma)
        yield f"-log P, sigma {sigma:g}", smoothed(negative_log_success, sigma)


# --- the network and its routes -----------------------------------------------------------------

NETWORK = lenet5()


def _parameters(rng: np.random.Generator) -> ops.Parameters:
    """Draw weights in float64, and biases that are not zero."""
    return {
        name: value.astype(np.float64) + 0.05 * rng.standard_normal(value.shape)
        for name, value in NETWORK.init(rng).items()
    }


def _network() -> Iterator[Case]:
    def run(rng: np.random.Generator) -> Report:
        parameters = _parameters(rng)

        def backward(dy: ops.Array, caches: Any) -> dict[str, Any]:
            dx, gradients = NETWORK.backward(dy, caches, need_dx=True)
            return {"images": dx, **gradients}

        return check(
            lambda x, *values: NETWORK.forward(dict(zip(parameters, values, strict=True)), x),
            backward,
            [rng.standard_normal((1, 32, 32, 2)), *parameters.values()],
            names=["images", *parameters],
            entries=100,
            batch_axis=-1,
        )

    yield "LeNet-5, all parameters", run


def _routes() -> Iterator[Case]:
    """Give each route an estimate, and see whether it carries it to the parameters.

    The estimate takes the place of the upstream gradient at the logits.
    """

    def of(name: str) -> Callable[[np.random.Generator], Report]:
        # The route by regression gives the gradient times a known constant.
        factor = 10 / (2 * routes.TARGET_RATE) if name == "target" else 1.0

        def run(rng: np.random.Generator) -> Report:
            parameters, images = _parameters(rng), rng.standard_normal((1, 32, 32, 2))
            labels = _one_hot(rng, 2)

            def backward(dy: ops.Array, *values: ops.Array) -> dict[str, Any]:
                given = dict(zip(parameters, values, strict=True))
                estimate = es.Estimate(np.zeros(2), dy)
                result = routes.ROUTES[name](
                    NETWORK, given, images, labels, lambda logits, labels: estimate
                )
                return {key: factor * value for key, value in result.gradients.items()}

            return check(
                lambda *v: NETWORK.forward(dict(zip(parameters, v, strict=True)), images)[0],
                backward,
                list(parameters.values()),
                names=list(parameters),
                cache="none",
                entries=20,
            )

        return run

    for name in routes.ROUTES:
        yield f"route {name}", of(name)


# --- estimators ---------------------------------------------------------------------------------


def _estimators(seed: int) -> Iterator[Row]:
    """Compare the mean of many estimates with the exact gradient.

    z = (mean - exact) / standard error is about N(0, 1) for an unbiased estimator. The limit is
    such that all tests together fail by chance with probability `FALSE_ALARM`.
    """
    names = [name for name, estimator in ESTIMATORS.items() if estimator.draw is not None]
    # Near the border, where the gradient is large and a bias shows.
    logits, labels = np.append(np.linspace(-3, 0, 9), 1.5)[:, np.newaxis], np.eye(10)[:, [9]]
    sigma = 1.75
    exact = smoothed_zero_one(logits, labels, sigma).gradient[:, 0]
    counted = np.abs(exact) > LEAST
    tests = len(names) * int(np.count_nonzero(counted))
    limit = -NormalDist().inv_cdf(FALSE_ALARM / (2 * tests))
    many, answers = (np.repeat(array, REPLICATES, axis=1) for array in (logits, labels))
    for number, name in enumerate(names):
        start = time.perf_counter()
        estimator = ESTIMATORS[name]
        assert estimator.draw is not None
        rng = np.random.default_rng([seed, 1000 + number])
        noise = estimator.draw(rng, 10, SAMPLES, REPLICATES, np.float64)
        estimate = estimator.objectives["error"]
        found = estimate(losses.zero_one_loss, many, answers, noise, sigma).gradient
        error = found.std(axis=1, ddof=1) / math.sqrt(REPLICATES)
        z = float(np.abs((found.mean(axis=1) - exact)[counted] / error[counted]).max())
        yield Row(
            f"estimator {name}",
            f"(10,{SAMPLES}) x {REPLICATES}",
            z,
            limit,
            int(np.count_nonzero(counted)),
            0,
            time.perf_counter() - start,
            z <= limit,
            f"the mean of {REPLICATES} estimates lies {z:.1f} standard errors from the exact "
            f"gradient, {limit:.1f} are allowed",
        )
