"""The command ``python -m lenet_np coursework``: new, check, list."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lenet_np.coursework.layouts import LAYOUTS
from lenet_np.coursework.mark import mark
from lenet_np.coursework.points import FILE, CourseworkError, read_points
from lenet_np.coursework.process import Limits
from lenet_np.coursework.report import report
from lenet_np.coursework.submissions import submissions
from lenet_np.coursework.tasks import TASKS
from lenet_np.coursework.template import write
from lenet_np.tools.cli.parser import Parser, at_least
from lenet_np.tools.cli.screen import fail, say

PROGRAM = "python -m lenet_np coursework"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the status is 0 if every task asked for passed, and 1 if one did not."""
    arguments = _parser().parse_args(argv)
    try:
        return {"new": _new, "check": _check, "list": _list}[arguments.action](arguments)
    except CourseworkError as error:
        return fail(PROGRAM, 1, error)
    except KeyboardInterrupt:
        return fail(PROGRAM, 130, "interrupted")


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description="An exercise file for a course, and its marking.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="new|check|list")
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

    check = actions.add_parser(
        "check",
        help="mark what a student filled in",
        description="Mark exercise files. THIS RUNS THE CODE IN THEM: the limits protect against "
        "accidents, not against malice.",
        epilog="Exit status: 0 every task asked for passed, 1 one did not, 2 usage.",
        allow_abbrev=False,
    )
    check.add_argument("files", type=Path, nargs="+", metavar="FILE", help="what to mark")
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
        "--json", action="store_true", help="one JSON object a line for each file, for graders"
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

    new.add_argument(
        "--tasks",
        type=_tasks,
        default=tuple(TASKS),
        metavar="NAME,NAME",
        help="only these, such as dense,relu,conv2d (default: all)",
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
    for path in write(arguments.folder, LAYOUTS[arguments.layout], arguments.tasks):
        say(str(path))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    tasks = tuple(dict.fromkeys(arguments.task or ()))
    limits = Limits(arguments.time_limit, arguments.memory_limit)
    status = 0
    for file in arguments.files:
        points = arguments.points or file.with_name(FILE)
        table = read_points(points) if arguments.points or points.is_file() else None
        with ExitStack() as stack:
            try:
                found = list(submissions([file], stack))
            except CourseworkError as error:
                status = fail(PROGRAM, 1, error)
                continue
            for one in found:
                result = mark(one.files, tasks, arguments.layout, limits, arguments.seed, table)
                if arguments.json:
                    say(json.dumps(result.as_dict() | {"file": one.name, "student": one.student}))
                else:
                    say(report(result._replace(file=one.name)))
                if not result.passed:
                    status = 1
    return status


def _list(_: argparse.Namespace) -> int:
    for task in TASKS.values():
        say(f"{task.name:15}{task.points:3} points  {task.teaches}")
    say(f"{'':15}{sum(task.points for task in TASKS.values()):3}")
    return 0
