"""Which runs make up each study. This table is all there is to change for another experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from lenet_np.settings import Settings, resolve

NOTEBOOK = Settings(epochs=20)  # its settings, and enough epochs to see where a run goes
FAST_RATE = 1e-3
RATES = (NOTEBOOK.learning_rate, 3e-4, FAST_RATE, 2e-3, 4e-3)
SEEDS = range(10)
LONG_SEEDS = range(3)  # these go on to the notebook's 50 epochs


class Study(NamedTuple):
    """A set of runs, by their names, and what they are to show."""

    question: str
    runs: dict[str, Settings]


def _name(settings: Settings) -> str:
    """Name a run by what differs between the runs of the studies."""
    if settings.perturb == "logits" and settings.loss == "cross-entropy":
        kind = "cross-entropy"
    else:
        kind = f"{settings.objective}-{settings.estimator}-n{settings.samples}-s{settings.sigma:g}"
    if settings.perturb == "weights":
        kind = f"weights-rank-{settings.rank}-{kind}-N{settings.batch_size}"
    falling = f"-decay{settings.decay:g}" if settings.decay < 1 else ""
    return f"{kind}-lr{settings.learning_rate:.3g}{falling}-seed{settings.seed}"


def _study(question: str, *settings: Settings) -> Study:
    return Study(question, {_name(s): s for s in settings})


def _seeds(settings: Settings, long: bool = False) -> list[Settings]:
    """Repeat for every seed; if ``long``, the first three for 50 epochs."""
    return [
        replace(settings, seed=seed, epochs=50 if long and seed in LONG_SEEDS else settings.epochs)
        for seed in SEEDS
    ]


CURE = replace(NOTEBOOK, objective="log-success")
CROSS_ENTROPY = replace(NOTEBOOK, loss="cross-entropy")

#: A reading is one image read by one perturbed network. Studies of noise in the weights compare at
#: equal readings: so many of each training image, `STEP_READINGS` in a step.
IMAGE_READINGS, STEP_READINGS = 32, 8192
WEIGHT_RATES = (0.005, 0.01)
SIGMAS, ONE_SIGMA = (0.05, 0.1), (0.05,)  # 0.1 was worse wherever it was tried


def _weights(samples: int = 16, **given: Any) -> Settings:
    sizes = {"epochs": IMAGE_READINGS // samples, "batch_size": STEP_READINGS // samples}
    return resolve({"perturb": "weights", "samples": samples, **sizes, **given})


def _at_best(
    settings: Settings, sigmas: Sequence[float], rate: float, seeds: int = 2
) -> list[Settings]:
    """Try the grid from seed 0, and repeat its best for more seeds: sigma 0.05 and this rate."""
    grid = [replace(settings, sigma=s, learning_rate=r) for s, r in product(sigmas, WEIGHT_RATES)]
    best = replace(settings, sigma=0.05, learning_rate=rate)
    return [*grid, *(replace(best, seed=seed) for seed in range(1, seeds))]


STUDIES = {
    "long": _study(
        "What do fifty epochs look like: the notebook's settings, the cure, cross-entropy?",
        *(
            replace(base, learning_rate=rate, seed=seed, epochs=50)
            for base, rate in (
                (NOTEBOOK, NOTEBOOK.learning_rate),
                (CURE, FAST_RATE),
                (CROSS_ENTROPY, FAST_RATE),
            )
            for seed in LONG_SEEDS
        ),
    ),
    "lottery": _study(
        "How do the notebook's settings fare from seed to seed?", *_seeds(NOTEBOOK, long=True)
    ),
    "noise": _study(
        "Is it the noise of the estimate, or the shape of the loss?",
        *_seeds(replace(NOTEBOOK, estimator="exact")),
        *_seeds(replace(NOTEBOOK, estimator="leave-one-out")),
    ),
    "cure": _study(
        "Does descending -log P keep every class alive?",
        *_seeds(CURE),
        *_seeds(replace(CURE, learning_rate=FAST_RATE), long=True),
    ),
    "best": _study(
        "How far from cross-entropy is it, each at its own best learning rate?",
        *(
            replace(base, learning_rate=rate, seed=seed, epochs=50)
            for base, rate, seed in product((CURE, CROSS_ENTROPY), RATES, LONG_SEEDS)
        ),
    ),
    "grid": _study(
        "How do sigma and the number of samples matter?",
        *(
            replace(NOTEBOOK, objective=objective, sigma=sigma, samples=samples, epochs=5)
            for objective, sigma, samples in product(
                ("error", "log-success"),
                (0.125, 0.25, 0.5, 1.0, 1.75, 4.0, 8.0),
                (5, 20, 50, 200, 1000),
            )
        ),
    ),
    "weights-cure": _study(
        "Does noise in the weights lose classes too, and does the same cure help?",
        *_at_best(_weights(objective="error"), SIGMAS, 0.01, seeds=5),
        *_at_best(_weights(), SIGMAS, 0.01, seeds=5),
    ),
    "weights-rank": _study(
        "Networks that a minibatch shares, or noise of rank 1, 2, 4 of each image's own?",
        *_at_best(_weights(32, rank="full"), SIGMAS, 0.01),
        *_at_best(_weights(32, rank="full", batch_size=64), SIGMAS, 0.005),
        *_at_best(_weights(), SIGMAS, 0.01),
        *_at_best(_weights(rank="2"), SIGMAS, 0.01),
        *_at_best(_weights(rank="4"), ONE_SIGMA, 0.01),
    ),
    "weights-samples": _study(
        "At equal readings, many samples of few images or few of many?",
        *_at_best(_weights(2), ONE_SIGMA, 0.005),
        *_at_best(_weights(4), ONE_SIGMA, 0.005),
        *_at_best(_weights(8), ONE_SIGMA, 0.01),
        *_at_best(_weights(), SIGMAS, 0.01),
        *_at_best(_weights(32), ONE_SIGMA, 0.01),
    ),
    "weights-long": _study(
        "How far does noise in the weights come, and how many readings does it take?",
        *(
            replace(_weights(), learning_rate=0.01, decay=decay, epochs=epochs)
            for decay, epochs in ((0.95, 60), (0.97, 75))
        ),
        *(replace(base, learning_rate=FAST_RATE, epochs=10) for base in (CURE, CROSS_ENTROPY)),
    ),
}
