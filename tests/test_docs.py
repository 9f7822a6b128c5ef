"""README and docs: every block of Python and of the shell runs, every link leads somewhere."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import shell
from PIL import Image
from student import SOLUTION
from tiny import tiny_dataset, write_tiny_mnist

import lenet_np.data
from lenet_np.__main__ import COMMANDS
from lenet_np.data import synthetic
from lenet_np.estimators import ESTIMATORS
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state
from lenet_np.tools.commands.train_arguments import PROGRAM as PROGRAM_OF_TRAIN
from lenet_np.tools.runs.checkpoint import load, save
from lenet_np.tools.runs.folder import LAST

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
NOTEBOOK = ROOT / "tutorial.ipynb"
LESS_WORK = ROOT / "tests" / "less_work"
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


def text_of(page: Path) -> str:
    """Read a page; of a notebook, what is not code: test_tutorial.py executes that."""
    text = page.read_text("utf-8")
    if page != NOTEBOOK:
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def without_blocks(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


# --- what runs ----------------------------------------------------------------------------------

LINTED = "lenet_np tests docs/address.py docs/conf.py"
#: The commands that no test runs, and why. All others are run.
NOT_RUN = {
    "python3 -m venv .venv": "CI runs it: it takes the line of the tests from the README",
    ".venv/bin/python -m pip install --quiet -r requirements.txt": "needs a network; CI runs it",
    ".venv/bin/python -m pytest": "is what is running",
    ".venv/bin/python -m pip install --quiet --editable .[notebook]": "needs a network",
    ".venv/bin/jupyter lab tutorial.ipynb": "does not end; test_tutorial.py executes the notebook",
    ".venv/bin/python -m pip install --editable .[dev,test]": "needs a network",
    ".venv/bin/python -m pip install .[docs]": "needs a network",
    ".venv/bin/python -m sphinx -W --keep-going -c docs . build/site": "test_site.py runs it",
    f".venv/bin/ruff check {LINTED}": "not needed for the tests; CI runs it",
    f".venv/bin/ruff format {LINTED}": "changes the files; CI runs it with --check",
    ".venv/bin/python -m mypy": "not needed for the tests; CI runs it",
    "python -m pip install -r docs/requirements-bench.txt": "needs a network",
    "python -m pip install tensorboardX tensorboard": "needs a network",
    "tensorboard --logdir runs": "does not end, and is another program's",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Make the environment of the commands: lenet_np on the path, a tiny MNIST, less work."""
    mnist = tmp_path_factory.mktemp("mnist")
    write_tiny_mnist(mnist)
    path = os.pathsep.join(map(str, (LESS_WORK, ROOT)))
    return {**os.environ, "LENET_NP_DATA": str(mnist), "PYTHONPATH": path, "PYTEST_ADDOPTS": ""}


@pytest.fixture(scope="module")
def belongings(tmp_path_factory, environment) -> Path:
    """Make a folder of what the pages talk about: a run, a picture, students' files, the tests."""
    folder = tmp_path_factory.mktemp("docs")
    words = "python -m lenet_np train --out runs/NAME --epochs 1"
    assert not trouble(shell.Command(0, tuple(words.split())), folder, environment)
    (three,) = synthetic.draw_digits(np.array([3]), np.random.default_rng(0))
    Image.fromarray(three).save(folder / "digit.png")
    (folder / "submissions").mkdir()
    for name in ("exercise.py", "submissions/ann.py", "submissions/ben.py"):
        (folder / name).write_text(SOLUTION.format(layout="nchw"), encoding="utf-8")
    examples = blocks((DOCS / "your-loss.md").read_text("utf-8").partition("## What to choose")[0])
    python = [block.text for block in examples if block.language == "python"]
    (folder / "my_losses.py").write_text("\n".join(python), encoding="utf-8")
    (folder / "tests").mkdir()
    for file in (ROOT / "tests").glob("*.py"):
        shutil.copy(file, folder / "tests")
    return folder


def trouble(command: shell.Command, folder: Path, environment: dict[str, str]) -> str | None:
    """Run a command of a page; say what a reader would complain of."""
    if str(command) in NOT_RUN:
        return None
    if shell.program(command.words) is None:
        return f"line {command.line}: `{command}` is neither run nor in the table NOT_RUN"
    if "--resume" in command.words:
        step_back(folder / command.words[command.words.index("--resume") + 1])
    ran = shell.run(command, folder, environment)
    if ran.status != 0:
        last = "\n".join((ran.out + ran.err).splitlines()[-20:])
        return f"line {command.line}: `{command}` ends with status {ran.status}:\n{last}"
    if command.shown and not shell.looks_like(ran.out, command.shown):
        return f"line {command.line}: `{command}` prints something else now:\n{ran.out}"
    return None


