"""Write the project's address where it is needed: in the README's badges and the tutorial.

It stands in one place, ``[project.urls]`` of pyproject.toml. After a change there, run
``python docs/address.py``. Without an address there are no badges, and the cell names none.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
BADGES = re.compile(r"<!-- badges.*?-->\n(.*?)<!-- end of badges -->", re.DOTALL)
CELL = re.compile(r'REPOSITORY = (\\"[^"]*\\")')  # as it stands in the notebook's JSON


def read_address(root: Path = ROOT) -> str:
    """Read the address, ``https://...``; it is empty while none is known."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "").rstrip("/")
    if not re.fullmatch(r"(https://[\w./~-]+)?", address):
        raise ValueError(f"pyproject.toml: Repository takes https://..., got {address!r}")
    return str(address)


def badges(address: str) -> str:
    """Make the README's badges; only what lies on GitHub has its checks, and opens in Colab."""
    place = address.removeprefix("https://github.com/")
    if place == address:
        return ""
    checks = f"{address}/actions/workflows/ci.yml"
    colab = f"https://colab.research.google.com/github/{place}/blob/HEAD/tutorial.ipynb"
    return (
        f"[![Checks]({checks}/badge.svg)]({checks})\n"
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})\n"
    )


def write_address(root: Path = ROOT) -> None:
    """Write what follows from the address; ValueError if its place in a file is gone."""
    address = read_address(root)
    changes = {
        "README.md": (BADGES, badges(address)),
        "tutorial.ipynb": (CELL, rf"\"{address}\""),
    }
    for name, (place, value) in changes.items():
        before = (root / name).read_text("utf-8")
        try:
            (found,) = place.finditer(before)
        except ValueError:
            raise ValueError(f"{name} has no place for the address, or more than one") from None
        after = before[: found.start(1)] + value + before[found.end(1) :]
        if after != before:
            (root / name).write_text(after, "utf-8")


if __name__ == "__main__":
    write_address()
