"""The pictures: what is drawn is what was measured, and what cannot be drawn is said in a line."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from lenet_np.data import DataError, Dataset, Split
from lenet_np.data.minibatch import gather
from lenet_np.data.mnist import MissingDataError
from lenet_np.diagnostics import Diagnostics
from lenet_np.evaluate import count_answers
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state
from lenet_np.settings import Settings
from lenet_np.tools.commands import plot as command
from lenet_np.tools.commands.plot import PICTURES, parse
from lenet_np.tools.plots.captions import differing
from lenet_np.tools.plots.classes import draw_classes
from lenet_np.tools.plots.confusion import COLUMNS, ROWS, draw_confusion
from lenet_np.tools.plots.curves import draw_curves
from lenet_np.tools.plots.features import draw_features, montage, outputs_of
from lenet_np.tools.plots.histograms import (
    BINS_PER_ROOT,
    RIDGES,
    chosen_records,
    draw_histograms,
    outline,
)
from lenet_np.tools.plots.style import COLOURS
from lenet_np.tools.runs.checkpoint import Checkpoint, save
from lenet_np.tools.runs.folder import (
    BEST,
    CONFIG,
    HISTOGRAMS,
    LAST,
    METRICS,
    Config,
    _described,
    hashes,
    write_config,
)
from lenet_np.tools.runs.histograms import Recorder, read_histograms
from lenet_np.tools.runs.history import read_history
from lenet_np.tools.runs.table import COLUMNS as METRICS_COLUMNS
from lenet_np.tools.runs.table import metrics_row, write_table

HEADERS = {"png": b"\x89PNG\r\n", "svg": b"<?xml", "pdf": b"%PDF-"}
NAMES = ("curves", "classes", "confusion", "features", "histograms-weights", "histograms-gradients")
STEPS_PER_EPOCH = 3


def tiny_dataset() -> Dataset:
    rng = np.random.default_rng(0)

    def split(size: int) -> Split:
        classes = (np.arange(size) % 9 + 1).astype(np.uint8)  # there is no 0
        return Split(rng.integers(0, 256, (size, 28, 28)).astype(np.uint8), classes)

    return Dataset("tiny", split(300), split(45), split(50))


@pytest.fixture
def data(monkeypatch) -> Dataset:
    dataset = tiny_dataset()
    monkeypatch.setattr(command, "load_dataset", lambda name, folder: dataset)
    return dataset


def make_run(folder: Path, epochs: int = 3, dataset: str = "tiny", **settings) -> Path:
    """Make the folder of a run that has come to the end of some epoch."""
    chosen = Settings(epochs=max(epochs, 1), **settings)
    folder.mkdir()
    write_config(folder, Config(chosen, dataset, hashes(tiny_dataset()), {}, {}))
    network = lenet5()
    state = initial_state(network, chosen)
    rng = np.random.default_rng(chosen.seed)
    recorder = Recorder(folder, list(state.parameters), 0)
    rows = []
    labels = np.arange(1, 10, dtype=np.uint8).repeat(5)  # no image of class 0: its recall is NaN
    for epoch in range(1, epochs + 1):
        answers = np.where(rng.random(45) < 0.7, labels, 1).astype(np.uint8)
        exact = chosen.loss == "cross-entropy"
        health = Diagnostics(
            np.append(np.nan, rng.normal(size=9)),
            np.append(np.nan, [0.0, *rng.random(8)]),
            *((np.nan, np.nan, np.nan) if exact else rng.random(3)),
            dict.fromkeys(("relu1", "relu2", "relu3", "relu4"), 0.1 * epoch),
        )
        loss = float(rng.random())
        rows.append(metrics_row(epoch, loss, count_answers(labels, answers), health, 1.0))
        gradients = {k: rng.normal(size=v.shape) for k, v in state.parameters.items()}
        recorder.append(epoch * STEPS_PER_EPOCH, state.parameters, gradients)
        recorder.flush()
    write_table(folder / METRICS, METRICS_COLUMNS, rows)
    state = state._replace(optimizer=state.optimizer._replace(step=epochs * STEPS_PER_EPOCH))
    save(folder / LAST, Checkpoint(state, chosen, epochs, dataset))
    if epochs:
        save(folder / BEST, Checkpoint(state, chosen, epochs, dataset))
    return folder


@pytest.fixture
def drawn(monkeypatch) -> dict:
    """The figures that the command writes, by file, without the time that writing takes."""
    figures: dict[Path, object] = {}
    monkeypatch.setattr(
        command, "write_figure", lambda figure, file: figures.update({file: figure})
    )
    return figures


def title_of(figure) -> str:
    return figure.get_suptitle()


def legend_of(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# --- learning curves ----------------------------------------------------------------------------


def test_a_run_alone_is_a_curve_and_its_title_names_data_set_and_settings(tmp_path):
    history = read_history(make_run(tmp_path / "x", objective="log-success", learning_rate=1e-3))
    figure = draw_curves([history])
    assert title_of(figure) == (
        "tiny: zero-one loss, objective log-success, learning rate 0.001, seed 0"
    )
    assert legend_of(figure) == []
    accuracy, loss = figure.axes
    for panel, column in ((accuracy, "validation_accuracy"), (loss, "train_loss")):
        (line,) = panel.lines
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), history.columns[column])
        assert not panel.collections
    assert loss.get_ylabel() == "share of errors under noise"


def test_seeds_are_drawn_as_mean_and_range(tmp_path):
    histories = [read_history(make_run(tmp_path / f"{k}", seed=k)) for k in (4, 7, 9)]
    figure = draw_curves(histories)
    assert title_of(figure) == "tiny: zero-one loss"
    assert legend_of(figure) == ["mean and range of 3 seeds"]
    panel = figure.axes[0]
    values = np.array([history.columns["validation_accuracy"] for history in histories])
    np.testing.assert_allclose(panel.lines[0].get_ydata(), values.mean(axis=0))
    (band,) = panel.collections
    corners = band.get_paths()[0].vertices
    for epoch in (1, 2, 3):
        y = corners[corners[:, 0] == epoch, 1]
        assert y.min() == pytest.approx(values[:, epoch - 1].min())
        assert y.max() == pytest.approx(values[:, epoch - 1].max())


def test_beyond_the_epochs_that_all_seeds_have_each_goes_by_itself(tmp_path):
    short = read_history(make_run(tmp_path / "short", 2))
    long = read_history(make_run(tmp_path / "long", 4, seed=1))
    figure = draw_curves([short, long])
    assert legend_of(figure) == ["mean and range of 2 seeds (thin: one)"]
    mean, *rest = figure.axes[0].lines
    np.testing.assert_array_equal(mean.get_xdata(), [1, 2])
    assert [list(line.get_xdata()) for line in rest] == [[2], [2, 3, 4]]
    assert rest[1].get_linewidth() < mean.get_linewidth()
    np.testing.assert_array_equal(rest[1].get_ydata(), long.columns["validation_accuracy"][1:])


def test_the_legend_names_what_differs_and_nothing_else(tmp_path):
    runs = [
        make_run(tmp_path / "a", objective="log-success", learning_rate=1e-3, epochs=2),
        make_run(tmp_path / "b", objective="log-success", epochs=4),
        make_run(tmp_path / "c", objective="log-success", learning_rate=1e-3, seed=1),
    ]
    figure = draw_curves([read_history(run) for run in runs])
    assert title_of(figure) == "tiny: zero-one loss, objective log-success"
    assert legend_of(figure) == [
        "learning rate 0.001, mean and range of 2 seeds (thin: one)",
        "learning rate 9.09e-05, seed 0",
    ]


def test_no_setting_that_decides_the_steps_is_left_out_of_words_and_names():
    """A setting that is added later must be named too: in legends, and in a new run's folder."""
    other = {
        **{"perturb": "weights", "rank": "2", "loss": "cross-entropy", "estimator": "antithetic"},
        **{"objective": "log-success", "route": "vjp", "decay": 0.5},
    }
    for name, value in asdict(Settings()).items():
        if name != "epochs":
            changed = Settings.recorded({name: other.get(name, 2 * value or 1)})
            assert differing([Settings(), changed]) == [name]
            assert _described(changed) != _described(Settings()), name


