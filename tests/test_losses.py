"""The losses, their gradients, and how they behave at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lenet_np import losses


def one_hot(classes, count=10):
    return np.eye(count)[:, classes]


def test_predict_equals_argmax_also_on_ties():
    rng = np.random.default_rng(1)
    logits = rng.integers(0, 4, (10, 7, 500)).astype(np.float32)
    ties = (logits == logits.max(axis=0)).sum(axis=0) > 1
    assert ties.mean() > 0.5
    np.testing.assert_array_equal(losses.predict(logits), np.argmax(logits, axis=0))
    np.testing.assert_array_equal(losses.predict(np.zeros((10, 3))), [0, 0, 0])


def test_predict_takes_a_single_example():
    assert losses.predict(np.array([0.5, 2.0, -1.0])) == 1


def test_predict_counts_to_256_classes():
    assert losses.predict(np.arange(256.0)) == 255
    assert losses.predict(-np.arange(256.0)) == 0
    with pytest.raises(ValueError, match="at most 256, got 257"):
        losses.predict(np.zeros(257))


def test_zero_one_loss_counts_errors():
    logits = np.array([[3.0, 1.0, 1.0], [2.0, 2.0, 1.0]])
    labels = one_hot([0, 0, 1], 2)
    np.testing.assert_array_equal(losses.zero_one_loss(logits, labels), [0, 1, 1])


def test_zero_one_loss_takes_many_samples_of_each_example():
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((10, 6, 4)).astype(np.float32)
    labels = one_hot([3, 1, 4, 1]).astype(np.float32)
    values = losses.zero_one_loss(logits, labels)
    assert values.shape == (6, 4)
    assert values.dtype == np.float32
    for i in range(6):
        np.testing.assert_array_equal(values[i], losses.zero_one_loss(logits[:, i], labels))


def test_cross_entropy_by_hand():
    # softmax(log 1, log 2, log 5) = (1, 2, 5)/8
    logits = np.log([[1.0, 1.0], [2.0, 2.0], [5.0, 5.0]])
    values = losses.cross_entropy(logits, one_hot([0, 2], 3))
    np.testing.assert_allclose(values, [math.log(8), math.log(8 / 5)], rtol=1e-14)
    gradient = losses.cross_entropy_gradient(logits, one_hot([0, 2], 3))
    np.testing.assert_allclose(gradient[:, 0], [-7 / 8, 2 / 8, 5 / 8], rtol=1e-14)
    np.testing.assert_allclose(gradient[:, 1], [1 / 8, 2 / 8, -3 / 8], rtol=1e-14)


def test_squared_error_by_hand():
    logits, targets = np.array([[1.0], [2.0]]), np.array([[4.0], [2.0]])
    np.testing.assert_array_equal(losses.squared_error(logits, targets), [4.5])
    np.testing.assert_array_equal(losses.squared_error_gradient(logits, targets), [[-3], [0]])


def test_the_gradient_of_the_cross_entropy(check):
    logits = np.random.default_rng(3).standard_normal((10, 6)) * 3
    labels = one_hot([0, 9, 4, 4, 7, 1])
    check(
        "cross_entropy",
        losses.cross_entropy,
        lambda dloss, *inputs: dloss * losses.cross_entropy_gradient(*inputs),
        [logits, labels],
        cache="none",
        constants=[1],
    )
    sums = losses.cross_entropy_gradient(logits, labels).sum(axis=0)
    np.testing.assert_allclose(sums, 0, atol=1e-15)


def test_the_gradient_of_the_squared_error(check):
    rng = np.random.default_rng(4)
    logits, targets = rng.standard_normal((2, 10, 6))
    check(
        "squared_error",
        losses.squared_error,
        lambda dloss, logits, targets: [
            dloss * losses.squared_error_gradient(logits, targets),
            -dloss * losses.squared_error_gradient(logits, targets),
        ],
        [logits, targets],
        cache="none",
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_cross_entropy_is_stable_at_huge_logits(dtype):
    logits = np.array([[1e4, -1e4, 1e4], [-1e4, -1e4, 1e4], [-1e4, -1e4, 0]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        right = losses.cross_entropy(logits, one_hot([0, 0, 0], 3).astype(dtype))
        wrong = losses.cross_entropy(logits, one_hot([1, 1, 2], 3).astype(dtype))
        gradient = losses.cross_entropy_gradient(logits, one_hot([1, 1, 2], 3).astype(dtype))
    np.testing.assert_allclose(right, [0, math.log(3), math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(wrong, [2e4, math.log(3), 1e4 + math.log(2)], rtol=1e-6)
    expected = [[1, 1 / 3, 0.5], [-1, -2 / 3, 0.5], [0, 1 / 3, -1]]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_keep_the_dtype(dtype):
    logits = np.random.default_rng(5).standard_normal((10, 4)).astype(dtype)
    labels = one_hot([1, 2, 3, 4]).astype(dtype)
    for function in (
        losses.zero_one_loss,
        losses.cross_entropy,
        losses.cross_entropy_gradient,
        losses.squared_error,
        losses.squared_error_gradient,
    ):
        assert function(logits, labels).dtype == dtype, function.__name__


def test_the_margin_by_hand():
    logits = np.zeros((10, 2))
    logits[[1, 5], 0] = 3, 1
    logits[[2, 4], 1] = -1, 6
    np.testing.assert_array_equal(losses.margin(logits, np.eye(10)[:, [1, 2]]), [2, -7])
