"""The command ``python -m lenet_np coursework``: new, check, list."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lenet_np.coursework.crowd import mark_all
from lenet_np.coursework.exports import github_workflow, gradescope_files, write_wheel
from lenet_np.coursework.formats import COLUMNS, gradescope, table_header, table_row
from lenet_np.coursework.kit import kit_files, write_answers
from lenet_np.coursework.layouts import LAYOUTS, Layout
from lenet_np.coursework.mark import Mark
from lenet_np.coursework.points import FILE, POINTS, CourseworkError, Points, read_points
from lenet_np.coursework.process import Limits, printable
from lenet_np.coursework.report import report
from lenet_np.coursework.submissions import Submission, submissions
from lenet_np.coursework.tasks import TASKS
from lenet_np.coursework.template import texts, write
from lenet_np.tools.cli.parser import Parser, at_least
from lenet_np.tools.cli.screen import complain, fail, say

PROGRAM = "python -m lenet_np coursework"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the status is 0 if every task asked for passed, and 1 if one did not."""
    arguments = _parser().parse_args(argv)
    try:
        return ACTIONS[arguments.action](arguments)
    except CourseworkError as error:
        return fail(PROGRAM, 1, printable(str(error)))
    except KeyboardInterrupt:
        return fail(PROGRAM, 130, "interrupted")


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description="An exercise file for a course, and its marking.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="new|check|export|list")
    layouts = "; ".join(
        f"{layout.name}: images ({layout.images:C, H, W, N}), {layout.familiar}"
        for layout in LAYOUTS.values()
    )

    new = actions.add_parser("new", help="write an exercise file", allow_abbrev=False)
    new.add_argument("folder", type=Path, metavar="FOLDER", help="where to write it")
    new.add_argument(
        "--layout",
        choices=tuple(LAYOUTS),
        default="batch-last",
        help=f"order of the axes. {layouts} (default: %(default)s)",
    )

    new.add_argument(
        "--tasks",
        type=_tasks,
        default=tuple(TASKS),
        metavar="NAME,NAME",
        help="only these, such as dense,relu,conv2d (default: all)",
    )
    new.add_argument(
        "--kit",
        action="store_true",
        help="add what students need to check their work without lenet_np, which has the solutions",
    )

    check = actions.add_parser(
        "check",
        help="mark what a student filled in",
        description="Mark exercise files. THIS RUNS THE CODE IN THEM: the limits protect against "
        "accidents, not against malice.",
        epilog="Exit status: 0 every task asked for passed, 1 one did not, 2 usage.",
        allow_abbrev=False,
    )
    check.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="files, notebooks, folders, ZIP archives",
    )
    check.add_argument(
        "--seed",
        type=at_least(0),
        default=0,
        metavar="N",
        help="other numbers and shapes, for hidden tests (default: 0, the open tests)",
    )
    check.add_argument(
        "--points",
        type=Path,
        metavar="TOML",
        help=f"the tasks and their points (default: {FILE} beside the file, if it is there)",
    )
    check.add_argument(
        "--task",
        type=_task,
        nargs="+",
        action="extend",
        metavar="NAME",
        help="only these (default: all); after the files",
    )
    check.add_argument(
        "--layout", choices=tuple(LAYOUTS), help="instead of the one that the file names"
    )
    check.add_argument(
        "--format",
        choices=("text", "json", "gradescope", *COLUMNS),
        default="text",
        help="json: one object a line for each submission; gradescope: results.json of one "
        "submission; csv, canvas, moodle: a table (default: %(default)s)",
    )
    check.add_argument(
        "--json", action="store_const", const="json", dest="format", help="--format json"
    )
    check.add_argument(
        "--jobs",
        type=at_least(1),
        default=os.cpu_count() or 1,
        metavar="N",
        help="submissions, or tasks of one, that are marked at a time (default: %(default)s)",
    )
    check.add_argument(
        "--keep",
        type=Path,
        metavar="FILE",
        help="keep what is marked in this file, and do not mark it again after an interruption",
    )
    check.add_argument(
        "--time-limit",
        type=at_least(1),
        default=int(Limits().seconds),
        metavar="SECONDS",
        help="for each task (default: %(default)s)",
    )
    check.add_argument(
        "--memory-limit",
        type=at_least(256),
        default=Limits().megabytes,
        metavar="MB",
        help="for each task, on systems that have such limits (default: %(default)s)",
    )

    export = actions.add_parser("export", help="write a folder for a platform", allow_abbrev=False)
    platforms = export.add_mutually_exclusive_group(required=True)
    platforms.add_argument("--gradescope", type=Path, metavar="DIR", help="an autograder")
    platforms.add_argument(
        "--github", type=Path, metavar="DIR", help="a repository for GitHub Classroom, with the kit"
    )
    export.add_argument(
        "--points", type=Path, metavar="TOML", help="tasks and points (default: all tasks)"
    )
    export.add_argument("--layout", choices=tuple(LAYOUTS), default="batch-last", help="--github")
    export.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="as for check; --gradescope"
    )

    actions.add_parser("list", help="list the tasks and their points", allow_abbrev=False)
    return parser


