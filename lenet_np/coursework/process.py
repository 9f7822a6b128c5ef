"""One task of a student's file in a process of its own, which may end in any way it likes.

The result comes back through a file, in which the student's code may have written too: what is in
it is checked, cut and cleaned. What the code prints goes into another, of which the beginning is
kept. This protects against accidents: an endless loop, `sys.exit`, a crash, a flood. It is no
protection against malice: the code runs with all rights of whoever starts the marking.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .sources import read_sources
from .task import FAILED, NOT_ATTEMPTED, NOT_JUDGED, PASSED, Remark

#: Characters of a task's prints that are kept; of a message; of a line of source.
KEPT, MESSAGE, LINE = 2000, 2000, 200
#: Bytes of a result: a few remarks, each of them cut by the child.
LARGEST_RESULT = 1_000_000
#: Bytes of prints at which a task is ended.
FLOOD = 20_000_000
#: For starting Python and importing NumPy, which the time limit does not count. It is also how
#: long the parent waits beyond the limit before it does what the child did not.
STARTUP_SECONDS = 20.0

RESULT, TRACE, SCREEN = "result.json", "trace.txt", "screen.txt"


class Limits(NamedTuple):
    """What a task may use."""

    seconds: float = 30.0
    megabytes: int = 2048


#: Set when the marking is to end: then every task ends, in whatever thread it is waited for.
STOP = threading.Event()


class Answer(NamedTuple):
    """What came out of a process."""

    result: dict[str, Any]  # empty if the process ended before it had any; without the remarks
    remarks: tuple[Remark, ...]  # what the check found, and how the process ended too early
    output: str
    cut: bool  # whether there was more output


def run(request: dict[str, Any], limits: Limits) -> Answer:
    """Start a process, give it a request for `child.main`, and wait for what comes out of it."""
    with tempfile.TemporaryDirectory(
        prefix="lenet_np-coursework-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        work = folder / "work"  # Files that the student's code writes stay here.
        work.mkdir()
        request = {**request, **limits._asdict(), "folder": name}
        with (folder / SCREEN).open("w+b") as screen:
            process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.child", json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
                cwd=work,
                env=_environment(),
                start_new_session=True,  # A group of its own, so that its children end with it.
            )
            deadline = time.monotonic() + limits.seconds + STARTUP_SECONDS
            try:
                while process.poll() is None and time.monotonic() < deadline:
                    if STOP.is_set() or os.fstat(screen.fileno()).st_size > FLOOD:
                        break
                    time.sleep(0.01)
                overdue = process.poll() is None
            finally:
                _end(process)
            size = screen.seek(0, os.SEEK_END)
            screen.seek(0)
            # A character has at most four bytes.
            output = printable(screen.read(4 * KEPT).decode("utf-8", "replace"))
        result, remarks = _read_result(folder / RESULT, request["task"])
        if not result.get("complete", bool(remarks)):
            line = _last_line(trace := _read(folder / TRACE), request["files"])
            ending = _ending(process.returncode, size, overdue, trace, line, limits)
            remarks = (*remarks, ending)
        return Answer(result, remarks, output[:KEPT], len(output) > KEPT or size > 4 * KEPT)


def printable(text: str) -> str:
    """Take away a student's escape codes: they must not repaint the terminal of whoever marks."""
    text = text.replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def cut(remark: Remark) -> Remark:
    """Shorten a remark of which a student's code wrote a part, and take its escape codes away."""
    message, line = remark.message[: MESSAGE + 1], remark.line
    if len(message) > MESSAGE:
        message = f"{message[:MESSAGE]} ... (cut)"
    if line is not None:
        line = printable(line[:LINE]).replace("\n", "?")
    part = remark.part if remark.part is None else printable(remark.part[:LINE])
    return Remark(printable(remark.code[:40]), printable(message), line, part)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and on systems that have process groups all that it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        if sys.platform == "linux":  # `child.watch` ends what has left the group.
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        # The package may be found through the working folder, and the child has another.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "agg",
        # The arrays are tiny, and each thread of a BLAS would take a share of the memory limit.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def _ending(
    status: int, printed: int, overdue: bool, trace: str, line: str | None, limits: Limits
) -> Remark:
    """Say how a process ended that has left no result."""
    if printed > FLOOD:
        return Remark("output-flood", f"printed more than {FLOOD // 10**6} MB and was stopped")
    if overdue or trace.startswith("Timeout"):
        return Remark(
            "time-limit", f"was still running after {limits.seconds:g} s and was stopped", line
        )
    if status < 0 or "Fatal Python error" in trace or "Windows fatal exception" in trace:
        how = f"exit status {status}"
        with contextlib.suppress(ValueError):
            how = signal.Signals(-status).name
        return Remark("crash", f"crashed Python ({how})", line)
    return Remark(
        "exit", f"ended the whole process (exit status {status}) before the check was through"
    )


def _last_line(trace: str, files: Sequence[str]) -> str | None:
    """Find the innermost line of the student's code in what `faulthandler` wrote."""
    sources = {}
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            for source in read_sources(Path(file)):
                name = Path(source.name).name
                sources[name.encode("ascii", "backslashreplace").decode()] = source
    for path, number in re.findall(r'File "(.*)", line (\d+)', trace):
        name = re.split(r"[/\\]", path)[-1]
        if name in sources:
            return sources[name].line(int(number))
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# --- the result ---------------------------------------------------------------------------------


def _read_result(path: Path, task: str | None) -> tuple[dict[str, Any], tuple[Remark, ...]]:
    """Read what the child has written, and believe nothing: the student's code ran beside it."""
    damaged = Remark(
        "result", "left a result that is damaged: did the code write files of the kit?"
    )
    try:
        status = path.lstat()
    except OSError:
        return {}, ()
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_RESULT:
        return {}, (damaged,)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        remarks = tuple(cut(Remark(**remark)) for remark in result.pop("remarks"))
        if task is None and not remarks:
            _require(isinstance(result["layout"], (str, type(None))))
            _require(all(isinstance(name, str) for name in result["functions"]))
            _require(set(result["unwritten"]) <= set(result["functions"]))
            _require(all(isinstance(note, str) for note in result["notes"]))
        _require(isinstance(result["memory_limited"], bool))
        _require(isinstance(result["complete"], bool))
        _require(set(result["parts"].values()) <= {PASSED, FAILED, NOT_ATTEMPTED, NOT_JUDGED})
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return {}, (damaged,)
    return result, remarks


def _require(right: bool) -> None:
    if not right:
        raise ValueError
