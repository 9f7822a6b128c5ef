"""Python and its packages: are they there, do they work, and are they new enough?"""

from __future__ import annotations

import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module, metadata
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import NamedTuple, TextIO

import lenet_np
from lenet_np.threads import blas_threads, cores, default_threads
from lenet_np.tools.cli import machine
from lenet_np.tools.cli.screen import reason

OK = "ok"
WARN = "warn"  # training can run, but something will be different or missing
FAIL = "FAIL"  # training cannot run


class Check(NamedTuple):
    """One line: how it is (OK, WARN or FAIL), what was looked at, and what was seen."""

    status: str
    name: str
    text: str


class Package(NamedTuple):
    """A package that lenet_np requires."""

    module: str  # the part that is used: importing the package alone may not load its libraries
    status: str  # without it
    loss: str


PACKAGES = {
    "numpy": Package("numpy", FAIL, "nothing works"),
    "scipy": Package("scipy.special", FAIL, "training cannot start"),
    "matplotlib": Package("matplotlib.figure", WARN, "no pictures can be drawn"),
    "requests": Package("requests", WARN, "MNIST cannot be downloaded"),
    "pytest": Package("pytest", WARN, "the tests cannot run"),
}
#: What is not required, and what it is for.
EXTRAS = {
    "tensorboardX": "writes files for TensorBoard",
    "torch": "takes part in the benchmark",
}
_BOUND = re.compile(r"([\w.-]+) *>= *(\d+(?:\.\d+)*)")


