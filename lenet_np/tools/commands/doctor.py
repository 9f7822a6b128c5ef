"""The command ``python -m lenet_np doctor``: is this machine ready for a training run?

It starts without any package; what needs one is imported inside a function.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tomllib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module, metadata
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import NamedTuple, TextIO

import lenet_np
from lenet_np.threads import blas_threads, cores, default_threads
from lenet_np.tools.cli import machine
from lenet_np.tools.cli.parser import Parser, add_data_dir
from lenet_np.tools.cli.screen import reason, say

PROGRAM = "python -m lenet_np doctor"
OK = "ok"
WARN = "warn"  # training can run, but something will be different or missing
FAIL = "FAIL"  # training cannot run
#: What installs a package for the Python that runs now.
PIP_INSTALL = f'"{sys.executable}" -m pip install'
RUN_MEMORY = 200_000_000  # bytes; measured: 170 MB
RUN_DISK = 20_000_000  # bytes; a checkpoint has 0.75 MB
CACHE_DISK = 70_000_000  # bytes: MNIST has 11.6 MB, the synthetic digits 55 MB


class Check(NamedTuple):
    """One line: how it is, what was looked at, and what was seen."""

    status: str  # OK, WARN or FAIL
    name: str
    text: str


#: What is required: the module that is used (importing the package alone may not load its
#: libraries), how it is without it, and what is lost.
PACKAGES = {
    "numpy": ("numpy", FAIL, "nothing works"),
    "scipy": ("scipy.special", FAIL, "training cannot start"),
    "matplotlib": ("matplotlib.figure", WARN, "no pictures can be drawn"),
    "requests": ("requests", WARN, "MNIST cannot be downloaded"),
}
#: What is not required, and what it is for.
EXTRAS = {
    "pytest": "runs the tests",
    "tensorboardX": "writes files for TensorBoard",
    "torch": "takes part in the benchmark",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 if something stops training."""
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
    checks = []
    for check in examine(arguments.data_dir):
        checks.append(check)
        if not arguments.json:
            say(f"{check.status:4}  {check.name:23}  {check.text}")
    failed = [check.name for check in checks if check.status == FAIL]
    warnings = sum(check.status == WARN for check in checks)
    if arguments.json:
        found = [check._asdict() for check in checks]
        say(json.dumps({"ready": not failed, "lenet_np": lenet_np.__version__, "checks": found}))
    elif failed:
        say(f"Not ready: training cannot run ({', '.join(failed)}).")
    else:
        say(f"Ready: training can run{f' (lines with warn: {warnings})' if warnings else ''}.")
    return 1 if failed else 0


def examine(data_dir: Path | None = None) -> Iterator[Check]:
    """Look at everything; a look that itself breaks is a warning."""
    bounds: dict[str, str] = {}
    try:
        bounds = lower_bounds()
    except Exception as error:
        yield Check(WARN, "requirements", f"cannot be read: {reason(error)}")
    looks: dict[str, Callable[[], Iterable[Check]]] = {
        "Python": lambda: [check_python(bounds)],
        "packages": lambda: (check_package(name, bounds.get(name)) for name in PACKAGES),
        "extras": check_extras,
        "BLAS": check_blas,
        "memory": lambda: [check_memory()],
        "runs": lambda: [check_folder("runs", Path("runs"), RUN_DISK, FAIL)],
        "cache": lambda: [check_cache()],
        "MNIST": lambda: check_mnist(data_dir),
        "terminal": lambda: [check_terminal(sys.stdout)],
    }
    for name, look in looks.items():
        try:
            yield from look()
        except Exception as error:
            yield Check(WARN, name, f"cannot be looked at: {reason(error)}")


# --- Python and its packages ----------------------------------------------------------------------


def lower_bounds() -> dict[str, str]:
    """Read the oldest versions that are supported, by the packages' names, and Python's."""
    try:
        installed = metadata.distribution("lenet_np")
        python, required = installed.metadata["Requires-Python"], installed.requires or []
    except metadata.PackageNotFoundError:  # a checkout
        file = Path(lenet_np.__file__).parent.parent / "pyproject.toml"
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        python, required = project["requires-python"], project["dependencies"]
    found = (re.match(r"([\w-]+) *>= *([\d.]+)", line) for line in (f"python{python}", *required))
    return {bound[1]: bound[2] for bound in found if bound}


def check_python(bounds: dict[str, str]) -> Check:
    """Say which Python this is, where, and whether it is new enough."""
    version = "{}.{}.{}".format(*sys.version_info)
    where = f"in {sys.prefix}" if sys.prefix != sys.base_prefix else "in no virtual environment"
    check = _compare(FAIL, "Python", version, bounds.get("python"))
    return check._replace(text=f"{check.text}, {where}")


