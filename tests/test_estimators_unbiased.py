"""Every estimator against the exact gradient, and with its mistakes planted.

A z-test repeats one example along the batch axis, so that each column is an independent estimate,
and asks whether the mean of all columns is the exact gradient. All z-tests of one test share a
false-alarm rate of 1e-6 and have fixed seeds.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from estimates import EVERY_PAIR, REPLICATES, SAMPLED, column, draw_noise, one_hot, random_batch
from reference import LOGIT_CASES
from scipy import stats

from lenet_np import es
from lenet_np.es import Estimate
from lenet_np.estimators import (
    ESTIMATORS,
    orthogonal_noise,
    rao_blackwell,
    rao_blackwell_log_success,
    sobol_noise,
)
from lenet_np.losses import zero_one_loss
from lenet_np.smoothed import negative_log_success, smoothed_zero_one

leave_one_out = ESTIMATORS["leave-one-out"].objectives["error"]
log_success = ESTIMATORS["plain"].objectives["log-success"]
leave_one_out_log_success = ESTIMATORS["leave-one-out"].objectives["log-success"]

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


# --- many samples -------------------------------------------------------------------------------


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
