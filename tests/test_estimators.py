"""Every estimator against the exact gradient, against arithmetic, and with its mistakes planted.

A z-test repeats one example along the batch axis, so that each column is an independent estimate,
and asks whether the mean of all columns is the exact gradient. All z-tests of one test share a
false-alarm rate of 1e-6 and have fixed seeds.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from reference import LOGIT_CASES
from scipy import stats
from scipy.special import ndtr

from lenet_np import es
from lenet_np.es import Estimate
from lenet_np.estimators import (
    ESTIMATORS,
    OBJECTIVES,
    antithetic_noise,
    leave_one_out,
    leave_one_out_log_success,
    log_success,
    orthogonal_noise,
    rao_blackwell,
    rao_blackwell_log_success,
    sobol_noise,
)
from lenet_np.losses import cross_entropy, zero_one_loss
from lenet_np.smoothed import negative_log_success, smoothed_zero_one

REPLICATES = 20_000
SAMPLED = [name for name in ESTIMATORS if name != "exact"]
#: All that take any loss; the other two are made for the 0-1 loss.
BLACK_BOX = [name for name in SAMPLED if name != "rao-blackwell"]
EVERY_PAIR = [(name, objective) for name in ESTIMATORS for objective in OBJECTIVES]


def one_hot(classes, count=10):
    return np.eye(count)[:, classes]


def column(case):
    """Give one case of `LOGIT_CASES` as a batch of one: logits, labels, sigma."""
    logits, label, sigma = LOGIT_CASES[case]
    return logits[:, np.newaxis], one_hot([label], len(logits)), sigma


def draw_noise(name, seed, classes, samples, batch, dtype=np.float64):
    """Draw the noise of an estimator; an array that nobody reads for `exact`."""
    draw = ESTIMATORS[name].draw
    if draw is None:
        return np.empty(0)
    return draw(np.random.default_rng(seed), classes, samples, batch, dtype)


# --- z-tests ------------------------------------------------------------------------------------


def exact_error(logits, labels, sigma, samples):
    return smoothed_zero_one(logits, labels, sigma)


def z_scores(draw, weigh, samples, truth=exact_error, cases=LOGIT_CASES, groups=REPLICATES, seed=0):
    """Give the z of every entry of loss and gradient, from the means of independent groups."""
    scores = []
    for number, case in enumerate(cases):
        logits, labels, sigma = column(case)
        rng = np.random.default_rng([17, seed, samples, number])
        noise = draw(rng, len(logits), samples, REPLICATES, np.float64)
        same, answers = (np.repeat(array, REPLICATES, axis=1) for array in (logits, labels))
        estimate = weigh(zero_one_loss, same, answers, noise, sigma)
        exact = truth(logits, labels, sigma, samples)
        for found, expected in (
            (estimate.gradient, exact.gradient[:, 0]),
            (estimate.loss[np.newaxis], exact.loss),
        ):
            means = found.reshape(len(found), groups, -1).mean(axis=2)
            scores.extend(reference.z_scores(means, expected))
    return np.array(scores)


def assert_unbiased(scores, groups=REPLICATES):
    """Compare the worst |z| with its limit: Student's for few groups."""
    limit = reference.z_threshold(len(scores))
    if groups < REPLICATES:
        limit = float(stats.t.isf(reference.ALPHA / (2 * len(scores)), groups - 1))
    worst = float(np.abs(scores).max())
    if not worst < limit:
        raise AssertionError(f"biased: |z| = {worst:.1f}, limit {limit:.1f}")


SCRAMBLINGS = 100


