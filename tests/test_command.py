"""The training command: what it prints, refuses and leaves, and that nothing ends a run early."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import command, tiny_dataset

from lenet_np.data import DataError, Dataset
from lenet_np.data.files import WriteError
from lenet_np.lenet import lenet5
from lenet_np.settings import Settings
from lenet_np.tools.commands import train as command_module
from lenet_np.tools.commands.train_arguments import parse
from lenet_np.tools.runs import record as record_module
from lenet_np.tools.runs import start as start_module
from lenet_np.tools.runs.checkpoint import load
from lenet_np.train import main


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    dataset = tiny_dataset()
    for module in (command_module, start_module):
        monkeypatch.setattr(module, "load_dataset", lambda *_: dataset)
    return dataset


def test_a_run_prints_what_the_notebook_printed(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["--epochs", "2", "--samples", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "(28, 28, 1), padded to (32, 32, 1)" in printed.out
    for line in ("Training set:      300", "Validation set:     60", "Test set:           70"):
        assert line in printed.out
    assert printed.out.count("validation accuracy") == 2
    assert printed.out.count("Test accuracy") == 1
    assert "on tiny" in printed.out
    assert "Never predicted:" in printed.out  # two steps of training cannot reach every class
    assert printed.err == ""
    with open(out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    restored = load(out / "last.npz", lenet5())
    assert (restored.epoch, restored.dataset) == (2, "tiny")
    assert restored.settings == Settings(epochs=2, samples=3)

    # The same folder again is refused, and nothing in it is touched.
    before = (out / "last.npz").read_bytes()
    assert main(["--epochs", "1", "--out", str(out)]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (out / "last.npz").read_bytes() == before

    # The diagnostics of each epoch stand in the table.
    margins = [float(rows[0][f"margin_{k}"]) for k in range(10)]
    assert np.isfinite(margins).all()
    assert 0 <= float(rows[1]["signal_share"]) <= 1


def test_every_route_runs_from_the_command_line(data: Dataset, tmp_path: Path) -> None:
    weights = {}
    for route in ("taylor", "override", "vjp", "target"):
        out = tmp_path / route
        assert main(["--epochs", "1", "--samples", "3", "--route", route, "--out", str(out)]) == 0
        weights[route] = load(out / "last.npz", lenet5()).state.parameters["conv1.weight"]
    np.testing.assert_array_equal(weights["taylor"], weights["override"])
    np.testing.assert_array_equal(weights["taylor"], weights["vjp"])
    np.testing.assert_allclose(weights["taylor"], weights["target"], rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--samples", "0"],
            "--samples: takes a whole number from 1 to 9223372036854775807, got 0",
        ),
        (["--sigma", "-1"], "--sigma: takes a number from 1e-06 to 1e+06, got -1.0"),
        (["--sigma", "nan"], "--sigma: takes a number from 1e-06 to 1e+06, got nan"),
        (["--sigma", "1e-30"], "--sigma: takes a number from 1e-06"),
        (["--sigma", "1e39"], "--sigma: takes a number from 1e-06"),
        (["--learning-rate", "0"], "--learning-rate: takes a number from 1e-30 to 1e+30"),
        (["--learning-rate", "inf"], "--learning-rate: takes a number from"),
        (
            ["--epochs", "-1"],
            "--epochs: takes a whole number from 1 to 9223372036854775807, got -1",
        ),
        (["--epochs", "2.5"], "--epochs: takes a whole number"),
        (["--batch-size", "none"], "--batch-size: takes a whole number"),
        (["--seed", "-1"], "--seed: takes a whole number from 0 to"),
        (["--out", ""], "--out: takes a folder, got an empty name"),
        (
            ["--loss", "hinge"],
            "--loss: is one of ('zero-one', 'cross-entropy'), or FILE.py:FUNCTION",
        ),
        (["--route", "x"], "--route: invalid choice"),
        (["--dataset", "cifar"], "--dataset: invalid choice"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_in_one_line(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_a_batch_larger_than_the_data_is_refused(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--batch-size", "301", "--out", str(tmp_path / "x")]) == 2
    assert "--batch-size: takes 1 to 300" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_help_explains_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("(default: ") == 19


def test_defaults_are_the_notebooks() -> None:
    arguments = parse([])
    assert Settings(**arguments.given) == Settings(
        50, 128, 5 / 55_000, "zero-one", 200, 4.0, "taylor", "plain", "error", 0, "logits", "1"
    )


def test_missing_data_ends_with_status_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unavailable(*_: object) -> Dataset:
        raise DataError("no data here")

    monkeypatch.setattr(command_module, "load_dataset", unavailable)
    assert main([]) == 3
    assert "no data here" in capsys.readouterr().err


def test_divergence_ends_with_status_4(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--loss", "cross-entropy", "--learning-rate", "1e30", "--out", str(tmp_path / "run")]
    assert main(words) == 4
    error = capsys.readouterr().err
    assert "diverged" in error
    assert "of epoch 1" in error
    assert "no epoch was completed" in error


def test_a_folder_in_which_no_run_could_start_can_be_used_again(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise WriteError("cannot write last.npz: No space left on device")

    words = ["--epochs", "1", "--samples", "2", "--out", str(tmp_path / "run")]
    with monkeypatch.context() as context:
        context.setattr(start_module, "save", full_disk)
        assert main(words) == 1
    assert main(words) == 0


def test_a_name_that_the_terminal_cannot_show_does_not_end_the_run(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    assert main(["--epochs", "1", "--samples", "2", "--out", str(tmp_path / "é")]) == 0
    assert b"xe9" in shown.buffer.getvalue()  # type: ignore[attr-defined]


def test_closed_output_and_error_do_not_end_the_run(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["--epochs", "1", "--samples", "2", "--out", str(tmp_path / "run")]) == 0


def test_an_epoch_that_cannot_be_saved_does_not_end_the_run(
    data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names: list[str] = []
    real_save = record_module.save

    def full_disk_once(path: Path, checkpoint: object) -> None:
        names.append(path.name)
        # Of epoch 2, whether or not it is the best so far; the next try succeeds.
        if path.name == "last.npz" and names.count("last.npz") == 2:
            raise WriteError("cannot write last.npz: No space left on device")
        real_save(path, checkpoint)  # type: ignore[arg-type]

    monkeypatch.setattr(record_module, "save", full_disk_once)
    assert main(["--epochs", "2", "--samples", "2", "--out", str(tmp_path / "run")]) == 0
    assert "No space left on device; training goes on" in capsys.readouterr().err
    assert load(tmp_path / "run" / "last.npz", lenet5()).epoch == 2


def test_a_folder_that_cannot_be_made_is_named(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["--out", str(tmp_path / "file" / "run")]) == 1
    assert "cannot write in" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a single process")
def test_ctrl_c_saves_the_state_and_ends_with_130(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["--epochs", "100000", "--samples", "2", "--out", str(out)]
    with subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("Epoch  2"):
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
        error = process.stderr.read()
        assert process.wait(60) == 130
    assert "interrupted; step" in error
    assert "Traceback" not in error
    restored = load(out / "last.npz", lenet5())
    assert restored.state.optimizer.step >= 6
    assert restored.epoch == restored.state.optimizer.step // 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX pipe")
def test_a_closed_pipe_does_not_stop_the_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(
        command("--epochs", "3", "--samples", "2", "--out", str(out)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(60) == 0
    assert error == ""
    assert load(out / "last.npz", lenet5()).epoch == 3
