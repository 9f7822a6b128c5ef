"""What an installation gets, and that the checks of every place are the same."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path

import lenet_np

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text("utf-8")
    return [line.strip() for line in text.splitlines() if line and not line.startswith("#")]


def test_the_command_is_the_front_door(capsys):
    module, _, function = PROJECT["scripts"]["lenet-np"].partition(":")
    assert getattr(import_module(module), function)(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lenet_np ")


def test_requirements_are_what_runs_and_what_tests():
    assert lines("requirements.txt") == [*PROJECT["dependencies"], *EXTRAS["test"]]


def test_the_oldest_versions_of_the_checks_are_the_oldest_that_are_supported():
    oldest = [line.rpartition(".")[0] for line in lines("docs/constraints-oldest.txt")]
    assert [line.replace("==", ">=") for line in oldest] == lines("requirements.txt")


def test_the_tools_of_the_checks_have_one_version():
    """Another version finds other faults, and formats otherwise."""
    assert all(re.fullmatch(r"\w+==[\d.]+", tool) for tool in EXTRAS["dev"])


def test_a_commit_is_checked_as_ci_checks_it():
    """Each hook is a line of CI, and CI has no check of style or types that is no hook."""
    hooks = re.findall(r"^ +entry: (.*)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.M)
    ci = re.findall(r"^\$bin/python -m ((?:ruff|mypy).*)$", (ROOT / ".ci/run").read_text(), re.M)
    assert hooks == [f"python -m {check}" for check in (*ci, "pytest")]


def test_the_changelog_knows_this_version():
    headings = re.findall(r"^## ([\d.]+)", (ROOT / "docs/CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[0] == lenet_np.__version__
