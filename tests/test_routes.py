"""Four routes from the estimate to the parameters, and how their steps compare."""

from __future__ import annotations

import numpy as np
import pytest

from lenet_np import es
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.losses import zero_one_loss
from lenet_np.optim import SGD, Adam
from lenet_np.routes import ROUTES, TARGET_RATE, smoothed_loss_backward, smoothed_loss_forward

NETWORK = lenet5()
BATCH, SAMPLES, SIGMA, RATE = 8, 20, 4.0, 1e-3
#: What the route by regression multiplies the gradient with: 2 rate / K.
FACTOR = 2 * TARGET_RATE / 10


@pytest.fixture(scope="module")
def start():
    rng = np.random.default_rng(1)
    parameters = {name: v.astype(np.float64) for name, v in NETWORK.init(rng).items()}
    images = rng.random((1, 32, 32, BATCH))
    labels = np.eye(10)[:, rng.integers(0, 10, BATCH)]
    return parameters, images, labels


def estimator(step=0):
    """Estimate from noise that is the same for every route."""

    def estimate(logits, labels):
        rng = np.random.default_rng([2, step])
        noise = es.sample_noise(rng, len(logits), SAMPLES, logits.shape[1], logits.dtype)
        return es.estimate_gradient(zero_one_loss, logits, labels, noise, SIGMA)

    return estimate


def train(route, optimizer, start, steps):
    parameters, images, labels = start
    state = optimizer.init(parameters)
    for step in range(steps):
        gradients = ROUTES[route](NETWORK, parameters, images, labels, estimator(step)).gradients
        parameters, state = optimizer.update(parameters, gradients, state)
    return parameters


def distance(ours, theirs):
    """The largest relative difference |a - b| / |b| over all parameter tensors."""
    assert ours.keys() == theirs.keys()
    return max(np.linalg.norm(ours[k] - theirs[k]) / np.linalg.norm(theirs[k]) for k in theirs)


def moves(end, start):
    """How far the parameters went."""
    return {name: end[name] - value for name, value in start[0].items()}


@pytest.mark.parametrize("route", ["override", "vjp", "target"])
def test_every_route_gives_the_same_gradients(route, start):
    parameters, images, labels = start
    expected = ROUTES["taylor"](NETWORK, parameters, images, labels, estimator())
    assert all(np.linalg.norm(gradient) > 1e-3 for gradient in expected.gradients.values())
    found = ROUTES[route](NETWORK, parameters, images, labels, estimator())
    np.testing.assert_array_equal(found.loss, expected.loss)
    factor = FACTOR if route == "target" else 1.0
    scaled = {name: factor * gradient for name, gradient in expected.gradients.items()}
    assert distance(found.gradients, scaled) < 1e-12


@pytest.mark.parametrize("route", list(ROUTES))
def test_every_route_keeps_float32(route, start):
    parameters, images, labels = start
    single = {name: value.astype(np.float32) for name, value in parameters.items()}
    loss, gradients = ROUTES[route](
        NETWORK, single, images.astype(np.float32), labels.astype(np.float32), estimator()
    )
    assert loss.dtype == np.float32
    assert loss.shape == (BATCH,)
    assert {gradient.dtype for gradient in gradients.values()} == {np.dtype(np.float32)}


def test_the_overridden_backward_obeys_the_chain_rule():
    rng = np.random.default_rng(3)
    logits, labels = rng.standard_normal((10, 4)), np.eye(10)[:, [1, 2, 3, 4]]
    loss, cache = smoothed_loss_forward(logits, labels, estimator())
    expected = estimator()(logits, labels)
    np.testing.assert_array_equal(loss, expected.loss)
    dloss = rng.standard_normal(4)
    for n in range(4):
        np.testing.assert_array_equal(
            smoothed_loss_backward(dloss, cache)[:, n], dloss[n] * expected.gradient[:, n]
        )


def test_the_route_by_hand_refuses_another_network(start):
    parameters, images, labels = start
    shorter = Sequential(NETWORK.input_shape, NETWORK.layers[:-1])
    with pytest.raises(ValueError, match="written out for lenet5"):
        ROUTES["vjp"](shorter, parameters, images, labels, estimator())


STEPS = 5


@pytest.mark.parametrize("route", ["override", "vjp"])
def test_adam_goes_the_same_way_by_the_first_three_routes(route, start):
    expected = moves(train("taylor", Adam(RATE), start, STEPS), start)
    found = moves(train(route, Adam(RATE), start, STEPS), start)
    assert distance(found, expected) < 1e-9


def test_adam_takes_the_same_steps_to_the_target_with_epsilon_scaled_alike(start):
    expected = moves(train("taylor", Adam(RATE, epsilon=1e-8), start, STEPS), start)
    found = moves(train("target", Adam(RATE, epsilon=FACTOR * 1e-8), start, STEPS), start)
    assert distance(found, expected) < 1e-9


def test_adam_takes_nearly_the_same_steps_to_the_target(start):
    expected = moves(train("taylor", Adam(RATE), start, 3), start)
    found = moves(train("target", Adam(RATE), start, 3), start)
    # Not equal: where a gradient is so small that epsilon counts, it counts five times as much.
    # Three of a hundred parts is the measured difference; most parameters move alike.
    assert 1e-3 < distance(found, expected) < 0.1
    alike = [np.abs(found[k] - move) <= 0.01 * np.abs(move) for k, move in expected.items()]
    assert np.mean(np.concatenate([part.ravel() for part in alike])) > 0.9


def test_sgd_steps_to_the_target_are_shorter_by_the_factor(start):
    expected = moves(train("taylor", SGD(RATE), start, 1), start)
    found = moves(train("target", SGD(RATE), start, 1), start)
    shorter = {name: FACTOR * move for name, move in expected.items()}
    assert distance(found, shorter) < 1e-9
    with_rate = moves(train("target", SGD(RATE / FACTOR), start, 1), start)
    assert distance(with_rate, expected) < 1e-9
