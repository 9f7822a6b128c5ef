"""What runs inside the process of one task: limits, the student's file, the check, the result.

``python -m lenet_np.coursework.child REQUEST`` is started by `process.run` and by nobody else.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from .layouts import LAYOUTS
from .process import RESULT, TRACE, cut
from .stored import STORED, load
from .task import Answers, Exercise
from .tasks import TASKS
from .work import Work

#: Remarks of one check that are handed on.
MOST_REMARKS = 20
#: A number of Linux, <sys/prctl.h>.
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Do what the request asks, write the result, and end the process."""
    request = json.loads(sys.argv[1])
    folder, work = Path(request["folder"]), Work([Path(file) for file in request["files"]])
    _watch()
    limited = _limit_memory(request["megabytes"])
    # The watchdog is a thread of C code: it also ends what never lets Python's threads run, and
    # it writes down where the code was.
    trace = open(folder / TRACE, "w", encoding="utf-8")  # noqa: SIM115
    faulthandler.enable(trace)
    faulthandler.dump_traceback_later(request["seconds"], exit=True, file=trace)
    exercise = Exercise({}, LAYOUTS[request["layout"]], request["seed"], _answers(), work.explain)

    def save(more: dict[str, Any]) -> None:
        remarks = [cut(remark)._asdict() for remark in exercise.remarks[:MOST_REMARKS]]
        result = {"memory_limited": limited, "remarks": remarks, "parts": exercise.parts, **more}
        # First under another name: what has the right one is whole.
        whole = folder / f"{RESULT}.part"
        whole.write_text(json.dumps(result), encoding="utf-8")
        whole.replace(folder / RESULT)

    looked: dict[str, Any] = {}
    try:
        if request["task"] is None:
            work.run()
            looked = work.look()
        else:
            exercise.saved = lambda: save({"complete": False})
            work.run()
            task = TASKS[request["task"]]
            exercise.student |= {name: work.function(name) for name in task.functions}
            task.check(exercise)
    except BaseException as error:
        exercise.remarks += exercise.explain(error)
    faulthandler.cancel_dump_traceback_later()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    save({"complete": True, **looked})
    # Threads that the student's code started, and its atexit functions, are not waited for.
    os._exit(0)


def _answers() -> Answers:
    """Take what the package gives; where it must not be, what it gave."""
    stored = Path(__file__).with_name(STORED)
    if stored.exists():
        return load(stored)
    from .answers import answer

    return answer


def _watch() -> None:
    """Go on in a second process, while the first waits for it and then ends all that is left.

    What a task starts can leave its group and its session, but on Linux not its nearest ancestor
    that is a subreaper (man 2 prctl): orphans become its children.
    """
    if sys.platform != "linux":
        return
    import resource

    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        return
    worker = 0
    # The parent wants the end; before the second process is there, there is nothing to end.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(worker, signal.SIGKILL) if worker else None)
    worker = os.fork()
    if worker == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return
    _, status = os.waitpid(worker, 0)
    deadline = time.monotonic() + 4
    # Each that ends hands over its own children.
    while (left := _children()) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:  # End as it ended.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path("/proc/thread-self/children").read_text().split()]
    except OSError:
        return []


def _limit_memory(megabytes: int) -> bool:
    """Limit the address space, where the system can; say whether it could."""
    if sys.platform == "win32":
        return False
    import resource

    try:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = megabytes * 2**20
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        return False
    return True


if __name__ == "__main__":
    main()
