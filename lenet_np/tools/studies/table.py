"""Which runs make up each study. This table is all there is to change for another experiment."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import NamedTuple

from lenet_np.settings import Settings

NOTEBOOK = Settings(epochs=20)  # its settings, and enough epochs to see where a run goes
FAST_RATE = 1e-3
SEEDS = range(10)
LONG_SEEDS = range(3)  # these go on to the notebook's 50 epochs


class Study(NamedTuple):
    """A set of runs, by their names, and what they are to show."""

    question: str
    runs: dict[str, Settings]


def _name(settings: Settings) -> str:
    """Name a run by what differs between the runs of the studies."""
    if settings.loss == "cross-entropy":
        kind = "cross-entropy"
    else:
        kind = f"{settings.objective}-{settings.estimator}-n{settings.samples}-s{settings.sigma:g}"
    return f"{kind}-lr{settings.learning_rate:.3g}-seed{settings.seed}"


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
            for base, rate, seed in product((CURE, CROSS_ENTROPY), (FAST_RATE, 2e-3), LONG_SEEDS)
        ),
    ),
    "grid": _study(
        "How do sigma and the number of samples matter?",
        *(
            replace(NOTEBOOK, objective=objective, sigma=sigma, samples=samples, epochs=5)
            for objective, sigma, samples in product(
                ("error", "log-success"), (0.5, 1.0, 1.75, 4.0, 8.0), (5, 20, 50, 200, 1000)
            )
        ),
    ),
}
