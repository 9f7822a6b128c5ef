"""A user's own loss: found, tried before anything starts, and sent to workers as its source."""

from __future__ import annotations

import hashlib
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lenet_np.data import CLASSES
from lenet_np.es import BatchLoss, check_losses, sample_noise
from lenet_np.estimators import ESTIMATORS, WEIGHT_ESTIMATORS
from lenet_np.losses import Loss, LossError
from lenet_np.ops import Array
from lenet_np.settings import SettingError, Settings
from lenet_np.workers import loss_at_logits


@dataclass(frozen=True)
class OwnLoss:
    """A loss that can travel: it takes its source along, and not its module."""

    name: str  # FILE.py:FUNCTION or MODULE:FUNCTION
    file: str
    source: bytes
    package: str = ""  # that relative imports start from

    def __call__(self, logits: Array, labels: Array) -> Any:
        """Compute the losses; LossError, in one line, if the user's function raises an error."""
        try:
            return getattr(self.module(), self.function)(logits, labels)
        except MemoryError:
            raise
        except Exception as error:
            raise LossError(f"it raised {_described(error, self.file)}") from error

    @property
    def function(self) -> str:
        """The function's name."""
        return self.name.rpartition(":")[2]

    def module(self) -> ModuleType:
        """Run the file, once in each process; what it raises comes through."""
        return _module(self.source, self.file, self.package)

    def sha256(self) -> str:
        """Compute the hash of the file."""
        return hashlib.sha256(self.source).hexdigest()


@cache
def _module(source: bytes, file: str, package: str) -> ModuleType:
    module = ModuleType(f"lenet_np_loss_{hashlib.sha256(source).hexdigest()[:16]}")
    module.__file__, module.__package__ = file, package
    sys.modules[module.__name__] = module  # Dataclasses, for one, look there for their module.
    exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    return module


def _described(error: BaseException, file: str) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    where = f" (line {lines[-1]} of {Path(file).name})" if lines else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


def load_loss(name: str) -> OwnLoss:
    """Find a loss by its name, and run its file once; SettingError if that cannot be done."""
    place, _, function = name.rpartition(":")
    if not place or not function.isidentifier():
        raise SettingError("loss", f"takes FILE.py:FUNCTION or MODULE:FUNCTION, got {name}")
    file, package = place, ""
    try:
        if not place.endswith(".py"):
            spec = find_spec(place)
            if spec is None or not (spec.origin or "").endswith(".py"):
                raise SettingError("loss", f"{place} is neither a file FILE.py nor a module here")
            file, package = str(spec.origin), spec.parent or ""
        loss = OwnLoss(name, file, Path(file).read_bytes(), package)
        found = getattr(loss.module(), function, None)
    except OSError as error:
        raise SettingError("loss", f"cannot read {file}: {error.strerror or error}") from error
    except SettingError:
        raise
    except (Exception, SystemExit) as error:
        raise SettingError("loss", f"{file} raised {_described(error, file)}") from error
    if not callable(found):
        raise SettingError("loss", f"{file} has no function {function}")
    return loss


def try_loss(loss: OwnLoss, settings: Settings) -> Loss:
    """Try a loss on a small batch, with the run's estimator; SettingError if it will not do.

    A loss of a whole minibatch comes back as such: it is recognised by its shape, (n, 1).
    """
    try:
        return _check(loss, settings)
    except ValueError as error:
        raise SettingError("loss", f"{loss.name}: {error}") from error


def _check(loss: Loss, settings: Settings) -> Loss:
    rng = np.random.default_rng(0)
    samples, batch = 200, CLASSES
    labels = np.eye(CLASSES, dtype=np.float32)[:, np.newaxis]
    logits = 4 * sample_noise(rng, CLASSES, samples, batch)
    for array in (logits, labels):
        array.flags.writeable = False  # They belong to the caller, who may use them again.
    given: Any = loss(logits, labels)
    whole = getattr(given, "shape", None) == (samples, 1)
    if whole:
        loss = BatchLoss(loss)
        given = loss(logits, labels)
    axes = "n, 1), of a whole minibatch, or (n, N"
    values = check_losses(given, (samples, batch), logits, axes)
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)][0]
        raise LossError(f"it gave {bad} for finite logits; expected are finite numbers")
    again = check_losses(loss(logits, labels), values.shape, logits, axes)
    if not np.array_equal(again, values):
        changed = again != values
        raise LossError(
            f"it gave {values[changed][0]:g} and then {again[changed][0]:g} for the same logits; "
            f"expected is a function of logits and labels alone"
        )
    first = 0 if whole else 1  # A loss of each example must not change with the others.
    part = loss(logits[:, :1, first:], labels[..., first:])
    part = check_losses(part, (1, batch - first), logits, "n, N")
    if not np.allclose(part, values[:1, first:], rtol=1e-3):
        raise LossError(
            "it gave other losses for the same samples and examples among fewer others; expected "
            "is one loss for each, whatever else is in the batch"
        )
    if settings.perturb == "weights":
        WEIGHT_ESTIMATORS[settings.estimator].weighings[settings.objective](values)
    else:
        draw = ESTIMATORS[settings.estimator].draw
        noise = None if draw is None else draw(rng, CLASSES, settings.samples, batch, np.float32)
        loss_at_logits(settings, noise, loss)(logits[:, 0], labels[:, 0])
    return loss
