"""What the runs are called in titles and legends: by their settings, not by their folders."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from lenet_np.settings import Settings
from lenet_np.tools.runs.folder import Config

#: How a setting is put into words. The number of epochs is seen in the pictures themselves.
_WORDS = {
    "loss": "{} loss",
    "objective": "objective {}",
    "estimator": "estimator {}",
    "route": "route {}",
    "learning_rate": "learning rate {:.3g}",
    "samples": "{} samples",
    "sigma": "sigma {:g}",
    "batch_size": "batch size {}",
    "perturb": "noise in the {}",
    "rank": "rank {}",
    "decay": "decay {:g}",
    "seed": "seed {}",
}
_OF_ZERO_ONE = ("objective", "estimator", "route", "samples", "sigma")


def effective(settings: Settings) -> Settings:
    """Set to its default what decides no step: the epochs, and without noise those of the noise.

    Two runs whose effective settings are equal take the same steps.
    """
    defaults = Settings()
    names = ["epochs"]
    if _is_exact(settings):
        names += _OF_ZERO_ONE
    # Recorded: an old run may hold a pair of settings that new ones may not.
    return Settings.recorded(asdict(settings) | {name: getattr(defaults, name) for name in names})


def _is_exact(settings: Settings) -> bool:
    return settings.loss == "cross-entropy" and settings.perturb == "logits"


def differing(settings: Sequence[Settings]) -> list[str]:
    """List the settings that are not the same in all runs."""
    return [name for name in _WORDS if len({getattr(one, name) for one in settings}) > 1]


def words(settings: Settings, names: Collection[str]) -> str:
    """Put some settings into words, without those that do not apply."""
    chosen: dict[str, Any] = {name: getattr(settings, name) for name in _WORDS if name in names}
    if _is_exact(settings):
        chosen = {name: value for name, value in chosen.items() if name not in _OF_ZERO_ONE}
    return ", ".join(_WORDS[name].format(value) for name, value in chosen.items())


def unusual(settings: Settings) -> list[str]:
    """List what a title names: the loss, and the settings that are not the defaults."""
    defaults = Settings()
    return [
        name
        for name in _WORDS
        if name == "loss" or getattr(settings, name) != getattr(defaults, name)
    ]


def title(config: Config) -> str:
    """Name a run by its data set and settings."""
    settings = config.settings
    return f"{config.dataset}: {words(settings, [*unusual(settings), 'seed'])}"
