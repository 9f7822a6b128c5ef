"""Signs of health of a training run: can every class still learn, and how noisy is what it learns?

All of it is measured on one fixed minibatch, so that numbers of different epochs compare.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES, Split
from lenet_np.data.minibatch import gather
from lenet_np.es import Estimate
from lenet_np.estimators import ESTIMATORS
from lenet_np.layers import ReLU, Sequential
from lenet_np.losses import cross_entropy_gradient, margin, zero_one_loss
from lenet_np.ops import Array, Float64, Parameters
from lenet_np.seeds import generator
from lenet_np.settings import Settings
from lenet_np.threads import one_blas_thread

IMAGES = 256
REPLICATES = 4


class Diagnostics(NamedTuple):
    """What was measured; NaN where there is nothing to measure."""

    #: (10,), mean of (l_y - max_{j != y} l_j) / sigma over the images of a class; with noise in the
    #: weights there is no sigma of the logits, and it is not divided
    margin: Float64
    gradient_norm: Float64  # (10,), mean |g| over the images of a class, g exact at the logits
    signal_to_noise: float  # sum |g|² / mean over replicates of sum |estimate - g|²
    cosine: float  # mean over replicates of the cosine between the estimates and g
    signal_share: float  # of the images, those whose estimate of J is neither 0 nor 1
    dead_units: dict[str, float]  # share of the units of each ReLU that are 0 for every image


def diagnose(
    network: Sequential, parameters: Parameters, split: Split, settings: Settings, epoch: int
) -> Diagnostics:
    """Look at the logits, the gradient and its estimate on the first `IMAGES` validation images.

    The noise of the replicates is a function of (seed, epoch).
    """
    images, labels = gather(split, slice(0, IMAGES))
    with one_blas_thread():  # the same bits whatever the number of threads
        logits, caches = network.forward(parameters, images)
    classes = split.classes[:IMAGES]
    dead_units = {
        name: _dead_share(cache.y)
        for (name, layer), cache in zip(network.layers, caches, strict=True)
        if isinstance(layer, ReLU)
    }
    signal_to_noise = cosine = signal_share = float("nan")
    unit = settings.sigma
    if settings.perturb == "weights":
        unit, gradient = 1.0, np.full_like(logits, np.nan)
    elif settings.own_loss:  # Nobody knows its exact gradient.
        gradient = np.full_like(logits, np.nan)
    elif settings.loss == "cross-entropy":
        gradient = cross_entropy_gradient(logits, labels)
    else:
        gradient = _exact(logits, labels, settings).gradient
        signal_to_noise, cosine, signal_share = _signal(gradient, logits, labels, settings, epoch)
    return Diagnostics(
        _class_means(margin(logits, labels) / unit, classes),
        _class_means(np.linalg.norm(gradient, axis=0), classes),
        signal_to_noise,
        cosine,
        signal_share,
        dead_units,
    )


def _exact(logits: Array, labels: Array, settings: Settings) -> Estimate:
    oracle = ESTIMATORS["exact"].objectives[settings.objective]
    return oracle(zero_one_loss, logits, labels, None, settings.sigma)


def _signal(
    gradient: Array, logits: Array, labels: Array, settings: Settings, epoch: int
) -> tuple[float, float, float]:
    """Compare estimates with the exact gradient: signal to noise, cosine, share with a signal."""
    estimator = ESTIMATORS[settings.estimator]
    if estimator.draw is None:
        return float("inf"), 1.0, 1.0
    estimate = estimator.objectives[settings.objective]
    errors, cosines, signals = [], [], []
    for replicate in range(REPLICATES):
        rng = generator(settings.seed, "diagnostics", REPLICATES * epoch + replicate)
        parts = []
        # No more at a time than a training step has, so that memory suffices here too.
        for start in range(0, logits.shape[1], settings.batch_size):
            here = logits[:, start : start + settings.batch_size]
            answers = labels[:, start : start + settings.batch_size]
            noise = estimator.draw(rng, CLASSES, settings.samples, here.shape[1], here.dtype)
            parts.append(estimate(zero_one_loss, here, answers, noise, settings.sigma))
        loss = np.concatenate([part.loss for part in parts])
        found = np.concatenate([part.gradient for part in parts], axis=1)
        errors.append(float(np.square(found - gradient).sum()))
        length = float(np.linalg.norm(found) * np.linalg.norm(gradient))
        cosines.append(float(np.vdot(found, gradient)) / length if length else 0.0)
        signals.append(float(((loss > 0) & (loss < 1)).mean()))
    power = float(np.square(gradient).sum())
    noise_power = float(np.mean(errors))
    ratio = power / noise_power if noise_power else float("inf")
    return ratio, float(np.mean(cosines)), float(np.mean(signals))


def _class_means(values: Array, classes: NDArray[np.uint8]) -> Float64:
    count = np.bincount(classes, minlength=CLASSES)
    total = np.bincount(classes, weights=values, minlength=CLASSES)
    means: Float64 = np.divide(total, count, out=np.full(CLASSES, np.nan), where=count > 0)
    return means


def _dead_share(y: Array) -> float:
    """Count the units, or for feature maps the channels, that are 0 for every image."""
    return float((y.reshape(len(y), -1).max(axis=1) == 0).mean())
