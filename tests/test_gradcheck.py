"""The checks are checked: broken code must fail them, each kind of broken in its own way.

A check that passes proves something only if it fails on code that is wrong. Every mutant here is
a mistake that people make, put into the package's own code or beside it.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference
from reference import LOGIT_CASES, spaced

from lenet_np import es, ops
from lenet_np.gradcheck import (
    GradientError,
    Report,
    check_gradient,
    numerical_gradient,
    relative_error,
)
from lenet_np.losses import cross_entropy, cross_entropy_gradient, zero_one_loss
from lenet_np.smoothed import smoothed_zero_one


def rng(seed=1):
    return np.random.default_rng(seed)


def upstream_rng():
    # Another seed than the inputs': where upstream equals x, dy xᵀ is symmetric, and a transposed
    # weight gradient passes.
    return rng(3)


# --- the checker on its own ---------------------------------------------------------------------


def test_the_difference_quotient_of_known_functions():
    x = np.linspace(-2, 2, 9)
    found = numerical_gradient(lambda x: np.sin(x).sum(), x)
    np.testing.assert_allclose(found, np.cos(x), rtol=1e-10, atol=1e-11)
    # Of fourth order: exact for polynomials of degree four even with a large step.
    found = numerical_gradient(lambda x: (x**4).sum(), x, step=0.5)
    np.testing.assert_allclose(found, 4 * x**3, atol=1e-12)


def test_the_error_falls_with_the_fourth_power_of_the_step():
    x = np.array([0.3])
    errors = [
        abs(numerical_gradient(lambda x: np.exp(x).sum(), x, step=step)[0] - np.exp(0.3))
        for step in (0.2, 0.1)
    ]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.05)


def test_upstream_weighs_the_outputs():
    matrix, upstream = rng().standard_normal((3, 4)), rng(2).standard_normal(3)
    found = numerical_gradient(lambda x: matrix @ x, np.ones(4), upstream)
    np.testing.assert_allclose(found, matrix.T @ upstream, rtol=1e-11)


def test_a_sample_of_the_entries():
    x = rng().standard_normal((3, 4))
    some = numerical_gradient(lambda x: (x**3).sum(), x, entries=[7, 0])
    np.testing.assert_allclose(some, 3 * x.ravel()[[7, 0]] ** 2, rtol=1e-10)
    (report,) = check_gradient(
        "cube", lambda x: x**3, [x], lambda dy: [dy * 3 * x**2], upstream_rng(), entries=[[7, 0]]
    )
    assert report.worst_index in ((1, 3), (0, 0))


def test_the_input_stays_as_it_was_whatever_the_function_does():
    def careless(x):
        x *= 2
        return x

    x = np.asfortranarray(rng().standard_normal((3, 4)))
    before = x.copy()
    np.testing.assert_allclose(numerical_gradient(careless, x, np.ones((3, 4))), 2, rtol=1e-10)
    np.testing.assert_array_equal(x, before)


def test_the_relative_error_is_by_norms():
    a, n = np.array([3.0, 4.0]), np.array([3.0, 4.0])
    assert relative_error(a, n) == 0
    assert relative_error(a, -n) == 1
    assert relative_error(a, 0 * n) == 1
    assert relative_error(0 * a, 0 * n) == 0
    assert relative_error(1.001 * a, n) == pytest.approx(0.001 / 2.001)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
def test_other_dtypes_are_refused_with_the_reason(dtype):
    x, reason = np.ones(3, dtype), f"float64, got {np.dtype(dtype)}.*rounding error"
    with pytest.raises(ValueError, match=f"x must be {reason}"):
        numerical_gradient(np.sum, x)
    with pytest.raises(ValueError, match=f"input 1 of sum must be {reason}"):
        check_gradient("sum", np.add, [np.ones(3), x], lambda dy: [dy, dy], upstream_rng())
    with pytest.raises(ValueError, match=f"the result of cast must be {reason}"):
        check_gradient(
            "cast", lambda x: x.astype(dtype), [np.ones(3)], lambda dy: [dy], upstream_rng()
        )
    with pytest.raises(ValueError, match=f"upstream must be {reason}"):
        numerical_gradient(lambda x: x, np.ones(3), x)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="step must be a positive number, got 0"):
        numerical_gradient(np.sum, np.ones(3), step=0)
    with pytest.raises(ValueError, match=r"f\(x\) has shape \(3,\), but upstream has \(2,\)"):
        numerical_gradient(lambda x: x, np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="no entry to check"):
        check_gradient(
            "none", lambda x: x, [np.ones(3)], lambda dy: [dy], upstream_rng(), entries=[[]]
        )


def test_the_message_names_the_worst_index_and_both_values():
    x = np.ones((2, 3))

    def gradients_of(dy):
        gradient = 2 * dy * x
        gradient[1, 2] = 77.0
        return [gradient]

    with pytest.raises(GradientError) as caught:
        check_gradient("square", lambda x: x**2, [x], gradients_of, upstream_rng())
    expected = 2 * upstream_rng().standard_normal((2, 3))[1, 2]
    message = str(caught.value)
    assert "square, input 0: relative error" in message
    assert f"worst at index (1, 2): analytic 77, numerical {expected:.6f}"[:-1] in message


def test_a_report_of_a_right_gradient():
    x = rng().standard_normal((4, 2))
    reports = check_gradient("square", lambda x: x**2, [x], lambda dy: [2 * dy * x], upstream_rng())
    assert [type(report) for report in reports] == [Report]
    assert reports[0].name == "square, input 0"
    assert 0 <= reports[0].relative_error < 1e-10
    assert reports[0].analytic == pytest.approx(reports[0].numerical, rel=1e-8)


# --- mutants of gradients -----------------------------------------------------------------------


def check_square(factor):
    x = rng().standard_normal(5)
    check_gradient("square", lambda x: x**2, [x], lambda dy: [factor * dy * x], upstream_rng())


def check_conv2d(change=lambda gradients: gradients, cache_change=lambda cache: cache, stride=1):
    x, weight = rng().standard_normal((2, 5, 5, 2)), rng(2).standard_normal((3, 2, 3, 3))
    _, cache = ops.conv2d_forward(x, weight, np.zeros(3), stride, 1)
    cache = cache_change(cache)
    check_gradient(
        "conv2d",
        lambda *inputs: ops.conv2d_forward(*inputs, stride, 1)[0],
        [x, weight, np.zeros(3)],
        lambda dy: change(ops.conv2d_backward(dy, cache)),
        upstream_rng(),
    )


def check_dense(change=lambda gradients: gradients, upstream=lambda dy: dy):
    x, weight = rng().standard_normal((4, 3)), rng(2).standard_normal((4, 4))
    _, cache = ops.dense_forward(x, weight, np.zeros(4))
    check_gradient(
        "dense",
        lambda *inputs: ops.dense_forward(*inputs)[0],
        [x, weight, np.zeros(4)],
        lambda dy: change(ops.dense_backward(upstream(dy), cache)),
        upstream_rng(),
    )


def max_pool_backward(dy, x, window, stride):
    return ops.max_pool2d_backward(dy, ops.max_pool2d_forward(x, window, stride)[1])


def check_max_pool2d(backward=max_pool_backward):
    x = spaced(rng(), (2, 5, 5, 2))
    check_gradient(
        "max_pool2d",
        lambda x: ops.max_pool2d_forward(x, 3, 2)[0],
        [x],
        lambda dy: [backward(dy, x, 3, 2)],
        upstream_rng(),
    )


def check_relu(backward=ops.relu_backward):
    x = spaced(rng(), (4, 5))
    _, cache = ops.relu_forward(x)
    check_gradient(
        "relu",
        lambda x: ops.relu_forward(x)[0],
        [x],
        lambda dy: [backward(dy, cache)],
        upstream_rng(),
    )


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=0)


def softmax_backward(dy, y):
    return y * (dy - (dy * y).sum(axis=0))


def check_softmax(backward=softmax_backward):
    x = rng().standard_normal((5, 3))
    check_gradient("softmax", softmax, [x], lambda dy: [backward(dy, softmax(x))], upstream_rng())


def check_cross_entropy(gradient=cross_entropy_gradient):
    logits, labels = rng().standard_normal((5, 3)), np.eye(5)[:, [0, 1, 4]]
    check_gradient(
        "cross_entropy",
        lambda logits: cross_entropy(logits, labels),
        [logits],
        lambda dloss: [dloss * gradient(logits, labels)],
        upstream_rng(),
    )


def col2im_that_overwrites(columns, image_size, kernel, stride=1, padding=0):
    """`col2im` with = for +=."""
    columns = np.array(list(columns))
    kernel_height, out_height, channels, kernel_width, out_width, batch = columns.shape
    height, width = (size + 2 * padding for size in image_size)
    x = np.zeros((channels, height, width, batch))
    for i, p, j in np.ndindex(kernel_height, out_height, kernel_width):
        x[:, p * stride + i, j : j + out_width * stride : stride] = columns[i, p, :, j]
    return x[:, padding : height - padding, padding : width - padding]


def max_pool_that_overwrites(dy, x, window, stride):
    """`max_pool2d_backward` with = for += in the pixels that won."""
    dx = np.zeros_like(x)
    _, rows, columns = reference.max_pool2d(x, window, stride)
    for c, p, q, n in np.ndindex(dy.shape):
        dx[c, rows[c, p, q, n], columns[c, p, q, n], n] = dy[c, p, q, n]
    return dx


def check_with_overwriting_col2im():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "col2im", col2im_that_overwrites)
        check_conv2d()


def with_upstream_of_ones(dy):
    return np.ones_like(dy)


RIGHT = {
    "square": lambda: check_square(2),
    "conv2d": check_conv2d,
    "conv2d, stride 2": lambda: check_conv2d(stride=2),
    "dense": check_dense,
    "max-pool": check_max_pool2d,
    "relu": check_relu,
    "softmax": check_softmax,
    "cross-entropy": check_cross_entropy,
}

WRONG = {
    "derivative 2.001 for 2": lambda: check_square(2.001),
    "derivative 2.00001 for 2": lambda: check_square(2.00001),
    "wrong sign": lambda: check_square(-2),
    "not a number": lambda: check_square(np.nan),
    "= for += in col2im": check_with_overwriting_col2im,
    "= for += in max-pool": lambda: check_max_pool2d(max_pool_that_overwrites),
    "flipped kernel": lambda: check_conv2d(
        cache_change=lambda c: c._replace(weight=c.weight[:, :, ::-1, ::-1])
    ),
    "flipped weight gradient": lambda: check_conv2d(
        lambda g: g._replace(weight=g.weight[:, :, ::-1, ::-1])
    ),
    "conv2d without bias gradient": lambda: check_conv2d(lambda g: g._replace(bias=0 * g.bias)),
    "mean for sum over the batch": lambda: check_conv2d(lambda g: g._replace(weight=g.weight / 2)),
    "transposed weight gradient": lambda: check_dense(lambda g: g._replace(weight=g.weight.T)),
    "dense without bias gradient": lambda: check_dense(lambda g: g._replace(bias=0 * g.bias)),
    "gradient left out": lambda: check_dense(lambda g: g[:2]),
    "gradient is None": lambda: check_dense(lambda g: g._replace(x=None)),
    "gradient of another shape": lambda: check_dense(lambda g: g._replace(bias=g.bias[:, None])),
    "gradient in float32": lambda: check_dense(lambda g: [part.astype(np.float32) for part in g]),
    "upstream ignored": lambda: check_dense(upstream=with_upstream_of_ones),
    "relu lets all through": lambda: check_relu(lambda dy, cache: dy),
    "relu ignores upstream": lambda: check_relu(lambda dy, cache: 1.0 * (cache.y > 0)),
    "softmax backward of zeros": lambda: check_softmax(lambda dy, y: np.zeros_like(dy)),
    "softmax backward by its diagonal": lambda: check_softmax(lambda dy, y: dy * y * (1 - y)),
    "cross-entropy without the label": lambda: check_cross_entropy(lambda x, labels: softmax(x)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_pass(name):
    RIGHT[name]()


@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_are_caught(name):
    with pytest.raises(GradientError):
        WRONG[name]()


def test_an_upstream_of_ones_would_let_a_softmax_backward_of_zeros_pass():
    """Why upstream is random: the sum of a softmax is constant, and zeros are its gradient."""
    x = rng().standard_normal((5, 3))
    blind = numerical_gradient(softmax, x, upstream=np.ones((5, 3)))
    np.testing.assert_allclose(blind, 0, atol=1e-11)
    seeing = numerical_gradient(softmax, x, upstream=rng(2).standard_normal((5, 3)))
    assert np.abs(seeing).max() > 0.1


def test_the_adjoint_identity_catches_the_overwriting_col2im():
    x = rng().standard_normal((1, 4, 4, 2))
    columns = ops.im2col(x, (3, 3))
    other = rng(3).standard_normal(columns.shape)
    right = np.vdot(x, ops.col2im(other, (4, 4), (3, 3)))
    wrong = np.vdot(x, col2im_that_overwrites(other, (4, 4), (3, 3)))
    assert np.vdot(columns, other) == pytest.approx(right, rel=1e-12)
    assert np.vdot(columns, other) != pytest.approx(wrong, rel=1e-2)


# --- a wrong tie rule: invisible to difference quotients ----------------------------------------


def max_pool_for_every_maximum(dy, x, window, stride):
    """`max_pool2d_backward` that gives the gradient to all pixels that tie."""
    y, _ = ops.max_pool2d_forward(x, window, stride)
    dx = np.zeros_like(x)
    for c, p, q, n in np.ndindex(dy.shape):
        seen = np.s_[c, p * stride : p * stride + window, q * stride : q * stride + window, n]
        dx[seen] += dy[c, p, q, n] * (x[seen] == y[c, p, q, n])
    return dx


def max_pool_for_the_last_maximum(dy, x, window, stride):
    """`max_pool2d_backward` that looks through the windows from their end."""
    turned = max_pool_backward(dy[:, ::-1, ::-1], x[:, ::-1, ::-1], window, stride)
    return turned[:, ::-1, ::-1]


def assert_the_first_maximum_wins(backward):
    x = rng().integers(0, 2, (2, 4, 4, 3)).astype(float)
    dy = rng(2).standard_normal((2, 2, 2, 3))
    expected = reference.max_pool2d_gradient(dy, x, 2, 2)
    np.testing.assert_allclose(backward(dy, x, 2, 2), expected, atol=1e-14)


@pytest.mark.parametrize("mutant", [max_pool_for_every_maximum, max_pool_for_the_last_maximum])
def test_a_wrong_tie_rule_is_caught_by_the_tie_test_alone(mutant):
    check_max_pool2d(mutant)  # away from ties it is right
    assert_the_first_maximum_wins(max_pool_backward)
    with pytest.raises(AssertionError):
        assert_the_first_maximum_wins(mutant)


# --- mutants of the estimator -------------------------------------------------------------------

REPLICATES = 20_000


def gaussian(generator, classes, samples, batch):
    return es.sample_noise(generator, classes, samples, batch, np.float64)


def uniform(generator, classes, samples, batch):
    """Noise of the right mean and variance, but not Gaussian."""
    return generator.uniform(-np.sqrt(3), np.sqrt(3), (classes, samples, batch))


#: What each mutant does to the estimate g from n samples at sigma, and the noise that it uses.
ESTIMATORS = {
    "1/sigma missing": (lambda g, n, sigma: g * sigma, gaussian),
    "1/sigma² for 1/sigma": (lambda g, n, sigma: g / sigma, gaussian),
    "wrong sign": (lambda g, n, sigma: -g, gaussian),
    "sum for mean": (lambda g, n, sigma: g * n, gaussian),
    "(n-1)/n": (lambda g, n, sigma: g * (n - 1) / n, gaussian),
    "n/(n-1)": (lambda g, n, sigma: g * n / (n - 1), gaussian),
    "uniform noise": (lambda g, n, sigma: g, uniform),
}


def assert_unbiased(change, noise_of, samples):
    """Hold an estimator against the exact gradient; see tests/test_es.py."""
    scores = []
    for seed, case in enumerate(("spread", "right by two sigma", "wrong by one sigma")):
        logits, label, sigma = LOGIT_CASES[case]
        logits, labels = logits[:, np.newaxis], np.eye(len(logits))[:, [label]]
        exact = smoothed_zero_one(logits, labels, sigma).gradient[:, 0]
        noise = noise_of(np.random.default_rng([9, seed]), len(logits), samples, REPLICATES)
        same, answers = (np.repeat(array, REPLICATES, axis=1) for array in (logits, labels))
        estimate = es.estimate_gradient(zero_one_loss, same, answers, noise, sigma)
        scores.extend(reference.z_scores(change(estimate.gradient, samples, sigma), exact))
    worst = float(np.abs(scores).max())
    if worst > (limit := reference.z_threshold(len(scores))):
        raise AssertionError(f"biased: |z| = {worst:.1f} above {limit:.1f}")


@pytest.mark.parametrize("samples", [2, 20])
def test_the_right_estimator_passes(samples):
    assert_unbiased(lambda g, n, sigma: g, gaussian, samples)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_wrong_estimator_is_caught(name):
    change, noise_of = ESTIMATORS[name]
    # n = 2 shows a wrong count of the samples best; the shape of the noise takes more of them.
    samples = 20 if name == "uniform noise" else 2
    with pytest.raises(AssertionError, match="biased"):
        assert_unbiased(change, noise_of, samples)
