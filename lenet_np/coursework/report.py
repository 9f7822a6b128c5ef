"""What a student reads."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from lenet_np.coursework.mark import FAILED, Finding, Mark, TaskMark
from lenet_np.coursework.process import printable

WIDTH = 96
#: Lines of a task's prints that are shown.
SHOWN = 10


def report(mark: Mark) -> str:
    """Write a mark as text."""
    return printable("\n".join(_lines(mark)))  # The names of files are students' words too.


def _lines(mark: Mark) -> Iterator[str]:
    yield mark.file + (f" ({mark.layout})" if mark.layout else "")
    if mark.problem is not None:
        yield ""
        yield from _finding(mark.problem, "  ")
        yield from _printed(mark.output, False)
        yield ""
        yield "  No task could be marked."
    else:
        for task in mark.tasks:
            yield from _task(task)
    yield ""
    yield from (f"note: {note}" for note in mark.notes)
    yield f"{mark.points} of {mark.of} points"


def _task(task: TaskMark) -> Iterator[str]:
    status = task.status.upper() if task.status == FAILED else task.status
    yield f"  {task.name:15}{status:15}{task.points:3} of {task.of}"
    for finding in task.findings:
        if finding.code != "not-written":
            yield from _finding(finding, "      ")
        elif task.findings:
            yield f"      {finding.message}"
    yield from _printed(task.output, task.output_cut)


def _finding(finding: Finding, indent: str) -> Iterator[str]:
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