def test_a_run_named_twice_is_still_one_curve(tmp_path):
    history = read_history(make_run(tmp_path / "x"))
    figure = draw_curves([history, history])
    assert legend_of(figure) == ["mean and range of 2 runs"]
    np.testing.assert_array_equal(
        figure.axes[0].lines[0].get_ydata(), history.columns["validation_accuracy"]
    )


def test_settings_that_do_not_apply_to_cross_entropy_neither_divide_nor_are_named(tmp_path):
    runs = [
        make_run(tmp_path / "a", objective="log-success"),
        make_run(tmp_path / "b", loss="cross-entropy", sigma=1.0),
        make_run(tmp_path / "c", loss="cross-entropy", sigma=2.0, seed=1),
    ]
    figure = draw_curves([read_history(run) for run in runs])
    assert legend_of(figure) == [
        "zero-one loss, objective log-success, seed 0",
        "cross-entropy loss, mean and range of 2 seeds",
    ]
    assert figure.axes[1].get_ylabel() == "share of errors under noise,\nor cross-entropy in nats"


def test_data_sets_are_told_apart(tmp_path):
    runs = [make_run(tmp_path / name, dataset=name) for name in ("mnist", "synthetic")]
    figure = draw_curves([read_history(run) for run in runs])
    assert title_of(figure) == "mnist, synthetic: zero-one loss, seed 0"
    assert legend_of(figure) == ["on mnist", "on synthetic"]


