"""The rules of the house: the lesson stands alone, and dependencies point one way."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest

import lenet_np

PACKAGE = Path(lenet_np.__file__).parent


def dotted(path: Path, root: Path = PACKAGE) -> str:
    return ".".join(("lenet_np", *path.relative_to(root).with_suffix("").parts))


FILES = {dotted(path).removesuffix(".__init__"): path for path in sorted(PACKAGE.rglob("*.py"))}
DOORS = {"lenet_np.__main__", "lenet_np.train"}
LESSON = {name for name, path in FILES.items() if path.parent == PACKAGE} - DOORS


def parsed(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"), name)


def modules(node: ast.AST, name: str) -> set[str]:
    """List the modules that a statement of the named module imports, relative imports resolved."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        here = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
        source = resolve_name("." * node.level + (node.module or ""), here)
        full = {f"{source}.{alias.name}" for alias in node.names}
        return (full & FILES.keys()) | ({source} if full - FILES.keys() else set())
    return set()


def imports(name: str) -> set[str]:
    """List the modules that a module imports, anywhere in it."""
    return set().union(*(modules(node, name) for node in ast.walk(parsed(name))))


def inside(module: str, *rooms: str) -> bool:
    return any(f"{module}.".startswith(f"lenet_np.{room}.") for room in rooms)


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Find modules that import each other in a circle; an empty list if there are none."""
    left = dict(arrows)
    while free := [name for name in left if not left[name] & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


# --- the rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_module_keeps_the_rules(name):
    found = imports(name)
    if name in LESSON or inside(name, "data", "gradcheck"):
        assert not [m for m in found if inside(m, "tools", "coursework")]
    assert not found & DOORS
    for room in ("data", "gradcheck"):
        if inside(name, room):
            assert all(inside(m, room) for m in found if m.startswith("lenet_np"))
    if inside(name, "gradcheck"):  # Relative imports alone, so that the folder can be taken away.
        absolute = [n for n in ast.walk(parsed(name)) if getattr(n, "level", 1) == 0]
        assert not [n for n in absolute if str(n.module).startswith("lenet_np")]
    if inside(name, "tools.runs"):
        assert "argparse" not in loaded_with(name)
    if "argparse" in found:
        assert inside(name, "tools.cli", "tools.commands")


def test_there_is_no_circle():
    assert circle({name: imports(name) - {name} for name in FILES}) == []


def test_what_runs_inside_a_students_process_knows_neither_commands_nor_training():
    rooms = ("tools", "loop", "data")
    for name in (n for n in FILES if inside(n, "coursework")):
        assert not [m for m in imports(name) if inside(m, *rooms)], name


def loaded_with(name: str) -> set[str]:
    """List what is imported together with a module, through others of ours and packages too."""
    found: set[str] = set()
    waiting = {name}
    while waiting:
        module = waiting.pop()
        found.add(module)
        if module in FILES:
            # Only the statements that run on import; a module's package is imported before it.
            new = set().union(*(modules(node, module) for node in parsed(module).body))
            waiting |= (new | {module.rpartition(".")[0] or module}) - found
    return found


NUMPY_ALONE = [
    "ops",
    "init",
    "layers",
    "lenet",
    "losses",
    "es",
    "optim",
    "routes",
    "seeds",
    "settings",
]
NUMPY_ALONE += [name.removeprefix("lenet_np.") for name in FILES if inside(name, "gradcheck")]


@pytest.mark.parametrize("name", NUMPY_ALONE)
def test_the_lesson_needs_numpy_alone(name):
    roots = {module.split(".")[0] for module in imports(f"lenet_np.{name}")}
    assert roots <= {"lenet_np", "numpy"} | sys.stdlib_module_names


@pytest.mark.parametrize("name", ["__main__", "tools.commands.doctor"])
def test_the_front_door_and_the_doctor_start_without_any_package(name):
    roots = {module.split(".")[0] for module in loaded_with(f"lenet_np.{name}")}
    assert roots <= {"lenet_np"} | sys.stdlib_module_names


def test_matplotlib_is_imported_only_where_something_is_drawn():
    """Inside functions, because ``--help`` does not wait for it; the notebook has a screen."""
    for name in FILES:
        for node in parsed(name).body:
            assert not [m for m in modules(node, name) if m.startswith("matplotlib")], name
        assert "matplotlib.pyplot" not in imports(name) or name == "lenet_np.tools.notebook"


def test_commands_print_through_the_screen():
    """It bears a closed stream and letters that a terminal cannot show; bare ``print`` does not."""
    # Page one is as plain as can be; the data say what they download; a rival answers a pipe; and
    # a notebook is no terminal.
    allowed = {"mini", "tools.cli.screen", "data.mnist", "data.download", "tools.benchmark.rivals"}
    allowed |= {"tools.notebook"}
    for name in FILES.keys() - {f"lenet_np.{module}" for module in allowed}:
        calls = [node.func for node in ast.walk(parsed(name)) if isinstance(node, ast.Call)]
        assert not [f for f in calls if isinstance(f, ast.Name) and f.id == "print"], name


# --- the gradient checks, taken away ------------------------------------------------------------


def test_the_folder_of_the_gradient_checks_works_elsewhere_without_the_package(tmp_path):
    shutil.copytree(FILES["lenet_np.gradcheck"].parent, tmp_path / "checks")
    program = """
import sys
sys.modules["lenet_np"] = None  # any import of it fails
from checks import check
def backward(dy, x):
    return dy * x
print(check(lambda x: (x * x, x), backward, [[[1.0, 2.0], [3.0, 5.0]]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "constant-factor" in done.stdout


# --- the reader of imports ----------------------------------------------------------------------


def test_the_reader_sees_every_kind_of_import(monkeypatch, tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(
        "import torch.nn\nfrom lenet_np import train\nfrom .report import Report\n"
        "def f():\n    from ..es import x\n"
    )
    monkeypatch.setitem(FILES, "lenet_np.gradcheck.bad", file)
    found = {"torch.nn", "lenet_np.train", "lenet_np.gradcheck.report", "lenet_np.es"}
    assert imports("lenet_np.gradcheck.bad") == found
    assert {"torch.nn", "lenet_np.gradcheck", "numpy"} < loaded_with("lenet_np.gradcheck.bad")


def test_the_reader_sees_a_circle():
    assert circle({"a": {"b"}, "b": {"c", "x"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "d"]
    assert circle({"a": {"b"}, "b": {"x"}}) == []
