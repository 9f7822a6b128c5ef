"""How much each part of each task is worth, and the small file in which a course changes it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from .tasks import TASKS

#: Name of a task to its parts, and these to their points.
Points = dict[str, dict[str, int]]

POINTS: Points = {task.name: task.parts for task in TASKS.values()}
FILE = "points.toml"

HEAD = """\
# The tasks of this exercise, and the points of their parts. Change the numbers as you like, or
# leave tasks out; 0 takes a part out of the marks. The check reads this file beside the exercise.
"""


class CourseworkError(ValueError):
    """Files of a course cannot be read or written; the message says why."""


def write_points(points: Points) -> str:
    """Write the text of a file for `read_points`."""
    return HEAD + "".join(
        f"\n[{task}]\n" + "".join(f'"{part}" = {number}\n' for part, number in parts.items())
        for task, parts in points.items()
    )


def read_points(path: Path) -> Points:
    """Read the points of a course; parts that are left out keep their own.

    CourseworkError if there are names that no task or part has, or no whole numbers.
    """
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CourseworkError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CourseworkError(f"{path} is not TOML: {error}") from error
    for task, parts in read.items():
        if task not in TASKS or not isinstance(parts, dict):
            raise CourseworkError(f"{path}: no task {task!r}; there are {', '.join(TASKS)}")
        for part, number in parts.items():
            if part not in TASKS[task].parts:
                names = ", ".join(TASKS[task].parts)
                raise CourseworkError(f"{path}: {task} has no part {part!r}; it has {names}")
            if type(number) is not int or not 0 <= number <= 1000:
                raise CourseworkError(
                    f"{path}: the points of {task}, {part} must be a whole number from 0 to 1000, "
                    f"got {number!r}"
                )
    if not read:
        raise CourseworkError(f"{path} names no task; there are {', '.join(TASKS)}")
    return {task: POINTS[task] | read[task] for task in TASKS if task in read}
