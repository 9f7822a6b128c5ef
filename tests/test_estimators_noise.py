"""The noise that the estimators draw, and how much of it stays in what they estimate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from estimates import REPLICATES, SAMPLED, column, draw_noise, one_hot, random_batch
from reference import LOGIT_CASES
from scipy import stats
from scipy.special import ndtr

from lenet_np import es
from lenet_np.estimators import ESTIMATORS
from lenet_np.losses import zero_one_loss
from lenet_np.smoothed import negative_log_success, smoothed_zero_one

leave_one_out = ESTIMATORS["leave-one-out"].objectives["error"]
log_success = ESTIMATORS["plain"].objectives["log-success"]

# --- the noise ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SAMPLED)
def test_every_noise_is_normal_in_every_sample(name, dtype):
    """Of each sample apart: those of one example are meant to depend on each other."""
    noise = draw_noise(name, 24, 10, 32, 1_000, dtype)
    assert noise.shape == (10, 32, 1_000)
    assert noise.dtype == dtype
    for sample in (0, 1, 13, 31):
        assert stats.kstest(noise[:, sample].ravel(), "norm").pvalue > 1e-6
        # The classes of one sample are independent: 45 correlations, each of error 0.032.
        correlations = np.corrcoef(noise[:, sample])[np.triu_indices(10, 1)]
        assert np.abs(correlations).max() < 0.2


@pytest.mark.parametrize("name", SAMPLED)
def test_the_examples_have_different_noise(name):
    noise = draw_noise(name, 25, 10, 16, 5)
    flat = noise.reshape(-1, 5).T
    assert len(np.unique(flat, axis=0)) == 5
    again = draw_noise(name, 25, 10, 16, 5)
    np.testing.assert_array_equal(again, noise)


def test_antithetic_noise_sums_to_zero_exactly():
    noise = draw_noise("antithetic", 26, 10, 20, 6, np.float32)
    for k, i in np.ndindex(10, 6):
        assert math.fsum(noise[k, :, i]) == 0
        assert len(np.unique(np.abs(noise[k, :, i]))) == 10  # pairs, not zeros


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize(("classes", "samples"), [(10, 20), (10, 7), (3, 6)])
def test_orthogonal_blocks_are_orthogonal(classes, samples, dtype, tolerance):
    noise = draw_noise("orthogonal", 28, classes, samples, 50, dtype).astype(np.float64)
    directions = noise / np.linalg.norm(noise, axis=0)
    cosines = np.einsum("kib,kjb->bij", directions, directions)
    partners = (np.abs(cosines) < tolerance).sum(axis=2)
    np.testing.assert_array_equal(partners, min(classes, samples) - 1)


def test_orthogonal_samples_have_the_lengths_of_normal_vectors():
    noise = draw_noise("orthogonal", 29, 10, 20, 2_000)
    squares = np.square(noise).sum(axis=0)
    # chi² with K degrees of freedom: mean K, variance 2K, all 40,000 independent.
    z = (squares.mean() - 10) / math.sqrt(20 / squares.size)
    assert abs(z) < reference.z_threshold(1)
    assert stats.kstest(squares.ravel(), stats.chi2(10).cdf).pvalue > 1e-6


def test_sobol_points_fill_every_axis_evenly():
    """Cut the axis of any class into n parts of equal probability: each holds one sample."""
    noise = draw_noise("sobol", 30, 10, 64, 20)
    parts = np.sort((ndtr(noise) * 64).astype(int), axis=1)
    np.testing.assert_array_equal(parts, np.broadcast_to(np.arange(64)[:, None], (10, 64, 20)))


# --- variances ----------------------------------------------------------------------------------


def second_derivatives(logits, labels, sigma):
    """Differentiate the oracle's gradient: d²J/dl_k² for every k."""
    step = 1e-3 * sigma
    shifts, answers = step * np.eye(len(logits)), np.repeat(labels, len(logits), axis=1)
    above = smoothed_zero_one(logits + shifts, answers, sigma).gradient
    below = smoothed_zero_one(logits - shifts, answers, sigma).gradient
    return np.diag(above - below) / (2 * step)


