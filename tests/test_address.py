"""The project's address: from its one place into the README and the tutorial, and out again."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = ("README.md", "tutorial.ipynb", "pyproject.toml")

_spec = importlib.util.spec_from_file_location("address", ROOT / "docs" / "address.py")
address = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(address)


@pytest.fixture
def project(tmp_path) -> Path:
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def contents(folder: Path) -> list[str]:
    return [(folder / name).read_text("utf-8") for name in FILES[:2]]


def put(folder: Path, line: str) -> None:
    (folder / "pyproject.toml").write_text(f"[project.urls]\n{line}\n", "utf-8")


def first_code(folder: Path) -> str:
    notebook = json.loads((folder / "tutorial.ipynb").read_text("utf-8"))
    return "".join(
        next("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    )


def test_what_is_committed_follows_from_pyproject(project):
    address.write_address(project)
    assert contents(project) == contents(ROOT)


@pytest.mark.parametrize("end", ["", "/"])
def test_an_address_reaches_the_badges_and_the_cell_and_is_taken_back(project, end):
    put(project, "")
    address.write_address(project)
    empty = contents(project)
    put(project, f'Repository = "https://github.com/ann/net{end}"')
    address.write_address(project)
    readme, _ = contents(project)
    assert readme.count("https://github.com/ann/net/actions/workflows/ci.yml") == 2
    assert "https://colab.research.google.com/github/ann/net/blob/HEAD/tutorial.ipynb" in readme
    assert 'REPOSITORY = "https://github.com/ann/net"' in first_code(project)
    put(project, "")
    address.write_address(project)
    assert contents(project) == empty
    assert "badge.svg" not in empty[0]
    assert 'REPOSITORY = ""' in first_code(project)


def test_elsewhere_than_on_github_there_are_no_badges(project):
    put(project, 'Repository = "https://example.org/net"')
    address.write_address(project)
    assert "badge.svg" not in contents(project)[0]
    assert 'REPOSITORY = "https://example.org/net"' in first_code(project)


def test_what_is_no_address_is_refused(project):
    for wrong in ("github.com/ann/net", 'https://x/\\"y', "https://"):
        put(project, f'Repository = "{wrong}"')
        with pytest.raises(ValueError, match=r"Repository takes https://\.\.\., got"):
            address.write_address(project)


def test_a_place_that_is_gone_is_said(project):
    (project / "README.md").write_text("# net\n", "utf-8")
    with pytest.raises(ValueError, match=r"README\.md has no place for the address"):
        address.write_address(project)
