"""Picture files: from a file that may be anything to grey or colour values, or a clear refusal."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Floats = NDArray[np.float64]

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
#: A larger picture is not decoded: a file of a few kilobytes can claim any size.
MOST_PIXELS = 50_000_000
#: The longer side of a larger picture is reduced to about this; a digit needs no more.
WORKING_SIZE = 1000
#: Bits that a pixel of a deep picture may use.
DEPTHS = (8, 10, 12, 14, 16, 32)
#: Longer strips hold no single digit.
MOST_ELONGATED = 20


class PictureError(ValueError):
    """There is no digit to be read; the message says why."""


class Picture(NamedTuple):
    """What a file shows."""

    values: Floats  # (H, W, channels), 0 black to 1 white; one channel for grey, three for colour
    notes: tuple[str, ...]  # what the user should know


def read_picture(path: Path) -> Picture:
    """Read a picture, whatever its format, depth and colours; upright, and of a handy size.

    PictureError if it is none of `FORMATS`, damaged, too large or too elongated.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    _check_file(path)
    notes = []
    try:
        with warnings.catch_warnings(), _quiet_libraries():
            # About the size, which is checked here, and about odd metadata, which do not matter.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                _check_size(*image.size)
                image.verify()  # compares a PNG's checksums, which decoding does not
            with Image.open(path, formats=FORMATS) as image:
                # A telephone's MPO file is a JPEG with small copies of itself behind it.
                if image.format != "MPO" and getattr(image, "is_animated", False):
                    notes.append("several frames: this is the first")
                deep = "16" in str(image.tile)  # where Pillow itself gives 8 bits
                image.load()
                values = _values(ImageOps.exif_transpose(image), deep)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"no picture ({', '.join(FORMATS)} can be read)") from None
    except Image.DecompressionBombError:
        raise PictureError(_too_large()) from None
    except MemoryError:
        raise PictureError("not enough memory for this picture") from None
    except Exception as error:  # where a file is damaged decides which of a dozen it is
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise PictureError(f"damaged or cut off ({reason})") from error
    return Picture(values, tuple(notes))


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep libtiff from writing on the screen what the exceptions say too."""
    try:
        screen = os.dup(2)
    except OSError:  # closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise PictureError("a folder, not a picture")
        if not path.exists():
            raise PictureError("no such file")
        if not path.is_file():  # a pipe or a device may never end
            raise PictureError("not a file")
        with open(path, "rb") as file:
            if not file.read(1):
                raise PictureError("an empty file")
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        if isinstance(error, PictureError):
            raise
        reason = error.strerror if isinstance(error, OSError) else None
        raise PictureError(f"cannot be read ({reason or error})") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise PictureError(f"{width} x {height} pixels: {_too_large()}")
    if max(width, height) > MOST_ELONGATED * min(width, height):
        raise PictureError(f"{width} x {height} pixels, a strip: crop it to the digit")


def _too_large() -> str:
    return f"too large (at most {MOST_PIXELS // 1_000_000} million pixels are read)"


def _values(image: Image.Image, deep: bool) -> Floats:
    """Turn the pixels into numbers, (H, W, 1) or (H, W, 3), as shares of the full scale.

    Cameras and scanners write 10, 12 or 14 bits into 16 as they are. So the full scale of a deep
    picture is the least of these that holds its largest value.
    """
    if image.mode == "F":
        raise PictureError("pixels of floating point: save it as PNG or JPEG")
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow would cut them off at 255
        values = np.asarray(image).clip(min=0)
        full = next(2**bits - 1 for bits in DEPTHS if values.max() < 2**bits)
        scaled: Floats = _reduced(values, _reduction(image))[:, :, np.newaxis] / full
        return scaled
    if "A" in image.getbands() or "transparency" in image.info:
        colour = image.convert("RGBA").reduce(_reduction(image))
        return _on_paper(np.asarray(colour, dtype=np.float64) / 255)
    grey = image.mode in ("1", "L")
    plain = image.convert("L" if grey else "RGB").reduce(_reduction(image))
    values = np.asarray(plain, dtype=np.float64)
    full = 255
    if deep:  # of the 16 bits, the upper 8 are here
        full = next(2**bits // 256 - 1 for bits in DEPTHS[1:] if values.max() < 2**bits // 256)
        if values.max() == 0:
            raise PictureError("16 bits a colour, the upper 8 of them unused: save it with 8 bits")
    shares: Floats = values / full
    return shares[:, :, np.newaxis] if grey else shares


def _reduction(image: Image.Image) -> int:
    return max(1, round(max(image.size) / WORKING_SIZE))


def _reduced(values: NDArray[np.integer[Any]], factor: int) -> Floats:
    """Average blocks of factor x factor pixels; what is left over at the edge is cut off."""
    height, width = (max(1, side // factor) for side in values.shape)
    rows, columns = min(factor, values.shape[0]), min(factor, values.shape[1])
    blocks = values[: height * rows, : width * columns].reshape(height, rows, width, columns)
    mean: Floats = blocks.mean(axis=(1, 3), dtype=np.float64)
    return mean


def _on_paper(rgba: Floats) -> Floats:
    """Lay what is partly transparent on paper: (H, W, 4) to (H, W, 3).

    Where most of the picture is transparent, what is visible is the ink, and the paper must be
    its opposite. Else the visible part has its own paper, and the rest is given the same.
    """
    colour, alpha = rgba[:, :, :3], rgba[:, :, 3:]
    visible = colour[alpha[:, :, 0] > 0.5]
    if len(visible) == 0:
        paper = np.ones(3)
    elif alpha.mean() < 0.5:
        paper = np.full(3, 1.0 if visible.mean() < 0.5 else 0.0)
    else:
        paper = np.median(visible, axis=0)
    laid: Floats = colour * alpha + paper * (1 - alpha)
    return laid
