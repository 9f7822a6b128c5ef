"""Finding the students' files in what they hand in: files, folders, and the ZIP of a platform."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .points import CourseworkError
from .sources import read_sources
from .tasks import TASKS

NAMES = "|".join(name for task in TASKS.values() for name in task.functions)
#: What shows that a file is somebody's exercise.
OURS = re.compile(rf"^(?:\s*def ({NAMES})\b|LAYOUT\s*=)", re.MULTILINE)
KINDS = (".py", ".ipynb")
#: "Anna Smith_1234_assignsubmission_file_"; "smithanna_LATE_1234_5678_exercise.py"
MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_\w+")
CANVAS = re.compile(r"(?P<name>[^_]+)(?:_LATE)?_(?P<id>\d+)_\d+_.+")
#: What one ZIP may unpack to, in bytes and in files.
LARGEST, MOST = 500_000_000, 20_000


class Submission(NamedTuple):
    """What one student has handed in."""

    name: str  # where it was found, for people
    student: str  # as the platform calls the student; else the name of the file or folder
    number: str  # the platform's, or ""
    files: tuple[Path, ...]  # the exercise first; none if there is none


def submissions(paths: Sequence[Path], stack: ExitStack) -> Iterator[Submission]:
    """List what is handed in, by path; what a ZIP holds is unpacked until the stack is closed.

    CourseworkError if a path cannot be read.
    """
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path, str(path), stack)
        elif not path.exists():
            raise CourseworkError(f"{path} cannot be read: No such file or directory")
        elif not path.is_file():  # Opening a pipe would wait for somebody who writes into it.
            raise CourseworkError(f"{path} cannot be read: it is not a file")
        elif path.suffix == ".zip":
            yield from _in_folder(_unpack(path, stack), str(path), stack)
        else:
            try:
                path.open("rb").close()
            except OSError as error:
                raise CourseworkError(f"{path} cannot be read: {error.strerror}") from error
            yield Submission(str(path), *_student(path.name, path.stem), (path,))


def _in_folder(folder: Path, name: str, stack: ExitStack) -> Iterator[Submission]:
    """List the students of a folder: of Moodle, of Canvas, or one whose folder it is."""
    entries = sorted(p for p in folder.iterdir() if p.name[0] not in "._")
    own = [p for p in entries if p.is_file() and p.suffix in (*KINDS, ".zip")]
    canvas: dict[str, list[Path]] = {}
    for path in own:
        match = CANVAS.fullmatch(path.name)
        if match:
            canvas.setdefault("_".join(match.groups()), []).append(path)
    if canvas:
        for paths in canvas.values():
            files = _files(paths, stack)
            label = f"{name}/{(files or paths)[0].name}"
            yield Submission(label, *_student(paths[0].name, ""), tuple(files))
        return
    folders = [p for p in entries if p.is_dir()]
    of_students = [p for p in folders if MOODLE.fullmatch(p.name)]
    names = [_names(path) for path in own if path.suffix in KINDS]
    if _is_class(own, [found for found in names if found]):
        for path in own:
            label = f"{name}/{path.name}"
            yield Submission(label, path.stem, "", tuple(_files([path], stack)) or (path,))
        return
    if not of_students and not any(names):
        # Folders or archives of several students, one each; or the only one that a student has.
        each = [*folders, *(path for path in own if path.suffix == ".zip")]
        of_students = each if len([path for path in each if _files([path], stack)]) > 1 else []
    if of_students:
        for path in of_students:
            yield Submission(
                f"{name}/{path.name}", *_student(path.name, path.stem), tuple(_files([path], stack))
            )
        return
    yield Submission(
        name, *_student(Path(name).name, Path(name).stem), tuple(_files([folder], stack))
    )


def _student(name: str, otherwise: str) -> tuple[str, str]:
    for pattern in (MOODLE, CANVAS):
        match = pattern.fullmatch(name)
        if match:
            return match["name"], match["id"]
    return otherwise, ""


def _files(paths: Sequence[Path], stack: ExitStack) -> list[Path]:
    """List the files with functions of the exercise: exercise.py first, or what has most."""
    found: dict[Path, int] = {}
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        if path.is_dir():
            waiting += [p for p in path.iterdir() if p.name[0] != "." and p.name != "__MACOSX"]
        elif path.is_file() and path.suffix == ".zip":
            try:
                waiting.append(_unpack(path, stack))
            except CourseworkError:
                continue  # One that is damaged is like one that is empty.
        elif path.is_file() and path.suffix in KINDS:
            count = len(_names(path))
            if count:
                found[path] = count
    return sorted(found, key=lambda p: (p.stem != "exercise", -found[p], p.suffix != ".py", str(p)))


def _is_class(files: Sequence[Path], names: Sequence[set[str]]) -> bool:
    """Say whether files that lie side by side are those of several students.

    Each has the same function, and none is called exercise.
    """
    others = all(path.stem != "exercise" for path in files)
    return others and len(names) > 1 and bool(set.intersection(*names))


def _names(path: Path) -> set[str]:
    """List the functions of the exercise that a file has; "" if it has none but is one."""
    if path.stat().st_size > 20_000_000:
        return set()
    try:
        text = "\n".join("\n".join(source.lines) for source in read_sources(path))
    except (OSError, ValueError):
        return set()
    found = set(OURS.findall(text))
    return found - {""} or found


def _unpack(path: Path, stack: ExitStack) -> Path:
    """Unpack a ZIP into a folder of its own, and nothing outside of it."""
    folder = Path(tempfile.mkdtemp(prefix="lenet_np-submissions-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    left = LARGEST
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist()[:MOST]:
                parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
                linked = stat.S_ISLNK(entry.external_attr >> 16)
                if entry.is_dir() or linked or {"..", "/", "__MACOSX"} & set(parts):
                    continue
                target = folder.joinpath(*(part.replace(":", "_") for part in parts))
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source:
                    content = source.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise CourseworkError(f"{path} unpacks to more than {LARGEST // 10**6} MB")
                target.write_bytes(content)
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise CourseworkError(f"{path} is not a ZIP file that can be read: {error}") from error
    return folder
