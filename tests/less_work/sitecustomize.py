"""Less work for the commands of the documentation: the same programs, with fewer of everything.

Python imports a module of this name when it starts. So each process that has this folder on its
path works less, and so do the processes that it starts: `tests/test_docs.py` runs the commands of
the pages so. Their words are untouched. What changes is data, constants and two functions that
draw or check many things, in a module of lenet_np right after it has been imported.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

EPOCHS, SAMPLES, IMAGES = 2, 4, 128


def change(module: ModuleType, **constants: Any) -> None:
    for name, value in constants.items():
        assert hasattr(module, name), f"{module.__name__} has no {name} to make smaller"
        setattr(module, name, value)


def other_defaults(function: Any, names: list[str], **values: Any) -> None:
    """Change the defaults of a function, all of whose arguments have one."""
    assert values.keys() <= set(names), f"no {values.keys() - set(names)} in {names}"
    before = dict(zip(names, function.__defaults__, strict=True))
    function.__defaults__ = tuple((before | values).values())


# --- what is made smaller -----------------------------------------------------------------------


def mnist(module: ModuleType) -> None:
    """The files in the folder named by LENET_NP_DATA are the official ones."""
    files = []
    for file in module.FILES:
        content = Path(os.environ["LENET_NP_DATA"], file.name).read_bytes()
        found = module.Fingerprint(len(content), hashlib.sha256(content).hexdigest())
        files.append(file._replace(unpacked=found))
    change(module, FILES=tuple(files), VALIDATION_SIZE=60)


def synthetic(module: ModuleType) -> None:
    """As many digits as ever, but each class looks the same; and none of them in the cache."""
    import numpy as np

    digits = module._draw_block(np.arange(10), np.random.default_rng(0))

    def no_cache() -> Path:
        raise module.DataError("what is drawn here must not be kept")

    change(module, _draw_block=lambda classes, rng: digits[classes], cache_folder=no_cache)


def state(module: ModuleType) -> None:
    names = [field.name for field in fields(module.Settings)]
    other_defaults(module.Settings.__init__, names, epochs=EPOCHS, samples=SAMPLES)
    module.WEIGHT_DEFAULTS |= {"batch_size": IMAGES, "samples": SAMPLES}


def studies(module: ModuleType) -> None:
    """Of each study the first and the last run, which are of different kinds."""
    for name, study in module.STUDIES.items():
        both = list(study.runs.items())[:: len(study.runs) - 1]
        runs = {run: replace(settings, epochs=1, samples=SAMPLES) for run, settings in both}
        module.STUDIES[name] = study._replace(runs=runs)


def study_gradients(module: ModuleType) -> None:
    change(module, EPOCHS=1, RATES=(1e-3,), SEEDS=range(1), REPLICATES=2, TURNS=1)


def study_costs(module: ModuleType) -> None:
    change(module, EPOCHS=1)


def study_methods(module: ModuleType) -> None:
    change(module, SAMPLES=SAMPLES)


def benchmark_work(module: ModuleType) -> None:
    change(module, STEPS=1, IMAGES=IMAGES, TRAINING=IMAGES)
    other_defaults(module.benchmark_split, ["images"], images=IMAGES)


def benchmark_command(module: ModuleType) -> None:
    """Without pauses, and without PyTorch and its like, which take seconds to start."""
    textbook = ["textbook-float32", "textbook-float64"]
    change(module, TURNS=1, TEXTBOOK_STEPS=1, PAUSE=0.0, installed=lambda: textbook)


def proof(module: ModuleType) -> None:
    """Of large arrays few entries are checked anyway: still fewer."""
    check = module.check

    def check_fewer(*arguments: Any, entries: int | None = None, **options: Any) -> Any:
        return check(*arguments, entries=entries and 10, **options)

    change(module, REPLICATES=2_000, check=check_fewer)


def coursework(module: ModuleType) -> None:
    module.TASKS = {name: module.TASKS[name] for name in ("dense", "relu", "conv2d")}


LESS: dict[str, Callable[[ModuleType], None]] = {
    "lenet_np.data.mnist": mnist,
    "lenet_np.data.synthetic": synthetic,
    "lenet_np.settings": state,
    "lenet_np.tools.studies.table": studies,
    "lenet_np.tools.studies.gradients": study_gradients,
    "lenet_np.tools.studies.costs": study_costs,
    "lenet_np.tools.studies.methods": study_methods,
    "lenet_np.tools.benchmark.work": benchmark_work,
    "lenet_np.tools.commands.benchmark": benchmark_command,
    "lenet_np.tools.proof": proof,
    "lenet_np.coursework.tasks": coursework,
}


class LessWork(MetaPathFinder):
    """Finds the modules above where they are, and changes each after it was executed."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in LESS else None
        if spec is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            LESS[name](module)

        loader.exec_module = exec_module
        return spec


# --- what may be missing ------------------------------------------------------------------------


class StandIn(MetaPathFinder, Loader):
    """Stands for tensorboardX where it is not installed: the page installs it, the tests cannot."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "tensorboardX":
            return None
        return spec_from_loader(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> Any:
        from unittest.mock import MagicMock  # Slow to import, and rarely needed.

        return MagicMock()

    def exec_module(self, module: ModuleType) -> None:
        pass


sys.meta_path.insert(0, LessWork())
sys.meta_path.append(StandIn())
