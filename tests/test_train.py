"""The training loop and its command, on a tiny data set that a LeNet can learn."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from lenet_np.checkpoint import load
from lenet_np.data import DataError, Dataset, Split
from lenet_np.estimators import ESTIMATORS, OBJECTIVES
from lenet_np.lenet import lenet5
from lenet_np.runs import command as command_module
from lenet_np.runs.arguments import parse
from lenet_np.state import Settings
from lenet_np.train import DivergedError, initial_state, loss_and_gradients, main, prepare, train

TINY = textwrap.dedent("""
    import numpy as np
    from lenet_np.data import Dataset, Split

    def tiny_dataset():
        rng = np.random.default_rng(0)

        def split(size):
            # Each class is a bright bar at its own height.
            classes = rng.integers(0, 10, size).astype(np.uint8)
            pixels = rng.integers(0, 60, (size, 28, 28)).astype(np.uint8)
            for image, digit in zip(pixels, classes):
                image[4 + 2 * digit : 6 + 2 * digit, 4:24] = 255
            return Split(pixels, classes)

        return Dataset("tiny", split(300), split(60), split(70))
""")
namespace: dict[str, object] = {}
exec(TINY, namespace)
tiny_dataset = namespace["tiny_dataset"]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    dataset = tiny_dataset()  # type: ignore[operator]
    monkeypatch.setattr(command_module, "load_dataset", lambda name, folder: dataset)
    return dataset


def states(split: Split, settings: Settings, state=None):
    return list(train(lenet5(), split, settings, state))


def test_steps_cover_the_epoch_with_a_short_last_batch(data: Dataset) -> None:
    metrics = [m for _, m in states(data.train, Settings(epochs=2, batch_size=128, samples=4))]
    assert [(m.epoch, m.step) for m in metrics] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert {m.steps_per_epoch for m in metrics} == {3}


def test_going_on_from_a_state_equals_never_stopping_bit_for_bit(data: Dataset) -> None:
    settings = Settings(epochs=2, samples=4)
    whole = states(data.train, settings)
    resumed = states(data.train, settings, state=whole[1][0])  # in the middle of an epoch
    assert len(resumed) == len(whole) - 2
    assert resumed[-1][1] == whole[-1][1]
    for name, value in whole[-1][0].parameters.items():
        np.testing.assert_array_equal(resumed[-1][0].parameters[name], value)


def test_samples_do_not_change_weights_or_shuffle(data: Dataset) -> None:
    few = states(data.train, Settings(epochs=1, samples=2))[0][0]
    many = states(data.train, Settings(epochs=1, samples=3))[0][0]
    network = lenet5()
    start = initial_state(network, Settings(samples=2)).parameters
    again = initial_state(network, Settings(samples=3)).parameters
    for name in start:
        np.testing.assert_array_equal(start[name], again[name])
    assert any((few.parameters[k] != many.parameters[k]).any() for k in start)


def test_every_value_of_a_training_step_is_float32(data: Dataset) -> None:
    network, settings = lenet5(), Settings(samples=4)
    state = initial_state(network, settings)
    for loss in ("zero-one", "cross-entropy"):
        settings = Settings(loss=loss, samples=4)
        (part,) = prepare(data.train, settings, 0, np.arange(16))
        result = loss_and_gradients(network, state.parameters, part, settings)
        assert result.loss.dtype == np.float32
        assert {g.dtype for g in result.gradients.values()} == {np.dtype(np.float32)}
    after, _ = next(train(network, data.train, settings))
    for group in (after.parameters, after.optimizer.mean, after.optimizer.square):
        assert {value.dtype for value in group.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("loss", ["zero-one", "cross-entropy"])
def test_the_network_learns(data: Dataset, loss: str) -> None:
    settings = Settings(epochs=15, batch_size=20, learning_rate=2e-3, loss=loss, samples=50)
    losses = [m.loss for _, m in train(lenet5(), data.train, settings)]
    assert np.mean(losses[-15:]) < 0.5 * np.mean(losses[:15])


def test_a_number_that_is_not_finite_stops_the_loop_and_is_named(data: Dataset) -> None:
    settings = Settings(epochs=1, learning_rate=1e38, loss="cross-entropy")
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(DivergedError, match=r"step \d+ of epoch 1"),
    ):
        states(data.train, settings)


def test_nan_weight_is_named(data: Dataset) -> None:
    settings = Settings(epochs=1, samples=2)
    state = initial_state(lenet5(), settings)
    state.optimizer.square["dense2.bias"][3] = np.nan  # the loss is still finite
    with np.errstate(invalid="ignore"), pytest.raises(DivergedError, match=r"dense2\.bias"):
        states(data.train, settings, state)
    state = initial_state(lenet5(), settings)
    state.parameters["dense2.bias"][3] = np.nan
    with np.errstate(invalid="ignore"), pytest.raises(DivergedError, match="the loss is nan"):
        states(data.train, settings, state)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "hinge"}, r"loss is one of \('zero-one', 'cross-entropy'\), got 'hinge'"),
        ({"route": "scenic"}, "route is one of .* got 'scenic'"),
        ({"estimator": "best"}, "estimator is one of .* got 'best'"),
        ({"objective": "peace"}, "objective is one of .* got 'peace'"),
        ({"estimator": "sobol"}, "takes 1, 2, 4, .* got 200"),
        ({"estimator": "antithetic", "samples": 3}, "takes an even number, got 3"),
        ({"batch_size": 301}, "the batch size must be 1 to 300"),
    ],
)
def test_settings_that_make_no_sense_are_refused(data: Dataset, wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        states(data.train, Settings(**wrong))


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_estimator_trains_for_both_objectives(
    data: Dataset, estimator: str, objective: str
) -> None:
    settings = Settings(epochs=1, samples=16, estimator=estimator, objective=objective)
    start = initial_state(lenet5(), settings)
    *_, (end, metrics) = states(data.train, settings)
    assert 0 < metrics.loss < 1
    for name, value in end.parameters.items():
        assert np.isfinite(value).all()
        assert (value != start.parameters[name]).any(), name


# --- the command --------------------------------------------------------------------------------


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
    restored = load(out / "checkpoint.npz", lenet5())
    assert (restored.epoch, restored.dataset) == (2, "tiny")
    assert restored.settings == Settings(epochs=2, samples=3)

    # The same folder again is refused, and nothing in it is touched.
    before = (out / "checkpoint.npz").read_bytes()
    assert main(["--epochs", "1", "--out", str(out)]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (out / "checkpoint.npz").read_bytes() == before

    # The diagnostics of each epoch stand in the table.
    margins = [float(rows[0][f"margin_{k}"]) for k in range(10)]
    assert np.isfinite(margins).all()
    assert 0 <= float(rows[1]["signal_share"]) <= 1


def test_every_route_runs_from_the_command_line(data: Dataset, tmp_path: Path) -> None:
    weights = {}
    for route in ("taylor", "override", "vjp", "target"):
        out = tmp_path / route
        assert main(["--epochs", "1", "--samples", "3", "--route", route, "--out", str(out)]) == 0
        weights[route] = load(out / "checkpoint.npz", lenet5()).state.parameters["conv1.weight"]
    np.testing.assert_array_equal(weights["taylor"], weights["override"])
    np.testing.assert_array_equal(weights["taylor"], weights["vjp"])
    np.testing.assert_allclose(weights["taylor"], weights["target"], rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--samples", "0"],
            "--samples: takes a whole number from 1 to 9223372036854775807, got '0'",
        ),
        (["--sigma", "-1"], "--sigma: takes a number from 1e-06 to 1e+06, got '-1'"),
        (["--sigma", "nan"], "--sigma: takes a number from 1e-06 to 1e+06, got 'nan'"),
        (["--sigma", "1e-30"], "--sigma: takes a number from 1e-06"),
        (["--sigma", "1e39"], "--sigma: takes a number from 1e-06"),
        (["--learning-rate", "0"], "--learning-rate: takes a number from 1e-30 to 1e+30"),
        (["--learning-rate", "inf"], "--learning-rate: takes a number from"),
        (
            ["--epochs", "-1"],
            "--epochs: takes a whole number from 1 to 9223372036854775807, got '-1'",
        ),
        (["--epochs", "2.5"], "--epochs: takes a whole number"),
        (["--batch-size", "none"], "--batch-size: takes a whole number"),
        (["--seed", "-1"], "--seed: takes a whole number from 0 to"),
        (["--out", ""], "--out: takes a folder, got an empty name"),
        (["--loss", "hinge"], "--loss: invalid choice: 'hinge'"),
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
    assert text.count("(default: ") == 14


def test_defaults_are_the_notebooks() -> None:
    arguments = parse([])
    assert arguments.settings == Settings(
        50, 128, 5 / 55_000, "zero-one", 200, 4.0, "taylor", "plain", "error", 0
    )
    assert arguments.dataset == "auto"


def test_missing_data_ends_with_status_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unavailable(name: str, folder: Path | None) -> Dataset:
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
        raise DataError("cannot write checkpoint.npz: No space left on device")

    words = ["--epochs", "1", "--samples", "2", "--out", str(tmp_path / "run")]
    with monkeypatch.context() as context:
        context.setattr(command_module, "save", full_disk)
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
    calls = []
    real_save = command_module.save

    def full_disk_once(path: Path, checkpoint: object) -> None:
        calls.append(path)
        if len(calls) == 3:  # the start, epoch 1, then the last epoch
            raise DataError("cannot write checkpoint.npz: No space left on device")
        real_save(path, checkpoint)  # type: ignore[arg-type]

    monkeypatch.setattr(command_module, "save", full_disk_once)
    assert main(["--epochs", "2", "--samples", "2", "--out", str(tmp_path / "run")]) == 0
    assert "No space left on device; training goes on" in capsys.readouterr().err
    assert load(tmp_path / "run" / "checkpoint.npz", lenet5()).epoch == 2


def test_a_folder_that_cannot_be_made_is_named(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["--out", str(tmp_path / "file" / "run")]) == 1
    assert "cannot write in" in capsys.readouterr().err


def command(*words: str) -> list[str]:
    """Build the command in a process of its own, on the tiny data set."""
    program = TINY + textwrap.dedent(f"""
        from lenet_np.runs import command
        command.load_dataset = lambda name, folder: tiny_dataset()
        raise SystemExit(command.main({list(words)!r}))
    """)
    return [sys.executable, "-c", program]


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
    assert "interrupted after step" in error
    assert "Traceback" not in error
    restored = load(out / "checkpoint.npz", lenet5())
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
    assert load(out / "checkpoint.npz", lenet5()).epoch == 3
