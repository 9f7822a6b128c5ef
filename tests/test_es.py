"""The estimator against arithmetic, and against the exact gradient of the smoothed loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from reference import LOGIT_CASES
from scipy.special import ndtr

from lenet_np import es, losses
from lenet_np.gradcheck.differences import jacobian
from lenet_np.losses import zero_one_loss
from lenet_np.smoothed import smoothed_zero_one


def one_hot(classes, count=10):
    return np.eye(count)[:, classes]


def column(case):
    """Give one case of `LOGIT_CASES` as a batch of one: logits, labels, sigma."""
    logits, label, sigma = LOGIT_CASES[case]
    return logits[:, np.newaxis], one_hot([label], len(logits)), sigma


# --- given the noise, the estimate is arithmetic ------------------------------------------------


def test_an_estimate_by_hand():
    logits, labels = np.array([[1.0], [0.0]]), one_hot([0], 2)
    # Sample 1 moves the logits to (1, 2): an error. Sample 2 moves them to (3, -2): none.
    noise = np.array([[0.0, 1.0], [1.0, -1.0]])[:, :, np.newaxis]
    loss, gradient = es.estimate_gradient(zero_one_loss, logits, labels, noise, sigma=2.0)
    np.testing.assert_array_equal(loss, [0.5])
    # (1/2) (1 * (0, 1) + 0 * (1, -1)) / 2
    np.testing.assert_array_equal(gradient, [[0.0], [0.25]])


def wavy_loss(logits, labels):
    return np.sin(logits).sum(axis=0) + logits[0] * labels[0]


@pytest.mark.parametrize("loss", [zero_one_loss, wavy_loss])
def test_all_at_once_equals_one_by_one(loss):
    rng = np.random.default_rng(1)
    logits, labels = rng.standard_normal((10, 7)) * 3, one_hot(rng.integers(0, 10, 7))
    noise = es.sample_noise(rng, 10, 50, 7, np.float64)
    at_once = es.estimate_gradient(loss, logits, labels, noise, 4.0)
    samples = (noise[:, i] for i in range(50))
    one_by_one = es.estimate_gradient_one_by_one(loss, logits, labels, samples, 4.0)
    assert np.abs(at_once.gradient).max() > 0.01
    np.testing.assert_allclose(one_by_one.loss, at_once.loss, rtol=1e-12)
    scale = np.abs(at_once.gradient).max()
    np.testing.assert_allclose(
        one_by_one.gradient, at_once.gradient, rtol=1e-12, atol=1e-15 * scale
    )


def test_a_constant_loss_teaches_nothing_but_the_mean_of_the_noise():
    def constant(logits, labels):
        return np.full(logits.shape[1:], 3.0)

    rng = np.random.default_rng(2)
    logits, labels = rng.standard_normal((10, 4)), one_hot([1, 2, 3, 4])
    noise = es.sample_noise(rng, 10, 20, 4, np.float64)
    loss, gradient = es.estimate_gradient(constant, logits, labels, noise, 2.0)
    np.testing.assert_array_equal(loss, 3.0)
    np.testing.assert_allclose(gradient, 3 * noise.mean(axis=1) / 2, rtol=1e-13)
    for balanced in (
        noise - noise.mean(axis=1, keepdims=True),
        np.concatenate([noise, -noise], axis=1),
    ):
        _, gradient = es.estimate_gradient(constant, logits, labels, balanced, 2.0)
        np.testing.assert_allclose(gradient, 0, atol=1e-15)


def opposite_axes(classes, batch):
    """Noise of ±sqrt(K) along each axis: it turns the estimate into central differences."""
    steps = math.sqrt(classes) * np.eye(classes)
    noise = np.concatenate([steps, -steps], axis=1)[:, :, np.newaxis]
    return np.repeat(noise, batch, axis=2)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
def test_linear_and_quadratic_losses_are_exact_with_noise_along_the_axes(sigma):
    rng = np.random.default_rng(3)
    logits, targets, slopes = rng.standard_normal((3, 10, 4))
    noise = opposite_axes(10, 4)

    def linear(logits, labels):
        return (slopes[:, np.newaxis] * logits).sum(axis=0)

    def quadratic(logits, labels):
        return np.square(logits - labels).mean(axis=0)

    loss, gradient = es.estimate_gradient(linear, logits, targets, noise, sigma)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(loss, (slopes * logits).sum(axis=0), rtol=1e-12)
    loss, gradient = es.estimate_gradient(quadratic, logits, targets, noise, sigma)
    expected = losses.squared_error_gradient(logits, targets)
    np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-12)
    # The blur adds its variance: E|l + sigma eps - t|²/K = |l - t|²/K + sigma².
    np.testing.assert_allclose(loss, losses.squared_error(logits, targets) + sigma**2, rtol=1e-12)


def test_any_loss_of_one_example_will_do():
    rng = np.random.default_rng(4)
    logits, labels = rng.standard_normal((10, 3)), one_hot([5, 0, 9])
    noise = opposite_axes(10, 3)
    samples = [noise[:, i] for i in range(noise.shape[1])]
    sigma = 1e-4  # so little blur that the gradient is the loss's own
    estimate = es.estimate_gradient_one_by_one(losses.cross_entropy, logits, labels, samples, sigma)
    expected = losses.cross_entropy_gradient(logits, labels)
    np.testing.assert_allclose(estimate.gradient, expected, atol=1e-7)
    np.testing.assert_allclose(estimate.loss, losses.cross_entropy(logits, labels), rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_estimate_keeps_the_dtype(dtype):
    rng = np.random.default_rng(5)
    logits = rng.standard_normal((10, 3)).astype(dtype)
    labels = one_hot([1, 2, 3]).astype(dtype)
    noise = es.sample_noise(rng, 10, 8, 3, dtype)
    assert noise.dtype == dtype
    samples = [noise[:, i] for i in range(8)]
    for estimate in (
        es.estimate_gradient(zero_one_loss, logits, labels, noise, 4.0),
        es.estimate_gradient_one_by_one(zero_one_loss, logits, labels, samples, 4.0),
    ):
        assert estimate.loss.dtype == estimate.gradient.dtype == dtype
        assert estimate.loss.shape == (3,)
        assert estimate.gradient.shape == (10, 3)


LOGITS, LABELS = np.zeros((10, 3)), one_hot([1, 2, 3])


@pytest.mark.parametrize("sigma", [0, -1.0, math.inf, math.nan])
def test_a_blur_that_is_none_is_refused(sigma):
    noise = np.zeros((10, 2, 3))
    with pytest.raises(ValueError, match="sigma must be a positive number, got"):
        es.estimate_gradient(zero_one_loss, LOGITS, LABELS, noise, sigma)
    with pytest.raises(ValueError, match="sigma must be a positive number, got"):
        es.estimate_gradient_one_by_one(zero_one_loss, LOGITS, LABELS, [noise[:, 0]], sigma)
    with pytest.raises(ValueError, match="sigma must be a positive number, got"):
        smoothed_zero_one(LOGITS, LABELS, sigma)


@pytest.mark.parametrize("shape", [(10, 2, 4), (9, 2, 3), (10, 0, 3), (10, 3)])
def test_noise_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"must have shape \(10, n, 3\) with at least one sample"):
        es.estimate_gradient(zero_one_loss, LOGITS, LABELS, np.zeros(shape), 1.0)


def test_samples_that_do_not_fit_are_refused():
    def estimate(noise, logits=LOGITS):
        return es.estimate_gradient_one_by_one(zero_one_loss, logits, LABELS, noise, 1.0)

    with pytest.raises(ValueError, match=r"each sample must have shape \(10, 3\), got \(10, 2\)"):
        estimate([np.zeros((10, 2))])
    with pytest.raises(ValueError, match="one dtype, got float32 and float64"):
        estimate([np.zeros((10, 3), np.float32)])
    with pytest.raises(ValueError, match="no estimate without a sample"):
        estimate([])
    integers = np.zeros((10, 3), np.int64)
    with pytest.raises(ValueError, match="must be floats of one dtype, got int64 and int64"):
        estimate([integers], integers)
    noise = np.zeros((10, 2, 3), np.float32)
    with pytest.raises(ValueError, match="one dtype, got float32 and float64"):
        es.estimate_gradient(zero_one_loss, LOGITS, LABELS, noise, 1.0)


def test_the_oracle_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match=r"must both be \(K, N\), got \(10, 3\) and \(10, 2\)"):
        smoothed_zero_one(LOGITS, LABELS[:, :2], 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_noise_is_standard_normal(dtype):
    noise = es.sample_noise(np.random.default_rng(6), 10, 100, 200, dtype)
    assert noise.shape == (10, 100, 200)
    flat = noise.astype(np.float64).ravel()  # 200,000 numbers: standard errors .002 to .02
    assert abs(flat.mean()) < 0.012
    assert np.square(flat).mean() == pytest.approx(1, abs=0.02)
    assert (flat**4).mean() == pytest.approx(3, abs=0.12)
    correlation = np.corrcoef(noise.reshape(10, -1))
    assert np.abs(correlation - np.eye(10)).max() < 0.05


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_noise_has_the_normal_distribution(dtype):
    noise = es.sample_noise(np.random.default_rng(16), 10, 100, 200, dtype)
    # The share below each level, as a z-score.
    levels = np.linspace(-3.5, 3.5, 29)
    expected = ndtr(levels)
    below = (noise.ravel() < levels[:, np.newaxis].astype(dtype)).mean(axis=1)
    z = (below - expected) / np.sqrt(expected * (1 - expected) / noise.size)
    assert np.abs(z).max() < reference.z_threshold(len(levels))


def test_two_normal_numbers_from_the_same_pair_are_independent():
    # Of an even number of classes, class k and class k + 5 come from the same (u, v).
    noise = es.sample_noise(np.random.default_rng(17), 10, 100, 400, np.float32)
    one, two = noise.reshape(2, -1).astype(np.float64)
    products = [
        one * two,
        (one**2 - 1) * (two**2 - 1),
        (one**2 - 1) * two,
        one * (two**2 - 1),
        one**3 * two,
    ]
    z = [values.mean() / (values.std() / np.sqrt(values.size)) for values in products]
    assert np.abs(z).max() < reference.z_threshold(len(z))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_noise_is_finite_at_both_ends_of_the_uniform_numbers(dtype):
    class Ends:
        def random(self, shape, dtype):
            largest = 1 - np.finfo(dtype).epsneg
            return np.resize(np.array([0, largest, largest, 0], dtype), shape)

    noise = es.sample_noise(Ends(), 1, 4, 2, dtype)
    assert np.isfinite(noise).all()
    furthest = {np.float32: 5.77, np.float64: 8.57}[dtype]
    assert np.abs(noise).max() == pytest.approx(furthest, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (10, 2, 1)])
def test_the_noise_has_a_number_for_every_class_sample_and_example(shape):
    noise = es.sample_noise(np.random.default_rng(18), *shape)
    assert noise.shape == shape
    assert noise.dtype == np.float32
    assert len(np.unique(noise)) == noise.size


# --- unbiased: z-tests against the exact gradient -----------------------------------------------


@pytest.mark.parametrize("samples", [2, 20])
def test_the_estimate_is_unbiased(samples):
    replicates, scores, losses_z = 20_000, [], []
    for seed, case in enumerate(LOGIT_CASES):
        logits, labels, sigma = column(case)
        exact = smoothed_zero_one(logits, labels, sigma)
        rng = np.random.default_rng([7, samples, seed])
        noise = es.sample_noise(rng, len(logits), samples, replicates, np.float64)
        # The same example in every column: each gives an independent estimate.
        same = np.repeat(logits, replicates, axis=1)
        answers = np.repeat(labels, replicates, axis=1)
        estimate = es.estimate_gradient(zero_one_loss, same, answers, noise, sigma)
        scores.extend(reference.z_scores(estimate.gradient, exact.gradient[:, 0]))
        losses_z.extend(reference.z_scores(estimate.loss[np.newaxis], exact.loss))
    assert len(scores) > 35
    assert len(losses_z) == len(LOGIT_CASES)
    worst = np.abs([*scores, *losses_z]).max()
    assert worst < reference.z_threshold(len(scores) + len(losses_z))


# --- the oracle ---------------------------------------------------------------------------------


def test_the_oracle_at_ten_equal_logits():
    loss, gradient = smoothed_zero_one(np.full((10, 1), 2.5), one_hot([4]), 1.0)
    np.testing.assert_allclose(loss, [0.9], rtol=1e-12)
    expected = np.full(10, 0.017097252564835254)
    expected[4] *= -9
    np.testing.assert_allclose(gradient[:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
def test_the_oracle_for_two_classes(sigma):
    rival = np.linspace(-3, 3, 9) * sigma
    logits = np.stack([np.zeros(9), rival])
    loss, gradient = smoothed_zero_one(logits, one_hot([0] * 9, 2), sigma)
    a = -rival / sigma
    # The difference of the two noises has variance 2: J = Phi(-a/sqrt(2)).
    np.testing.assert_allclose(loss, [math.erfc(x / 2) / 2 for x in a], rtol=1e-10)
    density = np.exp(-(a**2) / 4) / math.sqrt(2 * math.pi) / (sigma * math.sqrt(2))
    np.testing.assert_allclose(gradient, [-density, density], rtol=1e-11)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 4.0])
def test_the_oracle_equals_the_quadrature_over_ties(sigma):
    rng = np.random.default_rng(8)
    logits, classes = rng.standard_normal((10, 12)) * 2 * sigma, rng.integers(0, 10, 12)
    _, gradient = smoothed_zero_one(logits, one_hot(classes), sigma)
    for n, label in enumerate(classes):
        expected = reference.smoothed_zero_one_gradient(logits[:, n], label, sigma)
        np.testing.assert_allclose(gradient[:, n], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sigma", [1.0, 1.75, 4.0])
def test_the_oracle_gradient_is_the_derivative_of_its_loss(sigma, check):
    rng = np.random.default_rng(9)
    logits, labels = rng.standard_normal((10, 4)) * 3, one_hot(rng.integers(0, 10, 4))
    check(
        "smoothed_zero_one",
        lambda logits: smoothed_zero_one(logits, labels, sigma),
        lambda dloss, gradient: dloss * gradient,
        [logits],
    )


def test_the_symmetries_of_the_smoothed_loss():
    rng = np.random.default_rng(10)
    logits, classes = rng.standard_normal((10, 20)) * 3, rng.integers(0, 10, 20)
    labels = one_hot(classes)
    loss, gradient = smoothed_zero_one(logits, labels, 2.0)
    assert ((loss > 0) & (loss < 1)).all()
    rivals = gradient[labels == 0]
    assert (rivals > 0).all()
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-15)
    shifted = smoothed_zero_one(logits + rng.standard_normal(20) * 10, labels, 2.0)
    np.testing.assert_allclose(shifted.loss, loss, rtol=1e-11)
    np.testing.assert_allclose(shifted.gradient, gradient, rtol=1e-10, atol=1e-15)
    scaled = smoothed_zero_one(3 * logits, labels, 6.0)
    np.testing.assert_allclose(scaled.loss, loss, rtol=1e-12)
    np.testing.assert_allclose(scaled.gradient, gradient / 3, rtol=1e-11)
    order = rng.permutation(10)
    permuted = smoothed_zero_one(logits[order], labels[order], 2.0)
    np.testing.assert_allclose(permuted.loss, loss, rtol=1e-11)
    np.testing.assert_allclose(permuted.gradient, gradient[order], rtol=1e-11)


def test_the_oracle_in_float32():
    rng = np.random.default_rng(11)
    logits, labels = rng.standard_normal((10, 5)).astype(np.float32), one_hot([0, 1, 2, 3, 4])
    single = smoothed_zero_one(logits, labels.astype(np.float32), 4.0)
    double = smoothed_zero_one(logits.astype(np.float64), labels, 4.0)
    assert single.loss.dtype == single.gradient.dtype == np.float32
    assert double.loss.dtype == double.gradient.dtype == np.float64
    np.testing.assert_allclose(single.loss, double.loss, rtol=1e-6)
    np.testing.assert_allclose(single.gradient, double.gradient, rtol=1e-6)


def test_the_oracle_far_from_the_border():
    logits = np.zeros((10, 2))
    logits[0] = [80.0, -80.0]
    loss, gradient = smoothed_zero_one(logits, one_hot([0, 0]), 4.0)
    np.testing.assert_allclose(loss, [0, 1], atol=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_the_derivative_of_the_loss_at_a_point_by_hand():
    """One number without vectors: K = 2, l = (0, 0), sigma = 1: dJ/dl_1 = 1/(2 sqrt(pi))."""
    labels = one_hot([0], 2)
    slope = jacobian(
        lambda logits: smoothed_zero_one(*logits, labels, 1.0).loss, [np.zeros((2, 1))], 0
    )
    np.testing.assert_allclose(slope.values[0, 1], 1 / (2 * math.sqrt(math.pi)), rtol=1e-9)


@pytest.mark.parametrize("loss", [zero_one_loss, losses.cross_entropy, losses.squared_error])
@pytest.mark.parametrize("samples", [1, 7, 10])  # 10 samples of 10 classes: axes of one length
def test_every_loss_of_the_package_takes_samples(loss, samples):
    rng = np.random.default_rng(12)
    logits, labels = rng.standard_normal((10, 6)) * 3, one_hot(rng.integers(0, 10, 6))
    noise = es.sample_noise(rng, 10, samples, 6, np.float64)
    at_once = es.estimate_gradient(loss, logits, labels, noise, 2.0)
    one_by_one = es.estimate_gradient_one_by_one(
        loss, logits, labels, (noise[:, i] for i in range(samples)), 2.0
    )
    np.testing.assert_allclose(at_once.loss, one_by_one.loss, rtol=1e-12)
    np.testing.assert_allclose(at_once.gradient, one_by_one.gradient, rtol=1e-10, atol=1e-14)


# --- losses of one's own ------------------------------------------------------------------------

WRONG_LOSSES = {
    "mean over everything": lambda f: lambda logits, labels: f(logits, labels).mean(),
    "mean over the samples": lambda f: lambda logits, labels: f(logits, labels).mean(axis=0),
    "one for each class": lambda f: lambda logits, labels: (logits - labels) ** 2,
    "axes exchanged": lambda f: lambda logits, labels: f(logits, labels).T,
    "one for each sample": lambda f: lambda logits, labels: f(logits, labels).mean(axis=-1),
    "a list": lambda f: lambda logits, labels: f(logits, labels).tolist(),
    "nothing": lambda f: lambda logits, labels: None,
    "words": lambda f: lambda logits, labels: f(logits, labels).astype(str),
    "complex numbers": lambda f: lambda logits, labels: f(logits, labels) * 1j,
}


@pytest.mark.parametrize("name", WRONG_LOSSES)
@pytest.mark.parametrize("samples", [6, 5])
def test_a_loss_of_a_wrong_shape_or_kind_is_refused(name, samples):
    """With as many samples as examples, a table on its side has the right shape by chance."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (10, 6)), np.eye(10)[:, rng.integers(0, 10, 6)]
    noise = es.sample_noise(rng, 10, samples, 6, np.float64)
    wrong = WRONG_LOSSES[name](zero_one_loss)
    with pytest.raises(
        ValueError, match=rf"numbers of shape \(n, N\) = \({samples}, [61]\), .* gave"
    ):
        es.evaluate_samples(wrong, logits, labels, noise, 2.0)
    with pytest.raises(ValueError, match="numbers of shape"):
        es.estimate_gradient_one_by_one(
            lambda *given: wrong(*given)[:2] if name == "axes exchanged" else wrong(*given),
            logits,
            labels,
            noise.swapaxes(0, 1),
            2.0,
        )


@pytest.mark.parametrize("kind", [bool, int, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_get_the_dtype_of_the_logits_and_nan_where_a_logit_is_not_finite(kind, dtype):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (10, 6)).astype(dtype)
    labels = np.eye(10, dtype=dtype)[:, rng.integers(0, 10, 6)]
    noise = es.sample_noise(rng, 10, 5, 6, dtype)
    expected = es.evaluate_samples(zero_one_loss, logits, labels, noise, 2.0)
    logits[0, 0] = np.inf

    def loss(logits, labels):
        return zero_one_loss(logits, labels).astype(kind)

    found = es.evaluate_samples(loss, logits, labels, noise, 2.0)
    assert found.dtype == dtype
    assert np.isnan(found[:, 0]).all()
    np.testing.assert_array_equal(found[:, 1:], expected[:, 1:])
