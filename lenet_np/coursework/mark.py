"""Marking a student's file: every task by itself, and what came out of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lenet_np.coursework.hints import HINTS
from lenet_np.coursework.layouts import LAYOUTS
from lenet_np.coursework.process import Answer, Limits, run
from lenet_np.coursework.task import Remark
from lenet_np.coursework.tasks import TASKS

PASSED, FAILED, NOT_ATTEMPTED = "passed", "failed", "not attempted"


class Finding(NamedTuple):
    """A remark and the hint that goes with it."""

    code: str
    message: str
    line: str | None
    hint: str | None


class TaskMark(NamedTuple):
    """What came out of one task."""

    name: str
    status: str
    points: int
    of: int
    findings: tuple[Finding, ...]
    output: str  # what the student's code printed, the beginning of it
    output_cut: bool


class Mark(NamedTuple):
    """What came out of a file."""

    file: str
    layout: str | None
    problem: Finding | None  # why no task could be marked
    output: str  # printed while the file was loaded, if it could not be
    notes: tuple[str, ...]
    tasks: tuple[TaskMark, ...]

    @property
    def points(self) -> int:
        """Points earned."""
        return sum(task.points for task in self.tasks)

    @property
    def of(self) -> int:
        """Points that could be earned."""
        return sum(task.of for task in self.tasks)

    @property
    def passed(self) -> bool:
        """Whether every task that was asked for passed."""
        return all(task.status == PASSED for task in self.tasks)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "file": self.file,
            "layout": self.layout,
            "passed": self.passed,
            "points": self.points,
            "of": self.of,
            "problem": self.problem and self.problem._asdict(),
            "output": self.output,
            "notes": list(self.notes),
            "tasks": [
                {**task._asdict(), "findings": [finding._asdict() for finding in task.findings]}
                for task in self.tasks
            ],
        }


def mark(
    file: Path,
    tasks: Sequence[str] = tuple(TASKS),
    layout: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 - a NamedTuple cannot be changed
) -> Mark:
    """Mark a student's file, which runs the code in it; ``layout`` is instead of what it names."""
    file = file.absolute()
    loaded = run({"file": str(file), "task": None}, limits)
    problem = _problem(file, loaded, layout)
    if problem is not None:
        finding = Finding(*problem, HINTS.get(problem.code))
        nothing = tuple(_task_mark(name, FAILED, ()) for name in tasks)
        return Mark(file.name, layout, finding, loaded.output, (), nothing)
    layout = layout or str(loaded.result["layout"])
    marks = tuple(_mark_tasks(file, tasks, layout, loaded.result, limits))
    return Mark(file.name, layout, None, "", tuple(_notes(loaded.result, limits)), marks)


def _problem(file: Path, loaded: Answer, layout: str | None) -> Remark | None:
    """Say why a file cannot be marked at all."""
    if loaded.remarks:
        return loaded.remarks[0]
    layout = layout or loaded.result["layout"]
    known = ", ".join(LAYOUTS)
    if layout is None:
        return Remark("no-layout", f'names no layout: add a line LAYOUT = "...", one of {known}')
    if layout not in LAYOUTS:
        return Remark("no-layout", f"names the layout {layout[:40]!r}; there are {known}")
    return None


def _notes(loaded: dict[str, Any], limits: Limits) -> Iterator[str]:
    yield from loaded["notes"]
    if not loaded["memory_limited"]:
        yield f"this system cannot limit a task's memory to {limits.megabytes} MB"


def _mark_tasks(
    file: Path, tasks: Sequence[str], layout: str, loaded: dict[str, Any], limits: Limits
) -> Iterator[TaskMark]:
    for name in tasks:
        remarks = list(_missing(TASKS[name].functions, loaded))
        if remarks:
            yield _task_mark(name, NOT_ATTEMPTED, remarks)
            continue
        answer = run({"file": str(file), "task": name, "layout": layout}, limits)
        status = FAILED if answer.remarks else PASSED
        if any(remark.code == "not-written" for remark in answer.remarks):
            status = NOT_ATTEMPTED
        yield _task_mark(name, status, answer.remarks, answer.output, answer.cut)


def _missing(functions: Sequence[str], loaded: dict[str, Any]) -> Iterator[Remark]:
    """Say which functions need not be run to know that they are not there."""
    for function in functions:
        if function not in loaded["functions"]:
            yield Remark("not-written", f"{function} cannot be found in the file")
        elif function in loaded["unwritten"]:
            yield Remark("not-written", f"{function} is not written yet")


def _task_mark(
    name: str, status: str, remarks: Sequence[Remark], output: str = "", cut: bool = False
) -> TaskMark:
    task = TASKS[name]
    hints = HINTS | task.hints
    findings = tuple(Finding(*remark, hints.get(remark.code)) for remark in remarks)
    points = task.points if status == PASSED else 0
    return TaskMark(name, status, points, task.points, findings, output, cut)