def plain_variance(n, sigma, mean, g, curvature):
    return (mean + sigma**2 * curvature - sigma**2 * g**2) / (n * sigma**2)


def leave_one_out_variance(n, sigma, mean, g, curvature):
    """E[(F - J)² eps_k²]/n, less the square of the mean, and what it costs to estimate J."""
    power = mean * (1 - mean) + (1 - 2 * mean) * sigma**2 * curvature
    pairs = n * (n - 1)
    return (power / n - (n - 2) * sigma**2 * g**2 / pairs + mean * (1 - mean) / pairs) / sigma**2


VARIANCES = {
    "plain": (es.estimate_gradient, plain_variance),
    "leave-one-out": (leave_one_out, leave_one_out_variance),
}


@pytest.mark.parametrize("samples", [2, 20])
@pytest.mark.parametrize("name", VARIANCES)
def test_the_variance_is_that_of_the_formula(name, samples):
    """A sample variance s² of R numbers has the standard error sqrt((m4 - s⁴)/R)."""
    weigh, formula = VARIANCES[name]
    scores, shares = [], []
    for seed, case in enumerate(LOGIT_CASES):
        logits, labels, sigma = column(case)
        mean, g = (part.ravel() for part in smoothed_zero_one(logits, labels, sigma))
        expected = formula(samples, sigma, mean, g, second_derivatives(logits, labels, sigma))
        noise = draw_noise("plain", [21, samples, seed], len(logits), samples, REPLICATES)
        same, answers = (np.repeat(array, REPLICATES, axis=1) for array in (logits, labels))
        found = weigh(zero_one_loss, same, answers, noise, sigma).gradient
        centred = found - found.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1)
        error = np.sqrt(((centred**4).mean(axis=1) - variance**2) / REPLICATES)
        scores.extend((variance - expected) / error)
        shares.extend(error / expected)
    # A variance wrong by six errors is seen: 17 % for half of the entries, for n = 20 less.
    assert np.median(shares) < 0.03
    assert np.max(shares) < 0.1
    assert np.abs(scores).max() < reference.z_threshold(len(scores))