def _task(name: str) -> str:
    if name not in TASKS:
        raise argparse.ArgumentTypeError(f"no task {name!r}; there are {', '.join(TASKS)}")
    return name


def _tasks(names: str) -> tuple[str, ...]:
    chosen = {_task(name.strip()) for name in names.split(",")}
    return tuple(name for name in TASKS if name in chosen)


def _new(arguments: argparse.Namespace) -> int:
    layout, tasks = LAYOUTS[arguments.layout], arguments.tasks
    for path in _write(arguments.folder, texts(layout, tasks), tasks, layout, arguments.kit):
        say(str(path))
    return 0


def _write(
    folder: Path, files: dict[str, str], tasks: Sequence[str], layout: Layout, kit: bool
) -> list[Path]:
    """Write files, and those of the kit, of which the first alone are named."""
    written = write(folder, files | (kit_files() if kit else {}))
    if kit:
        write_answers(folder, layout, tasks)
    return [path for path in written if "checks" not in path.relative_to(folder).parts]


def _export(arguments: argparse.Namespace) -> int:
    points = read_points(arguments.points) if arguments.points else POINTS
    if arguments.gradescope:
        written = write(arguments.gradescope, gradescope_files(points, arguments.seed))
        written.append(write_wheel(arguments.gradescope))
    else:
        layout, tasks = LAYOUTS[arguments.layout], tuple(points)
        files = texts(layout, tasks, points)
        files[".github/workflows/classroom.yml"] = github_workflow(points)
        written = _write(arguments.github, files, tasks, layout, True)
    for path in written:
        say(str(path))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    status = 0
    with ExitStack() as stack:
        found: list[Submission] = []
        for file in arguments.files:
            try:
                found += submissions([file], stack)
            except CourseworkError as error:
                status = fail(PROGRAM, 1, printable(str(error)))
        if arguments.format == "gradescope" and len(found) > 1:
            return fail(PROGRAM, 2, f"--format gradescope takes one submission, got {len(found)}")
        tasks = tuple(dict.fromkeys(arguments.task or ()))
        points = _points(arguments)
        if arguments.format in COLUMNS:
            say(table_header(arguments.format, tasks or tuple(points or POINTS)))

        def progress(done: int, submission: Submission, result: Mark) -> None:
            if len(found) > 1:
                earned = f"{result.points} of {result.of} points"
                complain(printable(f"{done} of {len(found)}: {submission.name}: {earned}"))

        for submission, result in mark_all(
            found,
            arguments.jobs,
            arguments.keep,
            progress,
            tasks=tasks,
            layout=arguments.layout,
            limits=Limits(arguments.time_limit, arguments.memory_limit),
            seed=arguments.seed,
            points=points,
        ):
            say(_formatted(arguments.format, submission, result._replace(file=submission.name)))
            if not result.passed:
                status = 1
    return status


def _points(arguments: argparse.Namespace) -> Points | None:
    """Read the points that are named, or else those beside what is marked."""
    if arguments.points:
        return read_points(arguments.points)
    beside = {file.absolute().parent / FILE for file in arguments.files}
    tables = [read_points(path) for path in sorted(beside) if path.is_file()]
    if not tables:
        return None
    if len(tables) < len(beside) or any(table != tables[0] for table in tables):
        raise CourseworkError(
            f"the points beside these files ({FILE}) differ: name those that count with --points"
        )
    return tables[0]


def _formatted(kind: str, submission: Submission, result: Mark) -> str:
    if kind in COLUMNS:
        return table_row(kind, result, submission)
    if kind == "json":
        return json.dumps(result.as_dict() | {"student": submission.student})
    return json.dumps(gradescope(result), indent=2) if kind == "gradescope" else report(result)


def _list(_: argparse.Namespace) -> int:
    for task in TASKS.values():
        say(f"{task.name:15}{task.points:3} points  {task.teaches}")
    say(f"{'':15}{sum(task.points for task in TASKS.values()):3}")
    return 0


ACTIONS = {"new": _new, "check": _check, "export": _export, "list": _list}
