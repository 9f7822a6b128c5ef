"""README and docs: every Python block runs, every command is known, every link leads somewhere."""

from __future__ import annotations

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tiny import tiny_dataset

import lenet_np.data
from lenet_np.__main__ import COMMANDS
from lenet_np.checkpoint import Checkpoint, save
from lenet_np.data import synthetic
from lenet_np.estimators import ESTIMATORS
from lenet_np.lenet import lenet5
from lenet_np.runs import command, start
from lenet_np.runs.folder import BEST, LAST
from lenet_np.state import Settings
from lenet_np.train import train

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
#: Whose Python is a student's file, run step by step with its transcript.
RUN_BY_TEST_COURSEWORK = "coursework.md"
LANGUAGES = {"python", "sh", "console", "text", "math", "diff"}
PROGRAM = re.compile(r"(?:\S*/)?python3? -m (lenet_np\S*)(.*)")


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    line: int  # of its first line of content, from 1
    text: str


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    language, first, content = None, 0, []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.lstrip().startswith("```"):
            content.append(line)
        elif language is None:
            language, first, content = line.strip().removeprefix("```"), number + 1, []
        else:
            found.append(Block(language, first, "\n".join(content)))
            language = None
    assert language is None, f"the block of line {first - 1} has no end"
    return found


def without_blocks(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


# --- Python blocks ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """Make ``runs/NAME``, a run on a tiny data set with a step still to take."""
    place = tmp_path_factory.mktemp("docs")
    folder = place / "runs" / "NAME"
    words = ["--out", str(folder), "--epochs", "1", "--samples", "2", "--threads", "1", "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        for module in (command, start):
            patch.setattr(module, "load_dataset", lambda *_: tiny_dataset())
        assert command.main(words) == 0
    settings = Settings(epochs=1, samples=2)
    state, _ = next(loop := train(lenet5(), tiny_dataset().train, settings, threads=1))
    loop.close()
    save(folder / LAST, Checkpoint(state, settings, 0, "tiny"))
    assert (folder / BEST).exists()
    return place


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, run_folder, monkeypatch, tmp_path):
    if page.name == RUN_BY_TEST_COURSEWORK:
        pytest.skip("test_coursework.py runs this page")
    python = [block for block in blocks(page.read_text("utf-8")) if block.language == "python"]
    monkeypatch.chdir(run_folder)
    monkeypatch.setattr(synthetic, "cache_folder", lambda: tmp_path)
    for name in ("load_dataset", "load_mnist"):
        monkeypatch.setattr(lenet_np.data, name, lambda *_, **__: tiny_dataset())
    estimators = dict(ESTIMATORS)
    namespace: dict[str, Any] = {"__name__": "page"}
    try:
        for block in python:
            # Empty lines before it, so that a traceback names the line of the page.
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, str(page), "exec", dont_inherit=True), namespace)
    finally:
        ESTIMATORS.clear()  # what a page has added is taken out again
        ESTIMATORS.update(estimators)


# --- commands -----------------------------------------------------------------------------------


class ParsedError(BaseException):
    """The words were accepted; nothing else is to happen."""


def commands(text: str) -> list[str]:
    """List the commands of a page: in blocks for the shell, and in the running text."""
    lines: list[str] = []
    for block in blocks(text):
        if block.language in ("sh", "console"):
            joined = block.text.replace("\\\n", " ")
            prompt = "$ " if block.language == "console" else ""
            lines += [
                part.strip()
                for line in joined.splitlines()
                if line.startswith(prompt)
                for part in re.split(r"&&|;|\||>", line.removeprefix(prompt).partition(" #")[0])
            ]
    for span in re.findall(r"`([^`\n]+)`", without_blocks(text)):
        if PROGRAM.fullmatch(span):
            lines.append(re.sub(r"\[.*?\]", "", span))  # [RUN ...] may be left out
    return [line for line in lines if PROGRAM.search(line)]


