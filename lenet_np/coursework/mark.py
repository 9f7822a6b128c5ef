"""Marking a student's file: every task by itself, and what came out of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from .hints import HINTS
from .layouts import LAYOUTS
from .points import POINTS, Points
from .process import STOP, Answer, Limits, run
from .task import FAILED, NOT_ATTEMPTED, NOT_JUDGED, PASSED, Remark
from .tasks import TASKS


class Advice(NamedTuple):
    """A remark and the hint that goes with it."""

    code: str
    message: str
    line: str | None
    part: str | None  # of the task
    hint: str | None


class PartMark(NamedTuple):
    """What came out of one part of a task."""

    name: str
    status: str
    points: int
    of: int


class TaskMark(NamedTuple):
    """What came out of one task."""

    name: str
    status: str
    parts: tuple[PartMark, ...]
    findings: tuple[Advice, ...]
    output: str  # what the student's code printed, the beginning of it
    output_cut: bool

    @property
    def points(self) -> int:
        """Points earned."""
        return sum(part.points for part in self.parts)

    @property
    def of(self) -> int:
        """Points that could be earned."""
        return sum(part.of for part in self.parts)


class Mark(NamedTuple):
    """What came out of a file."""

    file: str
    layout: str | None
    seed: int  # 0 for the open tests
    problem: Advice | None  # why no task could be marked
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
            "seed": self.seed,
            "passed": self.passed,
            "points": self.points,
            "of": self.of,
            "problem": self.problem and self.problem._asdict(),
            "output": self.output,
            "notes": list(self.notes),
            "tasks": [
                {
                    **task._asdict(),
                    "points": task.points,
                    "of": task.of,
                    "parts": [part._asdict() for part in task.parts],
                    "findings": [finding._asdict() for finding in task.findings],
                }
                for task in self.tasks
            ],
        }

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> Mark:
        """Make a mark of what `as_dict` gave."""
        tasks = tuple(
            TaskMark(
                task["name"],
                task["status"],
                tuple(PartMark(**part) for part in task["parts"]),
                tuple(Advice(**finding) for finding in task["findings"]),
                task["output"],
                task["output_cut"],
            )
            for task in kept["tasks"]
        )
        problem = kept["problem"] and Advice(**kept["problem"])
        file, layout, seed = kept["file"], kept["layout"], kept["seed"]
        return cls(file, layout, seed, problem, kept["output"], tuple(kept["notes"]), tasks)


def mark(
    files: Path | Sequence[Path],
    tasks: Sequence[str] = (),
    layout: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 - a NamedTuple cannot be changed
    seed: int = 0,
    points: Points | None = None,
    jobs: int = 1,
) -> Mark:
    """Mark a student's file, or several of one student, which runs the code in them.

    ``tasks`` are those of ``points`` by default, and ``points`` those of all tasks; ``layout`` is
    instead of the one that the file names. Several tasks can be marked at a time.
    """
    files = [files] if isinstance(files, Path) else files
    points, name = points or POINTS, files[0].name if files else ""
    chosen = {task: points.get(task, POINTS[task]) for task in tasks or points}
    request = {
        "files": [str(file.absolute()) for file in files],
        "seed": seed,
        "task": None,
        "layout": layout or next(iter(LAYOUTS)),
    }
    nothing_there = Remark("no-exercise", "no file has a function of the exercise")
    loaded = run(request, limits) if files else Answer({}, (nothing_there,), "", False)
    problem = _problem(loaded, layout)
    if problem is not None:
        finding = Advice(*problem, HINTS.get(problem.code))
        nothing = tuple(_task_mark(task, parts, {}, ()) for task, parts in chosen.items())
        return Mark(name, layout, seed, finding, loaded.output, (), nothing)
    request["layout"] = layout = layout or str(loaded.result["layout"])
    one = partial(_mark_task, request, loaded.result, limits)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            marks = tuple(pool.map(one, chosen, chosen.values()))
        except KeyboardInterrupt:
            STOP.set()
            pool.shutdown(cancel_futures=True)
            STOP.clear()
            raise
    notes = tuple(_notes(loaded.result, limits))
    return Mark(name, layout, seed, None, "", notes, marks)


def _problem(loaded: Answer, layout: str | None) -> Remark | None:
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


def _mark_task(
    request: dict[str, Any],
    loaded: dict[str, Any],
    limits: Limits,
    name: str,
    parts: dict[str, int],
) -> TaskMark:
    functions = TASKS[name].functions
    remarks = list(_missing(functions, loaded))
    if len(remarks) == len(functions):
        return _task_mark(name, parts, dict.fromkeys(parts, NOT_ATTEMPTED), remarks)
    answer = run({**request, "task": name}, limits)
    found = answer.result.get("parts", {})
    return _task_mark(name, parts, found, answer.remarks, answer.output, answer.cut)


def _missing(functions: Sequence[str], loaded: dict[str, Any]) -> Iterator[Remark]:
    """Say which functions need not be run to know that they are not there."""
    for function in functions:
        if function not in loaded["functions"]:
            yield Remark("not-written", f"{function} cannot be found in the file")
        elif function in loaded["unwritten"]:
            yield Remark("not-written", f"{function} is not written yet")


def _task_mark(
    name: str,
    points: dict[str, int],
    statuses: dict[str, str],
    remarks: Sequence[Remark],
    output: str = "",
    cut: bool = False,
) -> TaskMark:
    hints = HINTS | TASKS[name].hints
    findings = tuple(Advice(*remark, hints.get(remark.code)) for remark in remarks)
    parts = []
    for part, of in points.items():
        status = statuses.get(part, NOT_JUDGED)
        parts.append(PartMark(part, status, of if status == PASSED else 0, of))
    found = {part.status for part in parts}
    status = FAILED
    if found == {PASSED} and not findings:
        status = PASSED
    elif not found & {PASSED, FAILED} and any(r.code == "not-written" for r in remarks):
        status = NOT_ATTEMPTED
    return TaskMark(name, status, tuple(parts), findings, output, cut)
