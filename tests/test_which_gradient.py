"""The ways of learning from a count of errors: each against its oracle, and with its mistakes.

A z-test repeats one example along the batch axis, so that each column is an independent estimate,
and asks whether the mean of all columns is the exact gradient. All z-tests of one test share a
false-alarm rate of 1e-6 (`reference.ALPHA`) and have fixed seeds.
"""

from __future__ import annotations

import itertools
import re
from functools import partial

import numpy as np
import pytest
import reference
from test_docs import DOCS, blocks
from tiny import tiny_dataset

import lenet_np.settings
from lenet_np.es import Weights, estimate_weighed, sample_noise
from lenet_np.estimators import leave_one_out
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state
from lenet_np.losses import cross_entropy, cross_entropy_gradient, margin, zero_one_loss
from lenet_np.settings import Settings
from lenet_np.smoothed import negative_log_success, smoothed_zero_one
from lenet_np.tools.runs.table import read_table
from lenet_np.tools.studies import costs, gradients, methods
from lenet_np.tools.studies.methods import (
    SIGMA,
    WAYS,
    hinge,
    reinforce,
    softmax,
)

REPLICATES = 20_000
#: Logits and the label: a tie, spread out, right by a margin, wrong by a margin.
CASES = {
    "all equal": (np.zeros(10), 3),
    "spread": (np.linspace(-1.5, 1.5, 10), 4),
    "right": (np.r_[3.0, np.linspace(-1, 1, 9)], 0),
    "wrong": (np.r_[2.0, np.linspace(-2, 0, 9)], 9),
}
COLUMNS = {
    name: (logits[:, np.newaxis], np.eye(10)[:, [label]]) for name, (logits, label) in CASES.items()
}
UNUSED = np.random.default_rng(0)


def one_minus_p(logits, labels):
    """Differentiate 1 - softmax_y by summing over the ten answers: sum_k P_k F_k (onehot_k - P)."""
    p = softmax(logits)
    terms = [p[k] * (1 - labels[k]) * (np.eye(10)[:, [k]] - p) for k in range(10)]
    return np.sum(terms, axis=0)


def cut_off(objective, success):
    """Differentiate -log P cut off after n - 1 terms of its series: what `log_success` estimates.

    sum_{k=1..n-1} (1 - P)^k / k has the derivative (1 - (1 - P)^(n-1)) d(-log P).
    """

    def exact(logits, labels):
        p = success(logits, labels)
        return objective(logits, labels) * (1 - (1 - p) ** (methods.SAMPLES - 1))

    return exact


def gaussian_success(logits, labels):
    return 1 - smoothed_zero_one(logits, labels, SIGMA).loss


def softmax_success(logits, labels):
    return (softmax(logits) * labels).sum(axis=0)


EXPECTED = {
    "ES error": lambda logits, labels: smoothed_zero_one(logits, labels, SIGMA).gradient,
    "ES log-success": cut_off(
        lambda logits, labels: negative_log_success(logits, labels, SIGMA).gradient,
        gaussian_success,
    ),
    "REINFORCE": one_minus_p,
    "Gumbel error": one_minus_p,
    "Gumbel log-success": cut_off(cross_entropy_gradient, softmax_success),
}


def z_scores(method, expected):
    scores = []
    for number, (logits, labels) in enumerate(COLUMNS.values()):
        many = (np.repeat(array, REPLICATES, axis=1) for array in (logits, labels))
        found = method(*many, np.random.default_rng([23, number]))
        scores.extend(reference.z_scores(found, expected(logits, labels)[:, 0]))
    return np.array(scores)


def assert_unbiased(scores):
    assert len(scores) > 20
    worst, limit = np.abs(scores).max(), reference.z_threshold(len(scores))
    assert worst < limit, f"biased: |z| = {worst:.1f}, limit {limit:.1f}"


@pytest.mark.parametrize("samples", [2, 20])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_method_with_noise_is_unbiased(name, samples, monkeypatch):
    monkeypatch.setattr(methods, "SAMPLES", samples)
    assert_unbiased(z_scores(WAYS[name].method, EXPECTED[name]))


def test_every_method_with_noise_is_tested_and_knows_what_it_estimates():
    """With many samples the series has all its terms: Gumbel's log-success is cross-entropy."""
    assert EXPECTED.keys() == {name for name, way in WAYS.items() if way.exact}
    for name, expected in EXPECTED.items():
        for case in ("all equal", "spread", "right"):
            found = WAYS[name].exact(*COLUMNS[case])
            np.testing.assert_allclose(found, expected(*COLUMNS[case]), rtol=2e-3, atol=1e-15)


# --- mistakes that must be caught -----------------------------------------------------------------


