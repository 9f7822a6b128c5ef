"""A run that was stopped, however it was, and goes on equals one that never stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from kill_and_resume import differences, kill_and_resume
from tiny import command, tiny_dataset

from lenet_np.data import Dataset, Split
from lenet_np.lenet import lenet5
from lenet_np.tools.commands import train as command_module
from lenet_np.tools.commands.train import Interruption
from lenet_np.tools.runs import record as record_module
from lenet_np.tools.runs import start as start_module
from lenet_np.tools.runs.checkpoint import load, save
from lenet_np.tools.runs.folder import read_config, write_config
from lenet_np.train import main

WORDS = ["--samples", "2", "--save-every", "2", "--histograms-every", "2"]  # 3 steps an epoch
FILES = WORDS[2:]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    dataset = tiny_dataset()
    for module in (command_module, start_module):
        monkeypatch.setattr(module, "load_dataset", lambda *_: dataset)
    return dataset


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(
        command(*WORDS, "--epochs", "3", "--quiet", "--out", str(folder)), check=True, timeout=100
    )
    return folder


@pytest.fixture
def finished(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let a signal come in the step: the run's own wish to stop, without the signal."""
    after_step = record_module.Record.after_step
    wishes: list[Interruption] = []
    enter = Interruption.__enter__

    def remember(self: Interruption) -> Interruption:
        wishes.append(self)
        return enter(self)

    def stop(self: record_module.Record, state, metrics) -> None:
        after_step(self, state, metrics)
        if state.optimizer.step == step:
            wishes[-1].status = 143

    monkeypatch.setattr(Interruption, "__enter__", remember)
    monkeypatch.setattr(record_module.Record, "after_step", stop)


# --- equal to the last bit ----------------------------------------------------------------------


def test_five_kills_leave_no_trace(tmp_path: Path) -> None:
    def run(*words: str) -> list[str]:
        new = ["--epochs", "20"] if "--out" in words else []
        return command("--quiet", *words, *FILES, *new, "--samples", "2")

    start = time.monotonic()
    subprocess.run(run("--out", str(tmp_path / "whole")), check=True, capture_output=True)
    longest = time.monotonic() - start  # A life may come to the end of the run, and need not.
    story = kill_and_resume(run, tmp_path / "killed", 5, longest, seed=1)
    assert differences(tmp_path / "whole", tmp_path / "killed") == [], story