def check_package(name: str, bound: str | None) -> Check:
    """Import a required package, and compare its version with the oldest supported one."""
    module, status, loss = PACKAGES[name]
    spec = find_spec(name)
    if spec is None:
        text = f"missing, and {loss} without it. Install it: {PIP_INSTALL} {name}"
        return Check(status, name, text)
    in_the_way = "another file of this name is in its place, rename or move it: "
    if not spec.submodule_search_locations:  # a user's own file, say numpy.py
        return Check(status, name, f"{in_the_way}{spec.origin}")
    try:
        # Some packages print pages where they cannot be loaded.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            import_module(module)
    except (Exception, SystemExit) as error:
        text = f"broken, and {loss} without it: {reason(error)} (in {spec.origin}). Install it "
        return Check(status, name, f"{text}again: {PIP_INSTALL} --force-reinstall {name}")
    version = getattr(sys.modules[name], "__version__", None)
    if version is None:  # a user's own folder
        return Check(status, name, f"{in_the_way}{spec.submodule_search_locations[0]}")
    remedy = f". Upgrade it: {PIP_INSTALL} --upgrade {name}"
    return _compare(status, name, version, bound, remedy)


def check_extras() -> Iterator[Check]:
    """Say which of the packages that are not required are there."""
    for name, purpose in EXTRAS.items():
        try:  # Not imported: PyTorch takes seconds to load.
            text = f"{metadata.version(name)}; {purpose}"
        except metadata.PackageNotFoundError:
            text = f"not there, not required; {purpose}. Install it: {PIP_INSTALL} {name}"
        yield Check(OK, name, text)


def _compare(status: str, name: str, version: str, bound: str | None, remedy: str = "") -> Check:
    """Compare a version with the oldest supported one; `status` is what an older one means."""
    if not bound:
        return Check(OK, name, version)
    ours, least = ([int(n) for n in re.findall(r"\d+", v)[:3]] for v in (version, bound))
    if ours < least:
        return Check(status, name, f"{version} is too old: {bound} or newer is needed{remedy}")
    return Check(OK, name, f"{version} ({bound} or newer is needed)")


# --- what surrounds a run: BLAS and threads, memory, folders, the MNIST files, the terminal -------


def check_blas() -> Iterator[Check]:
    """Name the processor and NumPy's BLAS, and say whether that can be held to one thread."""
    yield Check(OK, "processor", f"{machine.processor()}, {cores()} cores to use")
    if blas_threads():
        yield Check(OK, "BLAS", f"{machine.blas()}; held to one thread while training")
    else:
        text = "it cannot be held to one thread, so by default lenet_np starts no threads beside it"
        yield Check(WARN, "BLAS", f"{machine.blas()}; {text}")
    yield Check(OK, "threads", f"{default_threads()} by default")


def check_memory() -> Check:
    """Compare the free memory with what a run needs."""
    available = machine.available_memory()
    need = f"a run needs {RUN_MEMORY / 1e6:.0f} MB"
    if available is None:
        return Check(OK, "memory", f"unknown; {need}")
    status = OK if available >= RUN_MEMORY else WARN
    return Check(status, "memory", f"{available / 1e6:,.0f} MB available, {need}")


def check_cache() -> Check:
    """Look at the cache folder, which keeps the data between runs."""
    from lenet_np.data.files import cache_folder

    return check_folder("cache", cache_folder(), CACHE_DISK, WARN)


def check_folder(name: str, folder: Path, need: int, status: str) -> Check:
    """Try to write in a folder, or where it would be made; `status` is what a failure means."""
    try:
        folder = folder.absolute()
        existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
        probe = existing / f".{uuid.uuid4().hex}.part"
        # Permissions do not tell all, say of a disk that is mounted for reading.
        with open(probe, "xb"):
            pass
        probe.unlink()
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Check(status, name, f"cannot write in {folder}: {error.strerror or error}")
    text = f"{free / 1e6:,.0f} MB free, {need / 1e6:.0f} MB needed"
    return Check(OK if free >= need else status, name, f"{folder} can be written, {text}")


def check_mnist(data_dir: Path | None) -> Iterator[Check]:
    """Say where MNIST would come from, and whether each file there is whole."""
    from lenet_np.data import DataError
    from lenet_np.data.mnist import FILES, find_file, locate

    try:
        folder, named_by = locate(data_dir)
    except DataError as error:
        yield Check(FAIL, "MNIST", str(error))
        return
    to_fetch, lines = 0, []
    for file in FILES:
        found, faults = find_file(folder, file)
        if found is not None:
            lines.append(Check(OK, file.name, f"whole: {found.form}"))
            continue
        to_fetch += file.packed.size
        status = FAIL if faults and named_by else WARN
        lines.append(Check(status, file.name, faults[0] if faults else "missing"))
    where = f"{folder} ({f'named by {named_by}' if named_by else 'the cache folder'})"
    if not to_fetch:
        yield Check(OK, "MNIST", f"in {where}")
    elif any(line.status == FAIL for line in lines):
        text = "files that are not the official ones are never used nor replaced; move them away, "
        text += "name another folder, or train with --dataset synthetic"
        yield Check(FAIL, "MNIST", f"in {where}: {text}")
    else:
        text = f"training would try to download {to_fetch / 1e6:.1f} MB, and else use the "
        yield Check(WARN, "MNIST", f"not complete in {where}: {text}synthetic digits")
    yield from lines


def check_terminal(stream: TextIO) -> Check:
    """Say what decides how the progress of a run is shown."""
    kind = "a terminal" if stream.isatty() else "no terminal"
    term = os.environ.get("TERM", "not set")
    return Check(
        OK, "terminal", f"standard output is {kind}, encoding {stream.encoding}, TERM {term}"
    )