def total_variance(name, samples, logits, replicates=2_000, sigma=4.0):
    """Sum the variances of the gradient's entries, label 0."""
    calls = 20 if name == "sobol" else 1
    noise = np.concatenate(
        [
            draw_noise(name, [22, call], len(logits), samples, replicates // calls)
            for call in range(calls)
        ],
        axis=2,
    )
    same = np.repeat(logits[:, np.newaxis], replicates, axis=1)
    labels = one_hot([0] * replicates, len(logits))
    estimate = ESTIMATORS[name].objectives["error"]
    gradient = estimate(zero_one_loss, same, labels, noise, sigma).gradient
    return gradient.var(axis=1, ddof=1).sum()


def test_how_much_noise_the_estimators_take_away_where_all_logits_are_equal():
    """Relative to plain; each number is right to about 2 %, the limits leave 15 %."""
    equal = np.zeros(10)
    plain = {samples: total_variance("plain", samples, equal) for samples in (200, 256)}
    limits = {
        "leave-one-out": (200, 0.115),  # measured 0.098
        "antithetic": (200, 0.123),  # 0.106
        "orthogonal": (200, 0.085),  # 0.072
        "sobol": (256, 0.050),  # 0.043
        "rao-blackwell": (200, 0.0053),  # 0.0045
    }
    for name, (samples, limit) in limits.items():
        relative = total_variance(name, samples, equal) / plain[samples]
        assert 0.7 * limit < relative < limit, name


def test_how_much_noise_is_left_where_the_label_leads_by_four_sigma():
    """Where successes are the rule only knowing the argmax helps much; measured 0.98 and 0.020."""
    ahead = np.r_[16.0, np.zeros(9)]
    plain = total_variance("plain", 200, ahead)
    assert 0.8 < total_variance("leave-one-out", 200, ahead) / plain < 1.2
    assert total_variance("rao-blackwell", 200, ahead) / plain < 0.03


# --- log-success where all samples fail ---------------------------------------------------------


def squared_errors(logit, samples, sigma=1.0):
    """Square the errors of log-success with 0, and with mean eps/sigma, where all fail.

    The label has the given logit and nine rivals 0. Returns both errors (R,) from the same noise.
    """
    logits = np.zeros((10, 1))
    logits[0] = logit
    labels = one_hot([0])
    exact = negative_log_success(logits, labels, sigma).gradient
    noise = es.sample_noise(np.random.default_rng(19), 10, samples, REPLICATES, np.float64)
    same, answers = (np.repeat(array, REPLICATES, axis=1) for array in (logits, labels))
    loss, gradient = log_success(zero_one_loss, same, answers, noise, sigma)
    filled = np.where(loss == 1, noise.mean(axis=1) / sigma, gradient)
    return [np.square(found - exact).sum(axis=0) for found in (gradient, filled)]


def compare_errors(logit, samples):
    """Give mean(filled)/mean(zero) - 1 and the z of the paired difference."""
    zero, filled = squared_errors(logit, samples)
    difference = filled - zero
    error = difference.std(ddof=1) / math.sqrt(REPLICATES)
    return filled.mean() / zero.mean() - 1, difference.mean() / error if error else 0.0


def test_zero_where_all_fail_is_the_better_choice_for_hard_examples():
    """Measured with n = 20, P = 0.0035: with mean eps there the squared error is 5 % larger."""
    more, z = compare_errors(-1.6, 20)
    assert 0.03 < more < 0.07
    assert z > 20


@pytest.mark.parametrize("logit", [-0.41, 0.0, 2.0])  # P = 0.05, 0.1, 0.67: nP = 1, 2, 13
def test_the_choice_where_all_fail_hardly_matters_for_other_examples(logit):
    more, _ = compare_errors(logit, 20)
    assert abs(more) < 0.02
    if logit > 0:
        assert abs(more) < 1e-6  # one of twenty nearly always succeeds


# --- ranks --------------------------------------------------------------------------------------


def with_ranks(ranks, noise, samples, sigma):
    """Weigh by ranks 0, ..., n - 1, centred: mean of (rank/(n - 1) - 1/2) eps / sigma."""
    return (noise * (ranks / (samples - 1) - 0.5)).mean(axis=1) / sigma


@pytest.mark.parametrize("samples", [2, 3, 20])
def test_centred_ranks_with_ties_averaged_are_half_of_leave_one_out(samples):
    """With m failures the mean ranks of both kinds differ by n/2: rank/(n - 1) - 1/2 is
    n/(2 (n - 1)) (F - mean F), and 1/n times that is half the weight of leave-one-out."""
    logits, labels, noise, sigma = random_batch(4, samples)
    values = es.evaluate_samples(zero_one_loss, logits, labels, noise, sigma)
    ranks = stats.rankdata(values, axis=0) - 1
    expected = leave_one_out(zero_one_loss, logits, labels, noise, sigma).gradient / 2
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(
        with_ranks(ranks, noise, samples, sigma), expected, rtol=1e-12, atol=1e-15
    )


def test_ranks_that_break_ties_bring_the_noise_back():
    """Measured: 13 times the variance where the label leads by four sigma."""
    logits = np.zeros((10, 5_000))
    logits[0] = 16.0
    labels, samples, sigma = one_hot([0] * 5_000), 20, 4.0
    noise = draw_noise("plain", 23, 10, samples, 5_000)
    values = es.evaluate_samples(zero_one_loss, logits, labels, noise, sigma)
    ranks = values.argsort(axis=0, kind="stable").argsort(axis=0)
    broken = with_ranks(ranks, noise, samples, sigma).var(axis=1).sum()
    averaged = leave_one_out(zero_one_loss, logits, labels, noise, sigma).gradient / 2
    assert broken > 8 * averaged.var(axis=1).sum()
