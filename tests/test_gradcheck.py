"""The checks are checked: broken code must fail them, each kind of broken in its own way.

A check that passes proves something only if it fails on code that is wrong. Every mutant here is
a mistake that people make, put into the package's own code or beside it. What the check says about
mistakes is in tests/test_diagnosis.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference
from reference import LOGIT_CASES, spaced

from lenet_np import es, ops
from lenet_np.gradcheck import GradientError, InputReport, Report, check
from lenet_np.gradcheck.differences import (
    EPSILON,
    complex_step,
    is_rounding,
    jacobian,
    relative_error,
    slope,
)
from lenet_np.losses import cross_entropy, cross_entropy_gradient, zero_one_loss
from lenet_np.smoothed import smoothed_zero_one


def rng(seed=1):
    return np.random.default_rng(seed)


# --- the differences on their own ---------------------------------------------------------------


def test_the_difference_quotient_of_known_functions():
    x = np.linspace(-2, 2, 9)
    found = jacobian(lambda inputs: np.sin(inputs[0]), [x], 0)
    np.testing.assert_allclose(found.values, np.diag(np.cos(x)), atol=1e-12)
    matrix = rng().standard_normal((3, 4))
    found = jacobian(lambda inputs: matrix @ inputs[0], [np.ones(4)], 0)
    np.testing.assert_allclose(found.values, matrix, rtol=1e-11)
    np.testing.assert_allclose(found.pull_back(np.ones(3))[0], matrix.sum(axis=0), rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e8])
def test_the_step_follows_the_scale_of_the_input(scale):
    x = rng().uniform(1, 2, 6)
    with np.errstate(all="ignore"):
        found = jacobian(lambda inputs: np.log(inputs[0]), [x * scale], 0)
    np.testing.assert_allclose(np.diag(found.values), 1 / (x * scale), rtol=1e-9)
    # A function that bends on a scale far below that of its input needs another step.
    found = jacobian(
        lambda inputs: np.sin(1e3 * inputs[0] / scale), [x * scale], 0, noise=np.full(6, 1e-12)
    )
    np.testing.assert_allclose(
        np.diag(found.values), 1e3 / scale * np.cos(1e3 * x), rtol=1e-6, atol=1e-6 / scale
    )


def test_the_estimated_error_is_not_too_small():
    x = rng().uniform(0.5, 2, 40)
    found = jacobian(lambda inputs: np.exp(inputs[0]) + 1e4, [x], 0)
    error = np.abs(np.diag(found.values) - np.exp(x))
    assert (error <= 4 * np.diag(found.errors)).all()
    assert np.diag(found.errors).max() < 1e-8


@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-9, 1e-6, 3e-4, 5e-4, 9e-4, 1e-3])
def test_a_kink_near_or_far_never_gives_a_wrong_slope(distance):
    for sign in (-1, 1):
        found = slope(
            lambda t, at=sign * distance: np.array([np.maximum(t - at, 0) + t**3]),
            np.array([max(-sign * distance, 0.0)]),
            np.array([EPSILON]),
            2.0**-10,
        )
        right = float(sign < 0) if distance else None
        if distance < 1e-8:
            assert not found.smooth
            assert found.right[0] - found.left[0] == pytest.approx(1, abs=0.01)
        elif right is not None and found.smooth:
            assert found.value[0] == pytest.approx(right, abs=1e-8)
        assert found.smooth or distance < 1e-6


@pytest.mark.parametrize("offset", [1e4, 1e6, 1e8, 1e10])
def test_a_kink_beside_large_numbers_is_not_taken_for_rounding(offset):
    x = np.array([0.0, 1e-7, -1e-7, 0.0, 0.5, -0.5])
    report = check(lambda x: np.abs(x) + offset, lambda dy, x: dy * np.sign(x), [x], cache="none")
    report.raise_if_failed()
    assert report.inputs[0].excluded >= 2 or "rounding hides" in report.notes[0]


def test_rounding_is_told_from_kinks_by_how_it_grows():
    here = np.ones(1)
    assert is_rounding([1e-16, 3e-16, 1e-16, 2e-16], here)  # h times the change stays
    assert not is_rounding([1e-11, 2.5e-12, 6e-13, 1.6e-13], here)  # the change itself stays
    assert not is_rounding([1e-6, 1e-6, 1e-6, 1e-6], here)  # a jump
    assert not is_rounding([1e-16, np.nan, 1e-16], here)
    # Computed from a sum near one, this loss has more rounding than its own last digit.
    rng = np.random.default_rng([0, 15])
    logits, labels = 3 * rng.standard_normal((10, 4)), np.eye(10)[:, rng.integers(0, 10, 4)]
    report = check(
        lambda logits: smoothed_zero_one(logits, labels, 1.0),
        lambda dloss, gradient: dloss * gradient,
        [logits],
    )
    report.raise_if_failed()
    assert report.inputs[0].excluded == 0


def test_a_jump_is_a_kink_too():
    report = check(np.sign, lambda dy, x: 0 * dy, [np.array([0.0, 1.0, -2.0])], cache="none")
    assert report.passed
    assert report.inputs[0].excluded == 1


def test_a_complex_step_sharpens_what_differences_cannot():
    x = rng().uniform(1, 2, 5)

    def function(inputs):
        return inputs[0] ** 3 + 1e9

    found = jacobian(function, [x], 0, noise=np.full(5, 1e-7))
    assert np.abs(np.diag(found.values) - 3 * x**2).max() > 1e-6
    sharper = complex_step(function, [x], 0, found)
    np.testing.assert_allclose(sharper.values, np.diag(3 * x**2), rtol=1e-14)
    assert complex_step(lambda inputs: np.abs(inputs[0]), [x], 0, found) is None
    forward = lambda x: x**3 + 1e9  # noqa: E731
    assert check(forward, lambda dy, x: 3 * dy * x**2, [x], cache="none").passed
    assert not check(forward, lambda dy, x: 3.00001 * dy * x**2, [x], cache="none").passed


def test_where_no_digits_are_left_the_report_says_so():
    report = check(
        lambda x: np.abs(x**3 + 1e9), lambda dy, x: 3 * dy * x**2, [np.ones(4)], cache="none"
    )
    assert report.passed
    assert "the differences are good to" in report.notes[0]


def test_the_relative_error_is_by_norms():
    a, n = np.array([3.0, 4.0]), np.array([3.0, 4.0])
    assert relative_error(a, n) == 0
    assert relative_error(a, -n) == 1
    assert relative_error(a, 0 * n) == 1
    assert relative_error(0 * a, 0 * n) == 0
    assert relative_error(1.001 * a, n) == pytest.approx(0.001 / 2.001)


# --- the check on its own -----------------------------------------------------------------------


def square(x):
    return x**2, x


def square_report(factor=2.0, **options):
    x = rng().standard_normal((2, 3))
    return check(square, lambda dy, x: factor * dy * x, [x], names=["x"], **options)


def test_a_report_of_a_right_gradient():
    report = square_report()
    assert isinstance(report, Report)
    assert report.passed
    assert report.findings == ()
    report.raise_if_failed()
    (entry,) = report.inputs
    assert isinstance(entry, InputReport)
    assert (entry.name, entry.shape, entry.checked, entry.excluded) == ("x", (2, 3), 6, 0)
    assert 0 <= entry.relative_error < 1e-10
    assert entry.analytic == pytest.approx(entry.numeric, rel=1e-8)
    assert str(report).startswith("passed\n  x (2, 3): relative error")


def test_the_message_names_the_worst_index_and_both_values():
    def backward(dy, x):
        gradient = 2 * dy * x
        gradient[1, 2] = 77.0
        return gradient

    report = check(square, backward, [rng().standard_normal((2, 3))], names=["x"])
    assert report.inputs[0].worst_index == (1, 2)
    with pytest.raises(GradientError, match=r"worst at \(1, 2\): analytic 77, numeric ") as caught:
        report.raise_if_failed()
    assert str(caught.value) == str(report)


def test_two_gradients_of_zero_agree():
    """A bias before a batch-norm has no effect: rounding on both sides, and no alarm."""

    def forward(x, bias):
        y = x + bias
        return y - y.mean(axis=0)

    def backward(dy, x, bias):
        dx = dy - dy.mean(axis=0)
        return dx, dx.sum(axis=0)

    inputs = [rng().standard_normal((3, 2)), rng(2).standard_normal(2)]
    check(forward, backward, inputs, cache="none").raise_if_failed()
    wrong = check(forward, lambda *i: (backward(*i)[0], np.full(2, 1e-9)), inputs, cache="none")
    assert not wrong.passed
    constant = check(lambda x: x.sum() * 0 + 3.0, lambda dy, x: 0 * x, [np.ones(3)], cache="none")
    assert constant.passed


def test_a_sample_of_the_entries_says_what_it_may_miss():
    x = rng().standard_normal((30, 40))
    report = check(square, lambda dy, x: 2 * dy * x, [x], names=["x"], entries=100)
    assert report.inputs[0].checked == 100
    assert "100 of 1200 entries of x were drawn" in report.notes[0]
    assert "missed with probability 37%" in report.notes[0]
    assert not square_report(2.001, entries=2).passed
    assert square_report(entries=100).notes == ()


def test_seeds_repeat():
    assert square_report(seed=3) == square_report(seed=3)
    assert square_report(seed=3) != square_report(seed=4)


def test_a_gradient_does_not_pass_because_all_was_left_out():
    report = check(ops.relu_forward, ops.relu_backward, [np.zeros((2, 3))])
    assert [finding.code for finding in report.findings] == ["kinks"]
    assert "no entry could be checked" in str(report)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_floats_of_fewer_digits_are_promoted(dtype):
    x = rng().standard_normal((2, 3)).astype(dtype)
    report = check(square, lambda dy, x: 2 * dy * x, [x], names=["x"])
    assert report.passed
    assert f"x is {np.dtype(dtype)} and was promoted to float64" in report.notes[0]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_whole_numbers_are_constants(dtype):
    x, labels = rng().standard_normal((2, 3)), np.array([0, 1]).astype(dtype)
    for gradients in (lambda g: g, lambda g: [g], lambda g: [g, None], lambda g: {"x": g}):
        report = check(
            lambda x, labels: x**2 + labels[:, None],
            lambda dy, x, labels, gradients=gradients: gradients(2 * dy * x),
            [x, labels],
            names=["x", "labels"],
            cache="none",
        )
        report.raise_if_failed()
        assert [entry.name for entry in report.inputs] == ["x"]
        assert f"labels is {np.dtype(dtype)} and taken as a constant" in report.notes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "lost"}, "cache must be one of returned, kept, none, got 'lost'"),
        ({"inputs": []}, "inputs must be a sequence of arrays"),
        ({"inputs": np.ones(3)}, "inputs must be a sequence of arrays"),
        ({"inputs": [np.ones(3) * 1j]}, "must be float64, got complex128"),
        ({"inputs": [np.array(["a"])]}, "must be float64, got <U1"),
        ({"inputs": [np.array([np.nan])]}, "values that are nan or inf"),
        ({"inputs": [np.ones((0, 3))]}, "no entry to check"),
        ({"inputs": [np.ones(3, int)]}, "every input is a constant"),
        ({"names": ["x", "y"]}, "names must be 1 different names"),
        ({"tolerance": 0}, "tolerance must be a positive number"),
        ({"entries": 0}, "entries must be at least 1"),
        ({"constants": ["w"]}, "constants must be names or positions of inputs, got 'w'"),
        ({"batch_axis": 2}, r"batch_axis is 2, but input 0 has shape \(2, 3\)"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    inputs = options.pop("inputs", [np.ones((2, 3))])
    with pytest.raises(ValueError, match=message):
        check(square, lambda dy, x: 2 * dy * x, inputs, **options)


def test_constants_are_never_moved():
    """Not even by their last digit: code may use them as whole numbers."""
    seen = set()

    def forward(x, labels):
        seen.add(labels.tobytes())
        return x[labels.astype(int)] ** 2

    def backward(dy, x, labels):
        dx = np.zeros_like(x)
        np.add.at(dx, labels.astype(int), 2 * dy * x[labels.astype(int)])
        return dx, None

    labels = np.array([1.0, 0.0, 1.0])
    for constants in (["labels"], [1]):
        report = check(
            forward,
            backward,
            [np.array([0.3, 0.7]), labels],
            names=["x", "labels"],
            cache="none",
            constants=constants,
        )
        report.raise_if_failed()
    assert seen == {labels.tobytes()}


def test_what_the_code_does_to_its_arguments_does_not_reach_the_caller():
    def careless(x):
        x *= 2
        return x, None

    x = np.asfortranarray(rng().standard_normal((3, 4)))
    before = x.copy()
    report = check(careless, lambda dy, cache: 2 * dy, [x])
    assert [finding.code for finding in report.findings] == ["in-place"]
    np.testing.assert_array_equal(x, before)


# --- mutants of gradients -----------------------------------------------------------------------


def check_conv2d(change=lambda gradients: gradients, cache_change=lambda cache: cache, stride=1):
    x, weight = rng().standard_normal((2, 5, 5, 2)), rng(2).standard_normal((3, 2, 3, 3))
    return check(
        lambda *inputs: ops.conv2d_forward(*inputs, stride, 1),
        lambda dy, cache: change(ops.conv2d_backward(dy, cache_change(cache))),
        [x, weight, np.zeros(3)],
    )


def check_dense(change=lambda gradients: gradients, upstream=lambda dy: dy):
    x, weight = rng().standard_normal((4, 3)), rng(2).standard_normal((4, 4))
    return check(
        ops.dense_forward,
        lambda dy, cache: change(ops.dense_backward(upstream(dy), cache)),
        [x, weight, np.zeros(4)],
    )


def max_pool_backward(dy, x, window, stride):
    return ops.max_pool2d_backward(dy, ops.max_pool2d_forward(x, window, stride)[1])


def check_max_pool2d(backward=max_pool_backward, x=None, window=3, stride=2):
    return check(
        lambda x: ops.max_pool2d_forward(x, window, stride)[0],
        lambda dy, x: backward(dy, x, window, stride),
        [spaced(rng(), (2, 5, 5, 2)) if x is None else x],
        cache="none",
    )


def check_relu(backward=ops.relu_backward):
    return check(ops.relu_forward, backward, [spaced(rng(), (4, 5))])


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=0)


def softmax_backward(dy, y):
    return y * (dy - (dy * y).sum(axis=0))


def check_softmax(backward=softmax_backward):
    x = rng().standard_normal((5, 3))
    return check(lambda x: (softmax(x), softmax(x)), backward, [x])


def check_cross_entropy(gradient=cross_entropy_gradient):
    logits, labels = rng().standard_normal((5, 3)), np.eye(5)[:, [0, 1, 4]]
    return check(
        lambda logits: cross_entropy(logits, labels),
        lambda dloss, logits: dloss * gradient(logits, labels),
        [logits],
        cache="none",
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
        return check_conv2d()


def with_upstream_of_ones(dy):
    return np.ones_like(dy)


RIGHT = {
    "square": square_report,
    "conv2d": check_conv2d,
    "conv2d, stride 2": lambda: check_conv2d(stride=2),
    "dense": check_dense,
    "max-pool": check_max_pool2d,
    "relu": check_relu,
    "softmax": check_softmax,
    "cross-entropy": check_cross_entropy,
}

WRONG = {
    "derivative 2.001 for 2": lambda: square_report(2.001),
    "derivative 2.00001 for 2": lambda: square_report(2.00001),
    "wrong sign": lambda: square_report(-2),
    "not a number": lambda: square_report(np.nan),
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
    RIGHT[name]().raise_if_failed()


@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_are_caught(name):
    with pytest.raises(GradientError):
        WRONG[name]().raise_if_failed()


def test_an_upstream_of_ones_would_let_a_softmax_backward_of_zeros_pass():
    """Why upstream is random: the sum of a softmax is constant, and zeros are its gradient."""
    found = jacobian(lambda inputs: softmax(inputs[0]), [rng().standard_normal((5, 3))], 0)
    np.testing.assert_allclose(found.pull_back(np.ones((5, 3)))[0], 0, atol=1e-11)
    assert np.abs(found.pull_back(rng(2).standard_normal((5, 3)))[0]).max() > 0.1


def test_the_adjoint_identity_catches_the_overwriting_col2im():
    x = rng().standard_normal((1, 4, 4, 2))
    columns = ops.im2col(x, (3, 3))
    other = rng(3).standard_normal(columns.shape)
    right = np.vdot(x, ops.col2im(other, (4, 4), (3, 3)))
    wrong = np.vdot(x, col2im_that_overwrites(other, (4, 4), (3, 3)))
    assert np.vdot(columns, other) == pytest.approx(right, rel=1e-12)
    assert np.vdot(columns, other) != pytest.approx(wrong, rel=1e-2)


# --- a wrong tie rule: invisible to difference quotients of single entries -----------------------


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
def test_a_wrong_tie_rule_is_right_away_from_ties(mutant):
    check_max_pool2d(mutant).raise_if_failed()
    assert_the_first_maximum_wins(max_pool_backward)
    with pytest.raises(AssertionError):
        assert_the_first_maximum_wins(mutant)


def test_the_tied_entries_together_betray_a_gradient_given_twice():
    x = rng().integers(0, 2, (2, 4, 4, 3)).astype(float)
    report = check_max_pool2d(max_pool_for_every_maximum, x, 2, 2)
    assert [finding.code for finding in report.findings] == ["ties"]
    # The first or the last may have it: both are gradients of the maximum.
    check_max_pool2d(x=x, window=2).raise_if_failed()
    check_max_pool2d(max_pool_for_the_last_maximum, x, 2, 2).raise_if_failed()


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