def step_back(folder: Path) -> None:
    """Leave a run as if it had been stopped before its first step: there is something to resume."""
    network, file = lenet5(), folder / LAST
    last = load(file, network)
    save(file, last._replace(state=initial_state(network, last.settings), epoch=0, table=None))


def blocks_to_run(page: Path) -> list[Block]:
    """List what a reader runs. A student's path is run by test_coursework.py, word for word."""
    text = page.read_text("utf-8")
    path, *_ = text.partition("## For the instructor") if page.name == "coursework.md" else ("",)
    return [
        block
        for block in blocks(text)
        if block.language == "sh"
        or (block.language in ("python", "console") and block.line > path.count("\n"))
    ]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_blocks_of_a_page_run_from_top_to_bottom(
    page, belongings, environment, monkeypatch, tmp_path
):
    folder = tmp_path / "reader"
    shutil.copytree(belongings, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(synthetic, "cache_folder", lambda: tmp_path)
    for name in ("load_dataset", "load_mnist"):
        monkeypatch.setattr(lenet_np.data, name, lambda *_, **__: tiny_dataset())
    estimators = dict(ESTIMATORS)
    namespace: dict[str, Any] = {"__name__": "page"}
    try:
        for block in blocks_to_run(page):
            if block.language == "python":
                # Empty lines before it, so that a traceback names the line of the page.
                source = "\n" * (block.line - 1) + block.text
                exec(compile(source, str(page), "exec", dont_inherit=True), namespace)
            else:
                for command in shell.commands(*block):
                    if reason := trouble(command, folder, environment):
                        pytest.fail(f"{page.relative_to(ROOT)}, {reason}", pytrace=False)
    finally:
        ESTIMATORS.clear()  # what a page has added is taken out again
        ESTIMATORS.update(estimators)


def test_every_command_that_is_not_run_is_on_a_page():
    on_pages = {
        str(command)
        for page in PAGES
        for block in blocks_to_run(page)
        if block.language != "python"
        for command in shell.commands(*block)
    }
    assert not NOT_RUN.keys() - on_pages
    for command in NOT_RUN:
        for file in re.findall(r" -r (\S+)", command):
            assert (ROOT / file).is_file(), command


# --- commands that a text names -----------------------------------------------------------------


class ParsedError(BaseException):
    """The words were accepted; nothing else is to happen."""


def named_commands(text: str) -> list[str]:
    """List the commands in the running text, where [RUN ...] may be left out."""
    # A span may go on in the next line, but not in the next paragraph.
    spans = re.findall(r"(?<!`)`((?:[^`\n]|\n(?! *\n))+)`(?!`)", without_blocks(text))
    lines = (" ".join(span.split()) for span in spans)
    return [re.sub(r"\[.*?\]", "", line) for line in lines if PROGRAM.fullmatch(line)]


def refused(line: str, monkeypatch, capsys) -> str | None:
    """Give the words of a command to its own parser; say what it has against them."""
    module, rest = PROGRAM.fullmatch(line).groups()
    words = shlex.split(rest)
    if module == "lenet_np":
        if not words or words[0] == "COMMAND" or words[0] in ("--help", "--version"):
            return None
        if words[0] not in COMMANDS:
            return f"no command {words[0]}"
        module, words = f"lenet_np.tools.commands.{words[0]}", words[1:]
    if module == "lenet_np.mini":  # It has no command line.
        return f"mini takes no {rest}" if words else None
    parse = argparse.ArgumentParser.parse_args

    def parse_only(self, *arguments, **options):
        parsed = parse(self, *arguments, **options)
        for name in getattr(parsed, "studies", []):
            if name not in import_module("lenet_np.tools.commands.study").QUESTIONS:
                self.error(f"no study {name}")
        if self.prog == PROGRAM_OF_TRAIN:
            return parsed  # Its settings are still to be checked.
        raise ParsedError

    def go(*_):
        raise ParsedError

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
        patch.setattr("lenet_np.tools.commands.train._run", go)
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


@pytest.mark.parametrize("page", [*PAGES, NOTEBOOK], ids=[*IDS, NOTEBOOK.name])
def test_every_command_that_a_text_names_is_known(page, monkeypatch, capsys):
    wrong = {
        line: reason
        for line in named_commands(text_of(page))
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


def test_the_notebook_has_no_blocks_of_commands():
    """Nobody would run them: a command is named in the text there, and parsed."""
    assert {block.language for block in blocks(text_of(NOTEBOOK))} <= LANGUAGES - {"sh", "console"}


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


#: What the glossary writes otherwise: the noise is ε or its formula, the logits are l.
STRAYS = re.compile(r"\beps(?![A-Za-z])|ϵ|\N{SCRIPT SMALL L}|\\ell(?![A-Za-z])")


def strays(text: str) -> list[str]:
    """List the lines with a symbol that is not the glossary's. Python has names of its own."""
    prose = re.sub(r"^```python$.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for line in prose.splitlines() if STRAYS.search(line)]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_symbols_are_those_of_the_glossary(page):
    assert not strays(page.read_text("utf-8"))


def test_the_symbols_of_the_tutorial_and_the_docstrings_are_those_of_the_glossary():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    for file in (ROOT / "lenet_np").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                texts.append(ast.get_docstring(node) or "")
    assert not [line for text in texts for line in strays(text)]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_picture_has_a_text(page):
    texts = re.findall(r"!\[([^\]]*)\]\(", without_blocks(page.read_text("utf-8")))
    assert all(len(text.split()) > 3 for text in texts)


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
def test_a_wrong_command_in_the_text_is_caught(line, reason, monkeypatch, capsys):
    for text in (f"Run `{line}` again.", f"Run `{line.replace(' -m ', chr(10) + '-m ')}`, say."):
        (found,) = named_commands(text)
        assert found == line
        assert named_commands(f"one ` too many\n\n{text}") == [line]
        assert reason in refused(found, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("sh\npython -m lenet_np trian", "line 2: .*trian` ends with status 2:\n.* mean train?"),
        ("sh\n#\npython -m lenet_np.nothing", "line 3: .* status 1:\n.*No module named"),
        ("sh\npython -m lenet_np evaluate runs/NO", "ends with status 1:\n.*runs/NO"),
        ("sh\npython -m lenet_np --version && python -m lenet_np x", "` ends with status 2"),
        ("sh\nrm -rf runs", "line 2: `rm -rf runs` is neither run nor in the table"),
        ("sh\npip install ruff", "neither run nor in the table"),
        ("sh\npython -m pip install ruff", "neither run nor in the table"),
        ("sh\npython -m lenet_np_x", "neither run nor in the table"),
        ("sh\npython gone.py", "neither run nor in the table"),
        ("sh\npython", "neither run nor in the table"),
        ("console\n$ python -m lenet_np --version\nlenet_np 1", "prints something else now:\nl"),
        ("console\n$ python -m lenet_np --version\nlenet_np ...\n1", "prints something else now"),
    ],
)
def test_a_command_that_fails_is_caught(block, reason, environment, tmp_path):
    (block,) = blocks(f"```{block}\n```")
    found = [trouble(command, tmp_path, environment) for command in shell.commands(*block)]
    assert re.match(f"(?s).*{reason}", found[-1])
    assert not any(found[:-1])


def test_commands_are_read_as_a_shell_does():
    text = "a 'b c' \\\n  d && e # f\n\n# g\nh * > i\n"
    assert list(shell.commands("sh", 3, text)) == [
        shell.Command(3, ("a", "b c", "d")),
        shell.Command(3, ("e",)),
        shell.Command(7, ("h", "*"), file="i"),
    ]
    assert list(shell.commands("console", 3, "$ a\n$ b\nc\n\n$ d\n")) == [
        shell.Command(3, ("a",), shown=""),
        shell.Command(4, ("b",), shown="c"),
        shell.Command(7, ("d",), shown=""),
    ]


@pytest.mark.parametrize("line", ["a | b", "a; b", "a &", "a $B", "a > b c", "a >", "a &&", "> a"])
def test_a_line_that_would_be_misread_is_refused(line):
    with pytest.raises(shell.ShellError, match="line 3"):
        list(shell.commands("sh", 3, line))


def test_a_wrong_link_is_caught():
    text = "[a](adam.md) [b](adam.md#sgd) [c](adam.md#nowhere) ![d](no.png) [e](https://x.org)"
    assert broken_links(DOCS / "README.md", text) == ["adam.md#nowhere", "no.png"]


def test_a_formula_that_would_be_spoilt_is_caught():
    good = "$x$ and `$HOME`, $y_1$.\n"
    bad = ["a $x", r"$a\,b$", "n$x$", "$x$n", "$ x$"]
    assert bad_formulas(good + "\n".join(bad)) == bad


def test_a_stray_symbol_is_caught():
    wrong = ["F(eps)", r"$\ell_y$", "\N{SCRIPT SMALL L}", r"$\mathrm{eps}$"]
    assert strays("\n".join(["ε, $l_y$, steps, \\epsilon", *wrong])) == wrong
    assert not strays("```python\neps = 1\n```")


def test_blocks_are_found_with_their_lines():
    text = "a\n```python\nx = 1\n```\n```text\nout\n```\n"
    assert blocks(text) == [Block("python", 3, "x = 1"), Block("text", 6, "out")]
    with pytest.raises(AssertionError, match="line 2 has no end"):
        blocks("a\n```sh\nls\n")
