"""A folder in which students check their work without the package, which holds the solutions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from .answers import answer
from .layouts import Layout
from .reference import solutions
from .stored import STORED, Recorder
from .task import Exercise
from .tasks import TASKS

HERE = Path(__file__).parent
#: What marks a file, and needs neither the package nor its solutions.
MODULES = (
    *("__init__", "child", "hints", "layouts", "mark", "pairs", "points", "process", "report"),
    *("sources", "stored", "task", "work", "tasks/__init__", "tasks/layers", "tasks/routes"),
    "tasks/training",
)

CHECK = '''\
"""See how far you are: python check.py, or python check.py exercise.py --task dense relu."""

import argparse
import os
import sys
from pathlib import Path

from checks.coursework.mark import mark
from checks.coursework.points import FILE, CourseworkError, read_points
from checks.coursework.report import report
from checks.coursework.tasks import TASKS

parser = argparse.ArgumentParser(description="Check the exercise.")
mine = Path(os.path.relpath(Path(__file__).with_name("exercise.py")))
parser.add_argument("file", nargs="?", type=Path, default=mine, help="your work")
parser.add_argument("--task", nargs="+", default=(), choices=TASKS, metavar="NAME", help="which")
arguments = parser.parse_args()
points = arguments.file.absolute().parent / FILE
try:
    if not arguments.file.is_file():
        raise CourseworkError(f"{arguments.file} cannot be read: there is no such file")
    table = read_points(points) if points.is_file() else None
    result = mark(arguments.file, arguments.task, points=table, jobs=os.cpu_count() or 1)
except CourseworkError as error:
    sys.exit(f"check.py: {error}")
except KeyboardInterrupt:
    sys.exit("check.py: interrupted")
text = report(result._replace(file=str(arguments.file))) + "\\n"
encoding = sys.stdout.encoding or "utf-8"
sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
sys.exit(0 if result.passed else 1)
'''


def kit_files() -> dict[str, str]:
    """Give the files of a kit by their names, but for the answers."""
    files = {"check.py": CHECK, "checks/__init__.py": ""}
    for name in MODULES:
        files[f"checks/coursework/{name}.py"] = (HERE / f"{name}.py").read_text(encoding="utf-8")
    for path in sorted((HERE.parent / "gradcheck").rglob("*.py")):
        name = path.relative_to(HERE.parent).as_posix()
        files[f"checks/{name}"] = path.read_text(encoding="utf-8")
    return files


def write_answers(folder: Path, layout: Layout, tasks: Iterable[str]) -> Path:
    """Write what the functions must give for the open tests, and not how."""

    def explain(error: BaseException) -> NoReturn:
        raise error

    recorder = Recorder(answer)
    for name in tasks:
        TASKS[name].check(Exercise(solutions(layout), layout, 0, recorder, explain))
    path = folder / "checks" / "coursework" / STORED
    recorder.save(path)
    return path
