"""What runs inside the process of one task: limits, the student's file, the check, the result.

``python -m lenet_np.coursework.child REQUEST`` is started by `process.run` and by nobody else.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import faulthandler
import json
import os
import re
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from .layouts import LAYOUTS
from .process import RESULT, TRACE, cut, line_of
from .stored import STORED, load
from .task import Answers, Exercise, Failed, Remark, Task, fail
from .tasks import TASKS

#: The name of the student's module.
MODULE = "exercise"
#: Remarks of one check that are handed on.
MOST_REMARKS = 20
#: A number of Linux, <sys/prctl.h>.
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Do what the request asks, write the result, and leave without looking back."""
    request = json.loads(sys.argv[1])
    folder, file = Path(request["folder"]), Path(request["file"])
    _watch()
    limited = _limit_memory(request["megabytes"])
    # The watchdog is a thread of C code: it also ends what never lets Python's threads run, and
    # it writes down where the code was.
    trace = open(folder / TRACE, "w", encoding="utf-8")  # noqa: SIM115
    faulthandler.enable(trace)
    faulthandler.dump_traceback_later(request["seconds"], exit=True, file=trace)
    exercise = Exercise(
        {}, LAYOUTS[request["layout"]], request["seed"], _answers(), partial(_explain, file)
    )

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
            looked = _look_at(file)
        else:
            exercise.saved = lambda: save({"complete": False})
            _check(file, TASKS[request["task"]], exercise)
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


# --- the student's file -------------------------------------------------------------------------


def _parse(file: Path) -> tuple[ast.Module, types.CodeType]:
    """Read the student's file as Python, or say that it is none."""
    source = file.read_bytes()
    try:
        tree = ast.parse(source, str(file))
        return tree, compile(tree, str(file), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = line_of(file, error.lineno, error.text) if error.lineno else None
        raise Failed(Remark("syntax", f"is not Python: {error.msg}", line)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        fail("syntax", f"is not Python: {error}")


def _load(file: Path) -> types.ModuleType:
    """Run the student's file as a module."""
    _, code = _parse(file)
    # Helpers beside the file can be imported, but cannot take the place of what is imported above.
    sys.path.insert(0, str(file.parent))
    module = types.ModuleType(MODULE)
    module.__file__ = str(file)
    sys.modules[MODULE] = module
    _guard(file, "the file", lambda: exec(code, module.__dict__))()
    return module


def _look_at(file: Path) -> dict[str, Any]:
    """Read what the file says about itself, and see whether it can be run."""
    tree, _ = _parse(file)
    module = _load(file)
    return {
        "layout": _layout_of(tree),
        "functions": sorted(name for name, value in vars(module).items() if callable(value)),
        "unwritten": sorted(_unwritten(file, tree, module)),
        "notes": list(islice(_notes(file), MOST_REMARKS)),
    }


def _layout_of(tree: ast.Module) -> str | None:
    layout = None
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id == "LAYOUT" for t in node.targets)
            and isinstance(node.value, ast.Constant)
        ):
            layout = str(node.value.value)
    return layout


def _unwritten(file: Path, tree: ast.Module, module: types.ModuleType) -> Iterator[str]:
    """Name the functions that are still as the exercise file had them."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    stubs = {(str(file), node.lineno) for node in nodes if _is_stub(node)}
    for name, value in vars(module).items():
        # Whatever stands under the name in the end counts, not what was first defined under it.
        code = getattr(value, "__code__", None)
        if isinstance(code, types.CodeType) and (code.co_filename, code.co_firstlineno) in stubs:
            yield name


def _is_stub(node: ast.FunctionDef) -> bool:
    *before, last = node.body
    is_raise = ast.unparse(last) == "raise NotImplementedError"
    return is_raise and all(isinstance(statement, ast.Expr) for statement in before)


def _notes(file: Path) -> Iterator[str]:
    """Say where the package is imported: in the file, and in the modules beside it that it uses."""
    seen, waiting = {file}, [file]
    while waiting:
        path = waiting.pop()
        with contextlib.suppress(OSError, SyntaxError, ValueError, RecursionError):
            for line, names in sorted(_imported(ast.parse(path.read_bytes()))):
                where = f"line {line}" if path == file else f"{path.name}, line {line},"
                if any(re.match(r"lenet_np\b", name) for name in names):
                    yield f"{where} imports lenet_np, which holds the solutions"
                for name in names:
                    parts = name.split(".")
                    beside = [file.parent.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
                    new = [p.with_suffix(".py") for p in beside] + [
                        p / "__init__.py" for p in beside
                    ]
                    waiting += [p for p in new if p not in seen and p.is_file()]
                    seen |= set(new)


def _imported(tree: ast.Module) -> Iterator[tuple[int, tuple[str, ...]]]:
    """List lines and what they import, also through the text that is given to a function."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield node.lineno, tuple(alias.name for alias in node.names)
            case ast.ImportFrom(module=module):
                parts = [f"{module}.{a.name}" if module else a.name for a in node.names]
                yield node.lineno, tuple(parts)
            case ast.Call():  # importlib.import_module("lenet_np.ops"), exec("import lenet_np")
                given = (*node.args, *(keyword.value for keyword in node.keywords))
                texts = [str(n.value) for n in given if isinstance(n, ast.Constant)]
                names = re.findall(r"\b(?:import|from)\s+([\w.]+)", "\n".join(texts))
                yield node.lineno, (*names, *(texts if "import" in ast.unparse(node.func) else ()))


def _check(file: Path, task: Task, exercise: Exercise) -> None:
    module = _load(file)
    for name in task.functions:
        function = getattr(module, name, None)
        exercise.student[name] = _guard(file, name, function) if function else _absent(name)
    task.check(exercise)


def _absent(name: str) -> Callable[..., Any]:
    def absent(*_: Any) -> Any:
        fail("not-written", f"{name} cannot be found in the file")

    return absent


# --- how the student's code can end -------------------------------------------------------------


def _guard(file: Path, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what is no ordinary exception into the end of the check."""

    def guarded(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (NotImplementedError, MemoryError, SystemExit, EOFError, TypeError) as error:
            if isinstance(error, TypeError) and traceback.extract_tb(error.__traceback__)[1:]:
                raise  # from inside the function: an exception like any other
            raise Failed(_remark(file, error, name)) from None

    return guarded


def _explain(file: Path, error: BaseException) -> Sequence[Remark]:
    """Make remarks of whatever has ended a part."""
    return error.remarks if isinstance(error, Failed) else [_remark(file, error)]


def _remark(file: Path, error: BaseException, function: str = "the file") -> Remark:
    """Say what an exception means, and where the student's code raised it."""
    own = [at for at in traceback.extract_tb(error.__traceback__) if at.filename == str(file)]
    line = None
    if own:
        line = line_of(file, own[-1].lineno, own[-1].line)
        function = own[-1].name if own[-1].name.isidentifier() else function
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    match error:
        case NotImplementedError():
            return Remark("not-written", f"{function} is not written yet", line)
        case MemoryError():
            return Remark("memory-limit", "asked for more memory than the limit allows", line)
        case SystemExit():
            return Remark("exit", f"ended the program ({text})", line)
        case EOFError():
            return Remark("input", "waits for input, and nobody types while it is marked", line)
        case TypeError() if not own:
            return Remark("signature", f"cannot be called as the exercise says: {error}")
        case _ if own:
            return Remark("exception", f"raised {text}", line)
    return Remark("kit", f"the check itself failed, please report it: {text}")


if __name__ == "__main__":
    main()
