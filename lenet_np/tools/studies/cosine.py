"""How well noise in the weights finds the gradient, beside the law for straight lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from lenet_np.data import load_dataset
from lenet_np.data.minibatch import gather
from lenet_np.estimators import WEIGHT_ESTIMATORS
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state, train
from lenet_np.losses import cross_entropy, cross_entropy_gradient
from lenet_np.ops import Array, Float64, Parameters
from lenet_np.seeds import generator
from lenet_np.settings import resolve
from lenet_np.threads import one_blas_thread
from lenet_np.tools.cli.machine import keep_freed_memory
from lenet_np.tools.runs.table import Row, read_table, write_table
from lenet_np.weights import (
    Minibatch,
    draw_rank_noise,
    estimate_by_full_noise,
    estimate_by_rank_noise,
)

EPOCHS = 2
IMAGES = 64
FULL = 4  # samples of a block, each a mirrored pair; of noise of the images' own, one for each
COUNTS = 6  # it is looked at after 1, 4, 16, ... blocks
COLUMNS = ("epoch", "noise", "samples", "cosine", "law")
NETWORK, SETTINGS = lenet5(), resolve({"perturb": "weights"})


def cosine_study(folder: Path, dataset: str, data_dir: Path | None, epochs: int) -> list[Row]:
    """Train with noise in the weights, and compare estimates with backpropagation on the way.

    The loss is cross-entropy, whose gradient is known. For a straight line, n independent samples
    give the cosine 1 / sqrt(1 + r (d + 1) / n). With networks that read all images r is 1; with
    noise of each image's own it is mean |g_i|² / |mean g_i|², of the images' own gradients g_i.
    The table is also in ``folder/weights-cosine.csv``; one that is complete is not made again.
    """
    table = folder / "weights-cosine.csv"
    rows = read_table(table)
    if rows and int(rows[-1]["epoch"]) >= epochs:
        return [row for row in rows if int(row["epoch"]) <= epochs]
    keep_freed_memory()
    data = load_dataset(dataset, data_dir)
    settings = replace(SETTINGS, epochs=epochs)
    images, labels = gather(data.validation, slice(0, IMAGES))

    rows = list(_measure(initial_state(NETWORK, settings).parameters, images, labels, 0))
    for state, metrics in train(NETWORK, data.train, settings, threads=1):
        if metrics.step == metrics.steps_per_epoch:
            rows.extend(_measure(state.parameters, images, labels, metrics.epoch))
    write_table(table, COLUMNS, rows)
    return rows


def _measure(parameters: Parameters, images: Array, labels: Array, epoch: int) -> Iterator[Row]:
    with one_blas_thread():
        count = images.shape[-1]
        own = np.stack([_gradient(parameters, images, labels, i) for i in range(count)])
        gradient = own.mean(axis=0)
        length = np.linalg.norm(gradient)
        ratio = float(np.square(own).sum(axis=1).mean() / length**2)
        given = parameters, images, labels
        kinds: list[tuple[str, int, float, Callable[[int], Parameters]]] = [
            ("full noise shared by all images", FULL, 1.0, partial(_full, *given)),
            ("noise of rank 1 of each image's own", count, ratio, partial(_own, *given)),
        ]
        for noise, samples, r, estimate in kinds:
            total = np.zeros_like(gradient)
            for block in range(4 ** (COUNTS - 1)):
                total += _flat(estimate(block))
                n = (block + 1) * samples
                if n in [samples * 4**k for k in range(COUNTS)]:
                    cosine = total @ gradient / (np.linalg.norm(total) * length)
                    law = 1 / np.sqrt(1 + r * (gradient.size + 1) / n)
                    found = (str(epoch), noise, str(n), f"{cosine:.4g}", f"{law:.4g}")
                    yield dict(zip(COLUMNS, found, strict=True))


def _gradient(parameters: Parameters, images: Array, labels: Array, i: int) -> Float64:
    logits, caches = NETWORK.forward(parameters, images[..., i : i + 1])
    dlogits = cross_entropy_gradient(logits, labels[:, i : i + 1])
    return _flat(NETWORK.backward(dlogits, caches)[1])


def _full(parameters: Parameters, images: Array, labels: Array, block: int) -> Parameters:
    sigma, estimator = SETTINGS.sigma, WEIGHT_ESTIMATORS["antithetic"]
    given = (NETWORK, parameters, lambda: (images, labels), sigma, cross_entropy, (0, block))
    with ThreadPoolExecutor(1) as pool:
        minibatch = Minibatch(*given)
        taught = estimate_by_full_noise(pool.submit, minibatch, 2 * FULL, estimator, "error")
    return taught.gradients


def _own(parameters: Parameters, images: Array, labels: Array, block: int) -> Parameters:
    sigma, estimator = SETTINGS.sigma, WEIGHT_ESTIMATORS["antithetic"]
    rng = generator(0, "weight noise", block)
    noise = draw_rank_noise(rng, parameters, 1, 2, images.shape[-1], True)
    weigh = estimator.weighings["error"]
    given = (NETWORK, parameters, images, labels, noise, sigma, cross_entropy, weigh)
    return estimate_by_rank_noise(*given).gradients


def _flat(gradients: Parameters) -> Float64:
    return np.concatenate([gradients[k].ravel() for k in sorted(gradients)]).astype(np.float64)
