"""The field as text: grey shades on a terminal."""

from __future__ import annotations

import shutil
import sys

import numpy as np
from numpy.typing import NDArray

BLOCKS = " ░▒▓█"
ASCII = " .:-=+*#%@"


def shades(field: NDArray[np.uint8], columns: int, encoding: str) -> str:
    """Draw a field with letters, in a frame: the more ink, the denser.

    Parameters
    ----------
    field : (H, W) uint8, 0 paper to 255 ink
    columns : int
        Of the terminal. Letters are twice as high as wide, so each pixel is two of them where
        there is room, else one.
    encoding : str
        Of the terminal. Where it has no blocks, punctuation is used.

    Returns
    -------
    str of H + 2 lines
    """
    try:
        BLOCKS.encode(encoding)
        letters = BLOCKS
    except (UnicodeEncodeError, LookupError):
        letters = ASCII
    across = 2 if columns >= 2 * field.shape[1] + 2 else 1
    level = np.rint(field / 255 * (len(letters) - 1)).astype(int)
    edge = "+" + "-" * (across * field.shape[1]) + "+"
    rows = ("".join(letters[k] * across for k in row) for row in level)
    return "\n".join([edge, *(f"|{row}|" for row in rows), edge])


def shades_for_screen(field: NDArray[np.uint8]) -> str:
    """Draw a field so that standard output can show it; see `shades`."""
    encoding = (sys.stdout and sys.stdout.encoding) or "ascii"
    return shades(field, shutil.get_terminal_size().columns, encoding)
