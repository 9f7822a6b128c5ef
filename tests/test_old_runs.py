"""Run folders that version 0.1.0 wrote are resumed, plotted and evaluated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_dataset

from lenet_np.lenet import lenet5
from lenet_np.settings import Settings
from lenet_np.tools.commands import evaluate, plot, predict, report, train
from lenet_np.tools.runs import start
from lenet_np.tools.runs.checkpoint import load
from lenet_np.tools.runs.folder import read_config
from lenet_np.tools.runs.histograms import read_histograms
from lenet_np.tools.runs.table import read_table

OLD = Path(__file__).parent / "old_runs"


@pytest.fixture(params=["finished", "interrupted"])
def old(request, tmp_path, monkeypatch) -> Path:
    """A copy of an old run, with its data set at hand."""
    for module in (train, start, plot):
        monkeypatch.setattr(module, "load_dataset", lambda *_: tiny_dataset())
    monkeypatch.setattr("lenet_np.data.load_dataset", lambda *_: tiny_dataset())
    return Path(shutil.copytree(OLD / request.param, tmp_path / request.param))


def test_it_is_resumed_to_the_result_that_it_had(old):
    steps = read_histograms(old)["weights"].steps.tolist()
    assert train.main(["--resume", str(old), "--histograms-every", "2", "--quiet"]) == 0
    was, now = (read_table(folder / "metrics.csv") for folder in (OLD / "finished", old))
    # Another processor, another last bit: after two steps on tiny images not more than that.
    for before, after in zip(was, now, strict=True):
        for name in before.keys() - {"seconds"}:
            assert float(after[name]) == pytest.approx(float(before[name]), rel=1e-3, abs=1e-3)
    assert read_histograms(old)["weights"].steps.tolist() == sorted({*steps, 2, 4, 6})
    summary = json.loads((old / "summary.json").read_text())
    assert summary["steps"] == 6


def test_more_epochs_can_be_added(old):
    assert train.main(["--resume", str(old), "--epochs", "3", "--quiet"]) == 0
    assert [row["epoch"] for row in read_table(old / "metrics.csv")] == ["1", "2", "3"]


def test_every_picture_is_drawn(old, capsys):
    assert plot.main([str(old), "--out", str(old / "plots")]) == 0
    assert capsys.readouterr().err == ""
    names = "classes confusion curves features histograms-gradients histograms-weights"
    drawn = [file.stem for file in sorted((old / "plots").iterdir())]
    assert drawn == names.split()


def test_its_page_has_all_pictures_and_says_what_was_not_recorded_then(old, capsys):
    assert report.main([str(old)]) == 0
    assert capsys.readouterr().err == ""
    page = (old / "report.html").read_text("utf-8")
    assert page.count("<img ") == 6
    assert "<th>digits never predicted</th><td>not recorded</td>" in page


@pytest.mark.parametrize("which", ["last", "best"])
def test_it_is_evaluated(old, which, capsys):
    words = [str(old), "--split", "validation", "--checkpoint", which, "--json"]
    assert evaluate.main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["accuracy"] == pytest.approx(10 / 60)


def test_its_network_reads_pictures(old, tmp_path, capsys):
    from PIL import Image

    Image.fromarray(tiny_dataset().test.pixels[0]).save(tmp_path / "digit.png")
    assert predict.main([str(old), str(tmp_path / "digit.png")]) == 0


def record(old: Path, **changes) -> None:
    """Change settings in all that a run recorded; None takes one out, as before there was one."""

    def change(content: dict) -> str:
        known = content["settings"] | changes
        settings = {name: value for name, value in known.items() if value is not None}
        return json.dumps(content | {"settings": settings})

    file = old / "config.json"
    file.write_text(change(json.loads(file.read_text())))
    for file in (old / "last.npz", old / "best.npz"):
        with np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        header = change(json.loads(str(arrays["header"])))
        np.savez(file, **(arrays | {"header": np.array(header)}))


@pytest.mark.parametrize("name", ["objective", "estimator", "seed"])
def test_a_setting_that_an_old_run_does_not_know_takes_its_default(old, name):
    default = getattr(Settings(), name)
    assert getattr(read_config(old).settings, name) == default  # as the run had it
    record(old, **{name: None})
    assert getattr(read_config(old).settings, name) == default
    assert getattr(load(old / "best.npz", lenet5()).settings, name) == default
    assert train.main(["--resume", str(old), "--epochs", "3", "--quiet"]) == 0
    assert plot.main([str(old), "--only", "curves", "--out", str(old / "plots")]) == 0
    assert evaluate.main([str(old)]) == 0


def test_settings_that_are_refused_now_are_still_evaluated_and_plotted(old, capsys):
    record(old, objective="log-success", samples=1)
    with pytest.raises(ValueError, match="samples"):
        read_config(old).settings.__post_init__()
    assert plot.main([str(old), "--out", str(old / "plots")]) == 0
    assert evaluate.main([str(old)]) == 0
    assert capsys.readouterr().err == ""
    assert train.main(["--resume", str(old)]) == 1
    error = capsys.readouterr().err
    assert f"{old} can be read, but not gone on with: samples" in error
    assert error.count("\n") == 1


def test_going_on_writes_its_histograms_in_the_present_format(old):
    before = read_histograms(old)["gradients"]
    assert b"histograms 1" in (old / "histograms.bin").read_bytes()[:50]
    assert train.main(["--resume", str(old), "--epochs", "3", "--quiet"]) == 0
    assert b"histograms 2" in (old / "histograms.bin").read_bytes()[:50]
    after = read_histograms(old)["gradients"]
    for name, counts in before.counts.items():
        np.testing.assert_array_equal(after.counts[name][: len(counts)], counts)


def test_every_number_comes_back_bit_for_bit(old):
    checkpoint = load(old / "last.npz", lenet5())
    with np.load(old / "last.npz", allow_pickle=False) as file:
        for name, value in checkpoint.state.parameters.items():
            np.testing.assert_array_equal(value, file[f"parameters/{name}"])
    for kind in read_histograms(old).values():
        for counts in kind.counts.values():
            assert (counts.sum(axis=1) == counts[0].sum()).all()