def test_more_runs_than_colours_still_look_different(tmp_path):
    runs = [make_run(tmp_path / f"{n}", epochs=1, samples=n) for n in range(1, 11)]
    lines = draw_curves([read_history(run) for run in runs]).axes[0].lines
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == 10


# --- classes ------------------------------------------------------------------------------------


def maps_of(figure) -> list:
    return [panel.images[0] for panel in figure.axes if panel.images]


def test_classes_are_drawn_as_measured(tmp_path):
    history = read_history(make_run(tmp_path / "x"))
    figure = draw_classes(history)
    recall, margin, gradient = maps_of(figure)
    np.testing.assert_array_equal(recall.get_array().filled(np.nan), history.by_class("recall"))
    np.testing.assert_array_equal(margin.get_array().filled(np.nan), history.by_class("margin"))
    assert list(recall.get_extent()) == [0.5, 3.5, 9.5, -0.5]
    assert margin.norm.vmax == -margin.norm.vmin == np.nanmax(np.abs(history.by_class("margin")))
    norms = gradient.get_array()
    assert norms.mask[0].all()  # no image, no gradient
    assert (norms[1] == gradient.norm.vmin).all()  # no gradient: the darkest colour
    np.testing.assert_array_equal(norms[2:], history.by_class("gradient_norm")[2:])
    drawn = {line.get_label(): line.get_ydata() for panel in figure.axes for line in panel.lines}
    np.testing.assert_array_equal(drawn["cosine"], history.columns["cosine"])
    np.testing.assert_array_equal(drawn["relu3"], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("margin", [-3.0, 3.0])
def test_a_dead_class_and_one_that_is_safely_ahead_look_different(tmp_path, margin):
    history = read_history(make_run(tmp_path / "x"))
    history.columns["margin_1"][:] = margin  # its gradient is 0, those of the others are not
    (panel,) = (one for one in draw_classes(history).axes if len(one.images) == 2)
    marked = panel.images[1].get_array().filled(np.nan) == 1
    expected = np.zeros((10, 3), bool)
    expected[1] = margin < 0
    np.testing.assert_array_equal(marked, expected)


def test_epochs_are_counted_in_whole_numbers(tmp_path):
    history = read_history(make_run(tmp_path / "x", epochs=2))
    for figure in (draw_classes(history), draw_curves([history])):
        figure.draw_without_rendering()
        panels = [panel for panel in figure.axes if panel.get_xlabel() == "epoch"]
        assert panels
        for panel in panels:
            low, high = panel.get_xlim()
            ticks = [tick for tick in panel.get_xticks() if low <= tick <= high]
            assert ticks == [1, 2]


@pytest.mark.parametrize("signals", [np.nan, np.inf])
def test_where_there_is_no_noise_the_picture_says_so(tmp_path, signals):
    history = read_history(make_run(tmp_path / "x"))
    for name in ("signal_to_noise", "cosine", "signal_share"):
        history.columns[name][:] = signals
    texts = [text.get_text() for panel in draw_classes(history).axes for text in panel.texts]
    assert texts == ["no noise:\nthe gradient is exact"] * 2


# --- confusion ----------------------------------------------------------------------------------


def logits_for(answers, margins) -> np.ndarray:
    """Make logits whose largest is at the answer, by a margin over all others."""
    logits = np.zeros((10, len(answers)), np.float32)
    logits[answers, np.arange(len(answers))] = margins
    return logits


def test_the_matrix_holds_the_counts_and_the_worst_errors_come_first():
    split = tiny_dataset().test
    answers = split.classes.copy()
    answers[[3, 8, 20]] = 7, 0, 0
    lead = np.ones(len(split))
    lead[[3, 8, 20]] = 2, 9, 5
    figure = draw_confusion(logits_for(answers, lead), split, "tiny")
    assert title_of(figure) == "tiny: 94.00 % of 50 images read right"
    matrix = next(panel for panel in figure.axes if panel.get_xlabel() == "answer")
    expected = count_answers(split.classes, answers).confusion
    drawn = np.zeros((10, 10), int)
    for text in matrix.texts:
        answer, label = map(int, text.get_position())
        drawn[label, answer] = int(text.get_text())
        assert drawn[label, answer] > 0
    np.testing.assert_array_equal(drawn, expected)
    examples = [panel for panel in figure.axes if "→" in panel.get_title()]
    assert [panel.get_title() for panel in examples] == [
        f"{split.classes[8]} → 0  9.0",
        f"{split.classes[20]} → 0  5.0",
        f"{split.classes[3]} → 7  2.0",
    ]
    np.testing.assert_array_equal(examples[0].images[0].get_array(), split.pixels[8])


def test_many_errors_or_none_leave_the_picture_whole():
    split = tiny_dataset().test
    for answers, shown in ((split.classes, 0), (np.zeros_like(split.classes), ROWS * COLUMNS)):
        figure = draw_confusion(logits_for(answers, 1.0), split, "tiny")
        assert sum("→" in panel.get_title() for panel in figure.axes) == shown


# --- features -----------------------------------------------------------------------------------


def network_and_image():
    network = lenet5()
    parameters = network.init(np.random.default_rng(1))
    image, _ = gather(tiny_dataset().test, slice(0, 1))
    return network, parameters, image


def test_the_outputs_of_the_layers_are_the_network_s():
    network, parameters, image = network_and_image()
    outputs = outputs_of(network, parameters, image)
    assert {name: value.shape for name, value in outputs.items()} == network.shapes()
    np.testing.assert_array_equal(outputs["logits"], network.forward(parameters, image)[0][:, 0])
    np.testing.assert_array_equal(outputs["relu1"], np.maximum(outputs["pool1"], 0))


def test_maps_side_by_side_by_hand():
    maps = np.arange(8.0).reshape(2, 2, 2)
    np.testing.assert_array_equal(montage(maps), [[0, 1, np.nan, 4, 5], [2, 3, np.nan, 6, 7]])


def test_every_layer_is_drawn_with_its_shape():
    network, parameters, image = network_and_image()
    outputs = outputs_of(network, parameters, image)
    answer = int(outputs["logits"].argmax())
    label = (answer + 3) % 10
    figure = draw_features(network, parameters, image, label, "tiny")
    assert f"a {label}, read as {answer}" in title_of(figure)
    panels = {panel.get_title().partition(":")[0]: panel for panel in figure.axes}
    assert set(panels) == {"input", "filters of conv1", *network.shapes()} - {"flatten"}
    assert panels["conv2"].get_title() == "conv2: 16 x 10 x 10"
    for name in ("conv1", "relu2"):
        drawn = panels[name].images[0].get_array().filled(np.nan)
        np.testing.assert_array_equal(drawn, montage(outputs[name]))
    np.testing.assert_array_equal(panels["relu4"].images[0].get_array()[0], outputs["relu4"])
    # Before and behind a ReLU one colour is one value.
    pairs = [("pool1", "relu1"), ("pool2", "relu2"), ("dense1", "relu3"), ("dense2", "relu4")]
    for before, behind in pairs:
        norms = [panels[name].images[0].norm for name in (before, behind)]
        largest = np.abs(outputs[before]).max()
        assert {(norm.vmin, norm.vmax) for norm in norms} == {(-largest, largest)}
    assert any(-outputs[before].min() > outputs[behind].max() for before, behind in pairs)
    bars = panels["logits"].patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], outputs["logits"])
    colours = [matplotlib.colors.to_hex(bar.get_facecolor()).upper() for bar in bars]
    assert (colours[label], colours[answer]) == COLOURS[:2]


