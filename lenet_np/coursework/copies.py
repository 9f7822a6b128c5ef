"""Noticing functions that were copied from the package: pasted and renamed, not imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .sources import read_sources

PACKAGE = Path(__file__).parents[1]
#: Nodes of a syntax tree; what is smaller is written the same way by many.
SMALLEST = 40


def copied(files: tuple[Path, ...]) -> Iterator[str]:
    """Say which functions have the syntax tree of one of the package's, whatever the names."""
    for file in files:
        try:
            sources = read_sources(file)
        except (OSError, ValueError):
            continue
        for source in sources:
            for function, tree in _trees(source.code):
                if tree in _package():
                    where = source.line(function.lineno).rpartition(f": def {function.name}")[0]
                    yield (
                        f"{where or file.name}: {function.name} is built like "
                        f"{_package()[tree]} of lenet_np, names aside"
                    )


@cache
def _package() -> dict[str, str]:
    return {
        tree: f"{path.stem}.{function.name}"
        for path in sorted(PACKAGE.glob("*.py"))
        for function, tree in _trees(path.read_bytes())
    }


def _trees(code: str | bytes) -> Iterator[tuple[ast.FunctionDef, str]]:
    try:
        functions = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef)]
    except (SyntaxError, ValueError, RecursionError):
        return
    for function in functions:
        tree = _normalised(function)
        if tree.count("(") >= SMALLEST:
            yield function, tree


def _normalised(function: ast.FunctionDef) -> str:
    """Write a function without its docstring, annotations and names."""
    names: dict[str, str] = {}
    copy = ast.parse(ast.unparse(function)).body[0]
    assert isinstance(copy, ast.FunctionDef)
    if ast.get_docstring(copy) is not None:
        copy.body = copy.body[1:]
    copy.name, copy.returns, copy.decorator_list = "", None, []
    for node in ast.walk(copy):
        if isinstance(node, ast.arg):
            node.annotation = None
            node.arg = names.setdefault(node.arg, f"n{len(names)}")
    for node in ast.walk(copy):
        if isinstance(node, ast.Name):
            node.id = names.setdefault(node.id, f"n{len(names)}")
    return ast.dump(copy)
