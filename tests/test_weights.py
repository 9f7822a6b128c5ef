"""Noise in the weights: its moments, its estimate, and a training without a backward pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from tiny import tiny_dataset

from lenet_np import ops, weights
from lenet_np.diagnostics import diagnose
from lenet_np.estimators import WEIGHT_ESTIMATORS, centred_ranks, leave_one_out
from lenet_np.layers import Conv2d, Dense, Flatten, ReLU, Sequential
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state, train
from lenet_np.losses import squared_error, zero_one_loss
from lenet_np.settings import SettingError, Settings, resolve
from lenet_np.tools.commands.predict import class_probabilities, describe
from lenet_np.weights import (
    LayerNoise,
    Minibatch,
    apply_full_noise,
    apply_rank_noise,
    draw_full_noise,
    draw_rank_noise,
    estimate_by_full_noise,
    estimate_by_rank_noise,
    evaluate_networks,
    forward_perturbed,
)

STRIDED = Sequential(
    (2, 7, 7),
    (
        ("conv", Conv2d(3, 3, stride=2, padding=1)),
        ("relu", ReLU()),
        ("flatten", Flatten()),
        ("dense", Dense(4)),
    ),
)
TWO_DENSE = Sequential((5,), (("one", Dense(4)), ("relu", ReLU()), ("two", Dense(3))))
ONE_DENSE = Sequential((3,), (("dense", Dense(2)),))
NETWORKS = {"LeNet-5": lenet5(), "stride and padding": STRIDED, "dense": TWO_DENSE}
#: Of all |z| of a test together, one false alarm in a million.
FALSE_ALARM = 1e-6


def in_float64(network, seed=0):
    """Draw parameters, the biases too."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(v.shape) / 3 for name, v in network.init(rng).items()}


def limit(tests):
    return norm.isf(FALSE_ALARM / (2 * tests))


def z_scores(estimates, truth):
    """Compare the mean of replicates (R, ...) with the truth, entry by entry."""
    error = estimates.std(axis=0, ddof=1) / math.sqrt(len(estimates))
    return (estimates.mean(axis=0) - truth) / error


# --- the perturbed forward pass -----------------------------------------------------------------


def worst_difference(network, rank, mirrored, draw=draw_rank_noise):
    """Compare with plain forward passes of perturbed weights, one reading after the other."""
    parameters, rng = in_float64(network), np.random.default_rng(1)
    samples, batch, sigma = 4, 3, 0.3
    x = rng.standard_normal((*network.input_shape, batch))
    noise = draw(rng, parameters, rank, samples, batch, mirrored)
    found = forward_perturbed(network, parameters, noise, x, sigma)
    worst = 0.0
    for reading in np.ndindex(samples, batch):
        one = np.zeros((samples, batch))
        one[reading] = 1
        e = apply_rank_noise(one, noise, parameters)
        perturbed = {name: value + sigma * e[name] for name, value in parameters.items()}
        image = x[..., reading[1] : reading[1] + 1]
        expected = network.forward(perturbed, image)[0][:, 0]
        error = np.abs(found[:, *reading] - expected).max() / np.abs(expected).max()
        worst = max(worst, float(error))
    return worst


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("mirrored", [False, True])
def test_it_is_the_plain_pass_with_perturbed_weights(name, rank, mirrored):
    assert worst_difference(NETWORKS[name], rank, mirrored) < 1e-13


def test_mirrored_noise_has_the_opposite_sign():
    parameters = in_float64(STRIDED)
    noise = draw_rank_noise(np.random.default_rng(2), parameters, 2, 6, 5, True)
    weight = np.random.default_rng(3).standard_normal((3, 5))
    there = apply_rank_noise(np.concatenate([weight, 0 * weight]), noise, parameters)
    back = apply_rank_noise(np.concatenate([0 * weight, weight]), noise, parameters)
    for name, value in there.items():
        np.testing.assert_allclose(back[name], -value, rtol=1e-12)


def test_float32_stays_float32():
    parameters = lenet5().init(np.random.default_rng(0))
    noise = draw_rank_noise(np.random.default_rng(1), parameters, 2, 4, 3, False)
    x = np.random.default_rng(2).random((1, 32, 32, 3)).astype(np.float32)
    logits = forward_perturbed(lenet5(), parameters, noise, x, 0.05)
    assert (logits.shape, logits.dtype) == ((10, 4, 3), np.float32)
    sums = apply_rank_noise(np.ones((4, 3), np.float32), noise, parameters)
    assert {v.dtype for v in sums.values()} == {np.dtype(np.float32)}
    assert {k: v.shape for k, v in sums.items()} == {k: v.shape for k, v in parameters.items()}


