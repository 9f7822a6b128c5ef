"""Reading what students hand in as Python: a file, or the code cells of a notebook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

#: Lines of a notebook that are for Jupyter: magics, shell commands, questions.
MAGIC = re.compile(r"^(\s*)(?:[%!?]|\w+\s*=\s*[%!]|[\w.]+\?{1,2}\s*$)")
#: Cell magics whose cell is Python all the same.
PYTHON_CELLS = ("%%time", "%%timeit", "%%capture", "%%prun")


class Source(NamedTuple):
    """A piece of Python."""

    name: str  # what tracebacks call it
    code: str | bytes

    @property
    def lines(self) -> list[str]:
        """The lines, for messages."""
        text = self.code if isinstance(self.code, str) else self.code.decode("utf-8", "replace")
        return text.splitlines()

    def line(self, number: int | None) -> str:
        """Write a line as remarks have it."""
        lines, number = self.lines, number or 0
        source = lines[number - 1].strip() if 0 < number <= len(lines) else ""
        return f"{Path(self.name).name}:{number}: {source}"


def read_sources(file: Path) -> list[Source]:
    """Read the code of a file: ValueError if it is a notebook that is damaged."""
    if file.suffix != ".ipynb":
        return [Source(str(file), file.read_bytes())]
    try:
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("is not a notebook that can be read") from error
    return [Source(f"{file.name} cell {n}", _python(text)) for n, text in enumerate(code, 1)]


def _python(cell: str) -> str:
    """Take away what is for Jupyter, and leave the numbers of the lines."""
    if cell.lstrip().startswith("%%") and not cell.lstrip().startswith(PYTHON_CELLS):
        return ""
    return "\n".join(MAGIC.sub(r"\1pass  # \g<0>", line) for line in cell.splitlines())
