"""Marking many submissions: on all cores, with progress, and resumed after an interruption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

from .copies import copied
from .mark import Mark, mark
from .points import CourseworkError
from .process import STOP
from .submissions import Submission


def mark_all(
    found: Sequence[Submission],
    jobs: int,
    keep: Path | None,
    progress: Callable[[int, Submission, Mark], None],
    **how: Any,
) -> Iterator[tuple[Submission, Mark]]:
    """Mark submissions, several at a time, or several tasks of one, and give them in order.

    What is marked is appended to the file ``keep``; what is there already, of the same content and
    marked in the same way, is not marked again. ``how`` is what `mark` is given.
    """
    kept = _read(keep)
    marks: dict[int, Mark] = {}

    def one(submission: Submission) -> tuple[str, Mark]:
        key = _key(submission, how)
        if key in kept:
            return key, kept[key]
        result = mark(submission.files, jobs=max(1, jobs // len(found)), **how)
        return key, result._replace(notes=(*result.notes, *copied(submission.files)))

    pool = ThreadPoolExecutor(max(1, min(jobs, len(found))))
    try:
        waiting = {pool.submit(one, submission): n for n, submission in enumerate(found)}
        given = 0
        for done in as_completed(waiting):
            number = waiting[done]
            key, marks[number] = done.result()
            if key not in kept:
                _append(keep, key, marks[number])
            progress(len(marks), found[number], marks[number])
            while given in marks:
                yield found[given], marks[given]
                given += 1
    finally:
        # After an interruption the tasks that are being marked end, and are not waited for.
        STOP.set()
        pool.shutdown(cancel_futures=True)
        STOP.clear()


def _key(submission: Submission, how: dict[str, Any]) -> str:
    digest = hashlib.sha256(repr((submission.name, sorted(how.items()))).encode())
    for file in submission.files:
        with suppress(OSError):  # The mark says that it cannot be read.
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _read(keep: Path | None) -> dict[str, Mark]:
    kept: dict[str, Mark] = {}
    if keep is None or not keep.exists():
        return kept
    try:
        lines = keep.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CourseworkError(f"{keep} cannot be read: {error}") from error
    for line in lines:
        try:
            entry = json.loads(line)
            kept[entry["key"]] = Mark.from_dict(entry["mark"])
        except (ValueError, KeyError, TypeError):
            continue  # Cut off when the marking was killed: it is marked again.
    return kept


def _append(keep: Path | None, key: str, result: Mark) -> None:
    if keep is None:
        return
    try:
        with keep.open("a", encoding="utf-8") as file:
            # A line that was cut off ends here.
            file.write(f"\n{json.dumps({'key': key, 'mark': result.as_dict()})}\n")
    except OSError as error:
        raise CourseworkError(f"{keep} cannot be written: {error.strerror}") from error
