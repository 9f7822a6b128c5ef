"""Where the project keeps files between runs, and how a file appears there whole or not at all."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lenet_np.data.dataset import DataError

APPLICATION = "lenet_np"


class WriteError(OSError):
    """A file cannot be written; the message says which, where and why."""


def cache_folder() -> Path:
    r"""Name the project's folder for files that can be fetched again; it may not exist yet.

    ========  =====================================================================
    Linux     ``$XDG_CACHE_HOME/lenet_np``, or ``~/.cache/lenet_np`` where that is unset
    macOS     ``~/Library/Caches/lenet_np``
    Windows   ``%LOCALAPPDATA%\lenet_np``
    ========  =====================================================================

    DataError if the user's home folder is needed and unknown.
    """
    if sys.platform == "win32":
        variable, below_home = "LOCALAPPDATA", Path("AppData", "Local")
    elif sys.platform == "darwin":
        variable, below_home = None, Path("Library", "Caches")
    else:
        variable, below_home = "XDG_CACHE_HOME", Path(".cache")
    named = Path(os.environ.get(variable, "")) if variable else Path()
    # The XDG specification asks to ignore a relative path: it would change with the folder
    # in which the program is started.
    if named.is_absolute():
        return named / APPLICATION
    try:
        return Path.home() / below_home / APPLICATION
    except RuntimeError as error:
        raise DataError(
            "the home folder is unknown, so there is no cache folder: "
            "name a folder with --data-dir or the environment variable LENET_NP_DATA"
        ) from error


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when it is complete.

    The bytes go to a temporary file beside `path`, with a name that no other process has. At
    the end of the ``with`` block they are forced to the disk and the file is renamed, replacing
    an older one. A reader thus sees the old file or the new one, never half of one, and of two
    writers the last wins. If the block raises, the temporary file is removed and `path` is
    left as it was. The folder of `path` is created where it is missing.

    WriteError if the folder or file cannot be written: no permission, read-only, disk full. Every
    OSError in the ``with`` block counts as such, so let it do nothing but write.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            # After the renaming there is nothing left to remove.
            with suppress(OSError):
                os.unlink(temporary)
    except OSError as error:
        raise WriteError(
            f"cannot write {path.name} in the folder {path.parent}: {error.strerror or error}"
        ) from error