# A crash at every write; of the milder faults every fourth ("tests/crash.py MODE DIR 1 1" for all).
@pytest.mark.parametrize(("mode", "stride"), [("crash", 1), ("once", 4), ("full", 4)])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fault_at_any_write_leaves_no_trace(mode: str, stride: int, tmp_path: Path) -> None:
    program = Path(__file__).parent / "crash.py"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, program, mode, tmp_path, "1", str(stride)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) > 50 // stride
    for k, broken, _, then, different in lines:
        assert (k, then, different) == (k, 0, [])
        assert broken in {"crash": (9,), "once": (0, 1), "full": (1,)}[mode]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_run_stopped_in_an_epoch_equals_one_that_was_not(
    data: Dataset, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    out = str(tmp_path / "run")
    with monkeypatch.context() as context:
        stop_at(context, step)
        assert main([*WORDS, "--epochs", "3", "--out", out]) == 143
    assert load(Path(out, "last.npz"), lenet5()).state.optimizer.step == step
    assert not Path(out, "summary.json").exists()
    assert main(["--resume", out, *FILES]) == 0
    assert differences(whole, Path(out)) == []


def test_more_epochs_equal_a_run_that_was_started_with_them(
    data: Dataset, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "run")
    assert main([*WORDS, "--epochs", "1", "--out", out]) == 0
    with monkeypatch.context() as context:
        stop_at(context, 5)
        assert main(["--resume", out, *FILES, "--epochs", "3"]) == 143
    assert not Path(out, "summary.json").exists()  # A result of fewer epochs would mislead.
    assert main(["--resume", out, *FILES]) == 0  # The number is remembered.
    assert not [
        name for name in differences(whole, Path(out)) if not name.startswith("best.npz: [")
    ]
    assert load(Path(out, "last.npz"), lenet5()).settings.epochs == 3


def test_a_finished_run_says_its_result_again(
    data: Dataset, whole: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--resume", str(finished), *FILES, "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("Test accuracy ")
    assert differences(whole, finished) == []


def test_going_on_from_the_best_epoch(
    data: Dataset, whole: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = finished / "last.npz"
    last.write_bytes(last.read_bytes()[:1000])
    assert main(["--resume", str(finished)]) == 1
    epoch = load(finished / "best.npz", lenet5()).epoch
    error = capsys.readouterr().err
    assert f"best.npz is whole: to go on from epoch {epoch}, copy it to last.npz" in error
    shutil.copy(finished / "best.npz", last)
    assert main(["--resume", str(finished), *FILES]) == 0
    assert differences(whole, finished) == []


def test_the_comparison_sees_a_difference_in_each_file(whole: Path, finished: Path) -> None:
    assert differences(whole, finished) == []
    for name in ("last.npz", "best.npz"):
        checkpoint = load(finished / name, lenet5())
        before = (finished / name).read_bytes()
        checkpoint.state.parameters["conv1.bias"][0] += 1e-6
        save(finished / name, checkpoint)
        assert differences(whole, finished) == [f"{name}: parameters/conv1.bias"]
        checkpoint = load(whole / name, lenet5())
        save(finished / name, checkpoint._replace(epoch=9))
        (found,) = differences(whole, finished)
        assert found.startswith(f"{name}: [")
        (finished / name).write_bytes(before)
    for name, old, new in (
        ("metrics.csv", b"0.", b"1."),
        ("histograms.bin", b"\x01", b"\x02"),
        ("summary.json", b"0.", b"1."),
    ):
        before = (finished / name).read_bytes()
        (finished / name).write_bytes(before.replace(old, new, 1))
        assert differences(whole, finished) == [name]
        (finished / name).write_bytes(before)
    assert differences(whole, finished) == []


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--batch-size", "20"], "--batch-size: the run was started with 128, got 20"),
        (["--learning-rate", "1"], "--learning-rate: the run was started with 9.09"),
        (["--loss", "cross-entropy"], "--loss: the run was started with zero-one, got cross-entro"),
        (["--samples", "3"], "--samples: the run was started with 2, got 3"),
        (["--sigma", "3"], "--sigma: the run was started with 4.0, got 3.0"),
        (["--route", "vjp"], "--route: the run was started with taylor, got vjp"),
        (["--estimator", "exact"], "--estimator: the run was started with plain, got exact"),
        (["--objective", "log-success"], "--objective: the run was started with error, got log"),
        (["--seed", "1"], "--seed: the run was started with 0, got 1"),
        (["--epochs", "2"], "--epochs: the run was started for 3 epochs, takes 3 or more"),
        (["--dataset", "mnist"], "--dataset: the run was started on tiny, got mnist"),
    ],
)
def test_another_setting_is_refused_and_named(
    data: Dataset,
    finished: Path,
    words: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(finished)
    assert main(["--resume", str(finished), *words]) == 2
    error = capsys.readouterr().err
    assert f"argument {expected}" in error
    assert error.count("\n") == 1
    assert contents(finished) == before
    assert main(["--resume", str(finished), "--samples", "2", "--seed", "0"]) == 0  # the run's own


def test_out_with_resume_is_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--resume", str(finished), "--out", "elsewhere"])
    assert stop.value.code == 2
    assert "--out: not with --resume" in capsys.readouterr().err


def test_other_data_are_refused_and_named(
    data: Dataset,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pixels = data.validation.pixels.copy()
    pixels[3, 4, 5] ^= 1
    changed = dataclasses.replace(data, validation=Split(pixels, data.validation.classes))
    monkeypatch.setattr(start_module, "load_dataset", lambda *_: changed)
    before = contents(finished)
    assert main(["--resume", str(finished)]) == 3
    assert "another SHA-256 of validation" in capsys.readouterr().err
    assert contents(finished) == before


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda _: b"", lambda _: b"\x00\xff\r\r\n,\n"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", "config.json is damaged"),
        ("last.npz", "last.npz: damaged, or not a checkpoint"),
        ("best.npz", "best.npz: damaged, or not a checkpoint"),
        ("metrics.csv", "metrics.csv is damaged"),
    ],
)
def test_a_damaged_file_is_refused_and_nothing_is_touched(
    data: Dataset, finished: Path, name, words, damage, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished / name
    file.write_bytes(damage(file.read_bytes()))
    before = contents(finished)
    assert main(["--resume", str(finished)]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert contents(finished) == before


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: lines[:-1],  # a row is missing
        lambda lines: lines[:1] + lines[2:],  # another one
        lambda lines: [*lines[:-1], lines[-1][:40]],  # a line is cut
        lambda lines: [lines[0].replace("margin_3", "margin"), *lines[1:]],
        lambda lines: [*lines[:-1], lines[-1].replace("0.", "O.")],
    ],
)
def test_a_table_with_a_hole_is_refused(
    data: Dataset, finished: Path, edit, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished / "metrics.csv"
    file.write_text("\n".join(edit(file.read_text().splitlines())) + "\n")
    assert main(["--resume", str(finished)]) == 1
    assert "metrics.csv is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("settings", {"speed": 1}),
        ("settings", None),
        ("machine", None),
        ("dataset", "tiny"),
        ("format", "lenet_np run 9"),
        ("command", ["python", "-m", "another"]),
    ],
)
def test_a_config_of_another_form_is_refused(
    data: Dataset, finished: Path, key, value, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    assert main(["--resume", str(finished)]) == 1
    assert "damaged, or of another version of this program" in capsys.readouterr().err


def test_a_setting_of_another_kind_is_refused(
    data: Dataset, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished / "config.json"
    config = json.loads(file.read_text())
    config["settings"]["epochs"] = "3"
    file.write_text(json.dumps(config))
    assert main(["--resume", str(finished), "--epochs", "5"]) == 1
    assert (
        "epochs takes a whole number from 1 to 9223372036854775807, got '3'"
        in capsys.readouterr().err
    )


def test_a_state_of_another_run_is_refused(
    data: Dataset, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    assert main(["--samples", "3", "--epochs", "1", "--out", str(other)]) == 0
    shutil.copy(other / "last.npz", finished / "last.npz")
    capsys.readouterr()
    assert main(["--resume", str(finished)]) == 1
    error = capsys.readouterr().err
    assert "last.npz is of another run than config.json: samples 2 -> 3" in error


def test_a_folder_without_a_run_is_refused(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--resume", str(tmp_path / "nowhere")]) == 1
    assert "nowhere is no run: no such folder" in capsys.readouterr().err
    assert main(["--resume", str(tmp_path)]) == 1
    assert "is no run: config.json: No such file or directory" in capsys.readouterr().err


# --- allowed ------------------------------------------------------------------------------------


def test_a_missing_best_epoch_is_said_and_the_next_takes_its_place(
    data: Dataset, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (finished / "best.npz").unlink()
    assert main(["--resume", str(finished), "--epochs", "4"]) == 0
    assert "best.npz is missing: the best of the epochs to come" in capsys.readouterr().err
    assert load(finished / "best.npz", lenet5()).epoch == 4


def test_another_numpy_is_said_and_allowed(
    data: Dataset, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = read_config(finished)
    others = {"numpy": "1.2.3", "cores": 999, "python": "2.7"}
    write_config(finished, config._replace(machine=config.machine | others))
    assert main(["--resume", str(finished)]) == 0
    error = capsys.readouterr().err
    assert f"the last bits may differ: numpy 1.2.3 -> {np.__version__}\n" in error


def test_what_a_killed_process_was_writing_is_removed(
    data: Dataset, finished: Path, tmp_path: Path
) -> None:
    for name in (".last.npz.1f.part", ".metrics.csv.2e.part"):
        (finished / name).write_bytes(b"half")
    (finished / ".mine.part").write_bytes(b"not ours")
    assert main(["--resume", str(finished)]) == 0
    assert [file.name for file in finished.glob("*.part")] == [".mine.part"]