# --- histograms ---------------------------------------------------------------------------------


def test_an_outline_has_the_roots_of_the_counts_and_touches_the_ground():
    x, y = outline(-1, 3, np.array([10_000, 0, 2500, 40_000]))
    np.testing.assert_allclose(x, [-1, -0.5, 0.5, 1.5, 2.5, 3])
    np.testing.assert_allclose(y, [0, 0.5, 0, 0.25, 1, 0])


def test_few_values_get_few_bins():
    counts = np.zeros(64, np.int64)
    counts[[0, 1, 63]] = 2, 2, 1
    x, y = outline(0, 64, counts)
    assert len(x) - 2 <= BINS_PER_ROOT * np.sqrt(5)
    np.testing.assert_allclose(x, [0, 8, 24, 40, 56, 64])
    np.testing.assert_allclose(y, [0, 1, 0, 0, 0.5, 0])


def test_values_that_are_all_the_same_are_an_upright_line():
    x, y = outline(0.5, 0.5, np.array([0, 6]))
    assert (list(x), list(y)) == ([0.5, 0.5], [0, 1])


def test_of_many_records_the_first_the_last_and_some_between_are_shown():
    assert list(chosen_records(1)) == [0]
    assert list(chosen_records(3)) == [0, 1, 2]
    chosen = chosen_records(50)
    assert (len(chosen), chosen[0], chosen[-1]) == (RIDGES, 0, 49)
    assert set(np.diff(chosen)) <= {4, 5}


