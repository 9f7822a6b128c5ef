"""What the tutorial shows: source without checks, exercises with reports, sliders, tables."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

from lenet_np import ops
from lenet_np.estimators import log_success
from lenet_np.gradcheck import check
from lenet_np.optim import Adam
from lenet_np.tools import notebook
from lenet_np.tools.runs.table import write_table

try:
    import IPython.display as screen
except ImportError:
    screen = None


@pytest.fixture
def shown(monkeypatch) -> list:
    """Catch what goes to the screen."""
    if screen is None:
        pytest.skip("what Jupyter shows needs IPython: python -m pip install ipykernel")
    found: list = []
    monkeypatch.setattr(screen, "display", lambda *things, **_: found.extend(things))
    return found


@pytest.mark.parametrize("thing", [ops.dense_forward, log_success, Adam.update])
def test_source_has_neither_docstring_nor_checks_and_still_compiles(thing):
    source = notebook.source(thing)
    compile(source, "shown", "exec")
    for word in ('"""', "raise", "_require", "_check"):
        assert word not in source
    assert "return" in source


def test_source_keeps_comments_and_what_is_no_check():
    source = notebook.source(ops.max_pool2d_backward)
    assert "# += and not =" in source
    assert source.count("dpixel += share") == 1


def test_an_exercise_that_is_not_written_is_not_checked(capsys):
    notebook.judge(None, lambda: builtins.exit("checked"))
    assert capsys.readouterr().out == "not solved yet\n"


def test_a_wrong_gradient_is_answered_with_the_report_of_the_check(capsys):
    def report():
        return check(np.square, lambda dy, x: -2 * x * dy, [np.arange(1.0, 4)], cache="none")

    notebook.judge(0, report)
    printed = capsys.readouterr().out
    assert printed.startswith("not right yet\nFAILED\n[wrong-sign] input 0: every entry")


def test_wrong_values_are_answered_with_what_was_expected(capsys):
    cases = [((4, 2), np.array([1, 2, 2, 1])), ((2, 2), np.array([1, 1]))]
    notebook.judge(0, lambda: notebook.compare(lambda size, kernel: np.ones(size), cases))
    printed = capsys.readouterr().out
    assert "<lambda>(4, 2) gave [1., 1., 1., 1.], expected [1, 2, 2, 1]" in printed
    assert "(2, 2)" not in printed
    notebook.judge(0, lambda: notebook.compare(lambda size, kernel: np.ones(size), cases[1:]))
    assert capsys.readouterr().out.startswith("solved\n")


def test_an_answer_of_another_shape_is_wrong():
    assert not notebook.compare(lambda x: np.ones((3, 1)), [((0,), np.ones(3))]).passed


def test_a_slider_holds_a_picture_for_each_value_and_asks_no_server(shown):
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(1, 1), dpi=50)
    drawn = []

    def draw(value):
        drawn.append(value)
        panel.set_title(value)

    notebook.slider(figure, draw, (1, 2, 3))
    (bundle,) = shown
    page = bundle["text/html"]
    assert page.count("data:image/png") == 4  # with the one that is seen without scripts
    assert 'type="range"' in page
    assert "http" not in page
    assert 'class="fa ' not in page
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert drawn[-1] == 2  # in the middle


def test_a_table_is_summed_up_by_what_differs_beside_the_seed(monkeypatch, tmp_path, shown):
    monkeypatch.setattr(notebook, "STUDIES", tmp_path)
    measured = ("validation_accuracy", "dead_classes")
    columns = ("run", *notebook.VARIED, *notebook.TUNED, *measured)
    kind, best = ("weights", "zero-one", "error", "1", "16", "512", "1.0"), ("0.05", "0.01")
    rows = [("tried", *kind, "2", "0.1", "0.01", "0.3", "1 2 3 4")]
    rows += [
        (f"a{seed}", *kind, str(epoch), *best, str(0.5 + epoch / 10 + seed / 100), "3 8")
        for seed in range(2)
        for epoch in (1, 2)
    ]
    rows += [("b", *kind[:2], "log-success", *kind[3:], "2", *best, "0.95", "")]
    write_table(tmp_path / "t.csv", columns, [dict(zip(columns, row, strict=True)) for row in rows])
    notebook.summarize("t")
    lines = shown[0].data.splitlines()
    assert lines == [
        "`study t`",
        "",
        "| objective | seeds | validation | digits lost |",
        "| --- | --- | --- | --- |",
        "| error | 2 | 0.700 to 0.710 | 4 |",
        "| log-success | 1 | 0.950 | 0 |",
    ]


def test_a_table_that_is_not_there_is_named(monkeypatch, tmp_path, shown):
    monkeypatch.setattr(notebook, "STUDIES", tmp_path)
    assert notebook.study("gone") == []
    assert "gone.csv` is not beside this notebook" in shown[0].data