def lower_bounds() -> dict[str, str]:
    """Read the oldest versions that are supported.

    They stand in the files of a checkout, or else in the metadata of the installed package.

    Returns
    -------
    dict of str : versions by the packages' names, and Python's; what is not stated is absent.
    """
    checkout = Path(lenet_np.__file__).parent.parent
    try:
        project = (checkout / "pyproject.toml").read_text(encoding="utf-8")
        found = re.search(r'^requires-python *= *"(.*)"', project, re.MULTILINE)
        python = found[1] if found else ""
        required = (checkout / "requirements.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        try:
            installed = metadata.distribution("lenet_np")
        except metadata.PackageNotFoundError:
            return {}
        python = installed.metadata["Requires-Python"] or ""
        required = installed.requires or []
    # A line with a condition behind a semicolon is an extra's and does not match.
    bounds = filter(None, map(_BOUND.fullmatch, (f"python{python}", *required)))
    return {bound[1]: bound[2] for bound in bounds}


def check_python(bounds: dict[str, str]) -> Check:
    """Say which Python this is.

    Parameters
    ----------
    bounds : dict of str
        As `lower_bounds` reads them.

    Returns
    -------
    Check
    """
    version = "{}.{}.{}".format(*sys.version_info)
    where = f"in {sys.prefix}" if sys.prefix != sys.base_prefix else "in no virtual environment"
    bound = bounds.get("python")
    if bound and _older(version, bound):
        return Check(FAIL, "Python", f"{version} is too old: {bound} or newer is needed")
    return Check(OK, "Python", f"{version}{_needs(bound)}, {where}")


def check_package(name: str, bound: str | None) -> Check:
    """Import a required package, and compare its version with the oldest supported one.

    Parameters
    ----------
    name : str
        A key of `PACKAGES`.
    bound : str or None
        The oldest supported version, if it is known.

    Returns
    -------
    Check
    """
    module, status, loss = PACKAGES[name]
    spec = find_spec(name)
    if spec is None:
        return Check(
            status, name, f"missing, and {loss} without it. Install it: {pip_command(name)}"
        )
    try:
        # Some packages print pages where they cannot be loaded.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            import_module(module)
    except (Exception, SystemExit) as error:
        if spec.submodule_search_locations is None:
            return _in_the_way(name, spec.origin)
        command = pip_command("--force-reinstall", name)
        text = f"broken, and {loss} without it: {reason(error)} (in {spec.origin}). Install it "
        return Check(status, name, f"{text}again: {command}")
    version = getattr(sys.modules[name], "__version__", None)
    if version is None:
        return _in_the_way(name, spec.origin)
    if bound and _older(version, bound):
        command = pip_command("--upgrade", name)
        text = f"{version} is too old: {bound} or newer is needed. Upgrade it: {command}"
        return Check(status, name, text)
    return Check(OK, name, f"{version}{_needs(bound)}")


def check_extras() -> Iterator[Check]:
    """Say which of the packages that are not required are there.

    Yields
    ------
    Check
    """
    for name, purpose in EXTRAS.items():
        # Not imported: PyTorch takes seconds to load.
        if find_spec(name) is None:
            yield Check(
                OK, name, f"not there, not required; {purpose}. Install it: {pip_command(name)}"
            )
            continue
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = "of an unknown version"
        yield Check(OK, name, f"{version}; {purpose}")


def pip_command(*words: str) -> str:
    """Write the command that installs something for the Python that runs now.

    Parameters
    ----------
    *words : str
        What follows ``pip install``.

    Returns
    -------
    str
    """
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable or "python"
    return f"{python} -m pip install {' '.join(words)}"


def _in_the_way(name: str, origin: str | None) -> Check:
    """Speak of a user's own file, say ``numpy.py``, that is imported in place of a package."""
    text = f"another file of this name is in its place, rename or move it: {origin}"
    return Check(PACKAGES[name].status, name, text)


def _needs(bound: str | None) -> str:
    return f" ({bound} or newer is needed)" if bound else ""


def _older(version: str, bound: str) -> bool:
    return _numbers(version) < _numbers(bound)


def _numbers(version: str) -> list[int]:
    """Read the numbers at the beginning of a version: 1, 26 and 0 of ``1.26.0rc1``."""
    found = re.match(r"\d+(\.\d+)*", version)
    return [int(number) for number in found[0].split(".")] if found else []


# --- what surrounds a run: BLAS and threads, memory, folders, the MNIST files, the terminal -------

RUN_MEMORY = 200_000_000  # bytes; measured: 170 MB
RUN_DISK = 20_000_000  # bytes; a checkpoint has 0.75 MB
CACHE_DISK = 70_000_000  # bytes: MNIST has 11.6 MB, the synthetic digits 55 MB


def check_blas() -> Iterator[Check]:
    """Name NumPy's BLAS, and say whether it can be held to one thread.

    Yields
    ------
    Check
    """
    if blas_threads() is None:
        yield Check(
            WARN,
            "BLAS",
            f"{machine.blas()}; it cannot be held to one thread, so by default lenet_np starts "
            "no threads beside it",
        )
    else:
        yield Check(OK, "BLAS", f"{machine.blas()}; held to one thread while training")
    yield Check(OK, "threads", f"{default_threads()} by default")


def check_processor() -> Check:
    """Name the processor and count its cores.

    Returns
    -------
    Check
    """
    return Check(OK, "processor", f"{machine.processor()}, {cores()} cores to use")


def check_memory() -> Check:
    """Compare the free memory with what a run needs.

    Returns
    -------
    Check
    """
    available = machine.available_memory()
    need = f"a run needs {RUN_MEMORY / 1e6:.0f} MB"
    if available is None:
        return Check(OK, "memory", f"unknown; {need}")
    status = OK if available >= RUN_MEMORY else WARN
    return Check(status, "memory", f"{available / 1e6:,.0f} MB available, {need}")


def check_runs() -> Check:
    """Look at the folder that holds the runs, below the current one.

    Returns
    -------
    Check
    """
    return _check_folder("runs", Path("runs"), RUN_DISK, FAIL)


def check_cache() -> Check:
    """Look at the cache folder, which keeps the data between runs.

    Returns
    -------
    Check
    """
    from lenet_np.data import DataError
    from lenet_np.data.files import cache_folder

    try:
        return _check_folder("cache", cache_folder(), CACHE_DISK, WARN)
    except DataError as error:
        return Check(WARN, "cache", str(error))


def check_mnist(data_dir: Path | None) -> Iterator[Check]:
    """Say where MNIST would come from, and whether each file there is whole.

    Parameters
    ----------
    data_dir : Path or None
        The folder that the user names on the command line.

    Yields
    ------
    Check
    """
    # Here, because these modules need NumPy, which may be missing.
    from lenet_np.data import DataError
    from lenet_np.data.mnist import FILES, find_file, locate

    try:
        folder, named_by = locate(data_dir)
    except DataError as error:
        yield Check(FAIL, "MNIST", str(error))
        return
    where = f"{folder} ({f'named by {named_by}' if named_by else 'the cache folder'})"
    to_fetch, damaged = 0, False
    lines = []
    for file in FILES:
        found, faults = find_file(folder, file)
        if found is not None:
            lines.append(Check(OK, file.name, f"whole: {found.form}"))
            continue
        to_fetch += file.packed.size
        damaged = damaged or bool(faults)
        status = FAIL if faults and named_by else WARN
        lines.append(Check(status, file.name, faults[0] if faults else "missing"))
    if not to_fetch:
        yield Check(OK, "MNIST", f"in {where}")
    elif damaged and named_by:
        yield Check(
            FAIL,
            "MNIST",
            f"in {where}: files that are not the official ones are never used nor replaced; move "
            "them away, name another folder, or train with --dataset synthetic",
        )
    else:
        yield Check(
            WARN,
            "MNIST",
            f"not complete in {where}: training would try to download {to_fetch / 1e6:.1f} MB, "
            "and else use the synthetic digits",
        )
    yield from lines


def check_terminal(stream: TextIO | None) -> Check:
    """Say what the terminal can show.

    Parameters
    ----------
    stream : text stream or None
        Standard output; None where it is closed.

    Returns
    -------
    Check
    """
    if stream is None:
        return Check(OK, "terminal", "standard output is closed")
    facts = [
        "standard output is a terminal" if stream.isatty() else "standard output is no terminal",
        f"encoding {stream.encoding}",
        f"TERM {os.environ.get('TERM', 'not set')}",
        f"NO_COLOR {'set' if os.environ.get('NO_COLOR') else 'not set'}",
    ]
    return Check(OK, "terminal", ", ".join(facts))


def _check_folder(name: str, folder: Path, need: int, status: str) -> Check:
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
    return Check(
        OK if free >= need else status,
        name,
        f"{folder} can be written, {free / 1e6:,.0f} MB free, {need / 1e6:.0f} MB needed",
    )
