"""The command that checks the package, and the page that explains the checks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lenet_np import gradcheck, ops
from lenet_np.tools import proof
from lenet_np.tools.commands import gradcheck as command

PAGE = Path(__file__).parent.parent / "docs" / "gradcheck.md"
LIBRARY = Path(gradcheck.__file__).parent


def test_the_package_passes(capsys):
    assert command.main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["passed"] and row["checked"] > 0 for row in rows)
    names = {row["name"].split(",")[0] for row in rows}
    assert names >= {"im2col", "col2im", "conv2d", "relu", "dense", "flatten", "LeNet-5"}
    assert names >= {f"route {name}" for name in ("taylor", "override", "vjp", "target")}
    assert len([row for row in rows if row["name"].startswith("estimator")]) == 6


def test_a_mistake_in_the_package_fails_the_command(monkeypatch, capsys):
    def without_mask(dy, cache):
        return dy

    monkeypatch.setattr(ops, "relu_backward", without_mask)
    for part in ("_network", "_routes", "_estimators"):
        monkeypatch.setattr(proof, part, lambda *_: iter(()))
    assert command.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line.split("  ")[0] for line in lines if line.endswith("  FAILED")]
    assert failed == ["relu"]
    assert any("[missing-mask]" in line for line in lines)
    assert re.search(r"^\d+ of \d+ passed$", lines[-1])


def test_a_biased_estimator_fails(monkeypatch):
    plain = proof.ESTIMATORS["plain"].objectives["error"]

    def for_one_sample_more(*arguments):
        estimate = plain(*arguments)
        return estimate._replace(gradient=estimate.gradient * 16 / 17)

    monkeypatch.setitem(proof.ESTIMATORS["plain"].objectives, "error", for_one_sample_more)
    rows = {row.name: row.passed for row in proof._estimators(0)}
    # Antithetic and Sobol noise are weighed by the same function.
    assert {name for name, passed in rows.items() if not passed} == {
        f"estimator {name}" for name in ("plain", "antithetic", "sobol")
    }


def test_a_wrong_value_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--seed", "-1"])
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_code_of_the_page_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    space: dict[str, object] = {}
    for block in blocks:
        exec(block, space)
    printed = capsys.readouterr().out
    assert printed.startswith("passed\n  x (4, 5): relative error")
    # What the page shows is what is printed, up to the numbers.
    shown = re.search(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    first_lines = shown.group(1).splitlines()[:2]
    assert "\n".join(first_lines) in printed


def test_the_recipes_run_where_the_folder_was_taken(tmp_path):
    shutil.copytree(LIBRARY, tmp_path / "checks")
    text = (PAGE.parent / "gradcheck-recipes.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 12
    program = "\n".join(blocks).replace("from lenet_np.gradcheck import", "from checks import")
    program = 'import sys\nsys.modules["lenet_np"] = None\n' + program
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_page_explains_every_code():
    """A finding begins with its code, in the library's source."""
    text = PAGE.read_text(encoding="utf-8")
    used = set()
    for file in LIBRARY.rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        used |= set(re.findall(r'(?:[Ff]inding\(|return\(?|yield)\s*"([a-z-]+)",', source))
    assert len(used) > 25
    table = set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| `.*$", text, re.MULTILINE))))
    assert used <= table, used - table
