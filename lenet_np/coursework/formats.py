"""Marks as other programs want them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from .mark import Mark
from .report import report, task_lines
from .submissions import Submission


def gradescope(mark: Mark, visibility: str = "visible") -> dict[str, Any]:
    """Write a mark as Gradescope's results.json: a test for each part of each task."""
    tests = []
    for task in mark.tasks:
        explained = "\n".join(task_lines(task))
        for part in task.parts:
            passed = part.points == part.of and part.status == "passed"
            tests.append(
                {
                    "name": f"{task.name}: {part.name}",
                    "score": part.points,
                    "max_score": part.of,
                    "status": "passed" if passed else "failed",
                    "output": "" if passed else explained,
                    "output_format": "text",
                    "visibility": visibility,
                }
            )
            if not passed:
                explained = "see the part above"
    why_none = report(mark._replace(tasks=())).splitlines()[:-1]  # without the points
    return {
        "score": mark.points,
        "output": "\n".join(why_none if mark.problem else mark.notes),
        "output_format": "text",
        "visibility": visibility,
        "stdout_visibility": "hidden",
        "tests": tests,
    }


#: The columns of each kind of table; those of the tasks follow in the first. Canvas refuses a table
#: without "Section" as the last before the points, Moodle one without "Last modified (grade)".
COLUMNS = {
    "csv": ("Student", "ID", "File", "Points", "Of", "Problem"),
    "canvas": ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", "lenet_np coursework"),
    "moodle": ("Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)"),
}


def table_header(kind: str, tasks: Sequence[str]) -> str:
    """Write the first row of a table."""
    return _row([*COLUMNS[kind], *(tasks if kind == "csv" else ())])


def table_row(kind: str, mark: Mark, submission: Submission) -> str:
    """Write the row of a student."""
    student, number = submission.student, submission.number
    if kind == "canvas":
        return _row([student, number, "", "", "", mark.points])
    if kind == "moodle":
        identifier = f"Participant {number}" if number else ""
        return _row([identifier, student, mark.points, mark.of, ""])
    problem = mark.problem.message.splitlines()[0] if mark.problem else ""
    points = [task.points for task in mark.tasks]
    return _row([student, number, submission.name, mark.points, mark.of, problem, *points])


def _row(values: Sequence[Any]) -> str:
    text = io.StringIO()
    # A spreadsheet would run what begins like a formula.
    safe = [f"'{v}" if isinstance(v, str) and v[:1] in tuple("=+-@\t") and v else v for v in values]
    csv.writer(text, lineterminator="").writerow(safe)
    return "".join(c if c.isprintable() else "?" for c in text.getvalue())
