"""What the tests of the estimators share: which there are, batches for them, and their noise."""

from __future__ import annotations

import numpy as np
from reference import LOGIT_CASES

from lenet_np import es
from lenet_np.estimators import ESTIMATORS, OBJECTIVES

REPLICATES = 20_000
SAMPLED = [name for name in ESTIMATORS if name != "exact"]
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


def random_batch(seed, samples, batch=200, sigma=2.0):
    """Draw logits with all shares of success, their labels and plain noise."""
    rng = np.random.default_rng([18, seed])
    logits = rng.standard_normal((10, batch)) * 2 * sigma
    labels = one_hot(rng.integers(0, 10, batch))
    return logits, labels, es.sample_noise(rng, 10, samples, batch, np.float64), sigma
