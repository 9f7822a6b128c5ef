"""Page one is the package in small: the same numbers, and gradients that are checked too."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from lenet_np import mini
from lenet_np.estimators import ESTIMATORS
from lenet_np.gradcheck import check
from lenet_np.lenet import lenet5
from lenet_np.losses import zero_one_loss
from lenet_np.optim import Adam
from lenet_np.routes import ROUTES

FILE = Path(mini.__file__)


@pytest.fixture(params=["float32", "float64"])
def minibatch(request):
    """Weights, images with a plain background (so that maxima tie), labels and noise."""
    rng = np.random.default_rng(0)
    p = lenet5().init(rng)
    images = np.where(rng.random((1, 32, 32, 6)) < 0.3, rng.random((1, 32, 32, 6)), 0)
    labels = np.eye(10)[:, rng.integers(0, 10, 6)]
    noise = rng.standard_normal((10, 40, 6))
    arrays = (a.astype(request.param) for a in (images, labels, noise))
    return {k: v.astype(request.param) for k, v in p.items()}, *arrays


def same(ours, theirs, dtype):
    assert ours.keys() == theirs.keys()
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype == dtype
        scale = np.abs(value).max()
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=tolerance * scale, err_msg=name)


def test_the_ten_gradients_and_the_step_are_those_of_the_package(minibatch):
    p, images, labels, noise = minibatch

    def estimate(logits, labels):
        log_success = ESTIMATORS["plain"].objectives["log-success"]
        return log_success(zero_one_loss, logits, labels, noise, mini.SIGMA)

    loss, theirs = ROUTES["taylor"](lenet5(), p, images, labels, estimate)
    assert 0 < loss.mean() < 1  # Some succeed, some do not.
    logits, seen = mini.forward(p, images)
    ours = mini.backward(p, mini.estimate(logits, labels, noise), seen)
    assert len(ours) == 10
    same(ours, theirs, images.dtype)

    adam = Adam(mini.RATE)
    state, stepped, (m, v, t) = adam.init(p), p, (*adam.init(p)[1:], 1)
    for scale in (1, -0.5):  # The second step has something to remember.
        gradients = {name: images.dtype.type(scale) * g for name, g in theirs.items()}
        p, state = adam.update(p, gradients, state)
        stepped, m, v, t = mini.adam(stepped, gradients, m, v, t)
        same(stepped, p, images.dtype)
    assert t == state.step + 1


def test_without_a_success_there_is_no_gradient():
    logits, labels = np.zeros((10, 2)), np.eye(10)[:, :2]
    logits[9] = 1e6
    noise = np.random.default_rng(0).standard_normal((10, 5, 2))
    assert not mini.estimate(logits, labels, noise).any()


def test_its_gradients_are_those_of_its_forward_pass(gradient_errors):
    rng = np.random.default_rng(1)
    parameters = {name: value.astype(float) for name, value in lenet5().init(rng).items()}
    images = rng.random((1, 32, 32, 2))

    def forward(*values):
        p = dict(zip(parameters, values, strict=True))
        logits, seen = mini.forward(p, images)
        return logits, (p, seen)

    def backward(dlogits, cache):
        return tuple(mini.backward(cache[0], dlogits, cache[1])[name] for name in parameters)

    names = [name.replace(".", "_") for name in parameters]
    report = check(forward, backward, list(parameters.values()), names=names, entries=20, seed=1)
    report.raise_if_failed()
    gradient_errors["mini, page one"] = max(entry.relative_error for entry in report.inputs)


def test_it_is_one_page_of_numpy():
    text = FILE.read_text(encoding="utf-8")
    assert text.count("\n") <= 80
    nodes = list(ast.walk(ast.parse(text)))
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    assert modules == {"numpy", "lenet_np.data"}
