"""The site: these pages, the tutorial and the docstrings, built by Sphinx; no page needs a network.

    python -m pip install ".[docs]"
    python -m sphinx -W --keep-going -c docs . build/site

The pages are written for whoever reads them as files: links to a module become links to its source
on the site, those to a package links to its reference.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from address import read_address  # noqa: E402

from lenet_np import __version__  # noqa: E402
from lenet_np.tools.commands.explore import examples, make_page  # noqa: E402

project, release, copyright = "lenet_np", __version__, "its authors, MIT licence"
root_doc = "README"
API, DRAWING = "build/api", "explore.html"
NO_API = ("tools", "coursework", "train.py", "__main__.py")  # not for use in one's own code
include_patterns = ["README.md", "tutorial.ipynb", "docs/*.md", f"{API}/*.rst"]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.apidoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
]

viewcode_follow_imported_members = False
nb_execution_mode = "off"  # the notebook is shown as it is stored
nb_merge_streams = True
nb_render_markdown_format = "myst"  # its outputs have tables
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
myst_url_schemes = {"http": None, "https": None, "mailto": None, "page": "{{path}}"}

apidoc_modules = [
    {
        "path": str(ROOT / "lenet_np"),
        "destination": API,
        "exclude_patterns": [f"{ROOT / 'lenet_np' / name}*" for name in NO_API],
        "separate_modules": True,
        "module_first": True,
    }
]
autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_typehints = "description"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = "lenet_np"
html_theme_options = {"source_repository": read_address(), "source_branch": "HEAD"}
LINK = re.compile(r"(?<!!)\[(?P<text>[^\[\]]*)\]\((?P<path>[^)#:\s]+)\)")


def setup(app: Any) -> None:
    app.connect("source-read", _prepare)
    app.connect("autodoc-process-docstring", _escape)
    app.connect("build-finished", _add_pages)


def _prepare(_: Any, name: str, source: list[str]) -> None:
    """Turn links to code into links of the site; give the first page the list of all."""
    if name.startswith(API):
        return
    up = "../" * name.count("/")

    def moved(link: re.Match[str]) -> str:
        path = Path(os.path.normpath(ROOT / Path(name).parent / link["path"]))
        place = path.relative_to(ROOT)
        documented = place.parts[0] == "lenet_np" and not {*NO_API} & {*place.parts}
        if place.suffix == ".py" and documented:
            target = f"page:{up}_modules/{place.with_suffix('.html').as_posix()}"
        elif path.is_dir() and documented:
            target = f"/{API}/{'.'.join(place.parts)}.rst"
        elif path.is_dir():  # no page of the site
            return link["text"]
        else:
            return link[0]
        return f"[{link['text']}]({target})"

    source[0] = LINK.sub(moved, source[0])
    # The page to draw on is no page of Sphinx, so files alone cannot link to it.
    here = f"](page:{up}{DRAWING})"
    source[0] = source[0].replace("](docs/runs.md#a-page-to-draw-on)\n", f"{here}\n", 1)
    source[0] = source[0].replace("`explore` writes a page", f"`explore` writes [a page{here}", 1)
    if name == root_doc:
        index = (ROOT / "docs" / "README.md").read_text("utf-8")
        pages = dict.fromkeys(re.findall(r"\]\(([\w-]+)\.md\)", index))
        lines = ["tutorial", "docs/README", *(f"docs/{page}" for page in pages), f"{API}/modules"]
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", "", *lines, "```", ""])


def _escape(
    _app: Any, _kind: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """Take the signs of our mathematics for themselves: a product is no emphasis."""
    if lines and lines[0].startswith("Alias for field number"):  # Python's words, not ours
        lines.clear()
    for number, line in enumerate(lines):
        if not line.startswith("    "):
            parts = re.split(r"(`+[^`]*`+)", line)
            parts[::2] = [re.sub(r"([*|]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
            lines[number] = "".join(parts)


def _add_pages(app: Any, error: Exception | None) -> None:
    if error is None:
        Path(app.outdir, DRAWING).write_text(make_page(examples()), "utf-8")
        shutil.copy(Path(app.outdir, "README.html"), Path(app.outdir, "index.html"))
