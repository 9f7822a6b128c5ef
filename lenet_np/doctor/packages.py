"""Python and its packages: are they there, do they work, and are they new enough?"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module, metadata
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import lenet_np
from lenet_np.doctor.check import FAIL, OK, WARN, Check, reason


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
