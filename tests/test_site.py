"""The site: it builds without a warning, no link leads nowhere, and every formula is rendered."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
NEEDED = ("sphinx", "myst_nb", "furo", "sphinx-mathjax-offline")
LINK = re.compile(r'(?:href|src)="([^"]*)"')

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)), reason="needs the extra docs"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the site from a copy of what it is made of."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__", "old_runs")
    for name in ("docs", "lenet_np", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("README.md", "LICENSE", "tutorial.ipynb", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "."]
    build = subprocess.run(
        [*command, "build/site"], cwd=source, capture_output=True, text=True, encoding="utf-8"
    )
    assert build.returncode == 0, build.stderr[-4000:]
    return source / "build" / "site"


def broken_links(folder: Path) -> set[tuple[str, str]]:
    """List the pages' links to files or places within the folder that are not there."""
    pages = {page: page.read_text("utf-8") for page in folder.rglob("*.html")}
    places = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in pages.items()}
    broken = set()
    for page, text in pages.items():
        for link in map(unescape, LINK.findall(text)):
            if re.match(r"[a-z]+:|//", link):
                continue
            name, _, anchor = link.partition("#")
            file = (page.parent / unquote(name.partition("?")[0])).resolve() if name else page
            if not file.is_file() or (anchor and unquote(anchor) not in places.get(file, {anchor})):
                broken.add((page.relative_to(folder).as_posix(), link))
    return broken


def test_every_link_leads_somewhere(site):
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html")}
    named = {f"docs/{page.stem}.html" for page in (ROOT / "docs").glob("*.md")}
    others = {"index.html", "explore.html", "tutorial.html", "build/api/lenet_np.es.html"}
    assert pages >= named | others
    assert 'href="explore.html"' in (site / "index.html").read_text("utf-8")
    assert 'href="../explore.html"' in (site / "docs" / "runs.html").read_text("utf-8")
    assert not broken_links(site)


def test_the_tutorial_is_shown_with_its_tables(site):
    page = (site / "tutorial.html").read_text("utf-8")
    heads = re.findall(r'<th class="head">(?:<p>)?([^<]*)', page)
    assert {"digits lost", "test accuracy"} <= {*heads}


def test_no_page_loads_anything_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)\b[^>]*\bsrc="([^"]*)"', text)
        loaded += re.findall(r'<link\b[^>]*rel="stylesheet"[^>]*href="([^"]*)"', text)
        assert not [link for link in loaded if re.match(r"https?:|//", link)], page


def test_every_formula_is_rendered(site):
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    counted, wrong = 0, []
    with playwright.sync_playwright() as program:
        browser = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        for page in sorted([*site.glob("*.html"), *(site / "docs").glob("*.html")]):
            if 'class="math' not in page.read_text("utf-8"):
                continue
            tab.goto(page.as_uri())
            tab.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
            tab.evaluate("() => MathJax.startup.promise")
            formulas, rendered, errors = tab.evaluate(
                """() => {
                  const all = [...document.querySelectorAll(".math")];
                  const bad = document.querySelectorAll("mjx-merror, [data-mjx-error]");
                  return [all.length, all.filter((m) => m.querySelector("mjx-container")).length,
                          [...bad].map((m) => m.textContent)];
                }"""
            )
            counted += formulas
            if errors or rendered != formulas:
                wrong.append((page.name, formulas, rendered, errors))
        browser.close()
    assert not wrong
    assert counted > 200


def test_a_broken_link_is_caught(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="x"></p><a href="#x"></a><a href="#y"></a><img src="b.png">'
        '<a href="https://x.org"></a><a href="a.html#x"></a>',
        "utf-8",
    )
    assert broken_links(tmp_path) == {("a.html", "#y"), ("a.html", "b.png")}