# --- the noise ----------------------------------------------------------------------------------


def noise_vectors(draw, rank, replicates=40_000):
    """Draw E for a dense layer 3 -> 2 and its bias, flat: (replicates, 8)."""
    parameters = in_float64(ONE_DENSE)
    noise = draw(np.random.default_rng(4), parameters, rank, 1, replicates, False)["dense"]
    weight = np.einsum("rom,rim->moi", noise.a, noise.b) / math.sqrt(rank)
    return np.concatenate([weight.reshape(replicates, -1), noise.bias.T], axis=1)


def moments(vectors):
    """Give the z of every mean, and of every product of two numbers less the identity."""
    mean = z_scores(vectors, 0)
    products = vectors[:, :, np.newaxis] * vectors[:, np.newaxis]
    return np.concatenate([mean, z_scores(products, np.eye(vectors.shape[1])).ravel()])


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_noise_of_rank_r_has_mean_zero_and_the_identity_as_covariance(rank):
    scores = moments(noise_vectors(draw_rank_noise, rank))
    assert np.abs(scores).max() < limit(len(scores))


def test_full_noise_has_mean_zero_and_the_identity_as_covariance():
    parameters = in_float64(ONE_DENSE)
    given = (ONE_DENSE, parameters, None, 1.0, squared_error)
    minibatch = Minibatch(*given, (0, 5))
    vectors = [draw_full_noise(minibatch, k) for k in range(10_000)]
    flat = np.stack([np.concatenate([v.ravel() for v in e.values()]) for e in vectors])
    scores = moments(flat)
    assert np.abs(scores).max() < limit(len(scores))


def test_rank_one_is_not_gaussian():
    """The fourth moment of a product of two normal numbers is 9, not 3: the blur differs there."""
    fourth = noise_vectors(draw_rank_noise, 1)[:, 0] ** 4
    assert abs(z_scores(fourth, 9)) < limit(1) < abs(z_scores(fourth, 3))


# --- the estimate -------------------------------------------------------------------------------


def linear(logits, labels):
    return (labels * logits).sum(axis=0)


def exact(loss, parameters, x, target):
    """Differentiate the blurred loss of one dense layer: the blur adds a constant to either."""
    if loss is linear:
        dlogits = target
    else:
        dlogits = 2 / len(target) * (parameters["dense.weight"] @ x - target)
        dlogits += 2 / len(target) * parameters["dense.bias"][:, np.newaxis]
    return np.concatenate([(dlogits @ x.T).ravel(), dlogits.ravel()])


def flat(parameters):
    return np.concatenate([parameters["dense.weight"].ravel(), parameters["dense.bias"]])


def estimates(kind, loss, name, estimate_by_rank=estimate_by_rank_noise, replicates=3000):
    parameters, rng = in_float64(ONE_DENSE, 5), np.random.default_rng(6)
    x, target = rng.standard_normal((3, 1)), rng.standard_normal((2, 1))
    samples, sigma, estimator = 2, 0.5, WEIGHT_ESTIMATORS[name]
    found = []
    for replicate in range(replicates):
        if kind == "full":
            given = (ONE_DENSE, parameters, lambda: (x, target), sigma, loss)
            minibatch = Minibatch(*given, (7, replicate))
            taught = estimate_by_full_noise(now, minibatch, samples, estimator, "error")
        else:
            draw = np.random.default_rng([8, replicate])
            noise = draw_rank_noise(draw, parameters, kind, samples, 1, estimator.mirrored)
            weigh = estimator.weighings["error"]
            taught = estimate_by_rank(ONE_DENSE, parameters, x, target, noise, sigma, loss, weigh)
        found.append(flat(taught.gradients))
    return z_scores(np.stack(found), exact(loss, parameters, x, target))


class now:  # noqa: N801 (stands for a function that gives a future)
    """Do the work at once, as if it had been submitted."""

    def __init__(self, work, *arguments):
        self._result = work(*arguments)

    def result(self):
        return self._result


