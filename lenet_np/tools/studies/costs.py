"""Does it pay to descend a table of costs itself? Against cross-entropy, decided in two ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import load_dataset
from lenet_np.data.dataset import Dataset, Split
from lenet_np.estimators import leave_one_out
from lenet_np.evaluate import count_answers, logits_of
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state
from lenet_np.losses import predict
from lenet_np.ops import Array
from lenet_np.settings import Settings
from lenet_np.tools.cli.machine import keep_freed_memory
from lenet_np.tools.cli.screen import say
from lenet_np.tools.runs.table import Row, write_table
from lenet_np.tools.studies.gradients import (
    GRID_EPOCHS,
    GRID_SEED,
    IMAGES,
    RATES,
    SEEDS,
    file_name,
    kept,
    learn,
    moments,
)
from lenet_np.tools.studies.methods import WAYS, Method, evolution, softmax

EPOCHS = 5
#: A row for each label, a column for each answer: a 4 that is read as a 9, and a 9 as a 4, cost ten
#: times what other errors do.
COSTS: NDArray[np.float64] = 1.0 - np.eye(10)
COSTS[4, 9] = COSTS[9, 4] = 10
COLUMNS = (
    *("stage", "trained", "decision", "learning_rate", "seed", "epoch"),
    *("validation_cost", "test_cost", "validation_accuracy", "test_accuracy", "dead_classes"),
)


def cost(logits: Array, labels: Array) -> Array:
    """Look up what the largest logit costs."""
    costs: Array = COSTS[predict(labels), predict(logits)]
    return costs


def least_cost(logits: Array) -> NDArray[np.uint8]:
    """Answer what costs least if softmax tells the truth: argmin_k sum_y P_y C_yk, (N,)."""
    return predict(-COSTS.T @ softmax(logits))


TRAINED: dict[str, Method] = {
    "cross-entropy": WAYS["cross-entropy"].method,
    "costs": partial(evolution, cost, leave_one_out),
}
#: What each is trained through, and how it answers.
KINDS: dict[tuple[str, str], Callable[[Array], NDArray[np.uint8]]] = {
    ("cross-entropy", "argmax"): predict,
    ("cross-entropy", "least cost"): least_cost,
    ("costs", "argmax"): predict,
}


def costs_study(folder: Path, dataset: str, data_dir: Path | None, epochs: int) -> list[Row]:
    """Choose the rate of each kind on one seed, by the validation cost, then train the others.

    A row for each epoch, named by `COLUMNS`. A run's table is kept in ``folder/costs``, and one
    that is complete is not made again.
    """
    keep_freed_memory()
    data, home = load_dataset(dataset, data_dir), folder / "costs"
    rows: list[Row] = []

    def run(kind: tuple[str, str], stage: str, rate: float, seed: int, last: int) -> list[Row]:
        trained, decision = kind
        settings = Settings(epochs=last, batch_size=IMAGES, learning_rate=rate, seed=seed)

        def make() -> list[Row]:
            return _measure(stage, trained, settings, data)

        of_run = kept(home / file_name(trained, rate, seed), COLUMNS, last, make)
        found = [row for row in of_run if row["decision"] == decision]
        rows.extend(found)
        write_table(folder / "costs.csv", COLUMNS, rows)  # what there is so far
        say(f"{trained}, {decision}, rate {rate:g}, seed {seed}: {found[-1]['test_cost']}")
        return found

    for kind in KINDS:
        grid = {
            rate: run(kind, "rates", rate, GRID_SEED, min(GRID_EPOCHS, epochs))[-1]
            for rate in RATES
        }
        best = min(RATES, key=lambda rate: float(grid[rate]["validation_cost"]))
        for seed in SEEDS:
            run(kind, "seeds", best, seed, epochs)
    for line in summary(rows):
        say(line)
    return rows


def _measure(stage: str, trained: str, settings: Settings, data: Dataset) -> list[Row]:
    network = lenet5()
    steps = learn(network, data.train, TRAINED[trained], settings)
    first = initial_state(network, settings)
    rows = []
    for epoch, parameters in moments(steps, first, settings.steps_per_epoch(len(data.train))):
        if epoch % 1:
            continue
        found = {
            name: (split, logits_of(network, parameters, split, threads=1))
            for name, split in (("validation", data.validation), ("test", data.test))
        }
        for own, decision in KINDS:
            if own != trained:
                continue
            row = {
                **{"stage": stage, "trained": trained, "decision": decision},
                **{"learning_rate": f"{settings.learning_rate:g}", "seed": str(settings.seed)},
                "epoch": f"{epoch:g}",
            }
            for name, (split, logits) in found.items():
                mean, seen = judge(split, KINDS[own, decision](logits))
                row |= {f"{name}_cost": f"{mean:.6g}", f"{name}_accuracy": f"{seen.accuracy:.6g}"}
                if name == "validation":
                    row["dead_classes"] = " ".join(map(str, seen.dead_classes()))
            rows.append(row)
    return rows


def judge(split: Split, answers: NDArray[np.uint8]) -> tuple[float, Any]:
    """Give the mean cost of some answers, and their `Evaluation`."""
    return float(COSTS[split.classes, answers].mean()), count_answers(split.classes, answers)


def summary(rows: Sequence[Row]) -> list[str]:
    """Sum the study up in a table of Markdown."""
    lines = [
        "| trained through | answers | rate | cost on the test set (range) | errors "
        "| dead classes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for trained, decision in KINDS:
        own = [row for row in rows if (row["trained"], row["decision"]) == (trained, decision)]
        epochs = max(float(row["epoch"]) for row in own)
        last = [row for row in own if row["stage"] == "seeds" and float(row["epoch"]) == epochs]
        paid = [float(row["test_cost"]) for row in last]
        errors = 1 - np.mean([float(row["test_accuracy"]) for row in last])
        dead = sum(len(row["dead_classes"].split()) for row in last)
        lines.append(
            f"| {trained} | {decision} | {last[0]['learning_rate']} | {np.mean(paid):.4f} "
            f"({min(paid):.4f} to {max(paid):.4f}) | {errors:.4f} | {dead} |"
        )
    return lines
