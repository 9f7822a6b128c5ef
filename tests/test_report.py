"""The page about a run: one file with every picture, its numbers, and what could not be drawn."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_plots import HEADERS, make_run, tiny_dataset

from lenet_np.data.mnist import MissingDataError
from lenet_np.settings import Settings
from lenet_np.tools.commands import plot, report
from lenet_np.tools.runs.folder import LAST, Config, hashes, read_config, write_config
from lenet_np.tools.runs.history import read_history

#: Tags without an end, and attributes that make a browser load something.
EMPTY = {"meta", "img"}
LOADS = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """What a page shows, with its tags checked: each is closed, in order."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.images: list[dict[str, str]] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.rows: dict[str, str] = {}
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(file.read_text("utf-8"))
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        self.loads += [value for name, value in values.items() if name in LOADS]
        if tag == "img":
            self.images.append(values)
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "td":
            self.rows[self.words[-1]] = data
        elif data.strip():
            self.words.append(data)


@pytest.fixture(autouse=True)
def _small(monkeypatch) -> None:
    monkeypatch.setattr(report, "DPI", 20)
    monkeypatch.setattr(plot, "load_dataset", lambda name, folder: tiny_dataset())


def test_the_page_holds_every_picture_with_its_text_and_loads_nothing(tmp_path, capsys):
    run = make_run(tmp_path / "run", objective="log-success")
    assert report.main([str(run)]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{run / 'report.html'}\n", "")
    page = Page(run / "report.html")
    assert len(page.images) == len(report.CAPTIONS)
    for image, caption in zip(page.images, report.CAPTIONS.values(), strict=True):
        assert image["alt"].startswith(caption)
        assert "objective log-success" in image["alt"]
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(HEADERS["png"])
    assert all(value.startswith("data:") for value in page.loads)
    assert not page.tags & {"script", "link", "iframe", "object"}
    style = (run / "report.html").read_text("utf-8").partition("</style>")[0]
    assert "url(" not in style
    assert "color-scheme: light dark" in style


@pytest.fixture
def curves_alone(monkeypatch) -> None:
    """For what is not about the pictures: they take most of the time."""
    monkeypatch.setattr(report, "PICTURES", ("curves",))


@pytest.mark.usefixtures("curves_alone")
def test_its_numbers_are_those_of_the_table(tmp_path):
    run = make_run(tmp_path / "run", epochs=3, seed=7)
    report.main([str(run)])
    rows = Page(run / "report.html").rows
    history = read_history(run)
    accuracy = history.columns["validation_accuracy"]
    assert rows["validation accuracy"] == f"{accuracy[-1]:.4f}"
    best = 1 + accuracy.tolist().index(max(accuracy))
    assert rows["best of all epochs"] == f"{max(accuracy):.4f}, after epoch {best}"
    recall = history.by_class("recall")[:, -1]
    assert rows["recall of each digit"].startswith(f"0: nan, 1: {recall[1]:.3f}, ")
    never = [str(k) for k in range(10) if history.by_class("answers")[k, -1] == 0]
    assert "0" in never  # it has no image, and is no answer
    assert rows["digits never predicted"] == ", ".join(never)
    assert (rows["seed"], rows["learning rate"]) == ("7", str(5 / 55_000))


def test_of_an_unfinished_run_it_shows_what_there_is_and_says_what_is_missing(tmp_path, capsys):
    run = make_run(tmp_path / "run", epochs=0)
    assert report.main([str(run), "--out", str(tmp_path / "page.html")]) == 1
    lines = capsys.readouterr().err.splitlines()
    missing = [
        f"curves, classes: no epoch of {run} is complete yet",
        "histograms: no histogram is recorded yet",
    ]
    assert lines == [f"python -m lenet_np report: {line}" for line in missing]
    page = Page(tmp_path / "page.html")
    assert len(page.images) == 2
    assert [word for word in page.words if word.startswith("Not drawn")] == [
        f"Not drawn: {line}" for line in missing
    ]


@pytest.mark.usefixtures("curves_alone")
def test_a_run_that_goes_on_says_how_far_it_is(tmp_path):
    run = make_run(tmp_path / "run", epochs=2)
    write_config(run, read_config(run)._replace(settings=Settings(epochs=50)))
    (run / LAST).unlink()  # its settings are those of two epochs
    assert report.main([str(run), "--checkpoint", "best"]) == 0
    assert Page(run / "report.html").rows["epochs trained"] == "2 of 50"


@pytest.mark.usefixtures("curves_alone")
def test_noise_in_the_weights_is_named(tmp_path):
    settings = {"perturb": "weights", "rank": "full", "loss": "cross-entropy", "samples": 8}
    run = make_run(tmp_path / "run", **settings)
    assert report.main([str(run)]) == 0
    page = Page(run / "report.html")
    assert page.words[0] == (
        "tiny: cross-entropy loss, 8 samples, noise in the weights, rank full, seed 0"
    )
    assert "8 samples" in page.images[0]["alt"]


@pytest.mark.usefixtures("curves_alone")
def test_words_of_a_run_are_no_tags(tmp_path):
    run = make_run(tmp_path / "run")
    words = ["train", "--out", "<script>alert(1)</script>"]
    config = Config(Settings(epochs=3), "tiny", hashes(tiny_dataset()), {}, {"command": words})
    write_config(run, config)
    assert report.main([str(run)]) == 0
    page = Page(run / "report.html")
    assert page.rows["command"] == "train --out <script>alert(1)</script>"
    assert "script" not in page.tags


def test_without_the_images_the_rest_is_shown(tmp_path, capsys, monkeypatch):
    def missing(*_):
        raise MissingDataError("tiny is not complete\nand much more")

    monkeypatch.setattr(plot, "load_dataset", missing)
    run = make_run(tmp_path / "run")
    assert report.main([str(run)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert len(Page(run / "report.html").images) == 4


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["nowhere"], 1, "nowhere is no run: config.json: No such file or directory"),
        ([], 2, "the following arguments are required: RUN"),
        (["a", "b"], 2, "unrecognized arguments: b"),
        (["a", "--checkpoint", "first"], 2, "--checkpoint: invalid choice"),
    ],
)
def test_a_mistake_is_one_line(words, status, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        found = report.main(words)
    except SystemExit as stop:
        found = stop.code
    error = capsys.readouterr().err
    assert found == status
    assert expected in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("curves_alone")
def test_a_page_that_cannot_be_written_is_named(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    (tmp_path / "file").touch()
    assert report.main([str(run), "--out", str(tmp_path / "file" / "page.html")]) == 1
    error = capsys.readouterr().err
    assert "cannot write page.html" in error
    assert error.count("\n") == 1
