"""Studies: runs that can be stopped and taken up again, their tables and figures."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lenet_np.settings
from lenet_np.data import DataError, Split
from lenet_np.data.dataset import Dataset
from lenet_np.lenet import lenet5
from lenet_np.settings import Settings
from lenet_np.tools.commands import study as command
from lenet_np.tools.runs import executors, start
from lenet_np.tools.runs.checkpoint import load
from lenet_np.tools.runs.start import UsageError
from lenet_np.tools.runs.table import read_table
from lenet_np.tools.runs.training import take_steps
from lenet_np.tools.studies import cosine, costs, figures, gradients, methods, run, variance
from lenet_np.tools.studies.table import STUDIES, Study

QUICK = Settings(epochs=3, batch_size=50, samples=4)


@pytest.fixture
def data(monkeypatch) -> Dataset:
    rng = np.random.default_rng(0)

    def split(size):
        pixels = rng.integers(0, 256, (size, 28, 28)).astype(np.uint8)
        return Split(pixels, rng.integers(0, 10, size).astype(np.uint8))

    dataset = Dataset("mnist", split(130), split(40), split(30))
    for module in (run, start, command, variance, cosine, gradients, costs):
        monkeypatch.setattr(module, "load_dataset", lambda *_: dataset)
    return dataset


def test_a_run_taken_up_again_has_the_table_of_one_that_was_not_stopped(data, tmp_path):
    whole = run.run(QUICK, tmp_path / "whole", "mnist", None)
    assert [row["epoch"] for row in whole] == ["1", "2", "3"]
    assert [bool(row["test_accuracy"]) for row in whole] == [False, False, True]
    first = run.run(replace(QUICK, epochs=1), tmp_path / "parts", "mnist", None)
    assert first == [{**whole[0], "test_accuracy": first[0]["test_accuracy"]}]
    assert first[0]["test_accuracy"]
    assert run.run(QUICK, tmp_path / "parts", "mnist", None) == whole


@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_run_that_was_interrupted_goes_on(data, tmp_path, monkeypatch, step):
    """Within an epoch, between its end and the next, and for a first look of fewer epochs too."""
    whole = run.run(QUICK, tmp_path / "whole", "mnist", None)

    def stop(*words, **options):
        for state, *rest in take_steps(*words, **options):
            words[2].save(state)
            if state.optimizer.step == step:
                raise KeyboardInterrupt
            yield state, *rest

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(run, "take_steps", stop)
        run.run(QUICK, tmp_path / "x", "mnist", None)
    assert load(tmp_path / "x" / "last.npz", lenet5()).state.optimizer.step == step
    look = run.run(replace(QUICK, epochs=2), tmp_path / "x", "mnist", None)
    assert [{**row, "test_accuracy": ""} for row in look] == whole[:2]
    assert run.run(QUICK, tmp_path / "x", "mnist", None) == whole


def test_what_is_done_is_not_done_again(data, tmp_path, monkeypatch):
    rows = run.run(QUICK, tmp_path / "x", "mnist", None)
    monkeypatch.setattr(run, "take_steps", None)
    assert run.run(QUICK, tmp_path / "x", "mnist", None) == rows


def test_a_run_that_went_further_serves_a_shorter_one(data, tmp_path):
    """Also where it was stopped before its own end, and so was not tested."""
    rows = run.run(QUICK, tmp_path / "x", "mnist", None)
    (tmp_path / "x" / "summary.json").unlink()
    shorter = run.run(replace(QUICK, epochs=2), tmp_path / "x", "mnist", None)
    assert shorter == rows[:2]


def test_another_run_in_its_folder_is_refused(data, tmp_path):
    run.run(replace(QUICK, epochs=1), tmp_path / "x", "mnist", None)
    with pytest.raises(UsageError, match=r"--sigma: the run was started with 4\.0, got 2\.0"):
        run.run(replace(QUICK, sigma=2.0), tmp_path / "x", "mnist", None)


class InThisProcess:
    """Stands for the pool of processes: here the tiny data set is known."""

    def __init__(self, *_, **__):
        pass

    def submit(self, function, *arguments):
        from concurrent.futures import Future

        future = Future()
        try:
            future.set_result(run.run(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def studies(monkeypatch, data) -> dict[str, Study]:
    """One run for each kind that the figures tell apart."""
    small = {
        name: Study(
            study.question,
            {
                run_name: replace(settings, epochs=1, batch_size=60, samples=6)
                for run_name, settings in list(study.runs.items())[:2]
            },
        )
        for name, study in STUDIES.items()
    }
    monkeypatch.setattr(command, "STUDIES", small)
    monkeypatch.setattr(executors, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(cosine, "COUNTS", 1)
    monkeypatch.setattr(cosine, "SETTINGS", replace(cosine.SETTINGS, batch_size=60))
    monkeypatch.setattr(variance, "REPLICATES", 2)
    monkeypatch.setattr(variance, "SAMPLES", 8)
    monkeypatch.setattr(methods, "SAMPLES", 5)
    monkeypatch.setattr(gradients, "REPLICATES", 2)
    monkeypatch.setattr(gradients, "TURNS", 1)
    weights = lenet_np.settings.WEIGHT_DEFAULTS | {"batch_size": 60, "samples": 2}
    monkeypatch.setattr(lenet_np.settings, "WEIGHT_DEFAULTS", weights)
    for module in (gradients, costs):
        monkeypatch.setattr(module, "RATES", (1e-3,))
        monkeypatch.setattr(module, "SEEDS", range(2))
    return small


def test_every_study_leaves_a_table_and_a_figure(studies, tmp_path, capsys):
    words = ["--out", str(tmp_path), "--epochs", "1"]
    assert command.main(words) == 0
    printed = capsys.readouterr().out
    for name in (*STUDIES, *command.MEASUREMENTS):
        assert str(tmp_path / "mnist" / f"{name}.csv") in printed
        with open(tmp_path / "mnist" / f"{name}.csv", newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert rows, name
        picture = tmp_path / "mnist" / f"{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "mnist" / "animation.gif").read_bytes().startswith(b"GIF89a")
    table = (tmp_path / "mnist" / "lottery.csv").read_bytes()
    assert command.main([*words, "lottery"]) == 0  # again, from what is there
    assert (tmp_path / "mnist" / "lottery.csv").read_bytes() == table


def test_the_diagrams_need_no_data(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "load_dataset", None)
    assert command.main(["diagrams", "--out", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    for name in ("layers", "smoothing"):
        file = tmp_path / "new" / f"{name}.png"
        assert str(file) in printed
        assert file.read_bytes().startswith(b"\x89PNG")


def test_a_run_that_fails_is_named_and_the_others_go_on(studies, tmp_path, monkeypatch, capsys):
    real_run = run.run
    doomed, spared = studies["lottery"].runs

    def fail_once(settings, home, *arguments):
        if home.name == doomed:
            raise DataError("no space left")
        return real_run(settings, home, *arguments)

    monkeypatch.setattr(run, "run", fail_once)
    assert command.main(["lottery", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert f"{doomed}: no space left" in printed.err
    assert f"/2] {spared}: epoch 1" in printed.out


def test_an_unknown_study_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["lotery"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "no study 'lotery'; there are long, lottery, noise" in error
    assert error.count("\n") == 1


def test_missing_data_end_with_status_3(monkeypatch, tmp_path, capsys):
    def unavailable(name, folder):
        raise DataError("no data here")

    monkeypatch.setattr(command, "load_dataset", unavailable)
    assert command.main(["lottery", "--out", str(tmp_path)]) == 3
    assert "no data here" in capsys.readouterr().err


def test_runs_of_the_same_name_have_the_same_settings():
    """Studies share the files of runs by name, so a name must say everything but the epochs."""
    seen: dict[str, Settings] = {}
    for study in STUDIES.values():
        for name, settings in study.runs.items():
            same = Settings(**{**vars(settings), "epochs": 1})
            assert seen.setdefault(name, same) == same
    assert set(figures.FIGURES) == {*STUDIES, *command.MEASUREMENTS}


def test_the_tables_of_the_docs_can_be_drawn(tmp_path):
    """What is shown in docs/ was drawn from the tables beside it."""
    tables = sorted(Path(__file__).parent.parent.glob("docs/studies/*.csv"))
    for table in tables:
        figures.draw(table.stem, read_table(table), tmp_path / "x.png")
        assert (table.with_suffix(".png")).exists()


@pytest.mark.parametrize("name", ["metrics.csv", "summary.json", "last.npz"])
def test_a_run_that_is_damaged_is_named_and_the_others_go_on(studies, tmp_path, capsys, name):
    words = ["lottery", "--out", str(tmp_path), "--epochs", "1"]
    assert command.main(words) == 0
    damaged, _ = studies["lottery"].runs
    (tmp_path / "mnist" / "runs" / damaged / name).write_text("damaged")
    (tmp_path / "mnist" / "runs" / damaged / "summary.json").write_text("damaged")
    capsys.readouterr()
    assert command.main(words) == 1
    printed = capsys.readouterr()
    assert f"{damaged}: " in printed.err
    assert "damaged" in printed.err
    assert printed.err.count("\n") == 1
    rows = read_table(tmp_path / "mnist" / "lottery.csv")
    assert [row["run"] for row in rows] == list(studies["lottery"].runs)[1:]
