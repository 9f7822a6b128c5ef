"""The oracle against 40 digits, a second quadrature, closed forms, and its symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from scipy.special import log_ndtr

from lenet_np import smoothed
from lenet_np.smoothed import negative_log_success, smoothed_zero_one


def one_hot(classes, count=10):
    return np.eye(count)[:, classes]


def random_batch(seed, reach, sigma=1.0, batch=100):
    """Draw logits of up to ``reach`` sigma and labels."""
    rng = np.random.default_rng([50, seed])
    logits = rng.uniform(-reach, reach, (10, batch)) * sigma
    return logits, one_hot(rng.integers(0, 10, batch))


# --- forty digits -------------------------------------------------------------------------------

#: Logits, label, sigma, -log P and its gradient. Names count in units of sigma. Computed once with
#: mpmath at 50 digits: P and sigma P d(-log P)/dl_j are integrals over t of phi(t) times Phi(t + a)
#: for every rival, or phi(t + a_j) for the rival j. Each by the trapezoid rule with step 1/8, from
#: 18 below to 18 above the integer where its own integrand is largest: exact to 40 digits.
FORTY_DIGITS = {
    "all equal": (
        "0 0 0 0 0 0 0 0 0 0",
        3,
        1.0,
        2.302585092994046,
        "0.17097252564835255 0.17097252564835255 0.17097252564835255 -1.538752730835173 "
        "0.17097252564835255 0.17097252564835255 0.17097252564835255 0.17097252564835255 "
        "0.17097252564835255 0.17097252564835255",
    ),
    "spread": (
        "-3 -2.25 -1.5 -1 -0.25 0.5 1 1.75 2.25 3",
        4,
        1.0,
        6.376481251387508,
        "3.4857136135287905e-06 6.94932786026964e-05 0.0008794525684672677 "
        "0.0037258826002830084 -2.6872954739842094 0.09257805496266745 0.1941780529616619 "
        "0.46167331601310524 0.7208186077026756 1.2133691281831327",
    ),
    "spread, sigma 4": (
        "-3 -2.25 -1.5 -1 -0.25 0.5 1 1.75 2.25 3",
        4,
        4.0,
        2.693591774336431,
        "0.011043636684565547 0.015605109702017164 0.021542442428639164 0.026377785611362062 "
        "-0.41883708476766274 0.04577702311694287 0.05405056533166894 0.06829328605672276 "
        "0.07904723418897308 0.09710000164677117",
    ),
    "wrong by 11": (
        "-8.25 3 1.5 0 -2 -4.5 2.25 -1 0.5 -3",
        0,
        1.0,
        50.31810323968439,
        "-8.616428420589301 2.948773360239281 1.6438641826929934 0.6050911699696556 "
        "0.03609876261737154 1.69274055497343e-05 2.2769777193816862 0.1977081843986157 "
        "0.9047627942165386 0.0031353196676090125",
    ),
    "wrong by 11, sigma 4": (
        "-33 12 6 0 -8 -18 9 -4 2 -12",
        0,
        4.0,
        50.31810323968439,
        "-2.1541071051473253 0.7371933400598203 0.41096604567324835 0.1512727924924139 "
        "0.009024690654342886 4.231851387433575e-06 0.5692444298454216 0.049427046099653926 "
        "0.22619069855413465 0.0007838299169022531",
    ),
    "below all by 38.5": (
        "0 0 0 0 0 -38.5 0 0 0 0",
        5,
        1.0,
        688.8401898652733,
        "3.8745391233421476 3.8745391233421476 3.8745391233421476 3.8745391233421476 "
        "3.8745391233421476 -34.870852110079326 3.8745391233421476 3.8745391233421476 "
        "3.8745391233421476 3.8745391233421476",
    ),
    "below one by 52": (
        "-26 26 -30 -31 -32 -33 -34 -35 -36 -37",
        0,
        1.0,
        680.5243469437542,
        "-26.019202425982154 26.019202425982154 1.2114018386304015e-131 "
        "1.7726993711333492e-140 1.3319525177007557e-149 5.138643963853401e-159 "
        "1.0179203713028407e-168 1.0353422881942122e-178 5.407024817671307e-189 "
        "1.4498946418898457e-199",
    ),
    "wrong by 49, sigma 4": (
        "-98 98 64 40 24 20 16 8 0 -4",
        0,
        4.0,
        704.0648845547679,
        "-7.811514033286239 4.452488824706476 2.339965586626601 0.8807836458473065 "
        "0.10542840113441476 0.028692615723040146 0.004146635745371184 8.322901696777382e-06 "
        "5.998909928753479e-10 1.44200141892843e-12",
    ),
    "wrong by 76": (
        "-40 36 34 28 10 0 -10 -20 -30 -40",
        0,
        1.0,
        2009.5964098214693,
        "-54.54282243704428 21.503606494738666 19.508337524495133 13.530785285230282 "
        "9.313258019478917e-05 6.282773661995706e-38 3.32848831494753e-106 "
        "3.403686511972251e-210 0.0 0.0",
    ),
    "below all by 66, sigma 4": (
        "-264 0 0 0 0 0 0 0 0 0",
        0,
        4.0,
        1986.704648860256,
        "-14.88336681020619 1.6537074233562434 1.6537074233562434 1.6537074233562434 "
        "1.6537074233562434 1.6537074233562434 1.6537074233562434 1.6537074233562434 "
        "1.6537074233562434 1.6537074233562434",
    ),
    "right by 3": (
        "3.5 0.5 0.25 0 -0.25 -0.5 -1 -2 -3 -4",
        0,
        1.0,
        0.03508961831496135,
        "-0.0625003850648736 0.0260665178447981 0.016378004369960626 0.00994685399154276 "
        "0.005830695881122731 0.0032942554536640797 0.0009366768691557044 "
        "4.6236009171268334e-05 1.1314048749208552e-06 1.3240583400902524e-08",
    ),
    "right by 6, sigma 4": (
        "0 -1 -2 -3 24 -4 -5 -6 -7 -8",
        4,
        4.0,
        1.945932378225888e-05,
        "8.634712686229612e-06 3.988049841410815e-06 1.7835807770462488e-06 "
        "7.720742551685087e-07 -1.5710403521154845e-05 3.233412829409246e-07 "
        "1.3094424619722331e-07 5.1251569917074234e-08 1.937673855599921e-08 "
        "7.072123688440076e-09",
    ),
    "right by 10": (
        "0 -1 -2 -3 10 -4 -5 -6 -7 -8",
        4,
        1.0,
        7.724189879513943e-13,
        "3.917714724140818e-12 2.0555836760694e-14 6.539542335053635e-17 "
        "1.2603031254035042e-19 -3.938336082502042e-12 1.4676488767025442e-22 "
        "1.0266840136563052e-25 4.265842857077341e-29 1.033875613055643e-32 "
        "1.426399312519781e-36",
    ),
    "right by 20, sigma 4": (
        "0 -4 -8 -12 80 -16 -20 -24 -28 -32",
        4,
        4.0,
        1.0442785726448319e-45,
        "2.6235351445965106e-45 9.276164610615119e-50 1.9893113768651646e-54 "
        "2.587556520546012e-59 -2.6236279082319538e-45 2.0414073898702946e-64 "
        "9.768374001523096e-70 2.8350951080965573e-75 4.990748965573024e-81 "
        "5.3286403866312375e-87",
    ),
}


def forty_digits(case):
    """Give logits (10, 1), labels, sigma, -log P and the gradient (10, 1)."""
    logits, label, sigma, minus_log, gradient = FORTY_DIGITS[case]
    columns = (np.array(text.split(), np.float64)[:, np.newaxis] for text in (logits, gradient))
    logits, gradient = columns
    return logits, one_hot([label]), sigma, minus_log, gradient


@pytest.mark.parametrize("case", FORTY_DIGITS)
def test_the_oracle_against_forty_digits(case):
    """Relative errors: -log P 1e-12 (measured 2e-13), gradient 1e-10 of its largest entry (2e-11).

    A label that leads by 8 sigma or more leaves an integrand for the gradient that peaks outside
    the nodes: there the gradient, below 1e-7, is right to 1e-16/sigma only, and -log P, as 1 - P
    itself, to 1e-14.
    """
    logits, labels, sigma, minus_log, gradient = forty_digits(case)
    found = negative_log_success(logits, labels, sigma)
    np.testing.assert_allclose(found.loss, [minus_log], rtol=1e-12, atol=1e-14)
    largest = np.abs(gradient).max()
    leads = case in ("right by 10", "right by 20, sigma 4")
    atol = 1e-16 / sigma if leads else 1e-10 * largest
    np.testing.assert_allclose(found.gradient, gradient, rtol=0, atol=atol)
    np.testing.assert_allclose(found.gradient.sum(axis=0), 0, atol=1e-14 * largest)

    success = math.exp(-minus_log)
    loss, slope = smoothed_zero_one(logits, labels, sigma)
    np.testing.assert_allclose(loss, [-math.expm1(-minus_log)], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(slope, success * gradient, rtol=0, atol=max(atol * success, 1e-300))


def test_the_constants_cover_what_they_are_meant_to():
    minus_logs = [FORTY_DIGITS[case][3] for case in FORTY_DIGITS]
    for size in (50, 690, 2000):
        assert any(abs(minus_log / size - 1) < 0.03 for minus_log in minus_logs)
    assert min(minus_logs) < 1e-40
    assert {FORTY_DIGITS[case][2] for case in FORTY_DIGITS} == {1.0, 4.0}


# --- other ways to the same numbers -------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
def test_the_gradients_equal_the_quadrature_over_ties(sigma):
    """Relative to the largest entry of each row: measured 5e-15."""
    logits, labels = random_batch(1, 5, sigma, batch=40)
    classes = labels.argmax(axis=0)
    expected = np.stack(
        [
            reference.smoothed_zero_one_gradient(logits[:, n], label, sigma)
            for n, label in enumerate(classes)
        ],
        axis=1,
    )
    largest = np.abs(expected).max(axis=0)
    assert largest.min() < 1e-6 / sigma  # hard and easy ones
    _, slope = smoothed_zero_one(logits, labels, sigma)
    assert (np.abs(slope - expected) <= 1e-12 * largest).all()
    minus_log, gradient = negative_log_success(logits, labels, sigma)
    divided = expected * np.exp(minus_log)
    assert (np.abs(gradient - divided) <= 1e-12 * np.abs(divided).max(axis=0)).all()


@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_two_classes_have_a_closed_form(sigma):
    """-log P = -log Phi(a/sqrt 2) and its slope is phi/Phi/(sigma sqrt 2), down to a = -50."""
    a = np.array([-50, -45.5, -40, -30, -20, -10, -5, -2, -1, 0, 0.5, 1, 2, 3, 5])
    logits, labels = np.stack([a * sigma, np.zeros(len(a))]), one_hot([0] * len(a), 2)
    minus_log, gradient = negative_log_success(logits, labels, sigma)
    log_success = log_ndtr(a / math.sqrt(2))
    np.testing.assert_allclose(minus_log, -log_success, rtol=1e-12, atol=1e-14)
    slope = np.exp(-(a**2) / 4 - math.log(2 * math.pi) / 2 - log_success) / math.sqrt(2) / sigma
    np.testing.assert_allclose(gradient, [-slope, slope], rtol=1e-12)


def test_more_nodes_change_nothing(monkeypatch):
    """Ten times as many nodes in twice the range; rows where the label leads by less than 6."""
    logits, labels = random_batch(2, 50, batch=400)
    label_logits = (labels * logits).sum(axis=0)
    lead = label_logits - np.where(labels > 0, -np.inf, logits).max(axis=0)
    logits, labels = logits[:, lead < 6], labels[:, lead < 6]
    few = negative_log_success(logits, labels, 1.0)
    monkeypatch.setattr(smoothed, "NODES", np.linspace(-16.0, 16.0, 1101))
    many = negative_log_success(logits, labels, 1.0)
    assert many.loss.max() > 2000
    np.testing.assert_allclose(few.loss, many.loss, rtol=1e-11, atol=1e-12)
    largest = np.abs(many.gradient).max(axis=0)
    assert (np.abs(few.gradient - many.gradient) <= 1e-9 * largest).all()


@pytest.mark.parametrize("sigma", [1.0, 1.75, 4.0])
def test_the_gradient_of_minus_log_p_is_its_derivative(sigma, check):
    rng = np.random.default_rng(51)
    logits, labels = rng.standard_normal((10, 4)) * 3, one_hot(rng.integers(0, 10, 4))
    check(
        "negative_log_success",
        lambda logits: negative_log_success(logits, labels, sigma),
        lambda dloss, gradient: dloss * gradient,
        [logits],
    )


def test_the_gradient_is_the_derivative_where_success_is_rarest(check):
    logits, labels, sigma, minus_log, _ = forty_digits("below one by 52")
    assert minus_log > 600
    check(
        "negative_log_success, P = 1e-296",
        lambda logits: negative_log_success(logits, labels, sigma),
        lambda dloss, gradient: dloss * gradient,
        [logits],
    )


@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_the_two_objectives_differ_by_a_factor_of_p(sigma):
    logits, labels = random_batch(3, 5, sigma)
    loss, slope = smoothed_zero_one(logits, labels, sigma)
    minus_log, gradient = negative_log_success(logits, labels, sigma)
    np.testing.assert_allclose(np.exp(-minus_log), 1 - loss, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(gradient * np.exp(-minus_log), slope, rtol=1e-13)


# --- far out, and symmetries --------------------------------------------------------------------


@pytest.mark.parametrize("reach", [1, 10, 50])
def test_all_is_finite_and_of_the_right_sign(reach):
    logits, labels = random_batch(4, reach, 4.0, batch=500)
    for oracle in (negative_log_success, smoothed_zero_one):
        loss, gradient = oracle(logits, labels, 4.0)
        assert np.isfinite(loss).all()
        assert np.isfinite(gradient).all()
        assert (loss >= 0).all()
        assert (gradient[labels == 0] >= 0).all()
        assert (gradient[labels > 0] <= 0).all()


@pytest.mark.parametrize("step", [0.5, 10.0])
def test_minus_log_p_is_convex_in_the_logit_of_the_label(step):
    """The slope at both ends of a step holds the difference between them, as P is log-concave."""
    logits, labels = random_batch(11, 50, batch=500)
    here = negative_log_success(logits, labels, 1.0)
    there = negative_log_success(logits + step * labels, labels, 1.0)
    steep, flat = (-(labels * end.gradient).sum(axis=0) for end in (here, there))
    fall = (here.loss - there.loss) / step
    slack = 1e-11 * (1 + here.loss)  # rounding of the difference
    assert (flat <= fall + slack).all()
    assert (fall <= steep + slack).all()
    assert (fall > 1).sum() > 300


def test_where_the_label_is_far_below_one_rival_the_pull_is_half_the_distance():
    """Only one rival counts: -log P is about a²/4 and its slope a/2, for any size of a."""
    distance = np.array([50.0, 100.0, 500.0, 5_000.0])
    logits = np.zeros((10, 4))
    logits[0], logits[1] = -distance / 2, distance / 2
    logits[2:] = -distance
    minus_log, gradient = negative_log_success(logits, one_hot([0] * 4), 1.0)
    np.testing.assert_allclose(gradient[1], distance / 2, rtol=2e-3)
    np.testing.assert_allclose(minus_log, distance**2 / 4, rtol=1e-2)


@pytest.mark.parametrize("oracle", [negative_log_success, smoothed_zero_one])
def test_the_symmetries(oracle):
    rng = np.random.default_rng(52)
    logits, labels = random_batch(5, 50)
    loss, gradient = oracle(logits, labels, 1.0)
    largest = np.abs(gradient).max(axis=0)
    atol = 1e-11 * max(largest.max(), 1)

    shifted = oracle(logits + rng.uniform(-20, 20, 100), labels, 1.0)
    np.testing.assert_allclose(shifted.loss, loss, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(shifted.gradient, gradient, atol=atol)

    scaled = oracle(3 * logits, labels, 3.0)
    np.testing.assert_allclose(scaled.loss, loss, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(3 * scaled.gradient, gradient, atol=atol)

    order = rng.permutation(10)
    permuted = oracle(logits[order], labels[order], 1.0)
    np.testing.assert_allclose(permuted.loss, loss, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(permuted.gradient, gradient[order], atol=atol)

    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=atol)


# --- dtypes, what is not finite, what is refused ------------------------------------------------


@pytest.mark.parametrize("reach", [3, 50])
def test_minus_log_p_in_float32(reach):
    logits, labels = random_batch(6, reach)
    single = negative_log_success(logits.astype(np.float32), labels.astype(np.float32), 0.7)
    double = negative_log_success(logits.astype(np.float32).astype(np.float64), labels, 0.7)
    assert single.loss.dtype == single.gradient.dtype == np.float32
    assert double.loss.dtype == double.gradient.dtype == np.float64
    # Computed in double precision, rounded once.
    np.testing.assert_array_equal(single.loss, double.loss.astype(np.float32))
    np.testing.assert_array_equal(single.gradient, double.gradient.astype(np.float32))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("oracle", [negative_log_success, smoothed_zero_one])
def test_a_logit_that_is_not_finite_spoils_its_own_row_alone(oracle, bad):
    logits, labels = random_batch(7, 5, batch=6)
    label = labels.argmax(axis=0)
    spoiled = logits.copy()
    spoiled[label[1], 1] = bad
    spoiled[(label[4] + 3) % 10, 4] = bad
    clean, found = oracle(logits, labels, 1.0), oracle(spoiled, labels, 1.0)
    for whole, part in zip(clean, found, strict=True):
        np.testing.assert_array_equal(np.isnan(part[..., [1, 4]]), True)
        np.testing.assert_array_equal(part[..., [0, 2, 3, 5]], whole[..., [0, 2, 3, 5]])


def test_the_logits_are_left_alone():
    logits, labels = random_batch(8, 5)
    logits[3, 4] = math.nan
    before = logits.copy(), labels.copy()
    negative_log_success(logits, labels, 2.0)
    smoothed_zero_one(logits, labels, 2.0)
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("sigma", [0, -1.0, math.inf, math.nan])
def test_minus_log_p_refuses_a_blur_that_is_none(sigma):
    with pytest.raises(ValueError, match=f"sigma must be a positive number, got {sigma}"):
        negative_log_success(*random_batch(9, 1), sigma)


def test_minus_log_p_refuses_shapes_that_do_not_fit():
    logits, labels = random_batch(10, 1, batch=3)
    with pytest.raises(ValueError, match=r"must both be \(K, N\), got \(10, 3\) and \(10, 2\)"):
        negative_log_success(logits, labels[:, :2], 1.0)
    with pytest.raises(ValueError, match=r"must both be \(K, N\), got \(10,\) and \(10,\)"):
        negative_log_success(logits[:, 0], labels[:, 0], 1.0)
