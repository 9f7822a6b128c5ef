"""What a run is made of: its settings, which never change, and its state, which does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The settings of a run; the defaults are the notebook's.

    Parameters
    ----------
    epochs : int
        Passes over the training images.
    batch_size : int
        Images in a minibatch; the last of an epoch may be smaller.
    learning_rate : float
        Adam's rate.
    loss : "zero-one" or "cross-entropy"
    samples : int
        Noise samples n of each image (zero-one only).
    sigma : float
        Standard deviation of the noise, in units of the logits (zero-one only).
    route : "taylor", "override", "vjp" or "target"
        How the estimate enters the network (zero-one only); see `lenet_np.routes`.
    estimator : a key of `lenet_np.estimators.ESTIMATORS`
        How the gradient of the smoothed loss is estimated (zero-one only).
    objective : "error" or "log-success"
        Whether J or -log(1 - J) is descended (zero-one only).
    seed : int
        Decides weights, shuffles and noise.
    """

    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 5 / 55_000
    loss: str = "zero-one"
    samples: int = 200
    sigma: float = 4.0
    route: str = "taylor"
    estimator: str = "plain"
    objective: str = "error"
    seed: int = 0