def many_scramblings(rng, classes, samples, batch, dtype):
    """Draw Sobol noise in many calls: the examples of one call share a scrambling matrix."""
    calls = [
        sobol_noise(rng, classes, samples, batch // SCRAMBLINGS, dtype) for _ in range(SCRAMBLINGS)
    ]
    return np.concatenate(calls, axis=2)


@pytest.mark.parametrize("samples", [2, 20])
@pytest.mark.parametrize("name", SAMPLED)
def test_the_estimators_are_unbiased(name, samples):
    draw, groups = ESTIMATORS[name].draw, REPLICATES
    if name == "sobol":
        # Means of scramblings are independent whatever the examples of one scrambling share.
        draw, groups, samples = many_scramblings, SCRAMBLINGS, min(samples, 16)
    scores = z_scores(draw, ESTIMATORS[name].objectives["error"], samples, groups=groups)
    assert len(scores) > 40
    assert_unbiased(scores, groups)


# --- log-success --------------------------------------------------------------------------------


def truncated(terms_of, factor_of=lambda samples: 1.0, exact=exact_error):
    """Make the truth for z-tests: J, and the gradient of sum_{k=1..terms} (1 - P)^k / k.

    Each term has the derivative (1 - P)^(k-1) dJ/dl.
    """

    def truth(logits, labels, sigma, samples):
        loss, gradient = exact(logits, labels, sigma, samples)
        series = sum(loss ** (k - 1) for k in range(1, terms_of(samples) + 1))
        return Estimate(loss, factor_of(samples) * series * gradient)

    return truth


def mean_of_successes(loss, logits, labels, noise, sigma):
    """The estimator of -log P without a control variate: -(mean of eps over successes)/sigma."""
    values = es.evaluate_samples(loss, logits, labels, noise, sigma)
    success = values == 0
    gradient = -(noise * success).sum(axis=1) / np.maximum(success.sum(axis=0), 1) / sigma
    return Estimate(values.mean(axis=0), gradient)


@pytest.mark.parametrize("samples", [2, 5, 20])
def test_the_mean_of_the_successes_descends_the_log_cut_off_after_n_terms(samples):
    truth = truncated(lambda n: n)
    assert_unbiased(z_scores(es.sample_noise, mean_of_successes, samples, truth))


@pytest.mark.parametrize("samples", [2, 5, 20])
def test_log_success_descends_the_log_cut_off_one_term_earlier(samples):
    """Leaving out the mean of eps where all fail costs the last term of the series, no more.

    Where all fail, that mean has the expectation sigma g/J, with probability J^n: in all
    J^(n-1) g, which is the gradient of the nth term.
    """
    truth = truncated(lambda n: n - 1)
    assert_unbiased(z_scores(es.sample_noise, log_success, samples, truth))


@pytest.mark.parametrize("samples", [2, 5])
def test_leave_one_out_log_success_descends_the_same_times_a_constant(samples):
    truth = truncated(lambda n: n - 1, lambda n: n / (n - 1))
    assert_unbiased(z_scores(es.sample_noise, leave_one_out_log_success, samples, truth))


def random_batch(seed, samples, batch=200, sigma=2.0):
    """Draw logits with all shares of success, their labels and plain noise."""
    rng = np.random.default_rng([18, seed])
    logits = rng.standard_normal((10, batch)) * 2 * sigma
    labels = one_hot(rng.integers(0, 10, batch))
    return logits, labels, es.sample_noise(rng, 10, samples, batch, np.float64), sigma


@pytest.mark.parametrize("samples", [2, 3, 20])
def test_log_success_is_leave_one_out_by_the_share_of_successes(samples):
    batch = random_batch(1, samples)
    loss, gradient = log_success(zero_one_loss, *batch)
    centred = leave_one_out(zero_one_loss, *batch)
    np.testing.assert_array_equal(loss, centred.loss)
    some = loss < 1
    assert 20 < some.sum() < 180
    expected = centred.gradient[:, some] * (samples - 1) / samples / (1 - loss[some])
    np.testing.assert_allclose(gradient[:, some], expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(gradient[:, ~some], 0)
    _, rescaled = leave_one_out_log_success(zero_one_loss, *batch)
    np.testing.assert_allclose(rescaled, gradient * samples / (samples - 1), rtol=1e-14)


def test_log_success_by_hand():
    logits, labels = np.zeros((2, 1)), one_hot([0], 2)
    # Of three samples the first and the last succeed.
    noise = np.array([[1.0, -2.0, 3.0], [0.0, 1.0, 1.0]])[:, :, np.newaxis]
    loss, gradient = log_success(zero_one_loss, logits, labels, noise, 2.0)
    np.testing.assert_allclose(loss, [1 / 3], rtol=1e-15)
    # Mean of all (2/3, 2/3), of the successes (2, 1/2).
    np.testing.assert_allclose(gradient[:, 0], [(2 / 3 - 2) / 2, (2 / 3 - 1 / 2) / 2], rtol=1e-14)


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


def test_rao_blackwell_log_success_is_the_quotient_of_two_estimates():
    logits, labels, noise, sigma = random_batch(2, 7)
    label = labels.argmax(axis=0)
    loss, gradient = rao_blackwell(zero_one_loss, logits, labels, noise, sigma)
    success = np.empty(200)
    for i in range(200):
        rivals = np.delete(logits[:, np.newaxis, i] + sigma * noise[:, :, i], label[i], axis=0)
        c = (rivals.max(axis=0) - logits[label[i], i]) / sigma
        success[i] = ndtr(-c).mean()
    quotient = rao_blackwell_log_success(zero_one_loss, logits, labels, noise, sigma)
    np.testing.assert_array_equal(quotient.loss, loss)
    np.testing.assert_allclose(loss, 1 - success, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(quotient.gradient, gradient / success, rtol=1e-11, atol=1e-300)


def test_rao_blackwell_by_hand():
    """Rival 1 holds the maximum in the first sample, rival 2 in the second."""
    logits, labels = np.array([[1.0], [0.0], [-1.0]]), one_hot([0], 3)
    noise = np.array([[9.0, 9.0], [1.0, -1.0], [0.5, 2.0]])[:, :, np.newaxis]
    loss, gradient = rao_blackwell(zero_one_loss, logits, labels, noise, 2.0)
    c = np.array([(2.0 - 1) / 2, (3.0 - 1) / 2])
    density = stats.norm.pdf(c)
    np.testing.assert_allclose(loss, [stats.norm.cdf(c).mean()], rtol=1e-14)
    expected = np.array([-density.sum(), density[0], density[1]]) / 2 / 2
    np.testing.assert_allclose(gradient[:, 0], expected, rtol=1e-13)


def test_rao_blackwell_log_success_converges():
    """A hundred times the samples, a tenth of the error."""
    logits = np.zeros((10, 4))
    logits[0] = [-4.0, -2.0, 0.0, 2.0]
    labels = one_hot([0] * 4)
    exact = negative_log_success(logits, labels, 1.0).gradient
    errors = []
    for samples in (300, 30_000):
        noise = draw_noise("rao-blackwell", 20, 10, samples, 4)
        found = rao_blackwell_log_success(zero_one_loss, logits, labels, noise, 1.0).gradient
        errors.append(np.linalg.norm(found - exact, axis=0) / np.linalg.norm(exact, axis=0))
    assert (errors[1] < 0.05).all()
    assert errors[1].mean() < errors[0].mean() / 4


def test_the_exact_estimator_is_the_oracle():
    logits, labels, _, sigma = random_batch(3, 1)
    exact = ESTIMATORS["exact"].objectives
    oracle = smoothed_zero_one(logits, labels, sigma)
    found = exact["error"](zero_one_loss, logits, labels, None, sigma)
    np.testing.assert_array_equal(found.loss, oracle.loss)
    np.testing.assert_array_equal(found.gradient, oracle.gradient)
    found = exact["log-success"](zero_one_loss, logits, labels, None, sigma)
    np.testing.assert_array_equal(found.loss, oracle.loss)
    expected = negative_log_success(logits, labels, sigma).gradient
    np.testing.assert_array_equal(found.gradient, expected)


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
        "leave-one-out": (200, 0.115),  # measured 0.099
        "antithetic": (200, 0.123),  # 0.107
        "orthogonal": (200, 0.085),  # 0.073
        "sobol": (256, 0.050),  # 0.043
        "rao-blackwell": (200, 0.0053),  # 0.0046
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


def test_antithetic_estimates_are_differences_of_pairs():
    logits, labels, _, sigma = random_batch(5, 2)
    noise = draw_noise("antithetic", 27, 10, 20, 200)
    estimate = ESTIMATORS["antithetic"].objectives["error"]
    found = estimate(zero_one_loss, logits, labels, noise, sigma).gradient
    expected = np.zeros((10, 200))
    for i in range(20):
        eps = noise[:, i]
        both = [zero_one_loss(logits + sign * sigma * eps, labels) for sign in (1, -1)]
        expected += (both[0] - both[1]) / 2 * eps / sigma / 20
    # Over all twenty samples each pair appears twice.
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


def test_leave_one_out_compares_each_sample_with_the_mean_of_the_others():
    logits, labels, noise, sigma = random_batch(6, 5)
    values = es.evaluate_samples(zero_one_loss, logits, labels, noise, sigma)
    expected = np.zeros((10, 200))
    for i in range(5):
        others = np.delete(values, i, axis=0).mean(axis=0)
        expected += (values[i] - others) * noise[:, i] / 5 / sigma
    found = leave_one_out(zero_one_loss, logits, labels, noise, sigma)
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.loss, values.mean(axis=0), rtol=1e-15)


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


# --- identities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [3.0, 0.1])
@pytest.mark.parametrize("name", ["leave-one-out", "antithetic", "orthogonal"])
def test_a_constant_loss_teaches_nothing(name, value):
    logits, labels, _, sigma = random_batch(7, 1)
    noise = draw_noise(name, 31, 10, 20, 200)
    estimate = ESTIMATORS[name].objectives["error"]
    loss, gradient = estimate(
        lambda logits, labels: np.full(logits.shape[1:], value), logits, labels, noise, sigma
    )
    np.testing.assert_allclose(loss, value, rtol=1e-15)
    # Exactly 0 up to the rounding of twenty numbers of about `value`.
    np.testing.assert_allclose(gradient, 0, atol=1e-15 * value)
    if name != "antithetic" and value == 3.0:
        np.testing.assert_array_equal(gradient, 0)


def test_the_rows_of_rao_blackwell_sum_to_zero():
    batch = random_batch(8, 20)
    for weigh in (rao_blackwell, rao_blackwell_log_success):
        gradient = weigh(zero_one_loss, *batch).gradient
        scale = np.abs(gradient).max(axis=0)
        assert (scale > 0).all()
        assert (np.abs(gradient.sum(axis=0)) <= 1e-14 * scale).all()


def test_rao_blackwell_is_bounded():
    """Each sample adds at most phi(0)/sigma to an entry."""
    *batch, sigma = random_batch(9, 2)
    gradient = rao_blackwell(zero_one_loss, *batch, sigma).gradient
    bound = 1 / math.sqrt(2 * math.pi) / sigma
    assert 0.5 * bound < np.abs(gradient).max() <= bound


def test_rao_blackwell_does_not_look_at_the_noise_of_the_label():
    logits, labels, noise, sigma = random_batch(10, 20)
    other = np.where(labels[:, np.newaxis] > 0, 7 - 3 * noise, noise)
    for weigh in (rao_blackwell, rao_blackwell_log_success):
        first, second = (weigh(zero_one_loss, logits, labels, eps, sigma) for eps in (noise, other))
        np.testing.assert_array_equal(first.gradient, second.gradient)
        np.testing.assert_array_equal(first.loss, second.loss)


@pytest.mark.parametrize(("name", "objective"), EVERY_PAIR)
def test_the_order_of_the_classes_does_not_matter(name, objective):
    logits, labels, _, sigma = random_batch(11, 1)
    noise = draw_noise(name, 32, 10, 16, 200)
    order = np.random.default_rng(33).permutation(10)
    estimate = ESTIMATORS[name].objectives[objective]
    loss, gradient = estimate(zero_one_loss, logits, labels, noise, sigma)
    permuted = estimate(
        zero_one_loss,
        logits[order],
        labels[order],
        noise[order] if noise.ndim == 3 else noise,
        sigma,
    )
    assert np.abs(gradient).max() > 0.01
    # The oracle adds over the classes, in another order; the others do the same arithmetic.
    rtol = 1e-10 if name == "exact" else 1e-13
    np.testing.assert_allclose(permuted.loss, loss, rtol=rtol, atol=1e-13)
    np.testing.assert_allclose(permuted.gradient, gradient[order], rtol=rtol, atol=1e-15)


@pytest.mark.parametrize("factor", [4.0, 0.3])
@pytest.mark.parametrize(("name", "objective"), EVERY_PAIR)
def test_the_scale_of_the_logits_does_not_matter(name, objective, factor):
    """g(c l, c sigma) = g(l, sigma)/c."""
    logits, labels, _, sigma = random_batch(12, 1)
    noise = draw_noise(name, 34, 10, 16, 200)
    estimate = ESTIMATORS[name].objectives[objective]
    loss, gradient = estimate(zero_one_loss, logits, labels, noise, sigma)
    scaled = estimate(zero_one_loss, factor * logits, labels, noise, factor * sigma)
    np.testing.assert_allclose(scaled.loss, loss, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(scaled.gradient, gradient / factor, rtol=1e-10, atol=1e-14)


# --- Gumbel noise: a truth without quadrature ---------------------------------------------------


def gumbel_scores(rng, classes, samples, batch, dtype):
    """Draw Gumbel noise z and give 1 - exp(-z), its score: what an estimator multiplies with."""
    return 1 - np.exp(-rng.gumbel(size=(classes, samples, batch)))


def with_gumbel(weigh):
    """Let an estimator move the logits by sigma z while it weighs with the score 1 - exp(-z).

    The estimator moves them by sigma times the score; the loss undoes that and puts the noise
    z = -log(1 - score) in its place.
    """

    def estimate(loss, logits, labels, noise, sigma):
        def with_noise_for_score(perturbed, labels):
            score = (perturbed - logits[:, np.newaxis]) / sigma
            return loss(logits[:, np.newaxis] - sigma * np.log1p(-score), labels)

        return weigh(with_noise_for_score, logits, labels, noise, sigma)

    return estimate


def softmax_truth(logits, labels, sigma, samples):
    """The label wins with P = softmax(l/b)_y: dJ/dl = -P_y (onehot_y - P)/b."""
    shares = np.exp(logits / sigma) / np.exp(logits / sigma).sum(axis=0)
    success = (labels * shares).sum(axis=0)
    return Estimate(1 - success, -success * (labels - shares) / sigma)


GUMBEL = {
    "plain": (es.estimate_gradient, softmax_truth),
    "leave-one-out": (leave_one_out, softmax_truth),
    "mean of successes": (mean_of_successes, truncated(lambda n: n, exact=softmax_truth)),
    "log-success": (log_success, truncated(lambda n: n - 1, exact=softmax_truth)),
}


@pytest.mark.parametrize("samples", [2, 20])
@pytest.mark.parametrize("name", GUMBEL)
def test_with_gumbel_noise_the_truth_is_a_softmax(name, samples):
    weigh, truth = GUMBEL[name]
    scores = z_scores(gumbel_scores, with_gumbel(weigh), samples, truth)
    assert len(scores) > 40
    assert_unbiased(scores)


def test_gumbel_noise_needs_its_own_score():
    """Weighed with the noise itself, as if it were Gaussian, the estimate is wrong."""

    def weighed_with_noise(loss, logits, labels, noise, sigma):
        z = -np.log1p(-noise)
        return leave_one_out(loss, logits, labels, z - z.mean(axis=1, keepdims=True), sigma)

    with pytest.raises(AssertionError, match="biased"):
        assert_unbiased(z_scores(gumbel_scores, weighed_with_noise, 20, softmax_truth))


# --- edges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLACK_BOX)
def test_where_all_samples_agree_there_is_no_signal(name):
    logits = np.zeros((10, 2))
    logits[0] = [-1000.0, 1000.0]  # no success, successes only
    labels = one_hot([0, 0])
    noise = draw_noise(name, 35, 10, 16, 2)
    for objective in OBJECTIVES:
        loss, gradient = ESTIMATORS[name].objectives[objective](
            zero_one_loss, logits, labels, noise, 2.0
        )
        np.testing.assert_array_equal(loss, [1, 0])
        np.testing.assert_array_equal(gradient[:, 1], 0)
        if objective == "log-success" or name in ("leave-one-out", "orthogonal"):
            np.testing.assert_array_equal(gradient[:, 0], 0)
        else:
            expected = noise[:, :, 0].mean(axis=1) / 2
            np.testing.assert_allclose(gradient[:, 0], expected, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("name", BLACK_BOX)
def test_ties_go_to_the_first_class(name):
    logits, labels = np.full((10, 3), 2.5), one_hot([0, 1, 9])
    for objective in OBJECTIVES:
        estimate = ESTIMATORS[name].objectives[objective]
        loss, gradient = estimate(zero_one_loss, logits, labels, np.zeros((10, 4, 3)), 1.0)
        np.testing.assert_array_equal(loss, [0, 1, 1])
        np.testing.assert_array_equal(gradient, 0)


def test_of_rivals_that_tie_the_first_holds_the_maximum():
    logits, labels = np.zeros((4, 2)), one_hot([0, 2], 4)
    loss, gradient = rao_blackwell(zero_one_loss, logits, labels, np.zeros((4, 3, 2)), 1.0)
    top = 1 / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(loss, 0.5, rtol=1e-15)
    expected = np.array([[-top, top, 0, 0], [top, 0, -top, 0]]).T
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("name", "objective"), EVERY_PAIR)
def test_a_logit_that_is_not_finite_spoils_its_own_row_alone(name, objective, bad):
    logits, labels, _, sigma = random_batch(13, 1, batch=6)
    label = labels.argmax(axis=0)
    spoiled = logits.copy()
    spoiled[label[1], 1] = bad
    spoiled[(label[4] + 3) % 10, 4] = bad
    noise = draw_noise(name, 36, 10, 8, 6)
    estimate = ESTIMATORS[name].objectives[objective]
    clean = estimate(zero_one_loss, logits, labels, noise, sigma)
    found = estimate(zero_one_loss, spoiled, labels, noise, sigma)
    for whole, part in zip(clean, found, strict=True):
        np.testing.assert_array_equal(np.isnan(part[..., [1, 4]]), True)
        np.testing.assert_array_equal(part[..., [0, 2, 3, 5]], whole[..., [0, 2, 3, 5]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "objective"), EVERY_PAIR)
def test_the_dtype_is_kept(name, objective, dtype):
    logits, labels, _, sigma = random_batch(14, 1)
    noise = draw_noise(name, 37, 10, 16, 200, dtype)
    estimate = ESTIMATORS[name].objectives[objective]
    found = estimate(zero_one_loss, logits.astype(dtype), labels.astype(dtype), noise, sigma)
    assert found.loss.dtype == found.gradient.dtype == dtype
    assert found.loss.shape == (200,)
    assert found.gradient.shape == (10, 200)
    # Single precision changes digits, not the answer: no sample is that near to a tie here.
    double = estimate(
        zero_one_loss,
        logits.astype(dtype).astype(np.float64),
        labels,
        noise.astype(np.float64),
        sigma,
    )
    np.testing.assert_allclose(found.loss, double.loss, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.gradient, double.gradient, rtol=1e-4, atol=1e-5)


def test_rao_blackwell_log_success_pulls_where_success_is_rarest():
    """P below the smallest float32 is what the objective is for: 0 would be a dead class."""
    logits = np.zeros((10, 1), np.float32)
    logits[0] = -20.0
    labels = one_hot([0]).astype(np.float32)
    noise = draw_noise("rao-blackwell", 38, 10, 256, 1, np.float32)
    exact = negative_log_success(logits, labels, 1.0).gradient
    found = rao_blackwell_log_success(zero_one_loss, logits, labels, noise, 1.0).gradient
    assert found[0, 0] == pytest.approx(exact[0, 0], rel=0.3)


def test_one_sample_is_enough_for_plain():
    logits, labels = np.zeros((2, 1)), one_hot([0], 2)
    noise = np.array([[[0.0]], [[1.0]]])  # an error
    plain = ESTIMATORS["plain"].objectives
    loss, gradient = plain["error"](zero_one_loss, logits, labels, noise, 2.0)
    np.testing.assert_array_equal(loss, [1])
    np.testing.assert_array_equal(gradient, [[0], [0.5]])
    for sign in (1, -1):  # an error, a success: neither has another sample to differ from
        _, gradient = plain["log-success"](zero_one_loss, logits, labels, sign * noise, 2.0)
        np.testing.assert_array_equal(gradient, 0)


# --- what is refused ----------------------------------------------------------------------------

COMPARING = "comparing samples takes at least two of them, got 1"
PAIRS = "antithetic samples come in pairs: takes an even number, got 3"
BALANCED = (
    "a Sobol sequence is balanced for a power of two: takes 1, 2, 4, ..., 128, 256, ..., got 3"
)
#: Numbers of samples that will do, one that will not, and what is said then.
SAMPLES = {
    "plain": ([1, 2, 3, 200], 0, "takes at least one sample, got 0"),
    "leave-one-out": ([2, 3, 200], 1, COMPARING),
    "antithetic": ([2, 4, 200], 3, PAIRS),
    "orthogonal": ([2, 3, 200], 1, COMPARING),
    "sobol": ([1, 2, 4, 128, 256], 3, BALANCED),
    "rao-blackwell": ([1, 2, 3, 200], 0, "takes at least one sample, got 0"),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_the_number_of_samples_is_checked(name):
    right, wrong, message = SAMPLES[name]
    requirement = ESTIMATORS[name].samples
    for samples in right:
        requirement.check(samples)
        assert draw_noise(name, 39, 10, samples, 1).shape == (10, samples, 1)
    with pytest.raises(ValueError, match="got 0"):
        requirement.check(0)
    with pytest.raises(ValueError, match="takes") as caught:
        requirement.check(wrong)
    assert str(caught.value) == message


@pytest.mark.parametrize("weigh", [leave_one_out, leave_one_out_log_success])
def test_one_sample_cannot_be_compared(weigh):
    logits, labels, noise, sigma = random_batch(15, 1)
    with pytest.raises(ValueError, match=COMPARING):
        weigh(zero_one_loss, logits, labels, noise, sigma)


@pytest.mark.parametrize(("draw", "message"), [(antithetic_noise, PAIRS), (sobol_noise, BALANCED)])
def test_noise_is_not_drawn_for_a_wrong_number_of_samples(draw, message):
    with pytest.raises(ValueError, match="takes") as caught:
        draw(np.random.default_rng(1), 10, 3, 5)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", BLACK_BOX)
def test_log_success_needs_a_loss_that_counts(name):
    logits, labels, _, sigma = random_batch(16, 1)
    noise = draw_noise(name, 40, 10, 4, 200)
    estimate = ESTIMATORS[name].objectives
    found = estimate["error"](cross_entropy, logits, labels, noise, sigma)
    assert np.isfinite(found.gradient).all()
    with pytest.raises(ValueError, match="log-success counts successes: the loss must be 0 or 1"):
        estimate["log-success"](cross_entropy, logits, labels, noise, sigma)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", ["rao-blackwell", "exact"])
def test_what_knows_the_argmax_refuses_another_loss(name, objective):
    logits, labels, noise, sigma = random_batch(17, 4)
    message = f"the estimator {name} is made for losses.zero_one_loss alone"
    with pytest.raises(ValueError, match=message):
        ESTIMATORS[name].objectives[objective](cross_entropy, logits, labels, noise, sigma)


def test_the_table_is_complete():
    assert set(ESTIMATORS) == {*SAMPLES, "exact"}
    for name, estimator in ESTIMATORS.items():
        assert tuple(estimator.objectives) == OBJECTIVES, name
        assert (estimator.draw is None) == (name == "exact")


@pytest.mark.parametrize(("name", "objective"), EVERY_PAIR)
def test_with_many_samples_each_finds_the_exact_gradient_of_its_objective(name, objective):
    """Measured: lengths along it 0.985 to 1.013; cosines 0.907 (plain) and 0.951 to 1 (others)."""
    logits, labels, _, sigma = random_batch(18, 1, batch=40)
    logits = logits / 3
    noise = draw_noise(name, 41, 10, 2_048, 40)
    found = ESTIMATORS[name].objectives[objective](zero_one_loss, logits, labels, noise, sigma)
    oracle = {"error": smoothed_zero_one, "log-success": negative_log_success}[objective]
    exact = oracle(logits, labels, sigma).gradient
    along = np.vdot(found.gradient, exact) / np.vdot(exact, exact)
    assert along == pytest.approx(1, abs=0.05)
    cosine = np.vdot(found.gradient, exact) / np.linalg.norm(found.gradient) / np.linalg.norm(exact)
    assert cosine > 0.85
    error = smoothed_zero_one(logits, labels, sigma).loss
    np.testing.assert_allclose(found.loss, error, atol=0.04)


# --- mutants ------------------------------------------------------------------------------------


def times(factor_of, name):
    """Multiply the gradient of an estimator with a wrong factor, a function of n and sigma."""
    weigh = ESTIMATORS[name].objectives["error"]

    def mutant(loss, logits, labels, noise, sigma):
        estimate = weigh(loss, logits, labels, noise, sigma)
        factor = factor_of(noise.shape[1], sigma)
        return estimate._replace(gradient=factor * estimate.gradient)

    return mutant


def not_centred(loss, logits, labels, noise, sigma):
    """`leave_one_out` that divides by n - 1 but forgets to subtract the mean."""
    values = es.evaluate_samples(loss, logits, labels, noise, sigma)
    samples = noise.shape[1]
    gradient = (noise * values).sum(axis=1) / ((samples - 1) * sigma)
    return Estimate(values.mean(axis=0), gradient)


def divided_by_all(loss, logits, labels, noise, sigma):
    """`mean_of_successes` that divides by n instead of by the number of successes."""
    values = es.evaluate_samples(loss, logits, labels, noise, sigma)
    return Estimate(values.mean(axis=0), -(noise * (1 - values)).mean(axis=1) / sigma)


def centred_divided_by_all(loss, logits, labels, noise, sigma):
    """`log_success` that divides by n instead of by the number of successes."""
    loss, gradient = log_success(loss, logits, labels, noise, sigma)
    return Estimate(loss, gradient * (1 - loss))


def shared_by_all_rivals(loss, logits, labels, noise, sigma):
    """`rao_blackwell` that gives every rival the same pull, not the one that holds the maximum."""
    loss, gradient = rao_blackwell(loss, logits, labels, noise, sigma)
    pull = -(labels * gradient).sum(axis=0) / (len(logits) - 1)
    return Estimate(loss, np.where(labels > 0, gradient, pull))


def uniform(rng, classes, samples, batch, dtype):
    """Noise of the right mean and variance, but not Gaussian."""
    return rng.uniform(-math.sqrt(3), math.sqrt(3), (classes, samples, batch))


def orthogonal_of_one_length(rng, classes, samples, batch, dtype):
    """Orthogonal noise that keeps the mean square, but not the lengths of normal vectors."""
    noise = orthogonal_noise(rng, classes, samples, batch, dtype)
    return noise / np.linalg.norm(noise, axis=0) * math.sqrt(classes)


N_TERMS, ONE_LESS = truncated(lambda n: n), truncated(lambda n: n - 1)
#: Noise, weights, n and what the estimate should be. n = 2 shows a wrong count of the samples
#: best; the shape of the noise and the number of successes take more of them.
MUTANTS = {
    "1/sigma missing": ("leave-one-out", lambda n, sigma: sigma),
    "1/sigma² for 1/sigma": ("orthogonal", lambda n, sigma: 1 / sigma),
    "wrong sign": ("rao-blackwell", lambda n, sigma: -1),
    "(n-1)/n": ("leave-one-out", lambda n, sigma: (n - 1) / n),
    "n/(n-1) for pairs": ("antithetic", lambda n, sigma: n / (n - 1)),
    "sum for mean": ("antithetic", lambda n, sigma: n),
}
WRONG = {
    **{
        name: (ESTIMATORS[estimator].draw, times(factor, estimator), 2, exact_error)
        for name, (estimator, factor) in MUTANTS.items()
    },
    "uniform noise": (uniform, leave_one_out, 20, exact_error),
    "uniform rivals": (uniform, rao_blackwell, 20, exact_error),
    "orthogonal of one length": (orthogonal_of_one_length, leave_one_out, 20, exact_error),
    "n - 1 without centring": (es.sample_noise, not_centred, 2, exact_error),
    "equal pull for all rivals": (es.sample_noise, shared_by_all_rivals, 2, exact_error),
    "successes divided by n": (es.sample_noise, divided_by_all, 5, N_TERMS),
    "log-success divided by n": (es.sample_noise, centred_divided_by_all, 5, ONE_LESS),
    "log-success for n terms": (es.sample_noise, log_success, 2, N_TERMS),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_estimator_is_caught(name):
    draw, weigh, samples, truth = WRONG[name]
    cases = ("spread", "right by two sigma", "wrong by one sigma")
    scores = z_scores(draw, weigh, samples, truth, cases, seed=1)
    with pytest.raises(AssertionError, match="biased"):
        assert_unbiased(scores)