def gumbel_with(score, sign, weigh, logits, labels, rng):
    shape = (len(logits), methods.SAMPLES, logits.shape[1])
    e = rng.standard_exponential(shape)
    values = zero_one_loss(logits[:, np.newaxis] + sign * np.log(e), labels[:, np.newaxis])
    weights, divisor = weigh(values)
    return (score(e) * weights).sum(axis=1) / divisor


def reinforce_with(divide, centre, logits, labels, rng):
    n = methods.SAMPLES
    counts = rng.multinomial(n, softmax(logits).T).T
    loss = 1 - labels
    mean = (counts * loss).sum(axis=0) / n if centre else 0.5
    return counts * (loss - mean) / divide(n)


def all_samples(values):
    return Weights(1 / len(values) - (1 - values) / len(values), 1)


def without_sigma(logits, labels, rng):
    noise = sample_noise(rng, 10, methods.SAMPLES, logits.shape[1], np.float64)
    found = estimate_weighed(leave_one_out, zero_one_loss, logits, labels, noise, SIGMA)
    return found.gradient * SIGMA


def score(e):
    return 1 - e


MUTANTS = {
    "no mistake": ("Gumbel error", partial(gumbel_with, score, -1, leave_one_out)),
    "the noise has the other sign": (
        "Gumbel error",
        partial(gumbel_with, score, +1, leave_one_out),
    ),
    "the noise itself, as for a Gaussian": (
        "Gumbel error",
        partial(gumbel_with, lambda e: -np.log(e), -1, leave_one_out),
    ),
    "by all samples, not by the successes": (
        "Gumbel log-success",
        partial(gumbel_with, score, -1, all_samples),
    ),
    "a baseline, but divided by n": ("REINFORCE", partial(reinforce_with, lambda n: n, True)),
    "a constant baseline, and yet without P": (
        "REINFORCE",
        partial(reinforce_with, lambda n: n, False),
    ),
    "no 1/sigma": ("ES error", without_sigma),
}


@pytest.mark.parametrize("mistake", MUTANTS)
def test_a_mistake_is_caught(mistake, monkeypatch):
    monkeypatch.setattr(methods, "SAMPLES", 20)
    name, method = MUTANTS[mistake]
    scores = z_scores(method, EXPECTED[name])
    if mistake == "no mistake":
        assert_unbiased(scores)
    else:
        with pytest.raises(AssertionError, match="biased"):
            assert_unbiased(scores)


# --- identities -----------------------------------------------------------------------------------


class Answers:
    """Stands for a random generator that draws these answers."""

    def __init__(self, answers):
        self.answers = answers

    def multinomial(self, samples, p):
        assert len(self.answers) == samples
        return np.bincount(self.answers, minlength=10)[np.newaxis]


@pytest.mark.parametrize("case", CASES)
def test_reinforce_is_exact_over_all_answers(case, monkeypatch):
    """Over all 1,000 ways in which three samples can answer, each with its probability."""
    monkeypatch.setattr(methods, "SAMPLES", 3)
    logits, labels = COLUMNS[case]
    p = softmax(logits)[:, 0]
    total = sum(
        p[list(answers)].prod() * reinforce(logits, labels, Answers(answers))
        for answers in itertools.product(range(10), repeat=3)
    )
    np.testing.assert_allclose(total, one_minus_p(logits, labels), rtol=1e-12, atol=1e-15)


def test_reinforce_is_gumbel_averaged_over_the_noise_of_each_answer():
    """E[1 - e_k | answer a] = onehot(a)_k - P_k; so it scatters less, as it was measured to."""
    logits, _ = COLUMNS["spread"]
    p = softmax(logits)
    e = np.random.default_rng(24).standard_exponential((10, 200_000))
    answers = (logits - np.log(e)).argmax(axis=0)
    scores = []
    for answer in range(10):
        found = 1 - e[:, answers == answer]
        scores.extend(reference.z_scores(found, (np.eye(10)[answer] - p[:, 0])))
    assert_unbiased(np.array(scores))


def central_differences(loss, logits, labels, step=1e-6):
    found = np.empty_like(logits)
    for k in range(len(logits)):
        shift = step * np.eye(len(logits))[:, [k]]
        found[k] = (loss(logits + shift, labels) - loss(logits - shift, labels)) / (2 * step)
    return found


def batch():
    """Draw logits with hinges open and closed, all a step away from a kink."""
    rng = np.random.default_rng(25)
    logits, labels = rng.standard_normal((10, 300)) * 2, np.eye(10)[:, rng.integers(0, 10, 300)]
    far = np.abs(margin(logits, labels) - 1) > 1e-3
    top = np.sort(np.where(labels > 0, -np.inf, logits), axis=0)
    far &= top[-1] - top[-2] > 1e-3
    assert 200 < far.sum() < 300
    return logits[:, far], labels[:, far]