@pytest.mark.parametrize("kind", [1, 2, "full"])
@pytest.mark.parametrize("loss", [linear, squared_error])
@pytest.mark.parametrize("name", ["plain", "leave-one-out", "antithetic"])
def test_it_is_unbiased_on_linear_and_quadratic_losses(kind, loss, name):
    scores = estimates(kind, loss, name)
    assert np.abs(scores).max() < limit(len(scores))


def test_the_gradient_is_summed_over_the_images_and_each_has_noise_of_its_own():
    parameters, rng = in_float64(TWO_DENSE), np.random.default_rng(9)
    x, labels = rng.standard_normal((5, 4)), np.eye(3)[:, [0, 1, 2, 0]]
    noise = draw_rank_noise(rng, parameters, 2, 6, 4, True)
    weigh = WEIGHT_ESTIMATORS["antithetic"].weighings["log-success"]
    given = (0.7, zero_one_loss, weigh)
    whole = estimate_by_rank_noise(TWO_DENSE, parameters, x, labels, noise, *given)
    total = {name: np.zeros_like(value) for name, value in parameters.items()}
    for i in range(4):
        one = {
            layer: LayerNoise(*(v.reshape(*v.shape[:-1], 6, 4)[..., i] for v in parts))
            for layer, parts in noise.items()
        }
        here = slice(i, i + 1)
        part = estimate_by_rank_noise(
            TWO_DENSE, parameters, x[:, here], labels[:, here], one, *given
        )
        assert part.loss == pytest.approx(whole.loss[i])
        for name, value in part.gradients.items():
            total[name] += value
    for name, value in whole.gradients.items():
        np.testing.assert_allclose(value, total[name], rtol=1e-10, atol=1e-12)


def test_a_minibatch_of_full_noise_is_the_same_whatever_the_shares(monkeypatch):
    parameters = in_float64(TWO_DENSE)
    rng = np.random.default_rng(10)
    x, labels = rng.standard_normal((5, 7)), np.eye(3)[:, rng.integers(0, 3, 7)]
    minibatch = Minibatch(TWO_DENSE, parameters, lambda: (x, labels), 0.5, zero_one_loss, (1, 2))
    found = []
    for share in (1, 4, 100):
        monkeypatch.setattr(weights, "NETWORKS", share)
        estimator = WEIGHT_ESTIMATORS["antithetic"]
        found.append(estimate_by_full_noise(now, minibatch, 10, estimator, "log-success"))
    for other in found[1:]:
        np.testing.assert_array_equal(other.loss, found[0].loss)
        for name, value in found[0].gradients.items():
            np.testing.assert_allclose(other.gradients[name], value, rtol=1e-12)


def test_ranks_look_at_whole_networks():
    """The estimate by hand: networks in the order of their mean losses, ties sharing a rank."""
    parameters, rng = in_float64(TWO_DENSE), np.random.default_rng(11)
    x, labels = rng.standard_normal((5, 40)), np.eye(3)[:, rng.integers(0, 3, 40)]
    minibatch = Minibatch(TWO_DENSE, parameters, lambda: (x, labels), 0.5, squared_error, (1, 2))
    found = estimate_by_full_noise(now, minibatch, 6, WEIGHT_ESTIMATORS["ranks"], "error")
    means = evaluate_networks(minibatch, range(3), True).mean(axis=2)  # (signs, networks)
    order = np.argsort(np.argsort(means.ravel())).reshape(2, 3)  # no ties here
    shaped = order / 5 - 0.5
    expected = apply_full_noise(minibatch, range(3), shaped[0] - shaped[1])
    for name, value in expected.items():
        np.testing.assert_allclose(found.gradients[name], 40 * value / 6 / 0.5, rtol=1e-12)


def test_centred_ranks_of_a_zero_one_loss_are_half_of_leave_one_out():
    values = np.random.default_rng(12).integers(0, 2, (9, 5)).astype(float)
    ranks, centred = centred_ranks(values), leave_one_out(values)
    np.testing.assert_allclose(
        ranks.values / ranks.divisor, centred.values / centred.divisor / 2 * 8 / 9 * 9 / 8
    )
    assert np.isnan(centred_ranks(np.array([[np.nan], [1.0]])).values[0, 0])


# --- the price of dimension ---------------------------------------------------------------------


