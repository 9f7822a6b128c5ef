"""The commands of a page, as a shell reads them, and running them without a shell.

A shell is not everywhere the same. What the pages need of it is little: ``&&`` between commands,
``>`` into a file, ``*`` in names of files, a comment behind ``#``. Anything else is refused.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PYTHON = ("python", "python3", ".venv/bin/python")
OURS = r"(lenet_np(\.\w+)*|pytest)$"
SECONDS = 300


class ShellError(ValueError):
    """A line that this module cannot read."""


class Command(NamedTuple):
    """A command of a page."""

    line: int  # of the page
    words: tuple[str, ...]
    file: str | None = None  # what > writes
    shown: str | None = None  # its output, where the page shows it

    def __str__(self) -> str:
        return " ".join(self.words)


class Ran(NamedTuple):
    """What came of a command."""

    status: int
    out: str
    err: str


def commands(language: str, line: int, text: str) -> Iterator[Command]:
    """List the commands of a block, whose first line is the given line of the page.

    In a ``console`` block a command stands behind "$ ", and its output below it.
    """
    if language == "console":
        for part in re.split(r"^(?=\$ )", text, flags=re.MULTILINE):
            if part.startswith("$ "):
                first, _, shown = part.removeprefix("$ ").partition("\n")
                *others, last = _split(line, first)
                yield from others
                yield last._replace(shown=shown.rstrip("\n"))
            elif part:
                raise ShellError(f"line {line}: output without a command above it: {part!r}")
            line += part.count("\n")
        return
    while text:
        # A backslash at the end of a line goes on with the next.
        whole = re.match(r"(?:[^\n]*\\\n)*[^\n]*\n?", text)[0]
        yield from _split(line, whole.replace("\\\n", " "))
        line, text = line + whole.count("\n"), text[len(whole) :]


def _split(number: int, line: str) -> list[Command]:
    """Split a line into its commands."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    found: list[Command] = []
    words: list[str] = []
    tokens = list(reader)
    for token in [*tokens, "&&"] if tokens else []:
        if token == "&&" and words:
            file = words[-1] if words[-2:-1] == [">"] and words[:-2] else None
            found.append(Command(number, tuple(words[:-2] if file else words), file))
            words = []
        elif (token != ">" and re.fullmatch("[();<>|&]+", token)) or re.search(r"[$`]", token):
            raise ShellError(f"line {number}: {token!r} is more of a shell than the tests have")
        else:
            words.append(token)
    if any(">" in command.words for command in found):
        raise ShellError(f"line {number}: > must be followed by one file, at the end")
    return found


def program(words: tuple[str, ...]) -> list[str] | None:
    """Name the program that a command starts, with this Python.

    None if it is not one of ours: nothing else is ever started, so that a page cannot install or
    remove anything where its commands are run.
    """
    words = ("python", "-m", *words) if words[0] == "pytest" else words
    if words[0] in PYTHON and words[1:2] == ("-m",) and re.match(OURS, " ".join(words[2:3])):
        return [sys.executable, *words[1:]]
    return None


def run(command: Command, folder: Path, environment: dict[str, str]) -> Ran:
    """Run a command in a folder, to its end."""
    words = program(command.words)
    if words is None:
        raise ShellError(f"line {command.line}: cannot run `{command}`")
    ended = subprocess.run(
        [name for word in words for name in _names(word, folder)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
    if command.file:
        (folder / command.file).write_text(ended.stdout, encoding="utf-8")
    return Ran(ended.returncode, ended.stdout, ended.stderr)


def _names(word: str, folder: Path) -> list[str]:
    """List the files that a word with * stands for; a word without stands for itself."""
    if "*" not in word:
        return [word]
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(word)) or [word]


def looks_like(printed: str, shown: str) -> bool:
    """Compare an output with that on a page, where ``...`` stands for anything on its line."""
    if sys.platform == "win32":
        printed = re.sub(r"\\+", "/", printed)
    pattern = re.escape(shown).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, printed.rstrip("\n")) is not None
