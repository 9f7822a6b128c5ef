"""One style for all pictures: colours, markers, sizes, and how a picture becomes a file."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lenet_np.data.files import write_atomically

# Okabe and Ito's colours, which colour-blind readers can tell apart; a marker each as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^v<>"
LINES = ("-", "--", ":")
GREY = "#767676"
#: Maps for values from 0 up, and for values on both sides of 0.
POSITIVE, SIGNED = "cividis", "RdBu"
#: Inches. At the width of a README, some 900 pixels, a point is then 1.5 pixels.
WIDTH = 8.0
DPI = 150
_SETTINGS: Any = {  # a dict; newer versions of matplotlib have a type for each name
    "font.size": 9,
    "figure.titlesize": 10,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "image.interpolation": "nearest",
    "figure.constrained_layout.w_pad": 0.08,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw everything within in one style, whatever the user's own matplotlib settings are.

    It serves as a decorator of a function that draws, too.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(height: float, title: str) -> Any:
    """Make an empty figure of the common width; its height is in inches. Long titles are broken."""
    from matplotlib.figure import Figure  # A figure of its own needs no screen and no pyplot.

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle("\n".join(textwrap.fill(line, 100) for line in title.splitlines()))
    return figure


def count_in_integers(axis: Any, most: int = 7) -> None:
    """Put at most so many ticks on an axis, at whole numbers: there is no epoch 2.5."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def write_figure(figure: Any, file: Path) -> None:
    """Write a picture of the kind that its ending names, whole or not at all (WriteError)."""
    with house_style(), write_atomically(file) as out:
        with suppress(OSError):  # There are file systems without locks.
            _claim(out)
        figure.savefig(out, format=file.suffix.removeprefix("."), dpi=DPI)


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove what a process was writing when it was killed; the files of a living one stay."""
    for leftover in folder.glob(f".{name}*.part"):
        with suppress(OSError):
            if sys.platform != "win32":  # Windows itself does not remove a file that is open.
                with open(leftover, "rb") as file:
                    _claim(file)
            leftover.unlink()


def _claim(file: BinaryIO) -> None:
    """Lock an open file; OSError if another process has it. The system unlocks it at the end."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
