"""Every estimator as arithmetic: by hand, by its identities, at its edges, and what it refuses.

Its mean is tested in `test_estimators_unbiased.py`, its noise in `test_estimators_noise.py`.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from estimates import EVERY_PAIR, SAMPLED, draw_noise, one_hot, random_batch
from scipy import stats
from scipy.special import ndtr

from lenet_np import es
from lenet_np.estimators import (
    ESTIMATORS,
    OBJECTIVES,
    antithetic_noise,
    rao_blackwell,
    rao_blackwell_log_success,
    sobol_noise,
)
from lenet_np.losses import cross_entropy, zero_one_loss
from lenet_np.smoothed import negative_log_success, smoothed_zero_one

leave_one_out = ESTIMATORS["leave-one-out"].objectives["error"]
log_success = ESTIMATORS["plain"].objectives["log-success"]
leave_one_out_log_success = ESTIMATORS["leave-one-out"].objectives["log-success"]

#: All that take any loss; the other two are made for the 0-1 loss.
BLACK_BOX = [name for name in SAMPLED if name != "rao-blackwell"]


# --- by hand, and one by another ----------------------------------------------------------------


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
    estimator = ESTIMATORS[name]
    for samples in right:
        estimator.check_samples(samples, "error")
        assert draw_noise(name, 39, 10, samples, 1).shape == (10, samples, 1)
    with pytest.raises(ValueError, match="got 0"):
        estimator.check_samples(0, "error")
    with pytest.raises(ValueError, match="takes") as caught:
        estimator.check_samples(wrong, "error")
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
