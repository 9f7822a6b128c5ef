"""Every pair of operations, against loops, SciPy, hand-worked numbers and difference quotients."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from reference import spaced
from scipy.signal import correlate2d

from lenet_np import ops

WINDOWS = [(2, 2), (3, 2), (3, 1), (3, 3)]
#: (C, H, W, N), (F, KH, KW), stride, padding
CONVOLUTIONS = [
    ((1, 5, 5, 2), (2, 3, 3), 1, 0),
    ((2, 5, 5, 1), (3, 3, 3), 2, 1),
    ((2, 4, 7, 2), (2, 2, 3), 1, 0),
    ((1, 6, 9, 2), (2, 2, 5), 2, 0),
    ((2, 5, 8, 1), (2, 3, 2), 1, 2),
    ((1, 7, 4, 2), (2, 3, 2), 2, 1),
    ((3, 5, 5, 2), (2, 5, 5), 1, 0),
]


def random_convolution(rng, case):
    image, (filters, *kernel), stride, padding = case
    x = rng.standard_normal(image)
    weight = rng.standard_normal((filters, image[0], *kernel))
    return x, weight, rng.standard_normal(filters), stride, padding


# --- im2col and col2im --------------------------------------------------------------------------


def test_output_size_counts_the_windows():
    assert ops.output_size(32, 5, 1) == 28
    assert ops.output_size(28, 2, 2) == 14
    assert ops.output_size(7, 3, 2, padding=1) == 4
    assert ops.output_size(5, 5, 3) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 6, 1), "a window of 6 does not fit into 5"),
        ((6, 3, 2), "1 would be left over; change the stride or the padding"),
        ((6, 0, 1), "kernel 0"),
        ((6, 3, 0), "stride 0"),
        ((6, 3, 1, -1), "padding -1"),
    ],
)
def test_windows_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.output_size(*arguments)


def test_im2col_of_a_small_image():
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    columns = ops.im2col(x, (2, 2))
    assert columns.shape == (2, 2, 1, 2, 2, 1)
    np.testing.assert_array_equal(columns[:, 0, 0, :, 0, 0], [[0, 1], [3, 4]])
    np.testing.assert_array_equal(columns[:, 1, 0, :, 0, 0], [[3, 4], [6, 7]])
    # The middle pixel is seen by all four windows, the corners by one each.
    np.testing.assert_array_equal(
        ops.col2im(np.ones_like(columns), (3, 3), (2, 2))[0, :, :, 0],
        [[1, 2, 1], [2, 4, 2], [1, 2, 1]],
    )


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_col2im_is_the_adjoint_of_im2col(case):
    rng = np.random.default_rng(1)
    x, weight, _, stride, padding = random_convolution(rng, case)
    columns = ops.im2col(x, weight.shape[2:], stride, padding)
    other = rng.standard_normal(columns.shape)
    back = ops.col2im(other, x.shape[1:3], weight.shape[2:], stride, padding)
    assert back.shape == x.shape
    np.testing.assert_allclose(np.vdot(columns, other), np.vdot(x, back), rtol=1e-12)


def test_col2im_takes_the_columns_kernel_row_by_kernel_row():
    rng = np.random.default_rng(1)
    columns = rng.standard_normal((3, 4, 2, 3, 5, 2))
    whole = ops.col2im(columns, (6, 7), (3, 3))
    np.testing.assert_array_equal(ops.col2im(iter(columns), (6, 7), (3, 3)), whole)
    with pytest.raises(ValueError, match="3 kernel rows, got 0"):
        ops.col2im([], (6, 7), (3, 3))


def test_col2im_refuses_columns_of_another_image():
    good = np.zeros((2, 3, 1, 2, 3, 1))  # of a 4x4 image and a 2x2 kernel
    ops.col2im(good, (4, 4), (2, 2))
    other_batch, other_dtype = np.zeros((3, 1, 2, 3, 2)), np.zeros((3, 1, 2, 3, 1), np.float32)
    for columns in (
        np.zeros((2, 2, 1, 2, 2, 1)),
        np.zeros((3, 3, 1, 2, 3, 1)),
        np.zeros((2, 3, 1, 3, 3, 1)),
        [good[0], other_batch],
        [good[0], other_dtype],
    ):
        with pytest.raises(ValueError, match=r"kernel row \d of the columns has shape"):
            ops.col2im(columns, (4, 4), (2, 2))
    with pytest.raises(ValueError, match="columns have 2 kernel rows, got 1"):
        ops.col2im(good[:1], (4, 4), (2, 2))


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_the_gradients_of_im2col_and_col2im(case, check):
    rng = np.random.default_rng(2)
    x, weight, _, stride, padding = random_convolution(rng, case)
    kernel, size = weight.shape[2:], x.shape[1:3]
    check(
        "im2col",
        lambda x: ops.im2col(x, kernel, stride, padding),
        lambda dy, x: ops.col2im(dy, size, kernel, stride, padding),
        [x],
        cache="none",
    )
    columns = rng.standard_normal(ops.im2col(x, kernel, stride, padding).shape)
    check(
        "col2im",
        lambda columns: ops.col2im(columns, size, kernel, stride, padding),
        lambda dx, columns: ops.im2col(dx, kernel, stride, padding),
        [columns],
        cache="none",
    )


# --- convolution --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv2d_equals_the_loops(case):
    rng = np.random.default_rng(3)
    x, weight, bias, stride, padding = random_convolution(rng, case)
    y, cache = ops.conv2d_forward(x, weight, bias, stride, padding)
    np.testing.assert_allclose(y, reference.conv2d(x, weight, bias, stride, padding), rtol=1e-12)
    dy = rng.standard_normal(y.shape)
    expected = reference.conv2d_gradients(dy, x, weight, stride, padding)
    for ours, loops in zip(ops.conv2d_backward(dy, cache), expected, strict=True):
        np.testing.assert_allclose(ours, loops, rtol=1e-12, atol=1e-12)


def test_conv2d_equals_scipy():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((2, 6, 8, 3))
    weight = rng.standard_normal((4, 2, 3, 5))
    y, _ = ops.conv2d_forward(x, weight, np.zeros(4))
    for f, n in np.ndindex(4, 3):
        expected = sum(correlate2d(x[c, :, :, n], weight[f, c], mode="valid") for c in range(2))
        np.testing.assert_allclose(y[f, :, :, n], expected, rtol=1e-12, atol=1e-12)


def test_conv2d_by_hand():
    x = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]).reshape(1, 3, 3, 1)
    weight = np.array([[1.0, 2], [0, -1]]).reshape(1, 1, 2, 2)
    y, cache = ops.conv2d_forward(x, weight, np.array([10.0]))
    # 1*1 + 2*2 + 0*4 - 1*5 + 10 = 10, and each step right or down adds 2 or 6.
    np.testing.assert_array_equal(y[0, :, :, 0], [[10, 12], [16, 18]])
    dy = np.array([[1.0, 0], [0, 2]]).reshape(1, 2, 2, 1)
    dx, dweight, dbias = ops.conv2d_backward(dy, cache)
    np.testing.assert_array_equal(dweight[0, 0], [[11, 14], [20, 23]])
    np.testing.assert_array_equal(dbias, [3])
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 2, 0], [0, 1, 4], [0, 0, -2]])


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_the_gradients_of_conv2d(case, check):
    x, weight, bias, stride, padding = random_convolution(np.random.default_rng(5), case)
    check(
        "conv2d",
        lambda x, weight, bias: ops.conv2d_forward(x, weight, bias, stride, padding),
        ops.conv2d_backward,
        [x, weight, bias],
        definition=lambda x, weight, bias: reference.conv2d(x, weight, bias, stride, padding),
    )


def test_conv2d_leaves_dx_out_when_asked_to():
    rng = np.random.default_rng(6)
    x, weight, bias, *_ = random_convolution(rng, CONVOLUTIONS[0])
    y, cache = ops.conv2d_forward(x, weight, bias)
    dx, dweight, dbias = ops.conv2d_backward(np.ones_like(y), cache, need_dx=False)
    full = ops.conv2d_backward(np.ones_like(y), cache)
    assert dx is None
    np.testing.assert_array_equal(dweight, full.weight)
    np.testing.assert_array_equal(dbias, full.bias)


# --- max-pooling --------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "stride"), WINDOWS)
def test_max_pool2d_equals_the_loops(window, stride):
    rng = np.random.default_rng(7)
    # Few different values, so that there are many ties.
    x = rng.integers(0, 3, (2, window + 2 * stride, window + 3 * stride, 3)).astype(float)
    y, cache = ops.max_pool2d_forward(x, window, stride)
    np.testing.assert_array_equal(y, reference.max_pool2d(x, window, stride)[0])
    dy = rng.standard_normal(y.shape)
    expected = reference.max_pool2d_gradient(dy, x, window, stride)
    np.testing.assert_allclose(ops.max_pool2d_backward(dy, cache), expected, atol=1e-14)


@pytest.mark.parametrize(
    ("values", "winner"),
    [
        ([[1, 1], [1, 1]], (0, 0)),
        ([[0, 1], [1, 1]], (0, 1)),
        ([[0, 0], [1, 1]], (1, 0)),
        ([[0, 0], [0, 1]], (1, 1)),
        ([[-1, -2], [-1, -1]], (0, 0)),
    ],
)
def test_the_first_of_equal_maxima_gets_all_of_the_gradient(values, winner):
    x = np.array(values, float).reshape(1, 2, 2, 1)
    y, cache = ops.max_pool2d_forward(x, 2, 2)
    dx = ops.max_pool2d_backward(np.full(y.shape, 5.0), cache)[0, :, :, 0]
    expected = np.zeros((2, 2))
    expected[winner] = 5
    np.testing.assert_array_equal(dx, expected)


def test_a_pixel_collects_from_every_window_that_it_wins():
    x = np.zeros((1, 5, 5, 1))
    x[0, 2, 2] = 1  # seen by all four windows
    y, cache = ops.max_pool2d_forward(x, 3, 2)
    dx = ops.max_pool2d_backward(np.array([1.0, 2, 4, 8]).reshape(y.shape), cache)
    assert dx[0, 2, 2, 0] == 15
    assert dx.sum() == 15


@pytest.mark.parametrize(("window", "stride"), WINDOWS)
def test_the_gradient_of_max_pool2d(window, stride, check):
    x = spaced(np.random.default_rng(8), (2, window + 2 * stride, window + 3 * stride, 2))
    check(
        "max_pool2d",
        lambda x: ops.max_pool2d_forward(x, window, stride),
        ops.max_pool2d_backward,
        [x],
    )


# --- the rest -----------------------------------------------------------------------------------


def test_relu_by_hand():
    y, cache = ops.relu_forward(np.array([-2.0, 0.0, 3.0]))
    np.testing.assert_array_equal(y, [0, 0, 3])
    np.testing.assert_array_equal(ops.relu_backward(np.array([5.0, 6.0, 7.0]), cache), [0, 0, 7])


def test_the_gradient_of_relu(check):
    x = spaced(np.random.default_rng(9), (3, 4, 5))
    assert 0 < np.count_nonzero(x > 0) < x.size
    check("relu", ops.relu_forward, ops.relu_backward, [x])


def test_dense_by_hand():
    x = np.array([[1.0, 0], [2, 1]])
    weight = np.array([[1.0, 2], [3, 4], [5, 6]])
    y, cache = ops.dense_forward(x, weight, np.array([10.0, 20, 30]))
    np.testing.assert_array_equal(y, [[15, 12], [31, 24], [47, 36]])
    dx, dweight, dbias = ops.dense_backward(np.array([[1.0, 0], [0, 1], [1, 1]]), cache)
    np.testing.assert_array_equal(dx, [[6, 8], [8, 10]])
    np.testing.assert_array_equal(dweight, [[1, 2], [0, 1], [1, 3]])
    np.testing.assert_array_equal(dbias, [1, 1, 2])


def test_the_gradients_of_dense(check):
    rng = np.random.default_rng(10)
    inputs = [rng.standard_normal(shape) for shape in ((4, 3), (5, 4), (5,))]
    check("dense", ops.dense_forward, ops.dense_backward, inputs)


def test_flatten_keeps_values_and_order(check):
    x = np.random.default_rng(11).standard_normal((2, 3, 4, 5))
    y, _ = ops.flatten_forward(x)
    assert y.shape == (24, 5)
    for n in range(5):
        np.testing.assert_array_equal(y[:, n], x[..., n].ravel())
    check("flatten", ops.flatten_forward, ops.flatten_backward, [x])


# --- dtypes and errors --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_operation_keeps_the_dtype(dtype):
    rng = np.random.default_rng(12)
    x = rng.standard_normal((2, 6, 6, 3)).astype(dtype)
    weight, bias = rng.standard_normal((4, 2, 3, 3)).astype(dtype), np.zeros(4, dtype)
    results = {}
    y, conv = ops.conv2d_forward(x, weight, bias, 1, 1)
    results["conv2d"] = [y, *ops.conv2d_backward(y, conv)]
    columns = ops.im2col(x, (3, 3))
    results["im2col"] = [columns, ops.col2im(columns, (6, 6), (3, 3))]
    y, pool = ops.max_pool2d_forward(x, 2, 2)
    results["max_pool2d"] = [y, ops.max_pool2d_backward(y, pool)]
    y, relu = ops.relu_forward(x)
    results["relu"] = [y, ops.relu_backward(y, relu)]
    y, flat = ops.flatten_forward(x)
    results["flatten"] = [y, ops.flatten_backward(y, flat)]
    y, dense = ops.dense_forward(y, rng.standard_normal((4, 72)).astype(dtype), bias)
    results["dense"] = [y, *ops.dense_backward(y, dense)]
    for name, arrays in results.items():
        assert {array.dtype for array in arrays} == {np.dtype(dtype)}, name


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
@pytest.mark.parametrize(
    "operation",
    [
        lambda x: ops.im2col(x, (2, 2)),
        lambda x: ops.col2im(x.reshape(2, 1, 1, 2, 1, 4), (2, 2), (2, 2)),
        lambda x: ops.conv2d_forward(x, np.ones((1, 1, 2, 2)), np.ones(1)),
        lambda x: ops.max_pool2d_forward(x, 2, 2),
        lambda x: ops.relu_forward(x),
        lambda x: ops.dense_forward(x.reshape(4, 4), np.ones((1, 4)), np.ones(1)),
    ],
    ids=["im2col", "col2im", "conv2d", "max_pool2d", "relu", "dense"],
)
def test_integers_are_refused(operation, dtype):
    with pytest.raises(ValueError, match=f"float32 or float64, got {np.dtype(dtype)}: convert"):
        operation(np.ones((1, 4, 4, 1), dtype))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ops.conv2d_forward(np.ones((1, 4, 4, 1)), np.ones((2, 3, 2, 2)), np.ones(2)),
            r"conv2d needs .*\(1, 4, 4, 1\), \(2, 3, 2, 2\) and \(2,\)",
        ),
        (
            lambda: ops.conv2d_forward(np.ones((1, 4, 4, 1)), np.ones((2, 4)), np.ones(2)),
            "conv2d needs",
        ),
        (
            lambda: ops.conv2d_forward(np.ones((1, 4, 4, 1)), np.ones((2, 1, 2, 2)), np.ones(3)),
            "conv2d needs",
        ),
        (
            lambda: ops.conv2d_forward(np.ones((4, 4, 1)), np.ones((2, 1, 2, 2)), np.ones(2)),
            r"x must have 4 axes, the batch last; got shape \(4, 4, 1\)",
        ),
        (
            lambda: ops.conv2d_forward(
                np.ones((1, 4, 4, 1), np.float32), np.ones((2, 1, 2, 2)), np.ones(2)
            ),
            "share one dtype, got float32, float64, float64",
        ),
        (lambda: ops.dense_forward(np.ones((4, 1)), np.ones((2, 5)), np.ones(2)), "dense needs"),
        (lambda: ops.dense_forward(np.ones((4, 1)), np.ones((2, 4)), np.ones(3)), "dense needs"),
        (
            lambda: ops.dense_forward(np.ones((4, 1)), np.ones((2, 4), np.float32), np.ones(2)),
            "share one dtype",
        ),
        (lambda: ops.max_pool2d_forward(np.ones((1, 5, 4, 1)), 2, 2), "left over"),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
