"""A student's file, and lenet_np as if it were installed: what tests of the coursework need."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

#: A file that solves everything; what comes after it takes the place of what it defines.
SOLUTION = """\
import numpy as np
from lenet_np.coursework.layouts import LAYOUTS
from lenet_np.coursework.reference import solutions

LAYOUT = {layout!r}
solution = solutions(LAYOUTS[LAYOUT])
globals().update(solution)
"""


def announce_installation(folder: Path) -> None:
    """Make Python, with this folder on its path, believe that lenet_np is installed.

    Its entry points are known then, such as the plugin of pytest.
    """
    information = folder / "lenet_np-1.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: lenet_np\nVersion: 1\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [f"{k} = {v}" for k, v in project["entry-points"]["pytest11"].items()]
    (information / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
