"""The dependencies point one way, and the lesson needs nothing but NumPy."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import lenet_np

PACKAGE = Path(lenet_np.__file__).parent
NAMES = {
    ".".join(("lenet_np", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(name: str) -> set[str]:
    """List the modules that a module imports, anywhere in it, as full dotted names."""
    return set().union(*map(_modules, ast.walk(parsed(name))))


def called(name: str) -> set[str]:
    """List the functions that a module calls by a bare name."""
    calls = (node.func for node in ast.walk(parsed(name)) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}


def parsed(name: str) -> ast.Module:
    return ast.parse(NAMES[name].read_text(encoding="utf-8"), name)


def _modules(node: ast.AST) -> set[str]:
    """List the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: a relative import; write the full name"
        full = {f"{node.module}.{alias.name}" for alias in node.names}
        return (full & NAMES.keys()) | ({str(node.module)} if full - NAMES.keys() else set())
    return set()


def ours(name: str) -> set[str]:
    """List the modules of the package that a module imports, without the package's own name."""
    return {
        module.removeprefix("lenet_np").removeprefix(".")
        for module in imports(name)
        if module.split(".")[0] == "lenet_np"
    }


ALLOWED = {
    "ops": set(),
    "seeds": set(),
    "init": {"ops"},
    "layers": {"ops", "init"},
    "lenet": {"layers"},
    "losses": {"ops"},
    "es": {"losses", "ops"},
    "smoothed": {"es", "losses", "ops"},
    "estimators": {"es", "losses", "ops", "smoothed"},
    "optim": {"ops"},
    "routes": {"ops", "es", "lenet", "layers", "losses"},
    "plots.style": {"data.cache"},
    "plots.describe": {"runs.folder", "state"},
    "plots.history": {"data", "runs.folder", "runs.table"},
    "plots.curves": {"plots.describe", "plots.history", "plots.style", "state"},
    "plots.classes": {"data", "plots.describe", "plots.history", "plots.style", "runs.table"},
    "plots.confusion": {"data", "evaluate", "losses", "ops", "plots.style"},
    "plots.features": {"data", "layers", "ops", "plots.style"},
    "plots.histograms": {"plots.style", "runs.histograms"},
}


@pytest.mark.parametrize("module", ALLOWED)
def test_a_module_imports_only_what_lies_below_it(module):
    assert ours(f"lenet_np.{module}") <= ALLOWED[module]


def test_data_imports_nothing_of_the_package_outside_data():
    modules = [name for name in NAMES if name.startswith("lenet_np.data")]
    assert "lenet_np.data.minibatch" in modules
    for name in modules:
        outside = {module for module in ours(name) if module.split(".")[0] != "data"}
        assert not outside, f"{name} imports {outside}"


def test_only_the_commands_of_reading_know_of_runs():
    """What prepares and shows a digit can be used, and understood, by itself."""
    allowed = {
        "picture": set(),
        "ink": set(),
        "shades": set(),
        "interval": set(),
        "field": {"data.dataset", "reading.ink"},
        "certainty": {"ops", "smoothed", "state"},
        "report": {"data", "evaluate", "reading.interval"},
    }
    for module, below in allowed.items():
        assert ours(f"lenet_np.reading.{module}") <= below, module


def test_the_gradient_checks_import_nothing_of_the_package():
    """A course can take the folder away and use it alone; the package's own proof is beside it."""
    library = {name for name in NAMES if name.startswith("lenet_np.gradcheck")}
    proof = {"lenet_np.gradcheck.__main__", "lenet_np.gradcheck.proof"}
    assert proof < library
    for name in library - proof:
        outside = {module for module in ours(name) if module.split(".")[0] != "gradcheck"}
        assert not outside, f"{name} imports {outside}"
        assert not proof & imports(name), f"{name} imports the proof"


def test_only_the_commands_import_the_training_loop():
    users = {name.removeprefix("lenet_np.") for name in NAMES if "train" in ours(name)}
    strangers = {
        n for n in users if n.split(".")[0] not in ("runs", "benchmark", "studies", "__main__")
    }
    assert not strangers


def test_the_coursework_is_of_no_use_to_the_rest():
    """And what runs inside a student's process knows neither the commands nor the training loop."""
    modules = [name for name in NAMES if name.startswith("lenet_np.coursework")]
    assert "lenet_np.coursework.child" in modules
    for name in NAMES.keys() - set(modules):
        assert not any(module.startswith("coursework") for module in ours(name)), name
    for name in set(modules) - {"lenet_np.coursework.command"}:
        assert not any(module.startswith(("runs", "train", "data")) for module in ours(name)), name


GRADCHECK = [
    name.removeprefix("lenet_np.") for name in NAMES if name.startswith("lenet_np.gradcheck")
]


def test_a_picture_that_fails_harms_no_run():
    users = {name for name in NAMES if any(m.startswith("plots") for m in ours(name))}
    strangers = {name for name in users if name.split(".")[1] not in ("plots", "studies")}
    assert not strangers


def test_commands_print_through_the_screen():
    """It bears a closed stream and letters that a terminal cannot show; bare ``print`` does not."""
    # The data stand alone and say what they download; a rival answers through a pipe.
    allowed = {"runs.screen", "data.mnist", "data.download", "benchmark.rivals"}
    printing = {name.removeprefix("lenet_np.") for name in NAMES if "print" in called(name)}
    assert printing == allowed


def test_pictures_need_no_screen():
    assert not [name for name in NAMES if "matplotlib.pyplot" in imports(name)]


def test_matplotlib_is_imported_only_where_something_is_drawn():
    """Inside functions: ``--help`` does not wait for it."""
    for name, path in NAMES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "matplotlib" not in ast.unparse(node), name


@pytest.mark.parametrize(
    "module", ["ops", "layers", "init", "lenet", "losses", "es", "optim", "seeds", *GRADCHECK]
)
def test_the_lesson_needs_numpy_alone(module):
    roots = {name.split(".")[0] for name in imports(f"lenet_np.{module}")}
    assert roots <= {"lenet_np", "numpy"} | sys.stdlib_module_names


def loaded_with(name: str) -> set[str]:
    """List what is imported together with a module, through others of ours and packages too."""
    found: set[str] = set()
    waiting = {name}
    while waiting:
        module = waiting.pop()
        found.add(module)
        if module in NAMES:
            # Only the statements that run on import; a module's package is imported before it.
            new = set().union(*map(_modules, parsed(module).body))
            waiting |= (new | {module.rpartition(".")[0] or module}) - found
    return found


@pytest.mark.parametrize("module", ["__main__", "doctor.command"])
def test_the_front_door_and_the_doctor_start_without_any_package(module):
    roots = {name.split(".")[0] for name in loaded_with(f"lenet_np.{module}")}
    assert roots <= {"lenet_np"} | sys.stdlib_module_names


def test_the_reader_of_imports_sees_them(monkeypatch, tmp_path):
    """A module that breaks every rule above is seen to break them."""
    (tmp_path / "bad.py").write_text(
        "import torch.nn\nfrom lenet_np import train\ndef f():\n    from lenet_np.es import x\n"
    )
    monkeypatch.setitem(NAMES, "lenet_np.bad", tmp_path / "bad.py")
    assert imports("lenet_np.bad") == {"torch.nn", "lenet_np.train", "lenet_np.es"}
    assert ours("lenet_np.bad") == {"train", "es"}
    assert {"torch.nn", "lenet_np.train", "numpy"} < loaded_with("lenet_np.bad")
