"""A student's work, run as a module: what is in it, and how it can end."""

from __future__ import annotations
import __future__

import ast
import contextlib
import linecache
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from .sources import Source, read_sources
from .task import Failed, Remark, fail

#: The name of the student's module.
MODULE = "exercise"
#: Notes on one file that are handed on.
MOST_NOTES = 20
FUTURE = 0
for _name in __future__.all_feature_names:
    FUTURE |= getattr(__future__, _name).compiler_flag


class Missing:
    """Stands for a module that is not installed, so that the rest of the file can be run."""

    def __init__(self, name: str | None) -> None:
        self._missing = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks, not the student.
            raise AttributeError(name)
        self()

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Raise ModuleNotFoundError."""
        text = f"{self._missing} is not installed where this is marked"
        raise ModuleNotFoundError(text, name=self._missing)


class Work:
    """One or several files; what the first of them lacks is looked for in the others."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.sources: dict[str, Source] = {}
        self.trees: dict[str, ast.Module] = {}
        self.notes: list[str] = []
        self.names: dict[str, Any] = {}

    def run(self) -> None:
        """Run the files: Failed if the first one cannot be run."""
        # Helpers beside a file can be imported, but cannot take the place of what is imported here.
        sys.path.insert(0, str(self.files[0].parent))
        for file in self.files:
            module = types.ModuleType(MODULE if file == self.files[0] else file.stem)
            module.__file__ = str(file)
            sys.modules.setdefault(module.__name__, module)
            try:
                self._run_file(file, module.__dict__)
            except BaseException as error:
                if file == self.files[0]:
                    raise
                self._note(error, f"{file.name} ")
            self.names = vars(module) | self.names

    def _run_file(self, file: Path, names: dict[str, Any]) -> None:
        try:
            sources = read_sources(file)
        except OSError as error:
            fail("syntax", f"cannot be read: {error.strerror}")
        except ValueError as error:
            fail("syntax", str(error))
        for source in sources:
            self.sources[source.name] = source
            # For tracebacks; the cells of a notebook are in no file.
            lines = [f"{line}\n" for line in source.lines]
            linecache.cache[source.name] = (len(source.code), None, lines, source.name)
            try:
                self._run_source(source, names)
            except BaseException as error:
                if file.suffix != ".ipynb":
                    raise
                # As in Jupyter: a cell ends, and the next one can be run.
                self._note(error, f"{source.name} ")

    def _run_source(self, source: Source, names: dict[str, Any]) -> None:
        try:
            tree = ast.parse(source.code, source.name)
            flags = compile(tree, source.name, "exec", dont_inherit=True).co_flags & FUTURE
        except SyntaxError as error:
            line = source.line(error.lineno) if error.lineno else None
            raise Failed(Remark("syntax", f"is not Python: {error.msg}", line)) from None
        except (ValueError, RecursionError, MemoryError) as error:
            fail("syntax", f"is not Python: {error}")
        self.trees[source.name] = tree
        for statement in tree.body:
            whole = ast.Module([statement], [])
            code = compile(whole, source.name, "exec", flags, dont_inherit=True)
            try:
                self._guard("the file", exec)(code, names)
            except ModuleNotFoundError as error:
                self.notes.append(f"{source.line(statement.lineno)}: {error}")
                if isinstance(statement, (ast.Import, ast.ImportFrom)):
                    for alias in statement.names:
                        name = alias.asname or alias.name.split(".")[0]
                        names.setdefault(name, Missing(error.name))

    def _note(self, error: BaseException, what: str) -> None:
        remark = self.explain(error)[0]
        self.notes.append(f"{what}{remark.message}" + (f" ({remark.line})" if remark.line else ""))

    # --- what is in it --------------------------------------------------------------------------

    def look(self) -> dict[str, Any]:
        """Say what `mark` wants to know before it marks a task."""
        functions = [name for name, value in self.names.items() if callable(value)]
        notes = [*self.notes, *islice(self._imports(), MOST_NOTES)]
        return {
            "layout": self._layout(),
            "functions": sorted(functions),
            "unwritten": sorted(set(self._unwritten()) & set(functions)),
            "notes": [note[:500] for note in notes[: 2 * MOST_NOTES]],
        }

    def function(self, name: str) -> Callable[..., Any]:
        """Give a function that ends the check where it does not end as functions do."""

        def absent(*_: Any) -> Any:
            fail("not-written", f"{name} cannot be found in the file")

        return self._guard(name, self.names[name]) if name in self.names else absent

    def _layout(self) -> str | None:
        layout = None
        for node in (node for tree in self.trees.values() for node in tree.body):
            if (
                isinstance(node, ast.Assign)
                and any(isinstance(t, ast.Name) and t.id == "LAYOUT" for t in node.targets)
                and isinstance(node.value, ast.Constant)
            ):
                layout = str(node.value.value)
        return layout

    def _unwritten(self) -> Iterator[str]:
        """Name the functions that are still as the exercise file had them."""
        stubs = {
            (source, node.lineno)
            for source, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and _is_stub(node)
        }
        for name, value in self.names.items():
            # Whatever stands under the name in the end counts, not what first had the name.
            code = getattr(value, "__code__", None)
            if not isinstance(code, types.CodeType):
                continue
            if (code.co_filename, code.co_firstlineno) in stubs:
                yield name

    def _imports(self) -> Iterator[str]:
        """Say where the package is imported: here, or in the modules beside that are used here."""
        waiting: list[tuple[str, ast.Module]] = list(self.trees.items())
        seen = set(self.files)
        while waiting:
            source, tree = waiting.pop(0)
            where = "" if source == str(self.files[0]) else f"{Path(source).name}, "
            for line, names in sorted(_imported(tree)):
                if any(re.match(r"lenet_np\b", name) for name in names):
                    yield f"{where}line {line} imports lenet_np, which holds the solutions"
                for path in (path for name in names for path in _beside(self.files[0], name)):
                    if path not in seen and path.is_file():
                        seen.add(path)
                        with contextlib.suppress(OSError, SyntaxError, ValueError, RecursionError):
                            waiting.append((str(path), ast.parse(path.read_bytes())))

    # --- how it can end -------------------------------------------------------------------------

    def _guard(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Turn what is no ordinary exception into the end of the check."""

        def guarded(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except (NotImplementedError, MemoryError, SystemExit, EOFError, TypeError) as error:
                if isinstance(error, TypeError) and traceback.extract_tb(error.__traceback__)[1:]:
                    raise  # from inside the function: an exception like any other
                raise Failed(self._remark(error, name)) from None

        return guarded

    def explain(self, error: BaseException) -> Sequence[Remark]:
        """Make remarks of whatever has ended a part."""
        return error.remarks if isinstance(error, Failed) else [self._remark(error)]

    def _remark(self, error: BaseException, function: str = "the file") -> Remark:
        """Say what an exception means, and where the student's code raised it."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [at for at in frames if at.filename in self.sources]
        line = None
        if own:
            line = self.sources[own[-1].filename].line(own[-1].lineno)
            function = own[-1].name if own[-1].name.isidentifier() else function
        text = type(error).__name__
        with contextlib.suppress(Exception):  # of a __str__ of the student's
            text += f": {error}" if str(error) else ""
        match error:
            case NotImplementedError():
                return Remark("not-written", f"{function} is not written yet", line)
            case MemoryError():
                return Remark("memory-limit", "asked for more memory than the limit allows", line)
            case SystemExit():
                return Remark("exit", f"ended the program ({text})", line)
            case EOFError():
                text = "waits for input, and nobody types while it is marked"
                return Remark("input", text, line)
            case TypeError() if not own:
                return Remark("signature", f"cannot be called as the exercise says: {error}")
            case _ if own:
                return Remark("exception", f"raised {text}", line)
        return Remark("kit", f"the check itself failed, please report it: {text}")


def _is_stub(node: ast.FunctionDef) -> bool:
    *before, last = node.body
    is_raise = ast.unparse(last) == "raise NotImplementedError"
    return is_raise and all(isinstance(statement, ast.Expr) for statement in before)


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


def _beside(file: Path, name: str) -> Iterator[Path]:
    """List the files beside a file that a dotted name can mean."""
    path = file.parent
    for part in name.split("."):
        path = path / part
        yield from (path.with_suffix(".py"), path / "__init__.py")
