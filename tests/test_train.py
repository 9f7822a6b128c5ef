"""The training loop and its command, on a tiny data set that a LeNet can learn."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import tiny_dataset

from lenet_np.data import Dataset, Split
from lenet_np.es import estimate_gradient, sample_noise
from lenet_np.estimators import ESTIMATORS, OBJECTIVES
from lenet_np.lenet import lenet5
from lenet_np.loop import DivergedError, initial_state, train
from lenet_np.losses import zero_one_loss
from lenet_np.settings import SettingError, Settings
from lenet_np.workers import loss_and_gradients, prepare


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny_dataset()


def states(split: Split, settings: Settings, state=None):
    return list(train(lenet5(), split, settings, state))


def test_steps_cover_the_epoch_with_a_short_last_batch(data: Dataset) -> None:
    metrics = [m for _, m in states(data.train, Settings(epochs=2, batch_size=128, samples=4))]
    assert [(m.epoch, m.step) for m in metrics] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert {m.steps_per_epoch for m in metrics} == {3}


def test_going_on_from_a_state_equals_never_stopping_bit_for_bit(data: Dataset) -> None:
    settings = Settings(epochs=2, samples=4)
    whole = states(data.train, settings)
    resumed = states(data.train, settings, state=whole[1][0])  # in the middle of an epoch
    assert len(resumed) == len(whole) - 2
    assert resumed[-1][1][:4] == whole[-1][1][:4]
    for name, value in whole[-1][0].parameters.items():
        np.testing.assert_array_equal(resumed[-1][0].parameters[name], value)


def test_a_decay_makes_the_steps_of_each_epoch_smaller(data: Dataset) -> None:
    constant, falling = (Settings(epochs=3, samples=4, decay=decay) for decay in (1.0, 0.5))
    start = states(data.train, constant)[5][0]  # two epochs of three steps
    same, smaller = (states(data.train, each, start)[0][0] for each in (constant, falling))
    for name, value in start.parameters.items():
        step = same.parameters[name] - value
        np.testing.assert_allclose(smaller.parameters[name] - value, step / 4, atol=1e-7)
    first, again = (states(data.train, each)[2][0] for each in (constant, falling))
    for name, value in first.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], value)


def test_samples_do_not_change_weights_or_shuffle(data: Dataset) -> None:
    few = states(data.train, Settings(epochs=1, samples=2))[0][0]
    many = states(data.train, Settings(epochs=1, samples=3))[0][0]
    network = lenet5()
    start = initial_state(network, Settings(samples=2)).parameters
    again = initial_state(network, Settings(samples=3)).parameters
    for name in start:
        np.testing.assert_array_equal(start[name], again[name])
    assert any((few.parameters[k] != many.parameters[k]).any() for k in start)


def test_every_value_of_a_training_step_is_float32(data: Dataset) -> None:
    network, settings = lenet5(), Settings(samples=4)
    state = initial_state(network, settings)
    for loss in ("zero-one", "cross-entropy"):
        settings = Settings(loss=loss, samples=4)
        (part,) = prepare(data.train, settings, 0, np.arange(16))
        result = loss_and_gradients(network, state.parameters, part, settings)
        assert result.loss.dtype == np.float32
        assert {g.dtype for g in result.gradients.values()} == {np.dtype(np.float32)}
    after, _ = next(train(network, data.train, settings))
    for group in (after.parameters, after.optimizer.mean, after.optimizer.square):
        assert {value.dtype for value in group.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("loss", ["zero-one", "cross-entropy"])
def test_the_network_learns(data: Dataset, loss: str) -> None:
    settings = Settings(epochs=15, batch_size=20, learning_rate=2e-3, loss=loss, samples=50)
    losses = [m.loss for _, m in train(lenet5(), data.train, settings)]
    assert np.mean(losses[-15:]) < 0.5 * np.mean(losses[:15])


def test_a_number_that_is_not_finite_stops_the_loop_and_is_named(data: Dataset) -> None:
    settings = Settings(epochs=1, learning_rate=1e30, loss="cross-entropy")
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(DivergedError, match=r"step \d+ of epoch 1"),
    ):
        states(data.train, settings)


def test_nan_weight_is_named(data: Dataset) -> None:
    settings = Settings(epochs=1, samples=2)
    state = initial_state(lenet5(), settings)
    state.optimizer.square["dense2.bias"][3] = np.nan  # the loss is still finite
    with np.errstate(invalid="ignore"), pytest.raises(DivergedError, match=r"dense2\.bias"):
        states(data.train, settings, state)
    state = initial_state(lenet5(), settings)
    state.parameters["dense2.bias"][3] = np.nan
    with np.errstate(invalid="ignore"), pytest.raises(DivergedError, match="the loss is nan"):
        states(data.train, settings, state)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"loss": "hinge"},
            r"loss is one of \('zero-one', 'cross-entropy'\), or FILE.py:FUNCTION, got 'hinge'",
        ),
        ({"route": "scenic"}, "route is one of .* got 'scenic'"),
        ({"estimator": "best"}, "estimator is one of .* got 'best'"),
        ({"objective": "peace"}, "objective is one of .* got 'peace'"),
        ({"estimator": "sobol"}, "takes 1, 2, 4, .* got 200"),
        ({"estimator": "antithetic", "samples": 3}, "takes an even number, got 3"),
        ({"batch_size": 301}, "batch_size takes 1 to 300, the number of training images, got 301"),
    ],
)
def test_settings_that_make_no_sense_are_refused(data: Dataset, wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        states(data.train, Settings(**wrong))


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_estimator_trains_for_both_objectives(
    data: Dataset, estimator: str, objective: str
) -> None:
    settings = Settings(epochs=1, samples=16, estimator=estimator, objective=objective)
    start = initial_state(lenet5(), settings)
    *_, (end, metrics) = states(data.train, settings)
    assert 0 < metrics.loss < 1
    for name, value in end.parameters.items():
        assert np.isfinite(value).all()
        assert (value != start.parameters[name]).any(), name


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs takes a whole number from 1 to .* got 0"),
        ({"epochs": 1.5}, "epochs takes a whole number from 1 to .* got 1.5"),
        ({"batch_size": "8"}, "batch_size takes a whole number from 1 to .* got '8'"),
        ({"samples": True}, "samples takes a whole number from 1 to .* got True"),
        ({"sigma": -1}, r"sigma takes a number from 1e-06 to 1e\+06, got -1"),
        ({"sigma": float("nan")}, "sigma takes a number .* got nan"),
        ({"sigma": None}, "sigma takes a number .* got None"),
        ({"learning_rate": 0.0}, "learning_rate takes a number from 1e-30 .* got 0.0"),
        ({"seed": -1}, "seed takes a whole number from 0 to .* got -1"),
        ({"seed": 2**63}, f"seed takes a whole number from 0 to {2**63 - 1}, got {2**63}"),
        ({"loss": ["zero-one"]}, "loss is one of .* got "),
    ],
)
def test_a_setting_is_checked_where_it_is_made(wrong, message):
    with pytest.raises(SettingError, match=f"^{message}") as caught:
        Settings(**wrong)
    assert caught.value.name == next(iter(wrong))


def test_numbers_of_numpy_become_pythons():
    settings = Settings(seed=np.int64(3), sigma=np.float32(2), learning_rate=1)
    assert settings == Settings(seed=3, sigma=2.0, learning_rate=1.0)
    assert type(settings.seed) is int
    assert type(settings.sigma) is type(settings.learning_rate) is float


@pytest.mark.parametrize("estimator", ["plain", "sobol"])
def test_a_single_sample_has_nothing_to_compare_its_success_with(estimator):
    one = {"estimator": estimator, "samples": 1}
    Settings(**one)
    Settings(**one | {"samples": 2, "objective": "log-success"})
    with pytest.raises(SettingError, match=r"^samples log-success compares .* always zero"):
        Settings(**one, objective="log-success")


def test_what_an_older_version_recorded_can_be_read():
    """A setting that it lacks has its default; a pair that is refused today is kept."""
    old = {"samples": 1, "objective": "log-success", "seed": 4}
    settings = Settings.recorded(old)
    assert (settings.samples, settings.objective, settings.seed) == (1, "log-success", 4)
    assert settings.epochs == Settings().epochs
    for wrong in ({"samples": 0}, {"loss": "hinge"}, {"flavour": 1}, {"sigma": "4"}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            Settings.recorded(wrong)


def test_an_epoch_has_a_step_for_the_rest():
    assert [Settings(batch_size=4).steps_per_epoch(n) for n in (4, 5, 8)] == [1, 2, 2]
    with pytest.raises(SettingError, match="batch_size takes 1 to 3, the number"):
        Settings(batch_size=4).steps_per_epoch(3)


# --- the same bits as before the estimators were taken apart ------------------------------------


@pytest.mark.parametrize("sigma", [4.0, 3.0])
def test_plain_weights_give_the_bits_of_the_definition(sigma):
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 4, (10, 64)).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[:, rng.integers(0, 10, 64)]
    noise = sample_noise(rng, 10, 200, 64)
    given = (zero_one_loss, logits, labels, noise, sigma)
    found, defined = ESTIMATORS["plain"].objectives["error"](*given), estimate_gradient(*given)
    np.testing.assert_array_equal(found.gradient, defined.gradient)
    np.testing.assert_array_equal(found.loss, defined.loss)
