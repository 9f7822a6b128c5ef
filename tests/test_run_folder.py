"""The folder of a run, its locks and files, and what reaches the run from outside."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kill_and_resume import differences
from tiny import command, tiny_dataset

from lenet_np.data import Dataset
from lenet_np.lenet import lenet5
from lenet_np.settings import Settings
from lenet_np.tools.commands import train as command_module
from lenet_np.tools.commands.train_arguments import parse, resume_command
from lenet_np.tools.runs import folder as folder_module
from lenet_np.tools.runs import start as start_module
from lenet_np.tools.runs.checkpoint import load
from lenet_np.tools.runs.folder import RunFolderError, create, lock
from lenet_np.tools.runs.histograms import Recorder, read_histograms
from lenet_np.tools.runs.tensorboard import TensorBoard
from lenet_np.train import main

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
SHORT = ["--epochs", "3", "--samples", "2", "--save-every", "1", "--quiet"]  # 3 steps an epoch
ENDLESS = ["--epochs", "100000", "--samples", "2"]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    dataset = tiny_dataset()
    for module in (command_module, start_module):
        monkeypatch.setattr(module, "load_dataset", lambda *_: dataset)
    return dataset


def run(*words: str, before: str = "", **options) -> subprocess.CompletedProcess[str]:
    options = {"capture_output": True} | options
    return subprocess.run(command(*words, before=before), text=True, timeout=120, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(*SHORT, "--out", str(folder)).returncode == 0
    return folder


def last_step(folder: Path) -> int:
    return load(folder / "last.npz", lenet5()).state.optimizer.step


def read_events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


# --- one process in one folder ------------------------------------------------------------------


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run that has taken steps, and its folder, which has a space in its name."""
    folder = tmp_path / "the run"
    with subprocess.Popen(
        command(*ENDLESS, "--out", str(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("Epoch  2"):
                break
        # Read on, so that the pipe never fills.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield process, folder
        process.kill()


@posix
def test_two_processes_in_one_folder(running) -> None:
    process, folder = running
    other = run("--resume", str(folder))
    assert other.returncode == 1
    assert "the run is in use: another process is training in it" in other.stderr
    assert run("--out", str(folder)).returncode == 2  # It holds a run already.
    process.send_signal(signal.SIGKILL)
    process.wait()
    with lock(folder):  # The system has given it back.
        pass


def test_two_new_runs_with_one_name(data: Dataset, tmp_path: Path, capsys) -> None:
    folder = create(tmp_path / "run", "tiny", Settings())
    assert create(tmp_path / "run", "tiny", Settings()) == folder  # The other has not begun.
    with lock(folder):
        assert main(["--out", str(folder), "--epochs", "1", "--samples", "2"]) == 1
    assert "another process is training in it" in capsys.readouterr().err
    # It has begun, and ended, between the other's two looks.
    assert main(["--out", str(folder), "--epochs", "1", "--samples", "2"]) == 0
    with pytest.raises(RunFolderError, match="holds a run already"):
        start_module.start(folder, data, Settings(), lenet5(), [])


def test_default_names_never_meet(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same second, and when the clock jumps back to it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folder_module.time, "strftime", lambda _: "20250102-030405")
    first, second = (create(None, "tiny", Settings(samples=7, sigma=1.5)) for _ in range(2))
    assert str(first) == os.path.join("runs", "20250102-030405-tiny-zero-one-n7-sigma1.5-seed0")
    assert second == first.with_name(first.name + "-2")


def test_a_clock_that_jumps_changes_no_duration(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = iter(range(10**9, 0, -(10**6)))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    assert main([*SHORT, "--out", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert 0 < summary["training_seconds"] < 1000


# --- a folder or disk that does not take it -----------------------------------------------------


def test_a_folder_without_permission(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as context:
        context.setattr(Path, "mkdir", refuse)
        assert main(["--out", str(tmp_path / "run")]) == 1
    assert f"cannot write in {tmp_path / 'run'}: Permission denied" in capsys.readouterr().err
    with monkeypatch.context() as context:
        context.setattr(folder_module, "open", refuse, raising=False)
        assert main(["--out", str(tmp_path / "run")]) == 1
    assert f"cannot write in {tmp_path / 'run'}: Permission denied" in capsys.readouterr().err


def disk(full_from: int, healed_at: int) -> str:
    """Write Python that limits the size of files from one step to another, as a quota would."""
    return f"""
import resource
from lenet_np.tools.runs import record
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
after_step = record.Record.after_step
def limited(self, state, metrics):
    if state.optimizer.step == {full_from}: limit(5000)
    if state.optimizer.step == {healed_at}: limit(resource.RLIM_INFINITY)
    after_step(self, state, metrics)
record.Record.after_step = limited
if {full_from} == 0: limit(5000)
"""


@posix
def test_a_disk_that_is_full_at_the_start(tmp_path: Path) -> None:
    done = run(*SHORT, "--out", str(tmp_path / "run"), before=disk(0, -1))
    assert done.returncode == 1
    assert "cannot write last.npz in the folder" in done.stderr
    assert done.stderr.count("\n") == 1
    assert run(*SHORT, "--out", str(tmp_path / "run")).returncode == 0


@posix
def test_a_disk_that_is_full_for_a_while(whole: Path, tmp_path: Path) -> None:
    done = run(*SHORT, "--out", str(tmp_path / "run"), before=disk(4, 8))
    assert done.returncode == 0
    assert done.stderr.count("training goes on, and it is tried again") == 2  # once for each file
    assert "last.npz is written again" in done.stderr
    assert "histograms.bin is written again" in done.stderr
    assert differences(whole, tmp_path / "run") == []


@posix
def test_a_disk_that_stays_full(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = run(*SHORT, "--out", str(folder), before=disk(5, -1))
    assert done.returncode == 1
    assert "Test accuracy" in done.stdout  # Nothing of the evening's result is withheld.
    *_, last_line = done.stderr.splitlines()
    assert "the last epochs could not be saved" in last_line
    assert "Step 4 is saved. To go on from there: python -m lenet_np.train --resume" in last_line
    assert last_step(folder) == 4
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert run("--resume", str(folder)).returncode == 0
    assert differences(whole, folder) == []


# --- signals ------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_saves_and_says_how_to_go_on(running, name: str, status: int) -> None:
    process, folder = running
    process.send_signal(getattr(signal, name))
    error = process.stderr.read()
    assert process.wait(60) == status
    step = last_step(folder)
    assert f"interrupted; step {step} is saved in" in error
    assert error.count("\n") == 1
    assert read_events(folder)[-1]["event"] == "interrupted"

    # The very words go on, up to the end of the epoch after.
    words = shlex.split(error.partition("To go on: ")[2])
    assert words[:3] == ["python", "-m", "lenet_np.train"]
    stop = "import os, signal\nfrom lenet_np.tools.runs import record\n"
    stop += "record.Record.after_step = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
    resumed = run(*words[3:], before=stop)
    assert resumed.returncode == 143
    assert f"Going on after step {step}" in resumed.stdout
    assert last_step(folder) == step + 1


@posix
def test_the_command_to_go_on_keeps_data_and_files() -> None:
    words = ["--data-dir", "my data", "--save-every", "7", "--histograms-every", "0", "--json"]
    command_line = resume_command(Path("a run"), parse([*words, "--seed", "3"]))
    assert shlex.split(command_line)[3:] == ["--resume", "a run", *words]
    assert resume_command(Path("run"), parse([])) == "python -m lenet_np.train --resume run"


@posix
def test_an_ignored_hangup_stays_ignored(tmp_path: Path) -> None:
    """As ``nohup`` sets it."""
    hang_up = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from lenet_np.tools.runs import record
after_step = record.Record.after_step
def hang_up(*words):
    os.kill(os.getpid(), signal.SIGHUP)
    after_step(*words)
record.Record.after_step = hang_up
"""
    assert run(*SHORT, "--out", str(tmp_path / "run"), before=hang_up).returncode == 0


@posix
@pytest.mark.parametrize("place", ["record.save", "training.evaluate", "files.os.fsync"])
def test_a_second_signal_leaves_at_once(whole: Path, tmp_path: Path, place: str) -> None:
    """In the middle of saving, of evaluation, and before a file takes its name."""
    folder = tmp_path / "run"
    twice = f"""
import os, signal
from lenet_np.data import files
from lenet_np.tools.runs import record, training
real, calls = {place}, []
def twice(*words):
    calls.append(1)
    if len(calls) == 9 or "{place}" == "training.evaluate":
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        print("went on", file=sys.stderr)
    return real(*words)
{place} = twice
"""
    done = run(*SHORT, "--out", str(folder), before=twice)
    assert done.returncode == 130
    step = last_step(folder)
    assert f"interrupted; step {step} is saved" in done.stderr
    assert "went on" not in done.stderr
    assert "Traceback" not in done.stderr
    assert run("--resume", str(folder)).returncode == 0
    assert differences(whole, folder) == []


@posix
@pytest.mark.parametrize("place", ["command.load_dataset", "training.evaluate"])
def test_one_signal_while_loading_or_evaluating(tmp_path: Path, place: str) -> None:
    once = f"""
import os, signal
from lenet_np.tools.runs import training
real = {place}
def once(*words):
    os.kill(os.getpid(), signal.SIGINT)
    return real(*words)
{place} = once
"""
    done = run(*SHORT, "--out", str(tmp_path / "run"), before=once)
    assert done.returncode == 130
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    if place == "training.evaluate":  # The epoch is complete.
        assert last_step(tmp_path / "run") == 3


# --- the screen ---------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    "redirection", ["| head -1", ">&-", "2>&-", ">&- 2>&-", "> /dev/full", "2> /dev/full"]
)
def test_no_reader_of_the_output_stops_a_run(tmp_path: Path, redirection: str) -> None:
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    folder = tmp_path / "run"
    words = shlex.join(command(*SHORT[:-1], "--out", str(folder)))
    status = tmp_path / "status"
    line = f"{{ {words}; echo $? > {shlex.quote(str(status))}; }} {redirection}"
    subprocess.run(["sh", "-c", line], capture_output=True, timeout=120)
    # What was printed onto a full disk is lost, and that is said; what the run leaves is not.
    assert status.read_text() == ("1\n" if redirection == "> /dev/full" else "0\n")
    assert (folder / "summary.json").exists()


def test_quiet_says_the_result_and_nothing_else(data: Dataset, tmp_path: Path, capsys) -> None:
    assert main([*SHORT, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("Test accuracy ")
    assert printed.out.count("\n") == 1


def test_json_is_all_there_is_on_stdout(data: Dataset, tmp_path: Path, capsys) -> None:
    words = ["--epochs", "1", "--loss", "cross-entropy", "--json"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    lines = [
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        for line in printed.out.splitlines()
    ]
    assert [line["event"] for line in lines] == ["start", "epoch", "end"]
    assert lines[1]["signal_to_noise"] is None  # NaN: nothing is estimated
    assert lines == read_events(tmp_path / "run")
    assert "Test accuracy" in printed.err


def on_a_terminal(columns: int, *words: str, **environment: str) -> str:
    """Run with stderr on a terminal of so many columns; return what it was sent."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    before = "from lenet_np.tools.runs import progress\nprogress.REFRESH_SECONDS = 0\n"
    process = subprocess.Popen(
        command(*words, before=before),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"} | environment,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux's way to say that the other end is closed.
        pass
    os.close(ours)
    assert process.wait(60) == 0
    return shown.decode("ascii")


@posix
@pytest.mark.parametrize("columns", [1, 10, 30, 60, 120])
def test_the_bar_fits_the_terminal(tmp_path: Path, columns: int) -> None:
    shown = on_a_terminal(
        columns, "--epochs", "2", "--samples", "2", "--out", str(tmp_path / "run"), NO_COLOR="1"
    )
    pictures = shown.split("\r")
    assert max(map(len, pictures)) == columns - 1
    assert "\x1b" not in shown
    assert pictures[-1] == ""  # The bar is wiped at the end.
    if columns >= 30:
        assert "epoch 2/2 3/3" in shown
        assert " left" in shown
    if columns == 120:
        assert "images/s" in shown
        assert "validation 0." in shown


@posix
@pytest.mark.parametrize("why", ["dumb", "quiet", "json"])
def test_no_bar_where_none_is_wanted(tmp_path: Path, why: str) -> None:
    words = [f"--{why}"] if why != "dumb" else []
    environment = {"TERM": "dumb"} if why == "dumb" else {}
    shown = on_a_terminal(
        80, "--epochs", "1", "--samples", "2", "--out", str(tmp_path / "run"), *words, **environment
    )
    assert "epoch 1/1" not in shown


@posix
def test_a_plain_locale_is_enough(tmp_path: Path) -> None:
    name = "b\udcc3\udca9"  # how Python reads a command line that this locale has no letters for
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run("--epochs", "1", "--samples", "2", "--out", str(tmp_path / name), env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


# --- events and histograms ----------------------------------------------------------------------


def test_an_event_after_half_a_line_has_its_own(data: Dataset, whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    before = (folder / "events.jsonl").read_text()
    with open(folder / "events.jsonl", "ab") as file:
        file.write(b'{"event": "ha')
    assert main(["--resume", str(folder), "--quiet"]) == 0
    after = (folder / "events.jsonl").read_text()
    assert after.startswith(before)
    half, *rest = after.removeprefix(before).splitlines()
    assert half == '{"event": "ha'
    assert [json.loads(line)["event"] for line in rest] == ["resume", "end"]


def test_a_record_after_half_a_record_takes_its_place(tmp_path: Path) -> None:
    arrays = {"a": np.arange(100, dtype=np.float32), "b": np.zeros(3, np.float32)}
    recorder = Recorder(tmp_path, ["a", "b"], 0)
    for step in (1, 2):
        recorder.append(step, arrays, arrays)
    recorder.flush()
    two = (tmp_path / "histograms.bin").read_bytes()
    (tmp_path / "histograms.bin").write_bytes(two[:-10])
    assert list(read_histograms(tmp_path)["weights"].steps) == [1]
    again = Recorder(tmp_path, ["a", "b"], 1)
    again.append(2, arrays, arrays)
    again.flush()
    assert (tmp_path / "histograms.bin").read_bytes() == two
    with pytest.raises(RunFolderError, match="of another network"):
        Recorder(tmp_path, ["a", "c"], 2)


def test_damage_to_histograms_never_passes_unseen(tmp_path: Path) -> None:
    """Any byte, three cut out anywhere, or a piece of zeros: but a shorter end is a crash's."""
    arrays = {"a": np.arange(100, dtype=np.float32)}
    recorder = Recorder(tmp_path, ["a"], 0)
    for step in (1, 2, 3):
        recorder.append(step, arrays, arrays)
    recorder.flush()
    file = tmp_path / "histograms.bin"
    content = file.read_bytes()
    start, size = content.index(b"\n") + 1, len(content)
    record = (size - start) // 3
    places = [*range(start), *range(start, size, 11)]
    damaged = [content[:k] + bytes([content[k] ^ 0x10]) + content[k + 1 :] for k in places]
    damaged += [content[:k] + content[k + 3 :] for k in places if k < start + 2 * record - 3]
    damaged += [content[:k] + bytes(20) + content[k + 20 :] for k in places if k < size - 20]
    refused = 0
    for wrong in damaged:
        if wrong == content:
            continue
        file.write_bytes(wrong)
        with pytest.raises(RunFolderError, match=r"histograms\.bin is damaged"):
            read_histograms(tmp_path)
        refused += 1
    assert refused > 0.9 * len(damaged)
    for k in range(start, size, 11):
        file.write_bytes(content[:k])
        steps = read_histograms(tmp_path)["weights"].steps
        assert list(steps) == list(range(1, 1 + (k - start) // record))


@pytest.mark.parametrize(("every", "steps"), [("0", []), ("1", [1, 2, 3, 4, 5, 6]), (None, [3, 6])])
def test_histograms_count_every_value(
    data: Dataset, tmp_path: Path, every: str | None, steps: list[int]
) -> None:
    words = ["--histograms-every", every] if every else []
    assert main(["--epochs", "2", "--samples", "2", "--out", str(tmp_path / "r"), *words]) == 0
    parameters = load(tmp_path / "r" / "last.npz", lenet5()).state.parameters
    for kind, histograms in read_histograms(tmp_path / "r").items():
        assert list(histograms.steps) == steps
        for name, value in parameters.items():
            assert (histograms.counts[name].sum(axis=1) == value.size).all()
            if kind == "weights" and steps:
                assert histograms.low[name][-1] == value.min()
                assert histograms.high[name][-1] == value.max()


# --- TensorBoard --------------------------------------------------------------------------------


def test_without_the_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert main(["--tensorboard", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "needs the package tensorboardX: python -m pip install tensorboardX" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_tensorboard_reads_what_a_resumed_run_wrote(data: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = tmp_path / "run"
    words = ["--samples", "2", "--epochs", "2", "--histograms-every", "1"]
    assert main([*words, "--out", str(folder), "--tensorboard"]) == 0
    # An interrupted run wrote these after its last save; the resumed one hides them.
    stray = TensorBoard(folder, 6)
    stray.epoch(9, {"train_loss": "123"}, lenet5().init(np.random.default_rng(0)))
    stray.close()
    assert main(["--resume", str(folder), "--epochs", "3", "--tensorboard"]) == 0

    reader = accumulator.EventAccumulator(
        str(folder / "tensorboard"),
        size_guidance={"scalars": 0, "histograms": 0, "images": 0, "tensors": 0},
    )
    reader.Reload()
    tags = reader.Tags()
    assert [event.step for event in reader.Scalars("epoch/train_loss")] == [3, 6, 9]
    assert reader.Scalars("epoch/train_loss")[-1].value < 1
    assert "recall/recall_7" in tags["scalars"]
    weights = reader.Histograms("weights/conv1.weight")
    assert [event.step for event in weights] == [1, 2, 3, 4, 5, 6, 9]
    last = load(folder / "last.npz", lenet5()).state.parameters["conv1.weight"]
    assert weights[-1].histogram_value.num == last.size
    assert weights[-1].histogram_value.sum == pytest.approx(float(last.sum()), abs=1e-4)
    assert len([tag for tag in tags["histograms"] if tag.startswith("gradients/")]) == 10
    images = reader.Images("conv1/filters")
    assert [event.step for event in images] == [3, 6, 9]
    assert images[-1].encoded_image_string.startswith(b"\x89PNG")


@posix
def test_a_full_disk_behind_tensorboard_harms_no_run(whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    words = [*SHORT, "--tensorboard"]
    done = run(*words, "--out", str(tmp_path / "run"), before=disk(2, 7))
    assert done.returncode == 0, done.stderr
    assert "tensorboard: File too large; training goes on" in done.stderr
    assert "tensorboard is written again" in done.stderr
    assert "Traceback" not in done.stderr
    assert differences(whole, tmp_path / "run") == []
    files = list((tmp_path / "run" / "tensorboard").iterdir())
    assert all("tfevents" in file.name for file in files)