def refused(line: str, monkeypatch, capsys) -> str | None:
    """Give the words of a command to its own parser; say what it has against them."""
    module, rest = PROGRAM.search(line).groups()
    words = shlex.split(rest)
    if module == "lenet_np":
        if not words or words[0] == "COMMAND" or words[0] in ("--help", "--version"):
            return None
        if words[0] not in COMMANDS:
            return f"no command {words[0]}"
        module, words = COMMANDS[words[0]][0], words[1:]
    parse = argparse.ArgumentParser.parse_args

    def parse_only(self, *arguments, **options):
        parsed = parse(self, *arguments, **options)
        for name in getattr(parsed, "studies", []):
            if name not in import_module("lenet_np.studies.command").QUESTIONS:
                self.error(f"no study {name}")
        raise ParsedError

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
        try:
            import_module(module).main(words)
        except ParsedError:
            return None
        except SystemExit as stop:
            message = capsys.readouterr().err.strip()
            # In the text a command may be named without its arguments.
            return None if stop.code == 0 or "arguments are required" in message else message
        except (ImportError, AttributeError) as error:
            return str(error)
    return "it does not parse its words"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_of_a_page_is_known(page, monkeypatch, capsys):
    wrong = {
        line: reason
        for line in commands(page.read_text("utf-8"))
        if (reason := refused(line, monkeypatch, capsys))
    }
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_block_says_what_it_is(page):
    unknown = {
        block.line: block.language
        for block in blocks(page.read_text("utf-8"))
        if block.language not in LANGUAGES
    }
    assert not unknown, f"use one of {sorted(LANGUAGES)}; output is text or console"


# --- links, names -------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """List the anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ +(.*)$", without_blocks(page.read_text("utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(text)):
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere: no test needs a network
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        there = file.exists() and file.is_relative_to(ROOT)
        if not there or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_and_picture_is_there(page):
    assert not broken_links(page, page.read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_test_that_a_page_names_exists(page):
    sources = "".join(file.read_text("utf-8") for file in (ROOT / "tests").glob("*.py"))
    named = set(re.findall(r"`(test_\w+)`", page.read_text("utf-8")))
    assert not {name for name in named if f"def {name}(" not in sources}


def bad_formulas(text: str) -> list[str]:
    """List the lines whose formulas in the text GitHub would not show as they are meant.

    A formula is closed on its line and stands free. Markdown eats a backslash before a sign.
    """
    bad = []
    for line in re.sub(r"`[^`\n]*`", "", without_blocks(text)).splitlines():
        parts = line.split("$")
        words, formulas = parts[::2], parts[1::2]
        if (
            len(words) == len(formulas)
            or any(re.search(r"\w$", before) for before in words[:-1])
            or any(re.match(r"\w", after) for after in words[1:])
            or any(re.search(r"\\[^A-Za-z]|^\s|\s$|^$", formula) for formula in formulas)
        ):
            bad.append(line)
    return bad


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_formulas_in_the_text_are_such_as_github_shows(page):
    assert not bad_formulas(page.read_text("utf-8"))


def test_every_page_is_in_the_index():
    index = (DOCS / "README.md").read_text("utf-8")
    missing = {
        page.name
        for page in DOCS.glob("*.md")
        if page.name != "README.md" and f"]({page.name})" not in index
    }
    assert not missing


# --- the tests themselves -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("python -m lenet_np trian", "no command trian"),
        ("python -m lenet_np train --epoch 3", "unrecognized arguments: --epoch"),
        ("python -m lenet_np.train --route scenic", "invalid choice"),
        ("python -m lenet_np study lotery", "no study lotery"),
        ("python -m lenet_np.nothing", "No module named"),
        (".venv/bin/python -m lenet_np.train --sigma -1", "takes a number"),
    ],
)
def test_a_wrong_command_is_caught(line, reason, monkeypatch, capsys):
    text = f"```sh\n# first\ncd x && {line} | tail # last\n```\n"
    (found,) = commands(text)
    assert reason in refused(found, monkeypatch, capsys)
    assert commands(f"Run `{line}` again.") == [line]


def test_a_wrong_link_is_caught():
    text = "[a](adam.md) [b](adam.md#sgd) [c](adam.md#nowhere) ![d](no.png) [e](https://x.org)"
    assert broken_links(DOCS / "README.md", text) == ["adam.md#nowhere", "no.png"]


def test_a_formula_that_would_be_spoilt_is_caught():
    good = "$x$ and `$HOME`, $y_1$.\n"
    bad = ["a $x", r"$a\,b$", "n$x$", "$x$n", "$ x$"]
    assert bad_formulas(good + "\n".join(bad)) == bad


def test_blocks_are_found_with_their_lines():
    text = "a\n```python\nx = 1\n```\n```text\nout\n```\n"
    assert blocks(text) == [Block("python", 3, "x = 1"), Block("text", 6, "out")]
    with pytest.raises(AssertionError, match="line 2 has no end"):
        blocks("a\n```sh\nls\n")
