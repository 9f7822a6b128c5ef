"""The settings of a run. They never change while it runs, and are checked where they are made."""

from __future__ import annotations

import operator
from collections import ChainMap
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lenet_np.estimators import ESTIMATORS, OBJECTIVES, WEIGHT_ESTIMATORS, require
from lenet_np.routes import ROUTES

LOSSES = ("zero-one", "cross-entropy")
#: What a number may be: (least, most). Beyond 1e-6 and 1e6, squares of sigma leave float32's range;
#: an int64 is what a checkpoint and NumPy's seeds both hold.
MOST = 2**63 - 1
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, MOST),
    "batch_size": (1, MOST),
    "learning_rate": (1e-30, 1e30),
    "decay": (1e-6, 1.0),
    "samples": (1, MOST),
    "sigma": (1e-6, 1e6),
    "seed": (0, MOST),
}
RANKS = ("1", "2", "3", "4", "5", "6", "7", "8", "full")
CHOICES: dict[str, Collection[str]] = {
    "loss": LOSSES,
    "perturb": ("logits", "weights"),
    "rank": RANKS,
    "route": ROUTES,
    "estimator": ChainMap[str, Any](WEIGHT_ESTIMATORS, ESTIMATORS),  # the tables may grow
    "objective": OBJECTIVES,
}


class SettingError(ValueError):
    """A setting makes no sense: ``name`` says which, ``reason`` why, and what it takes."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name, self.reason = name, reason


@dataclass(frozen=True)
class Settings:
    """The settings of a run; the defaults are the notebook's. SettingError if one makes no sense.

    With noise at the logits, all from ``samples`` to ``objective`` concern the zero-one loss and a
    user's own; noise in the weights serves every loss.
    """

    epochs: int = 50
    batch_size: int = 128  # images in a minibatch; the last of an epoch may be smaller
    learning_rate: float = 5 / 55_000  # Adam's
    loss: str = "zero-one"  # or "cross-entropy", or a user's own, "FILE.py:FUNCTION"
    samples: int = 200  # n, of the noise for each image
    sigma: float = 4.0  # standard deviation of the noise, in units of the logits
    route: str = "taylor"  # how the estimate enters the network: a key of `routes.ROUTES`
    estimator: str = "plain"  # how the gradient is estimated: a key of `estimators.ESTIMATORS`
    objective: str = "error"  # J is descended, or with "log-success" -log(1 - J)
    seed: int = 0  # decides weights, shuffles and noise
    perturb: str = "logits"  # or "weights": where the noise is
    rank: str = "1"  # of the noise in the weights, or "full"
    decay: float = 1.0  # of the learning rate: a factor for each epoch

    def __post_init__(self) -> None:
        self._check_each()
        self._check_pairs()

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> Settings:
        """Take the settings that an older version recorded: what it did not know has its default.

        Each value is checked; but a pair that is refused today can still be evaluated and plotted.
        SettingError if a value, or the name of one, makes no sense.
        """
        settings = object.__new__(cls)
        for name in values.keys() - {field.name for field in fields(cls)}:
            raise SettingError(str(name), "is no setting of this version")
        for field in fields(cls):
            object.__setattr__(settings, field.name, values.get(field.name, field.default))
        settings._check_each()
        return settings

    @property
    def own_loss(self) -> bool:
        """Whether the loss is a user's function, which is known by its name alone here."""
        return ":" in self.loss

    def steps_per_epoch(self, examples: int) -> int:
        """Count the minibatches of an epoch; SettingError if one has more than all examples."""
        if self.batch_size > examples:
            raise SettingError(
                "batch_size",
                f"takes 1 to {examples}, the number of training images, got {self.batch_size}",
            )
        return -(-examples // self.batch_size)

    def _check_each(self) -> None:
        for name, (least, most) in RANGES.items():
            value, whole = getattr(self, name), isinstance(least, int)
            try:
                number = operator.index(value) if whole else float(value + 0)  # no text
            except (TypeError, ValueError, OverflowError):
                number = float("nan")
            if isinstance(value, bool) or not least <= number <= most:
                kind = "a whole number" if whole else "a number"
                bounds = f"{least} to {most}" if whole else f"{least:g} to {most:g}"
                raise SettingError(name, f"takes {kind} from {bounds}, got {value!r}")
            object.__setattr__(self, name, number)  # NumPy's numbers become Python's
        for name, known in CHOICES.items():
            value = getattr(self, name)
            own = name == "loss" and isinstance(value, str)
            if value not in list(known) and not (own and self.own_loss):
                more = ", or FILE.py:FUNCTION" if own else ""
                raise SettingError(name, f"is one of {tuple(known)}{more}, got {value!r}")

    def _check_pairs(self) -> None:
        try:
            if self.perturb == "logits":
                self._check_logits()
            else:
                self._check_weights()
        except ValueError as error:
            if isinstance(error, SettingError):
                raise
            raise SettingError("samples", str(error)) from None

    def _check_logits(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise SettingError("estimator", f"{self.estimator} is for noise in the weights alone")
        if self.rank != Settings.rank:
            raise SettingError("rank", "is for noise in the weights alone")
        ESTIMATORS[self.estimator].check_samples(self.samples, self.objective)

    def _check_weights(self) -> None:
        if self.route != Settings.route:
            raise SettingError(
                "route", "leads back from the logits; noise in the weights needs none"
            )
        if self.estimator not in WEIGHT_ESTIMATORS:
            known = tuple(WEIGHT_ESTIMATORS)
            raise SettingError(
                "estimator", f"for noise in the weights is one of {known}, got {self.estimator!r}"
            )
        estimator = WEIGHT_ESTIMATORS[self.estimator]
        require(estimator.samples, self.samples)
        if self.estimator == "ranks" and self.rank != "full":
            raise SettingError(
                "estimator",
                "ranks compares whole networks on a minibatch: it needs rank full, where all "
                "images share them",
            )
        if self.objective not in estimator.weighings:
            raise SettingError("objective", f"ranks know no {self.objective}: takes error")
        if self.objective == "log-success":
            if self.loss == "cross-entropy":
                raise SettingError("objective", "log-success counts successes: needs loss zero-one")
            require(
                ("log-success compares samples: takes at least two", lambda n: n >= 2), self.samples
            )


#: Defaults that suit noise in the weights, where others are not given.
WEIGHT_DEFAULTS = {
    "batch_size": 512,
    "learning_rate": 0.01,
    "samples": 16,
    "sigma": 0.05,
    "estimator": "antithetic",
    "objective": "log-success",
}


def resolve(given: Mapping[str, Any]) -> Settings:
    """Make settings of those that were given; the defaults of the others suit the noise's place."""
    if given.get("perturb") != "weights":
        return Settings(**given)
    defaults: dict[str, Any] = dict(WEIGHT_DEFAULTS)
    if given.get("loss", Settings.loss) != Settings.loss or given.get("estimator") == "ranks":
        defaults["objective"] = "error"
    return Settings(**defaults | dict(given))