@pytest.mark.parametrize("samples", [5, 40])
def test_the_cosine_with_the_gradient_is_that_of_the_law(samples):
    """On a linear loss E |g_hat|² = |g|² (n + d + 1) / n, so the cosine is sqrt(n/(n + d + 1))."""
    d, replicates = 20, 4000
    rng = np.random.default_rng(13)
    noise = rng.standard_normal((replicates, samples, d))
    gradient = np.zeros(d)
    gradient[0] = 1
    found = np.einsum("rsd,rs->rd", noise, noise @ gradient) / samples
    squares = (found**2).sum(axis=1)
    assert abs(z_scores(squares, (samples + d + 1) / samples)) < limit(2)
    cosine = found[:, 0].mean() / math.sqrt(squares.mean())
    assert cosine == pytest.approx(math.sqrt(samples / (samples + d + 1)), rel=0.05)


# --- mistakes that must be caught ---------------------------------------------------------------


def without_noise_on_the_bias(rng, parameters, rank, samples, batch, mirrored):
    noise = draw_rank_noise(rng, parameters, rank, samples, batch, mirrored)
    return {layer: n._replace(bias=0 * n.bias) for layer, n in noise.items()}


def shared_between_images(rng, parameters, rank, samples, batch, mirrored):
    """Give two images the same noise."""
    noise = draw_rank_noise(rng, parameters, rank, samples, batch // 2, mirrored)
    return {layer: LayerNoise(*(v.repeat(2, axis=-1) for v in n)) for layer, n in noise.items()}


def test_the_moments_catch_a_bias_without_noise():
    vectors = noise_vectors(without_noise_on_the_bias, 1)
    assert (vectors[:, 6:] == 0).all()  # so its variance is not 1, without any statistics


def between_images(draw):
    """Give the z of the products of two images' noise, which are independent."""
    vectors = noise_vectors(draw, 1)
    return z_scores(vectors[::2] * vectors[1::2], 0)


def test_images_have_noise_of_their_own():
    assert np.abs(between_images(draw_rank_noise)).max() < limit(8)
    assert np.abs(between_images(shared_between_images)).min() > limit(8)


def test_the_moments_catch_a_missing_root_of_the_rank():
    scores = moments(noise_vectors(draw_rank_noise, 2) * math.sqrt(2))
    assert np.abs(scores).max() > limit(len(scores))


def mutant(change):
    def estimate(network, parameters, x, target, noise, sigma, loss, weigh):
        taught = estimate_by_rank_noise(network, parameters, x, target, noise, sigma, loss, weigh)
        return taught._replace(gradients=change(taught.gradients, noise, sigma))

    return estimate


def wrong_sign_of_a_pair(network, parameters, x, target, noise, sigma, loss, weigh):
    """Read with mirrored noise, but apply it as if the pair had one sign."""
    taught = estimate_by_rank_noise(network, parameters, x, target, noise, sigma, loss, weigh)
    half = {k: n._replace(a=np.abs(n.a), bias=np.abs(n.bias)) for k, n in noise.items()}
    values = weights.evaluate_answers(
        loss, forward_perturbed(network, parameters, noise, x, sigma), target
    )
    w, divisor = weigh(values)
    sums = apply_rank_noise(w, half, parameters)
    return taught._replace(gradients={k: v / (divisor * sigma) for k, v in sums.items()})


MUTANTS = {
    "1/sigma left out": mutant(lambda g, noise, sigma: {k: v * sigma for k, v in g.items()}),
    "1/sigma twice": mutant(lambda g, noise, sigma: {k: v / sigma for k, v in g.items()}),
    "sign": mutant(lambda g, noise, sigma: {k: -v for k, v in g.items()}),
    "sign of a pair": wrong_sign_of_a_pair,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_z_tests_catch(name):
    scores = estimates(1, squared_error, "antithetic", MUTANTS[name])
    assert np.abs(scores).max() > limit(len(scores))


def test_the_z_tests_catch_leave_one_out_on_mirrored_pairs(monkeypatch):
    """Its noise sums to zero: the estimate is n / (n - 1) too long."""
    both = WEIGHT_ESTIMATORS["leave-one-out"]._replace(mirrored=True)
    monkeypatch.setitem(WEIGHT_ESTIMATORS, "leave-one-out", both)
    scores = estimates(1, linear, "leave-one-out")
    assert np.abs(scores).max() > limit(len(scores))


# --- training -----------------------------------------------------------------------------------

KINDS = {
    "rank 1": {},
    "rank 2, cross-entropy": {"rank": "2", "loss": "cross-entropy"},
    "full": {"rank": "full", "samples": 6},
    "ranks": {"rank": "full", "samples": 6, "estimator": "ranks"},
}


def settings_of(kind, **more):
    small = {"perturb": "weights", "epochs": 1, "batch_size": 40, "samples": 4}
    return resolve(small | KINDS[kind] | more)


@pytest.mark.parametrize("kind", KINDS)
def test_no_derivative_of_the_network_is_used(kind, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a backward pass was called")

    for name in dir(ops):
        if name.endswith("_backward"):
            monkeypatch.setattr(ops, name, refuse)
    settings = settings_of(kind)
    start = initial_state(lenet5(), settings)
    *_, (end, metrics) = train(lenet5(), tiny_dataset().train, settings)
    assert np.isfinite(metrics.loss)
    for name, value in end.parameters.items():
        assert value.dtype == np.float32
        assert (value != start.parameters[name]).any(), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_on_any_number_of_threads_and_after_a_pause(kind):
    settings, data = settings_of(kind), tiny_dataset().train
    one = [state for state, _ in train(lenet5(), data, settings, threads=1)]
    four = [state for state, _ in train(lenet5(), data, settings, threads=4)]
    later = [state for state, _ in train(lenet5(), data, settings, four[2])]
    for state in (four[-1], later[-1]):
        for name, value in one[-1].parameters.items():
            np.testing.assert_array_equal(state.parameters[name], value, err_msg=name)


def test_the_network_learns_from_counted_errors_alone():
    settings = resolve(
        {"perturb": "weights", "epochs": 30, "batch_size": 100, "learning_rate": 0.02}
    )
    losses = [metrics.loss for _, metrics in train(lenet5(), tiny_dataset().train, settings)]
    assert np.mean(losses[-9:]) < 0.6 * np.mean(losses[:9])


# --- settings -----------------------------------------------------------------------------------


def test_defaults_suit_the_place_of_the_noise():
    assert resolve({"seed": 3}) == Settings(seed=3)
    chosen = resolve({"perturb": "weights", "sigma": 0.1})
    assert (chosen.objective, chosen.estimator, chosen.sigma) == ("log-success", "antithetic", 0.1)
    assert resolve({"perturb": "weights", "loss": "cross-entropy"}).objective == "error"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"route": "vjp"}, "route leads back from the logits"),
        ({"estimator": "sobol"}, "estimator for noise in the weights is one of"),
        ({"estimator": "ranks"}, "estimator ranks compares whole networks"),
        (
            {"estimator": "ranks", "rank": "full", "objective": "log-success"},
            "objective ranks know",
        ),
        ({"samples": 3}, "samples antithetic samples come in pairs"),
        ({"estimator": "leave-one-out", "samples": 1}, "samples comparing samples"),
        ({"estimator": "plain", "samples": 1}, "samples log-success compares"),
        ({"loss": "cross-entropy", "objective": "log-success"}, "objective log-success counts"),
        ({"rank": "0"}, "rank is one of"),
        ({"perturb": "logits", "rank": "2"}, "rank is for noise in the weights alone"),
        (
            {"perturb": "logits", "estimator": "ranks"},
            "estimator ranks is for noise in the weights",
        ),
        ({"perturb": "biases"}, "perturb is one of"),
    ],
)
def test_impossible_pairs_are_refused(given, message):
    with pytest.raises(SettingError, match=f"^{message}"):
        resolve({"perturb": "weights"} | given)


# --- what divides by the noise of the logits ----------------------------------------------------


def test_what_has_no_meaning_without_noise_at_the_logits_is_empty():
    parameters = lenet5().init(np.random.default_rng(0))
    split, at_logits = tiny_dataset().validation, Settings(sigma=0.5, samples=4)
    found = diagnose(lenet5(), parameters, split, resolve({"perturb": "weights"}), 1)
    there = diagnose(lenet5(), parameters, split, at_logits, 1)
    np.testing.assert_allclose(found.margin, there.margin * 0.5, rtol=1e-6)
    assert np.isnan([*found.gradient_norm, found.signal_to_noise, found.signal_share]).all()
    assert found.dead_units == there.dead_units


def test_predictions_are_the_softmax():
    logits = np.random.default_rng(0).standard_normal((10, 3))
    softmax = class_probabilities(logits, Settings(loss="cross-entropy"))
    settings = resolve({"perturb": "weights"})
    np.testing.assert_array_equal(class_probabilities(logits, settings), softmax)
    assert "did not train as probabilities" in describe(settings)