def test_every_array_has_its_panel_and_every_record_its_ridge(tmp_path):
    for kind, histograms in read_histograms(make_run(tmp_path / "x")).items():
        figure = draw_histograms(histograms, kind)
        assert {panel.get_title() for panel in figure.axes} == set(histograms.counts)
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert labels == ["3", "6", "9"]
        for panel in figure.axes:
            assert len(panel.collections) == 3
            name = panel.get_title()
            drawn = [line.get_xdata() for line in panel.lines]
            for record, x in enumerate(drawn):
                assert x[0] == histograms.low[name][record]
                assert x[-1] == histograms.high[name][record]


# --- one style ----------------------------------------------------------------------------------


def test_the_user_s_own_style_neither_shows_nor_is_changed(tmp_path):
    history = read_history(make_run(tmp_path / "x"))
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 40}):
        figure = draw_curves([history])
        assert matplotlib.rcParams["font.size"] == 40
    panel = figure.axes[0]
    assert matplotlib.colors.to_hex(panel.get_facecolor()) == "#ffffff"
    assert panel.xaxis.label.get_size() == 9


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(HEADERS))
def test_a_run_gets_all_its_pictures(data, tmp_path, capsys, kind):
    run = make_run(tmp_path / "run")
    assert command.main([str(run), "--format", kind]) == 0
    printed = capsys.readouterr()
    files = [run / "plots" / f"{name}.{kind}" for name in NAMES]
    assert printed.out.splitlines() == list(map(str, files))
    assert printed.err == ""
    for file in files:
        assert file.read_bytes().startswith(HEADERS[kind])
    assert sorted(path.name for path in (run / "plots").iterdir()) == sorted(f.name for f in files)


def test_only_what_was_asked_for_is_drawn_where_it_was_asked_for(data, tmp_path, capsys):
    run, out = make_run(tmp_path / "run"), tmp_path / "new" / "folder"
    assert command.main([str(run), "--only", "classes", "histograms", "--out", str(out)]) == 0
    names = ["classes.png", "histograms-gradients.png", "histograms-weights.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert not (run / "plots").exists()


def test_several_runs_get_their_curves_in_the_current_folder(tmp_path, capsys, monkeypatch):
    runs = [str(make_run(tmp_path / f"{k}", seed=k)) for k in range(2)]
    monkeypatch.chdir(tmp_path)
    assert command.main(runs) == 0
    assert capsys.readouterr().out == "curves.png\n"
    assert Path("curves.png").read_bytes().startswith(HEADERS["png"])


def test_of_several_runs_those_that_can_be_read_are_drawn(tmp_path, capsys):
    good, empty = make_run(tmp_path / "good"), make_run(tmp_path / "empty", epochs=0)
    words = [str(good), str(empty), str(tmp_path / "nowhere"), "--out", str(tmp_path)]
    assert command.main(words) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'curves.png'}\n"
    assert printed.err.splitlines() == [
        f"python -m lenet_np plot: curves: no epoch of {empty} is complete yet",
        f"python -m lenet_np plot: curves: {tmp_path / 'nowhere'} is no run: config.json: "
        "No such file or directory",
    ]


