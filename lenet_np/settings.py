"""The settings of a run. They never change while it runs, and are checked where they are made."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lenet_np.estimators import ESTIMATORS, OBJECTIVES
from lenet_np.routes import ROUTES

LOSSES = ("zero-one", "cross-entropy")
#: What a number may be: (least, most). Beyond 1e-6 and 1e6, squares of sigma leave float32's range;
#: an int64 is what a checkpoint and NumPy's seeds both hold.
MOST = 2**63 - 1
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, MOST),
    "batch_size": (1, MOST),
    "learning_rate": (1e-30, 1e30),
    "samples": (1, MOST),
    "sigma": (1e-6, 1e6),
    "seed": (0, MOST),
}
CHOICES: dict[str, Collection[str]] = {
    "loss": LOSSES,
    "route": ROUTES,
    "estimator": ESTIMATORS,
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

    All from ``samples`` to ``objective`` concern the zero-one loss alone.
    """

    epochs: int = 50
    batch_size: int = 128  # images in a minibatch; the last of an epoch may be smaller
    learning_rate: float = 5 / 55_000  # Adam's
    loss: str = "zero-one"  # or "cross-entropy"
    samples: int = 200  # n, of the noise for each image
    sigma: float = 4.0  # standard deviation of the noise, in units of the logits
    route: str = "taylor"  # how the estimate enters the network: a key of `routes.ROUTES`
    estimator: str = "plain"  # how the gradient is estimated: a key of `estimators.ESTIMATORS`
    objective: str = "error"  # J is descended, or with "log-success" -log(1 - J)
    seed: int = 0  # decides weights, shuffles and noise

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

    def steps_per_epoch(self, examples: int) -> int:
        """Count the minibatches of an epoch over so many examples."""
        return -(-examples // self.batch_size)

    def _check_each(self) -> None:
        for name, (least, most) in RANGES.items():
            value, whole = getattr(self, name), isinstance(least, int)
            try:
                number = operator.index(value) if whole else float(value + 0)  # no text
            except (TypeError, ValueError):
                number = float("nan")
            if isinstance(value, bool) or not least <= number <= most:
                kind = "a whole number" if whole else "a number"
                bounds = f"{least} to {most}" if whole else f"{least:g} to {most:g}"
                raise SettingError(name, f"takes {kind} from {bounds}, got {value!r}")
            object.__setattr__(self, name, number)  # NumPy's numbers become Python's
        for name, known in CHOICES.items():
            if getattr(self, name) not in list(known):
                raise SettingError(name, f"is one of {tuple(known)}, got {getattr(self, name)!r}")

    def _check_pairs(self) -> None:
        try:
            ESTIMATORS[self.estimator].check_samples(self.samples, self.objective)
        except ValueError as error:
            raise SettingError("samples", str(error)) from None
