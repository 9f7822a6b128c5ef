"""How far each estimator scatters about the exact gradient, along a training run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lenet_np.data import CLASSES, load_dataset
from lenet_np.data.minibatch import gather
from lenet_np.estimators import ESTIMATORS, OBJECTIVES
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state, train
from lenet_np.losses import zero_one_loss
from lenet_np.ops import Array, Parameters
from lenet_np.settings import Settings
from lenet_np.threads import one_blas_thread
from lenet_np.tools.cli.machine import keep_freed_memory
from lenet_np.tools.runs.table import Row, read_table, write_table

EPOCHS = 10
IMAGES = 128
SAMPLES = 256  # a power of two, as a Sobol sequence wants it
REPLICATES = 64
COLUMNS = ("epoch", "objective", "estimator", "variance", "relative_variance", "bias", "cosine")


def variance_study(folder: Path, dataset: str, data_dir: Path | None, epochs: int) -> list[Row]:
    """Train with the notebook's settings, and after each epoch estimate the same gradient often.

    Variance is the mean over replicates of sum |estimate - their mean|², bias the norm of their
    mean minus the exact gradient, less what chance alone would give; both relative to the
    squared norm, and the norm, of the exact gradient. The relative variance is that to `plain`.
    The table is also in ``folder/variance.csv``; one that is complete is not made again.
    """
    table = folder / "variance.csv"
    rows = read_table(table)
    if rows and int(rows[-1]["epoch"]) >= epochs:
        return [row for row in rows if int(row["epoch"]) <= epochs]
    keep_freed_memory()
    data, network = load_dataset(dataset, data_dir), lenet5()
    settings = Settings(epochs=epochs)
    images, labels = gather(data.validation, slice(0, IMAGES))

    def measure(parameters: Parameters, epoch: int) -> None:
        with one_blas_thread():
            logits, _ = network.forward(parameters, images)
        for objective in OBJECTIVES:
            rows.extend(_measure(logits, labels, settings.sigma, objective, epoch))

    rows = []
    measure(initial_state(network, settings).parameters, 0)
    for state, metrics in train(network, data.train, settings, threads=1):
        if metrics.step == metrics.steps_per_epoch:
            measure(state.parameters, metrics.epoch)
    write_table(table, COLUMNS, rows)
    return rows


def _measure(logits: Array, labels: Array, sigma: float, objective: str, epoch: int) -> list[Row]:
    """Compare all estimators at one moment."""
    oracle = ESTIMATORS["exact"].objectives[objective]
    exact = oracle(zero_one_loss, logits, labels, None, sigma).gradient.astype(np.float64)
    power = float(np.square(exact).sum())
    rows: list[Row] = []
    plain = np.nan
    for number, (name, estimator) in enumerate(ESTIMATORS.items()):
        if estimator.draw is None:
            continue
        found = []
        for replicate in range(REPLICATES):
            rng = np.random.default_rng([epoch, number, replicate])
            noise = estimator.draw(rng, CLASSES, SAMPLES, logits.shape[1], logits.dtype)
            estimate = estimator.objectives[objective]
            found.append(estimate(zero_one_loss, logits, labels, noise, sigma).gradient)
        estimates = np.array(found, np.float64)  # (replicates, K, N)
        mean = estimates.mean(axis=0)
        variance = float(np.square(estimates - mean).sum()) / (REPLICATES - 1)
        squared_bias = float(np.square(mean - exact).sum()) - variance / REPLICATES
        cosines = (estimates * exact).sum(axis=(1, 2)) / (
            np.sqrt(np.square(estimates).sum(axis=(1, 2)) * power)
        )
        plain = variance if name == "plain" else plain
        rows.append(
            {
                "epoch": str(epoch),
                "objective": objective,
                "estimator": name,
                "variance": f"{variance / power:.4g}",
                "relative_variance": f"{variance / plain:.4g}",
                "bias": f"{np.sqrt(max(squared_bias, 0.0) / power):.4g}",
                "cosine": f"{cosines.mean():.4g}",
            }
        )
    return rows