def test_a_run_before_its_first_epoch_shows_what_there_is(data, drawn, tmp_path, capsys):
    run = make_run(tmp_path / "run", epochs=0)
    assert command.main([str(run)]) == 1
    printed = capsys.readouterr()
    assert [Path(line).stem for line in printed.out.splitlines()] == ["confusion", "features"]
    assert printed.err.splitlines() == [
        f"python -m lenet_np plot: curves, classes: no epoch of {run} is complete yet",
        "python -m lenet_np plot: histograms: no histogram is recorded yet",
    ]


def damage(run: Path, what: str) -> None:
    table = run / METRICS
    if what == "no config":
        (run / CONFIG).unlink()
    elif what == "half a config":
        (run / CONFIG).write_text((run / CONFIG).read_text()[:40])
    elif what == "no table":
        table.unlink()
    elif what == "a column less":
        table.write_text(table.read_text().replace("recall_4", "recall"))
    elif what == "a word for a number":
        table.write_text(table.read_text().replace("\n2,", "\ntwo,"))
    elif what == "half a row":
        table.write_text(table.read_text()[:-60])
    elif what == "a number without end":
        table.write_text(table.read_text().replace("\n2,", f"\n{'2' * 200_000},"))
    elif what == "bytes for a table":
        table.write_bytes(bytes(range(256)))
    elif what == "no state":
        (run / LAST).unlink()
    elif what == "half a state":
        (run / LAST).write_bytes((run / LAST).read_bytes()[:1000])
    elif what == "no histograms":
        (run / HISTOGRAMS).unlink()
    elif what == "bytes for histograms":
        (run / HISTOGRAMS).write_bytes(bytes(range(256)))


@pytest.mark.parametrize(
    ("what", "lost", "message"),
    [
        ("no config", PICTURES, "{run} is no run: config.json: No such file"),
        ("half a config", PICTURES, "{run}/config.json is damaged"),
        ("no table", ("curves", "classes"), "metrics.csv is damaged: it holds 0 epochs"),
        ("a column less", ("curves", "classes"), "metrics.csv is damaged: it has no column"),
        ("a word for a number", ("curves", "classes"), "metrics.csv is damaged: could not convert"),
        ("half a row", ("curves", "classes"), "metrics.csv is damaged"),
        ("a number without end", ("curves", "classes"), "metrics.csv is no table: field larger"),
        ("bytes for a table", ("curves", "classes"), "metrics.csv is damaged"),
        ("no state", ("confusion", "features"), "{run} has no last.npz, only best.npz:"),
        ("half a state", ("confusion", "features"), "last.npz: damaged"),
        ("no histograms", ("histograms",), "histograms: no histograms: {run}/histograms.bin"),
        ("bytes for histograms", ("histograms",), "histograms.bin is damaged"),
    ],
)
def test_what_is_damaged_is_said_in_a_line_and_the_rest_is_drawn(
    data, drawn, tmp_path, capsys, what, lost, message
):
    run = make_run(tmp_path / "run")
    damage(run, what)
    assert command.main([str(run)]) == 1
    printed = capsys.readouterr()
    assert message.format(run=run) in printed.err.replace("\\", "/")
    assert printed.err.count("\n") == 1
    expected = [name for name in NAMES if not name.startswith(tuple(lost))]
    assert [file.stem for file in drawn] == expected
    assert printed.out.splitlines() == list(map(str, drawn))


def test_without_the_images_everything_else_is_drawn(drawn, tmp_path, capsys, monkeypatch):
    def missing(name: str, folder: Path | None) -> Dataset:
        raise MissingDataError(f"{name} is not complete in {folder}\nand much more")

    monkeypatch.setattr(command, "load_dataset", missing)
    run = make_run(tmp_path / "run")
    assert command.main([str(run), "--data-dir", "there"]) == 1
    printed = capsys.readouterr()
    assert printed.err == (
        "python -m lenet_np plot: confusion, features: tiny is not complete in there; "
        "name MNIST's folder with --data-dir\n"
    )
    assert [file.stem for file in drawn] == [NAMES[k] for k in (0, 1, 4, 5)]


