"""Signs of health of a run, on networks whose logits are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lenet_np.data import Split
from lenet_np.diagnostics import diagnose
from lenet_np.layers import Dense, Flatten, ReLU, Sequential
from lenet_np.lenet import lenet5
from lenet_np.losses import cross_entropy_gradient
from lenet_np.settings import Settings
from lenet_np.smoothed import negative_log_success, smoothed_zero_one

#: One pixel decides: an image of class k is bright in row k.
READER = Sequential(
    (1, 32, 32),
    (("flatten", Flatten()), ("hidden", Dense(12)), ("relu1", ReLU()), ("logits", Dense(10))),
)


def bright_rows(classes) -> Split:
    pixels = np.zeros((len(classes), 28, 28), np.uint8)
    for image, k in zip(pixels, classes, strict=True):
        image[k, 0] = 255
    return Split(pixels, np.array(classes, np.uint8))


def reader_of(heights):
    """Weights for which the logit of the true class is ``heights[k]``, and all others are 0."""
    parameters = READER.init(np.random.default_rng(0))
    hidden = np.zeros((12, 32, 32), np.float32)
    for k in range(10):
        hidden[k, 2 + k, 2] = 1  # two pixels of padding
    parameters["hidden.weight"] = hidden.reshape(12, -1)  # units 10 and 11 are always 0
    logits = np.zeros((10, 12), np.float32)
    logits[range(10), range(10)] = heights
    parameters["logits.weight"] = logits
    return parameters


def test_margins_and_gradients_of_each_class_by_hand():
    heights = np.array([8, 4, -4, 0, 1, 2, 3, 4, 5, 6], np.float32)
    split = bright_rows([0, 0, 1, 2, 3, 4, 5, 6, 7, 9])  # no image of class 8
    found = diagnose(READER, reader_of(heights), split, Settings(sigma=2.0), 1)
    expected = heights / 2.0
    expected[8] = np.nan
    np.testing.assert_allclose(found.margin, expected)
    logits = np.diag(heights)
    for k in (0, 2, 3):
        g = smoothed_zero_one(logits[:, [k]], np.eye(10)[:, [k]], 2.0).gradient
        assert found.gradient_norm[k] == pytest.approx(np.linalg.norm(g), rel=1e-5)
    assert math.isnan(found.gradient_norm[8])
    # Of the hidden units, 8 saw no image of its class, and 10 and 11 never see anything.
    assert found.dead_units == {"relu1": pytest.approx(3 / 12)}


@pytest.mark.parametrize("objective", ["error", "log-success"])
def test_the_gradient_is_that_of_the_objective(objective):
    heights = np.full(10, -2, np.float32)
    settings = Settings(objective=objective, sigma=1.0)
    found = diagnose(READER, reader_of(heights), bright_rows([5]), settings, 1)
    oracle = {"error": smoothed_zero_one, "log-success": negative_log_success}[objective]
    g = oracle(np.diag(heights)[:, [5]], np.eye(10)[:, [5]], 1.0).gradient
    assert found.gradient_norm[5] == pytest.approx(np.linalg.norm(g), rel=1e-5)


def test_a_hopeless_class_sends_no_signal():
    lost, even = np.full(10, -60, np.float32), np.zeros(10, np.float32)
    split = bright_rows([1, 2, 3, 4])
    hopeless = diagnose(READER, reader_of(lost), split, Settings(), 1)
    hopeful = diagnose(READER, reader_of(even), split, Settings(), 1)
    assert hopeless.signal_share == 0
    assert hopeful.signal_share == 1
    assert hopeless.signal_to_noise < 1e-3 < 0.1 < hopeful.signal_to_noise
    assert abs(hopeless.cosine) < 0.4 < hopeful.cosine


def test_more_samples_mean_more_signal():
    split = bright_rows([1, 2, 3, 4])
    parameters = reader_of(np.ones(10, np.float32))
    few = diagnose(READER, parameters, split, Settings(samples=20), 1)
    many = diagnose(READER, parameters, split, Settings(samples=2000), 1)
    assert 30 < many.signal_to_noise / few.signal_to_noise < 300  # a hundred times, by chance


def test_the_exact_gradient_has_no_noise():
    parameters = reader_of(np.ones(10, np.float32))
    found = diagnose(READER, parameters, bright_rows([1, 2]), Settings(estimator="exact"), 1)
    assert (found.signal_to_noise, found.cosine, found.signal_share) == (math.inf, 1, 1)


def test_cross_entropy_has_a_gradient_but_no_estimate():
    heights = np.arange(10, dtype=np.float32)
    found = diagnose(
        READER, reader_of(heights), bright_rows([7]), Settings(loss="cross-entropy"), 1
    )
    g = cross_entropy_gradient(np.diag(heights)[:, [7]], np.eye(10)[:, [7]])
    assert found.gradient_norm[7] == pytest.approx(np.linalg.norm(g), rel=1e-5)
    assert math.isnan(found.signal_to_noise)
    assert math.isnan(found.cosine)


def test_the_noise_is_a_function_of_seed_and_epoch():
    network, split = lenet5(), bright_rows([0, 1, 2, 3])
    parameters = network.init(np.random.default_rng(0))

    def cosine(seed, epoch):
        return diagnose(network, parameters, split, Settings(seed=seed, samples=5), epoch).cosine

    assert cosine(0, 1) == cosine(0, 1)
    assert len({cosine(0, 1), cosine(0, 2), cosine(1, 1)}) == 3
    found = diagnose(network, parameters, split, Settings(samples=5), 1)
    assert list(found.dead_units) == ["relu1", "relu2", "relu3", "relu4"]