def hinge_loss(logits, labels):
    return np.maximum(0, 1 - margin(logits, labels))


DIFFERENTIATED = {
    "straight-through": lambda logits, labels: 1 - softmax_success(logits, labels),
    "hinge": hinge_loss,
    "cross-entropy": cross_entropy,
}


def worst_error(method, loss):
    logits, labels = batch()
    found = method(logits, labels, UNUSED)
    expected = central_differences(loss, logits, labels)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_a_method_without_noise_is_a_derivative(name):
    assert DIFFERENTIATED.keys() == {name for name, way in WAYS.items() if way.exact is None}
    assert worst_error(WAYS[name].method, DIFFERENTIATED[name]) < 1e-8


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        # Without softmax's Jacobian; every rival down; the margin's sign.
        ("straight-through", lambda logits, labels, rng: softmax(logits) - labels),
        ("hinge", lambda logits, labels, rng: (1 - 2 * labels) * (margin(logits, labels) < 1)),
        ("hinge", lambda logits, labels, rng: -hinge(logits, labels, rng)),
    ],
)
def test_a_wrong_derivative_is_caught(name, mutant):
    assert worst_error(mutant, DIFFERENTIATED[name]) > 0.1


@pytest.mark.parametrize("name", WAYS)
def test_the_dtype_is_kept_and_a_sum_of_zero_too(name):
    """Adding a number to all logits changes no answer; only with Gaussian noise, on average."""
    logits, labels = (array.astype(np.float32) for array in batch())
    found = WAYS[name].method(logits, labels, np.random.default_rng(0))
    assert found.dtype == np.float32
    assert found.shape == logits.shape
    if name in ("REINFORCE", "straight-through", "hinge", "cross-entropy"):
        np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-6)


# --- the page -------------------------------------------------------------------------------------


def test_the_functions_of_the_page_are_those_that_were_measured():
    page = (DOCS / "which-gradient.md").read_text("utf-8")
    namespace = {"__name__": "page"}
    for block in blocks(page):
        if block.language == "python":
            exec(block.text, namespace)
    logits, labels = batch()
    of_page = {
        "ES error": partial(namespace["evolution"], namespace["leave_one_out"]),
        "ES log-success": partial(namespace["evolution"], namespace["log_success"]),
        "Gumbel error": partial(namespace["gumbel"], namespace["leave_one_out"]),
        "Gumbel log-success": partial(namespace["gumbel"], namespace["log_success"]),
        "REINFORCE": namespace["reinforce"],
        "straight-through": namespace["straight_through"],
        "hinge": namespace["hinge"],
        "cross-entropy": namespace["cross_entropy"],
    }
    assert of_page.keys() == WAYS.keys()
    for name, function in of_page.items():
        found, ours = (
            f(logits, labels, np.random.default_rng(7)) for f in (function, WAYS[name].method)
        )
        np.testing.assert_allclose(found, ours, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("page", "study"), [("which-gradient.md", gradients), ("your-loss.md", costs)]
)
def test_the_table_of_a_page_is_made_from_the_table_of_the_study(page, study):
    name = study.__name__.rpartition(".")[2]
    rows = read_table(DOCS / "studies" / f"{name}.csv")
    if not rows:
        pytest.skip(f"docs/studies/{name}.csv is not there yet")
    assert "\n".join(study.summary(rows)) in (DOCS / page).read_text("utf-8")


# --- the studies ----------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """The tiny data set, two rates and seeds, few samples."""
    monkeypatch.setattr(
        lenet_np.settings,
        "WEIGHT_DEFAULTS",
        lenet_np.settings.WEIGHT_DEFAULTS | {"batch_size": 100, "samples": 4},
    )
    for module in (gradients, costs):
        monkeypatch.setattr(module, "load_dataset", lambda *_: tiny_dataset())
        monkeypatch.setattr(module, "RATES", (1e-3, 3e-3))
        monkeypatch.setattr(module, "SEEDS", range(2))
    monkeypatch.setattr(gradients, "REPLICATES", 2)
    monkeypatch.setattr(gradients, "TURNS", 1)
    monkeypatch.setattr(methods, "SAMPLES", 4)