def test_a_long_explanation_is_cut_to_its_first_line(drawn, tmp_path, capsys, monkeypatch):
    def wrong(name: str, folder: Path | None) -> Dataset:
        raise DataError("these are not the official files\nand much more")

    monkeypatch.setattr(command, "load_dataset", wrong)
    assert command.main([str(make_run(tmp_path / "run"))]) == 1
    error = capsys.readouterr().err
    assert error.endswith("confusion, features: these are not the official files\n")


def test_a_folder_that_cannot_be_written_is_named(data, tmp_path, capsys):
    run, file = make_run(tmp_path / "run"), tmp_path / "file"
    file.touch()
    assert command.main([str(run), "--only", "curves", "--out", str(file)]) == 1
    printed = capsys.readouterr()
    assert f"curves: cannot write curves.png in the folder {file}" in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "test image 0: a 1,"),
        (["--digit", "9"], "test image 8: a 9,"),
        (["--image", "12"], "test image 12: a 4,"),
        (["--split", "validation", "--image", "44"], "validation image 44: a 9,"),
        (["--split", "train", "--image", "299"], "train image 299: a 3,"),
    ],
)
def test_the_digit_on_its_way_is_the_one_asked_for(data, drawn, tmp_path, words, expected):
    run = make_run(tmp_path / "run")
    assert command.main([str(run), "--only", "features", *words]) == 0
    (figure,) = drawn.values()
    assert expected in title_of(figure)
    assert "after 3 epochs" in title_of(figure)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--digit", "0"], "features: there is no 0 in the test set"),
        (["--image", "50"], "features: --image takes 0 to 49 for the test set, got 50"),
    ],
)
def test_an_image_that_is_not_there_is_refused(data, tmp_path, capsys, words, message):
    run = make_run(tmp_path / "run")
    assert command.main([str(run), "--only", "features", *words]) == 1
    assert capsys.readouterr().err == f"python -m lenet_np plot: {message}\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows removes no open file")
def test_what_a_killed_one_left_is_removed_and_what_another_writes_is_not(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    (run / "plots").mkdir()
    program = f"""
import os, signal
from pathlib import Path
from lenet_np.tools.plots.style import write_figure
class Figure:
    def savefig(self, out, **_):
        print(out.name, flush=True)
        signal.pause()
write_figure(Figure(), Path({str(run / "plots" / "classes.png")!r}))
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        killed, living = (Path(writer.stdout.readline().strip()) for writer in writers)
        writers[0].kill()
        writers[0].wait()
        foreign = run / "plots" / ".holiday.png.part"
        foreign.touch()
        assert killed.exists()
        assert command.main([str(run), "--only", "curves"]) == 0
        left = {path.name for path in (run / "plots").iterdir()}
        assert left == {"curves.png", living.name, foreign.name}
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def test_the_best_weights_are_read_where_they_are_asked_for(data, drawn, tmp_path, capsys):
    run = make_run(tmp_path / "run")
    (run / LAST).unlink()
    assert command.main([str(run), "--only", "confusion", "--checkpoint", "best"]) == 0
    (run / BEST).unlink()
    assert command.main([str(run), "--only", "confusion", "--checkpoint", "best"]) == 1
    assert f"{run} is no run: there is no best.npz in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "the following arguments are required: RUN"),
        (["a", "--only", "everything"], "--only: invalid choice: 'everything'"),
        (["a", "b", "--only", "curves", "classes"], "--only: classes draws one run at a time"),
        (["a", "--format", "gif"], "--format: invalid choice: 'gif'"),
        (["a", "--digit", "10"], "--digit: invalid choice: 10"),
        (["a", "--image", "-1"], "--image: takes a whole number from 0"),
        (["a", "--digit", "1", "--image", "1"], "not allowed with argument --digit"),
        (["a", "--split", "all"], "--split: invalid choice"),
        (["a", "--checkpoint", "first"], "--checkpoint: invalid choice"),
        (["a", "--classes"], "unrecognized arguments: --classes"),
        ([""], "takes a folder, got an empty name"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_in_one_line(words, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
