"""What a student reads."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from .mark import Advice, Mark, TaskMark
from .process import printable
from .task import FAILED, PASSED, STATUS

WIDTH = 96
#: Lines of a task's prints that are shown.
SHOWN = 10


def report(mark: Mark) -> str:
    """Write a mark as text."""
    return printable("\n".join(_lines(mark)))  # The names of files are students' words too.


def _lines(mark: Mark) -> Iterator[str]:
    tests = "" if mark.seed == 0 else f"hidden tests, seed {mark.seed}"
    about = ", ".join(filter(None, (mark.layout, tests)))
    yield mark.file + (f" ({about})" if about else "")
    if mark.problem is not None:
        yield ""
        yield from _finding(mark.problem, "  ")
        yield from _printed(mark.output, False)
        yield ""
        yield "  No task could be marked."
    else:
        for task in mark.tasks:
            yield from task_lines(task)
    yield ""
    yield from (f"note: {note}" for note in mark.notes)
    yield f"{mark.points} of {mark.of} points"


def task_lines(task: TaskMark) -> Iterator[str]:
    """Write a task as lines of text."""
    status = task.status.upper() if task.status == FAILED else task.status
    yield f"  {task.name:15}{status:15}{task.points:3} of {task.of}"
    if task.status == FAILED:
        for part in task.parts:
            status = "" if part.status == PASSED else part.status
            yield f"      {part.name:24}{part.points:3} of {part.of:<3}{status}".rstrip()
            yield from _findings(task, part.name, " " * 8)
    yield from _findings(task, None, " " * 6)
    yield from _printed(task.output, task.output_cut)


def _findings(task: TaskMark, part: str | None, indent: str) -> Iterator[str]:
    for finding in task.findings:
        if finding.part != part:
            continue
        if finding.code in STATUS:  # The status says what it is.
            yield indent + finding.message
        else:
            yield from _finding(finding, indent)


def _finding(finding: Advice, indent: str) -> Iterator[str]:
    # The first line may be wrapped; what follows may be a picture.
    first, *rest = finding.message.splitlines() or [""]
    yield from _wrap(f"[{finding.code}] {first}", indent)
    yield from (indent + line for line in rest)
    if finding.line:
        yield f"{indent}{finding.line}"
    if finding.hint:
        yield from _wrap(f"Hint: {finding.hint}", indent)


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _printed(output: str, cut: bool) -> Iterator[str]:
    if not output.strip():
        return
    lines = output.rstrip().splitlines()
    yield "      It printed:"
    yield from (f"      | {line[:WIDTH]}" for line in lines[:SHOWN])
    if cut or len(lines) > SHOWN:
        yield "      | ... and more"