@pytest.mark.parametrize(
    ("study", "run"), [(gradients.gradients_study, 20), (costs.costs_study, 5)]
)
def test_a_study_that_was_interrupted_goes_on_with_the_next_run(
    small, study, run, tmp_path, monkeypatch
):
    whole = study(tmp_path / "whole", "tiny", None, 1)
    module = gradients if study is gradients.gradients_study else costs
    name = module.__name__.rpartition(".")[2]
    made, measure = [], module._measure

    def interrupt(stage, name, settings, data):
        if len(made) == run:
            raise KeyboardInterrupt
        made.append((name, settings))
        return measure(stage, name, settings, data)

    (tmp_path / "parts").mkdir()
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(module, "_measure", interrupt)
        study(tmp_path / "parts", "tiny", None, 1)
    done = len(list((tmp_path / "parts" / name).glob("*seed*.csv")))
    assert done == run
    rows = study(tmp_path / "parts", "tiny", None, 1)
    measured = [{**row, "milliseconds": ""} for row in rows]
    assert measured == [{**row, "milliseconds": ""} for row in whole]
    assert rows == read_table(tmp_path / "parts" / f"{name}.csv")
    monkeypatch.setattr(module, "_measure", None)  # nothing is left to do
    assert study(tmp_path / "parts", "tiny", None, 1) == rows


def test_the_moments_of_a_run_are_the_quarters_of_its_first_epoch_and_each_epochs_end():
    states = [initial_state(lenet5(), Settings(seed=seed)) for seed in range(17)]
    found = list(gradients.moments(iter(states[1:]), states[0], 8))
    assert [epoch for epoch, _ in found] == [0, 0.25, 0.5, 0.75, 1, 2]
    for (_, parameters), step in zip(found, (0, 2, 4, 6, 8, 16), strict=True):
        assert parameters is states[step].parameters


def row(method, epoch, accuracy, milliseconds, seed="0", stage="seeds"):
    return {
        **{"stage": stage, "method": method, "learning_rate": "0.1", "seed": seed},
        **{"epoch": epoch, "validation_accuracy": accuracy, "test_accuracy": accuracy},
        **{"dead_classes": "3 4", "relative_variance": "0.5", "relative_bias": ""},
        "milliseconds": milliseconds,
    }


def test_equal_time_is_read_off_the_curves():
    """The slow method takes four times as long: when the quick one ends epoch 2, it is at 0.5."""
    rows = [row("slow", "0", "0.9", "1", stage="rates")]
    for seed in ("0", "1"):
        rows += [row("quick", e, a, "2", seed) for e, a in (("0", "0.1"), ("1", "0.5"), ("2", "1"))]
        rows += [row("slow", e, a, "8", seed) for e, a in (("0", "0.1"), ("1", "0.7"), ("2", "1"))]
    quick, slow = gradients.summary(rows)[2:]
    assert quick == "| quick | 0.1 | 1.0000 (1.0000 to 1.0000) | 4 | 1.0000 | 0.5, unknown | 2.0 |"
    assert slow == "| slow | 0.1 | 1.0000 (1.0000 to 1.0000) | 4 | 0.4000 | 0.5, unknown | 8.0 |"


def test_scatter_is_that_of_the_gradients_themselves(monkeypatch):
    """Noise of a known size in the gradient at the logits; and none where there is none."""
    data, network = tiny_dataset(), lenet5()
    parameters = initial_state(network, Settings()).parameters

    def exact(logits, labels):
        return np.ones_like(logits)

    def longer(logits, labels, rng):
        return 1.5 * exact(logits, labels) + (0.5 if rng.random() < 0.5 else -0.5)

    monkeypatch.setitem(WAYS, "known", methods.Way(longer, exact))
    monkeypatch.setattr(gradients, "REPLICATES", 400)
    variance, bias = gradients.scatter("known", network, parameters, data.validation)
    assert 0.24 < variance < 0.26
    assert 0.42 < bias < 0.58
    assert gradients.scatter("hinge", network, parameters, data.validation) == (0, 0)


def test_the_decision_of_least_cost_costs_least_where_softmax_tells_the_truth():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((10, 50))
    p = softmax(logits)
    expected = np.array([[p[:, i] @ costs.COSTS[:, k] for i in range(50)] for k in range(10)])
    np.testing.assert_array_equal(costs.least_cost(logits), expected.argmin(axis=0))
    assert (costs.least_cost(logits) != logits.argmax(axis=0)).any()


def test_the_table_of_costs_is_that_of_the_page():
    page = (DOCS / "your-loss.md").read_text("utf-8")
    lines = re.findall(r"^COSTS.*$", page, re.MULTILINE)
    namespace = {"np": np}
    exec("\n".join(lines), namespace)
    np.testing.assert_array_equal(namespace["COSTS"], costs.COSTS)
    assert not np.diag(costs.COSTS).any()


def test_costs_are_descended_with_the_costs_of_the_answers():
    logits = np.eye(10)[:, [9, 4, 1]]
    labels = np.eye(10)[:, [4, 4, 4]]
    np.testing.assert_array_equal(costs.cost(logits, labels), [10, 0, 1])
