"""Adam and SGD against steps worked on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lenet_np.optim import SGD, Adam


def test_two_steps_of_adam_on_paper():
    adam = Adam(learning_rate=1.0, beta1=0.5, beta2=0.75, epsilon=0.5)
    start = {"w": np.array([1.0])}
    state = adam.init(start)
    # g = 2: m = 1, v = 1, rate = sqrt(1/4)/(1/2) = 1, step = 1/(1 + 1/2).
    # With epsilon inside the bias correction it would be 2/(2 + 1/2) = 4/5 instead of 2/3.
    first, state = adam.update(start, {"w": np.array([2.0])}, state)
    np.testing.assert_allclose(first["w"], [1 - 2 / 3], rtol=1e-15)
    assert (state.step, state.mean["w"][0], state.square["w"][0]) == (1, 1.0, 1.0)
    # g = 1: m = 1, v = 1, rate = sqrt(7/16)/(3/4) = sqrt(7)/3, step = rate/(1 + 1/2).
    second, state = adam.update(first, {"w": np.array([1.0])}, state)
    np.testing.assert_allclose(second["w"], [1 / 3 - 2 * math.sqrt(7) / 9], rtol=1e-14)
    assert (state.step, state.mean["w"][0], state.square["w"][0]) == (2, 1.0, 1.0)


def test_the_first_step_of_adam_has_the_size_of_the_rate():
    adam = Adam(learning_rate=0.01)
    start = {"w": np.zeros(3)}
    moved, _ = adam.update(start, {"w": np.array([5.0, -0.3, 0.0])}, adam.init(start))
    np.testing.assert_allclose(moved["w"], [-0.01, 0.01, 0.0], rtol=1e-5)


def test_adam_finds_the_bottom_of_a_bowl():
    adam, bottom = Adam(learning_rate=0.05), np.array([1.0, -2.0])
    parameters = {"w": np.zeros(2)}
    state = adam.init(parameters)
    for _ in range(600):
        parameters, state = adam.update(parameters, {"w": 2 * (parameters["w"] - bottom)}, state)
    np.testing.assert_allclose(parameters["w"], bottom, atol=1e-3)


def test_sgd_by_hand():
    sgd = SGD(learning_rate=0.5)
    start = {"w": np.array([1.0, 2.0]), "b": np.array([3.0])}
    moved, state = sgd.update(start, {"w": np.array([2.0, -4.0]), "b": np.array([1.0])})
    assert state is None
    assert sgd.init(start) is None
    np.testing.assert_array_equal(moved["w"], [0, 4])
    np.testing.assert_array_equal(moved["b"], [2.5])


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(0.1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_update_keeps_the_dtype_and_its_arguments(optimizer, dtype):
    parameters = {"w": np.ones((2, 3), dtype)}
    gradients = {"w": np.full((2, 3), 0.5, dtype)}
    moved, state = optimizer.update(parameters, gradients, optimizer.init(parameters))
    again, state = optimizer.update(moved, gradients, state)
    assert moved["w"].dtype == again["w"].dtype == dtype
    if state is not None:
        assert state.mean["w"].dtype == state.square["w"].dtype == dtype
    np.testing.assert_array_equal(parameters["w"], 1)
    np.testing.assert_array_equal(gradients["w"], 0.5)
    assert (again["w"] < moved["w"]).all()
    assert (moved["w"] < 1).all()


def test_the_memory_of_adam_is_a_value():
    adam = Adam(0.1)
    parameters, gradients = {"w": np.ones(2)}, {"w": np.array([1.0, -1.0])}
    start = adam.init(parameters)
    one, state = adam.update(parameters, gradients, start)
    adam.update(one, gradients, state)
    assert start.step == 0
    assert not start.mean["w"].any()
    assert not start.square["w"].any()
    same, _ = adam.update(parameters, gradients, start)
    np.testing.assert_array_equal(same["w"], one["w"])


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(0.1)])
@pytest.mark.parametrize(
    "gradients", [{"w": np.ones(2)}, {"w": np.ones(3), "b": np.ones(1)}, {"v": np.ones(3)}, {}]
)
def test_gradients_of_other_parameters_are_refused(optimizer, gradients):
    parameters = {"w": np.ones(3)}
    with pytest.raises(ValueError, match=r"same keys and shapes; they differ at (b|v, w|w)$"):
        optimizer.update(parameters, gradients, optimizer.init(parameters))
