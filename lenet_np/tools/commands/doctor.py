"""The command ``python -m lenet_np doctor``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from lenet_np import __version__
from lenet_np.tools import doctor
from lenet_np.tools.cli.parser import Parser, add_data_dir
from lenet_np.tools.cli.screen import fail, reason, say
from lenet_np.tools.doctor import FAIL, WARN, Check

PROGRAM = "python -m lenet_np doctor"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the command's name; the program's own by default.

    Returns
    -------
    int : the exit status. 0 training can run; 1 something stops it; 2 usage; 130 interrupted.
    """
    parser = Parser(
        prog=PROGRAM,
        description="Say whether this machine is ready for a training run. Nothing is "
        "downloaded, changed or kept.",
        epilog="Exit status: 0 training can run, perhaps with warnings; 1 something stops it.",
        allow_abbrev=False,
    )
    add_data_dir(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of the lines"
    )
    arguments = parser.parse_args(argv)
    try:
        return _run(arguments.data_dir, arguments.json)
    except KeyboardInterrupt:
        return fail(PROGRAM, 130, "interrupted")


def _run(data_dir: Path | None, as_json: bool) -> int:
    checks = []
    for check in examine(data_dir):
        checks.append(check)
        if not as_json:
            say(f"{check.status:4}  {check.name:23}  {check.text}")
    failed = [check.name for check in checks if check.status == FAIL]
    if as_json:
        found = [check._asdict() for check in checks]
        say(json.dumps({"ready": not failed, "lenet_np": __version__, "checks": found}))
    else:
        say(_verdict(failed, sum(check.status == WARN for check in checks)))
    return 1 if failed else 0


def _verdict(failed: list[str], warnings: int) -> str:
    if failed:
        return f"Not ready: training cannot run ({', '.join(failed)})."
    return f"Ready: training can run{f' (lines with warn: {warnings})' if warnings else ''}."


def examine(data_dir: Path | None = None) -> Iterator[Check]:
    """Look at everything, in the order in which the lines are printed.

    Parameters
    ----------
    data_dir : Path, optional
        The folder of the MNIST files that the user names.

    Yields
    ------
    Check
        One that itself breaks is reported as a warning.
    """
    bounds: dict[str, str] = {}
    try:
        bounds = doctor.lower_bounds()
    except Exception as error:
        yield Check(WARN, "requirements", f"cannot be read: {reason(error)}")
    looks: dict[str, Callable[[], Check | Iterable[Check]]] = {
        "Python": partial(doctor.check_python, bounds),
        **{name: partial(doctor.check_package, name, bounds.get(name)) for name in doctor.PACKAGES},
        "extras": doctor.check_extras,
        "processor": doctor.check_processor,
        "BLAS": doctor.check_blas,
        "memory": doctor.check_memory,
        "runs": doctor.check_runs,
        "cache": doctor.check_cache,
        "MNIST": partial(doctor.check_mnist, data_dir),
        "terminal": partial(doctor.check_terminal, sys.stdout),
    }
    for name, look in looks.items():
        try:
            found = look()
            yield from [found] if isinstance(found, Check) else found
        except Exception as error:
            yield Check(WARN, name, f"cannot be looked at: {reason(error)}")
