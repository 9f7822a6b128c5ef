"""Damaged and edited run folders: refused in one line, cheaply, and never taken for another run.

The edits are drawn from a seed. None may end in another error than those that the functions
document, take long, take more memory than 16 MB plus four times the file's size, or be accepted
with other content than was written. Files of the first version have no checksums: for them all
but the last holds.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import tiny_dataset

from lenet_np.__main__ import main
from lenet_np.data import Dataset
from lenet_np.layers import Dense, Sequential
from lenet_np.lenet import lenet5
from lenet_np.loop import State
from lenet_np.optim import Adam
from lenet_np.settings import Settings
from lenet_np.tools.cli.screen import guarded, say
from lenet_np.tools.commands import evaluate, plot, predict, train
from lenet_np.tools.runs import start
from lenet_np.tools.runs.checkpoint import Checkpoint, CheckpointError, load, save
from lenet_np.tools.runs.folder import FILES, RunFolderError, read_config
from lenet_np.tools.runs.histograms import read_histograms
from lenet_np.tools.runs.history import read_rows

OLD = Path(__file__).parent / "old_runs" / "finished"
SPARE_BYTES = 16_000_000
SECONDS = 5.0  # of the processor, for what takes milliseconds
TINY = Sequential((4,), (("first", Dense(3)), ("second", Dense(2))))
COMMANDS = {"evaluate": evaluate, "plot": plot, "predict": predict, "train": train}

#: What may stand where a value of JSON was.
VALUES: list[Any] = [
    *(None, True, False, "", "x", "1", "0x10", "\ud800", "9" * 5000, "[" * 500),
    *(0, -1, 1, 2, 3, 1.5, -0.0, 1e30, -1e30, 1e308, 10**19, 10**400, float("nan"), float("inf")),
    *([], {}, [1], {"a": 1}, [[[]]] * 50, "zero-two", "plain\n", "../mnist"),
]
#: What may stand where a cell of the table was.
CELLS = [
    "",
    "nan",
    "inf",
    "-inf",
    "-1",
    "2",
    "1e999",
    "x",
    "0x1",
    "1_0",
    " 0.5",
    '"',
    '"0.5"',
    "\0",
]
CELLS += ["0.5,0.5", "\n", "\r", "9" * 150_000, "é", "1e-400", "0.500001"]


@pytest.fixture(scope="module")
def data() -> Iterator[Dataset]:
    dataset = tiny_dataset()
    with pytest.MonkeyPatch.context() as context:
        for module in (train, start, plot):
            context.setattr(module, "load_dataset", lambda *_: dataset)
        context.setattr("lenet_np.data.load_dataset", lambda *_: dataset)
        yield dataset


@pytest.fixture(scope="module")
def whole(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "run"
    words = ["--epochs", "3", "--samples", "2", "--quiet", "--out", str(folder)]
    assert train.main(words) == 0
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A checkpoint of a tiny network, after a step."""
    rng = np.random.default_rng(1)
    parameters, adam = TINY.init(rng), Adam(0.01)
    gradients = {name: rng.random(v.shape, np.float32) for name, v in parameters.items()}
    after = State(*adam.update(parameters, gradients, adam.init(parameters)))
    checkpoint = Checkpoint(after, Settings(seed=7, sigma=1.5), 1, "tiny", 0.5, 1.25, 1234)
    save(tmp_path / "state.npz", checkpoint)
    return tmp_path / "state.npz"


# --- edits --------------------------------------------------------------------------------------

Rng = np.random.Generator


def pick(rng: Rng, things: Any) -> Any:
    things = list(things)
    return things[rng.integers(len(things))]


def edit_json(rng: Rng, text: str) -> str:
    """Change, remove, add or double one value, however deep; or a piece of the text."""
    content = json.loads(text)
    place, key = content, pick(rng, content)
    while isinstance(place[key], dict) and place[key] and rng.random() < 0.8:
        place = place[key]
        key = pick(rng, place)
    kind = rng.integers(8)
    if kind == 0:
        del place[key]
    elif kind == 1:
        place[f"{key}2"] = place.pop(key)
    elif kind == 2:
        place["more"] = pick(rng, VALUES)
    elif kind == 3 and type(place[key]) in (int, float):
        place[key] = place[key] * pick(rng, [2, -1, 1.0, 0.5]) + pick(rng, [0, 1, 1e-9])
    elif kind == 4:
        start = rng.integers(len(text))
        piece = pick(rng, ["", "{", "]", '"', "," * 20, "[" * 20_000, "\\u0000", "1", "NaN"])
        return text[:start] + piece + text[start + rng.integers(4) :]
    elif kind == 5:
        return json.dumps(pick(rng, [*VALUES, content.get("settings", 0)]))
    else:
        place[key] = pick(rng, VALUES)
    return json.dumps(content)


def edit_table(rng: Rng, text: str) -> str:
    lines = [line.split(",") for line in text.splitlines()]
    row = rng.integers(len(lines))
    column = rng.integers(len(lines[0]))
    kind = rng.integers(8)
    if kind < 4:
        lines[row][column] = pick(rng, CELLS)
    elif kind == 4:
        digits = lines[row][column]
        at = rng.integers(len(digits))
        lines[row][column] = digits[:at] + str(rng.integers(10)) + digits[at + 1 :]
    elif kind == 5:
        other = rng.integers(len(lines))
        lines[row], lines[other] = lines[other], lines[row]
    elif kind == 6:
        del lines[row][column]
    else:
        lines[row : row + 1] = pick(rng, [[], [lines[row]] * 2, [[]], [["x"] * 10_000]])
    return "\n".join(map(",".join, lines)) + pick(rng, ["\n", "", "\r\n", "\n\n"])


def array(text: str) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(text))
    return stream.getvalue()


def edit_member(rng: Rng, content: bytes) -> bytes:
    """Change what a member of the archive says that it is, or its bytes."""
    length = int.from_bytes(content[8:10], "little")
    said, values = content[10 : 10 + length].decode("latin-1"), content[10 + length :]
    descr = ["|O", "<f8", ">f4", "<i4", "<U1000000", "|V4", "<U0", "f4,f4", "\\x00", "<M8[s]"]
    shape = [
        "()",
        "(1000000000,)",
        "(-1,)",
        "(2, " * 30,
        f"({'2, ' * 40})",
        "(10**9,)",
        "3",
        "(0,)",
    ]
    old_descr, old_shape = said.split("'")[3], said[said.index("(") : said.index(")") + 1]
    texts = [
        said.replace(old_descr, pick(rng, descr)),
        said.replace(old_shape, pick(rng, shape)),
        said.replace("False", pick(rng, ["True", "None", "0"])),
        "(" * 9000,
        "{" + "'a': 1, " * 2000 + "}",
        "{}",
        "1L",
        said.replace("'descr'", pick(rng, ["'more'", "descr", "b'descr'"])),
    ]
    kind = rng.integers(8)
    if kind < 4:
        said = pick(rng, texts)
        return content[:8] + len(said).to_bytes(2, "little") + said.encode("latin-1") + values
    if kind == 4:
        return content[:6] + bytes(pick(rng, [(2, 0), (3, 0), (9, 9)])) + content[8:]
    if kind == 5:
        return pick(rng, [b"", b"text", pickle.dumps([1]), content[6:], content[:9], bytes(10**6)])
    if kind == 6:
        return content[: rng.integers(len(content))] + bytes(rng.integers(3))
    at = rng.integers(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.integers(8)]) + content[at + 1 :]


def edit_archive(rng: Rng, content: bytes) -> bytes:
    """Change a member of a checkpoint and its checksums with it, or the archive's directory."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
        comment, directory = archive.comment, archive.start_dir
    kind = rng.integers(8)
    if kind < 3:
        header = str(np.load(io.BytesIO(members["header.npy"])))
        members["header.npy"] = array(edit_json(rng, header))
    elif kind == 3:
        name = pick(rng, members)
        members[name] = edit_member(rng, members[name])
    elif kind == 4:
        one, other = pick(rng, members), pick(rng, members)
        members[one], members[other] = members[other], members[one]
    elif kind == 5:
        members[pick(rng, ["more.npy", "header", "a" * 500])] = members.pop(pick(rng, members))
    elif kind == 6:
        texts = ["", "lenet_np checkpoint 1", "lenet_np checkpoint 3", "x" * 20_000, "\ud800"]
        if rng.random() < 0.5:
            members["format.npy"] = array(pick(rng, texts))
        else:
            comments = [b"", comment[:8], comment + b"0", b"0" * 60_000, b"\xff \xff"]
            comment = pick(
                rng, [*comments, comment.replace(b"1", b"2"), comment.replace(b" ", b"")]
            )
    else:
        at = rng.integers(directory, len(content) - 1)
        piece = pick(rng, [b"\0\0", b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", rng.bytes(2)])
        return content[:at] + piece + content[at + len(piece) :]
    stream = io.BytesIO()
    method = pick(rng, [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
        archive.comment = comment
    return stream.getvalue()


# --- the fuzz -----------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def batter(
    file: Path,
    edit: Callable[[Rng, Any], Any],
    read: Callable[[], Any],
    cases: int,
    checksums: bool = True,
) -> None:
    """Read a file after each of many edits, and hold what happens against the rules."""
    binary, refused = edit is edit_archive, 0
    original = file.read_bytes()
    expected = read()
    for seed in range(cases):
        rng = np.random.default_rng([cases, seed])
        text: Any = original if binary else original.decode()
        edited = edit(rng, text)
        edited = edited if binary else edited.encode("utf-8", "surrogatepass")
        file.write_bytes(edited)
        tracemalloc.reset_peak()
        before, since = tracemalloc.get_traced_memory()[0], time.process_time()
        try:
            found = read()
        except (CheckpointError, RunFolderError) as error:
            message = str(error)
            assert "\n" not in message, (seed, message)
            assert len(message) < 1000, (seed, message)
            assert "pickle" not in message, (seed, message)
            refused += 1
        else:
            assert not checksums or same(found, expected), (seed, edited[:2000])
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak <= SPARE_BYTES + 4 * len(edited), (seed, peak)
        assert time.process_time() - since < SECONDS, seed
    file.write_bytes(original)
    assert same(read(), expected)
    assert refused > cases / 2


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_edits_of_a_checkpoint(state: Path) -> None:
    batter(state, edit_archive, lambda: load(state, TINY), 800)


@pytest.mark.usefixtures("traced")
def test_edits_of_a_run_of_the_first_version(tmp_path: Path) -> None:
    run = Path(shutil.copytree(OLD, tmp_path / "run"))
    last = load(run / "last.npz", lenet5())
    batter(run / "config.json", edit_json, lambda: read_config(run), 200, checksums=False)
    batter(run / "metrics.csv", edit_table, lambda: read_rows(run, last), 200, checksums=False)
    network = lenet5()
    read = lambda: load(run / "last.npz", network)  # noqa: E731
    batter(run / "last.npz", edit_archive, read, 150, checksums=False)


@pytest.mark.usefixtures("traced")
def test_edits_of_a_config(run: Path) -> None:
    batter(run / "config.json", edit_json, lambda: read_config(run), 500)


@pytest.mark.usefixtures("traced")
def test_edits_of_a_table(run: Path) -> None:
    last = load(run / "last.npz", lenet5())
    batter(run / "metrics.csv", edit_table, lambda: read_rows(run, last), 500)


@pytest.mark.usefixtures("traced")
def test_edits_of_the_header_of_histograms(run: Path) -> None:
    file = run / "histograms.bin"
    line, body = file.read_bytes().split(b"\n", 1)
    file.write_bytes(line)  # so that the line alone is edited

    def read() -> Any:
        header = file.read_bytes()
        try:
            file.write_bytes(header + b"\n" + body)
            return read_histograms(run)
        finally:
            file.write_bytes(header)

    batter(file, edit_json, read, 150)


# --- the kinds that the edits stand for, from every command ------------------------------------


def header(**changes: Any) -> Callable[[Path], None]:
    """Edit the header of `last.npz`, and leave no checksum of the old one."""

    def damage(run: Path) -> None:
        with np.load(run / "last.npz", allow_pickle=False) as file:
            arrays = dict(file)
        content = json.loads(str(arrays["header"]))
        for name, value in changes.items():
            (content["settings"] if name in content["settings"] else content)[name] = value
        np.savez(run / "last.npz", **(arrays | {"header": np.array(json.dumps(content))}))

    return damage


def config(**changes: Any) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        content = json.loads((run / "config.json").read_text())
        for name, value in changes.items():
            (content["settings"] if name in content["settings"] else content)[name] = value
        (run / "config.json").write_text(json.dumps(content))

    return damage


def cell(column: str, value: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        names, first, *rest = (run / "metrics.csv").read_text().splitlines()
        cells = first.split(",")
        cells[names.split(",").index(column)] = value
        (run / "metrics.csv").write_text("\n".join([names, ",".join(cells), *rest]) + "\n")

    return damage


def cut_histograms(run: Path) -> None:
    content = (run / "histograms.bin").read_bytes()
    middle = len(content) // 2
    (run / "histograms.bin").write_bytes(content[:middle] + content[middle + 3 :])


def put(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(content) and None


def pickled(run: Path) -> None:
    np.savez(run / "last.npz", format=np.array([None]), header=np.array([{}]))


ON = ["--epochs", "9"]
CURVES = ["--only", "curves"]
CASES = {
    "validation accuracy is nan": (cell("validation_accuracy", "nan"), "train", ON),
    "validation accuracy is another": (cell("validation_accuracy", "0.5"), "train", ON),
    "the seconds are others": (cell("seconds", "9.5"), "plot", CURVES),
    "an accuracy above 1": (cell("validation_accuracy", "1.5"), "plot", CURVES),
    "histograms cut": (cut_histograms, "plot", ["--only", "histograms"]),
    "histograms cut, going on": (cut_histograms, "train", ON),
    "epoch is text": (header(epoch="x"), "evaluate", []),
    "epoch is null": (header(epoch=None), "train", ON),
    "epoch is 1.5": (header(epoch=1.5), "predict", []),
    "epoch is another": (header(epoch=2), "evaluate", []),
    "loss_sum is NaN": (header(loss_sum=float("nan")), "train", ON),
    "adam_step is 1e30": (header(adam_step=1e30), "train", ON),
    "the step disagrees": (header(adam_step=7), "train", ON),
    "sigma is 1e30": (header(sigma=1e30), "train", ON),
    "batch size 0": (config(batch_size=0), "plot", ["--only", "confusion"]),
    "batch size 0, evaluated": (config(batch_size=0), "evaluate", []),
    "a rate without end": (config(learning_rate=10**400), "plot", CURVES),
    "a rate without end, going on": (header(learning_rate=10**400), "train", ON),
    "an unknown loss": (config(loss="zero-two"), "plot", CURVES),
    "another sigma": (config(sigma=4.5), "plot", CURVES),
    "more epochs": (config(epochs=9), "train", []),
    "a formula for a name": (config(dataset={"name": "$\\frac", "sha256": {}}), "plot", CURVES),
    "nested without end": (put("config.json", b"[" * 50_000), "plot", []),
    "nested without end, evaluated": (put("config.json", b"[" * 50_000), "evaluate", []),
    "nested without end, going on": (put("config.json", b'{"a":' * 50_000), "train", ON),
    "a huge config": (put("config.json", b"[[]," + b"[]," * 10**6), "train", ON),
    "a picture": (put("last.npz", b"\x89PNG\r\n" + bytes(99)), "evaluate", []),
    "a pickle": (put("last.npz", pickle.dumps([1, 2])), "predict", []),
    "pickles in an archive": (pickled, "evaluate", []),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_damaged_is_refused_in_a_line(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, command, words = CASES[name]
    damage(run)
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    first = ["--resume", str(run)] if command == "train" else [str(run)]
    rest = [str(tmp_path / "digit.png")] if command == "predict" else words
    assert COMMANDS[command].main([*first, *rest]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1, printed.err
    assert len(printed.err) < 1200
    assert "pickle" not in printed.err
    assert "damaged" in printed.err or "of another run" in printed.err
    assert {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()} == before


@pytest.mark.parametrize("where", [0, 1, 2, 3])
def test_a_step_that_is_not_in_the_epoch_is_refused_in_old_files_too(
    where: int, data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(OLD, tmp_path / "run"))
    header(adam_step=[5, 9, 0, 2**62][where])(run)
    assert train.main(["--resume", str(run), "--epochs", "3"]) == 1
    assert "is not in the epoch after 2 epochs of 3 steps" in capsys.readouterr().err


def test_a_minibatch_larger_than_the_data_is_refused_in_old_files_too(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(OLD, tmp_path / "run"))
    for damage in (config(batch_size=301), header(batch_size=301)):
        damage(run)
    assert train.main(["--resume", str(run), "--epochs", "3"]) == 1
    assert "is damaged: batch_size takes 1 to 300" in capsys.readouterr().err
    assert plot.main([str(run), "--only", "confusion"]) == 1
    assert "batch_size takes 1 to 300" in capsys.readouterr().err


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("member", ["more.npy", "format.npy", "parameters/conv1.weight.npy"])
def test_a_small_file_never_takes_much_memory(
    member: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Zeros that are packed into little: beside our members never read, in their place refused."""
    file, size = run / "last.npz", 100_000_000
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
        comment = archive.comment
    said = (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size // 4},), }}".ljust(117) + "\n"
    )
    bomb = b"\x93NUMPY\x01\x00" + len(said).to_bytes(2, "little") + said.encode() + bytes(size)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (members | {member: bomb}).items():
            archive.writestr(name, content)
        archive.comment = comment
    del bomb, content
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    if member == "more.npy":
        load(file, lenet5())
    else:
        with pytest.raises(CheckpointError):
            load(file, lenet5())
    peak = tracemalloc.get_traced_memory()[1] - before
    assert peak <= SPARE_BYTES + 4 * file.stat().st_size


def test_a_large_file_is_not_opened(run: Path) -> None:
    with open(run / "last.npz", "ab") as file:
        file.truncate(1 << 33)
    with pytest.raises(CheckpointError, match="damaged, or not a checkpoint of lenet_np: more"):
        load(run / "last.npz", lenet5())


@pytest.mark.parametrize("name", ["last.npz", "config.json"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_without_permission_is_called_that(
    command: str,
    name: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = io.open

    def refuse(file: Any, *words: Any, **options: Any) -> Any:
        if str(file).endswith(name):
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *words, **options)

    monkeypatch.setattr(io, "open", refuse)  # that of pathlib and of zipfile
    words = {"train": ["--resume", str(run)], "predict": [str(run), "digit.png"]}
    assert COMMANDS[command].main(words.get(command, [str(run)])) == 1
    error = capsys.readouterr().err
    assert "Permission denied" in error
    assert "cannot" in error
    assert "damaged" not in error
    assert "no run" not in error
    assert "copy it" not in error
    assert error.count("\n") == 1


def test_swapped_arguments_are_recognised(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "digit.png"
    picture.write_bytes(b"\x89PNG\r\n")
    for network in (run, run / "last.npz"):
        with pytest.raises(SystemExit) as stop:
            predict.main([str(picture), str(network)])
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert f"argument RUN: the network comes first, then the pictures; got {picture}" in error
        assert error.count("\n") == 1


# --- nothing of the user's is written over ------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_a_file_that_a_run_writes_is_refused(
    name: str, data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text('{"my": "settings"}\n')
    assert train.main(["--epochs", "1", "--samples", "2", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert name in error
    assert error.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"my": "settings"}\n'


def test_a_run_whose_state_was_deleted_is_not_written_over(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "last.npz").unlink()
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    monkeypatch.chdir(run)
    assert train.main(["--epochs", "1", "--out", "."]) == 2
    assert "holds config.json, metrics.csv, events.jsonl" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


@pytest.mark.parametrize("left", [["config.json"], ["config.json", "metrics.csv"]])
def test_what_a_run_leaves_that_never_started_is_no_obstacle(
    left: list[str], run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for name in left:
        shutil.copy(run / name, folder / name)
    if "metrics.csv" in left:
        names, _ = (run / "metrics.csv").read_text().split("\n", 1)
        (folder / "metrics.csv").write_text(names + "\n")
    assert train.main(["--epochs", "1", "--samples", "2", "--quiet", "--out", str(folder)]) == 0


# --- the screen, and who calls ------------------------------------------------------------------


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [
        ("evaluate {run} --json", ""),
        ("evaluate {run}", "1"),
        ("doctor", ""),
        ("doctor --help", ""),
        ("doctor --help", "1"),
        ("--help", ""),
    ],
)
def test_a_full_disk_behind_the_output_is_said(words: str, unbuffered: str, run: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from tiny import tiny_dataset\n"
        "import lenet_np.data\n"
        "lenet_np.data.load_dataset = lambda *_: tiny_dataset()\n"
        "from lenet_np.__main__ import main\n"
        f"sys.exit(main({words.format(run=run).split()!r}))"
    )
    with open(FULL, "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            | {"PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
        )
    assert done.stderr.endswith("cannot write to standard output: No space left on device\n")
    assert done.stderr.count("\n") == 1
    assert done.returncode == 1


def test_a_command_that_failed_keeps_its_status_on_a_full_disk(monkeypatch, capsys) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    def command(words: Any) -> int:
        say("lost")
        return 4

    monkeypatch.setattr(sys, "stdout", Full())
    assert guarded("program", command, []) == 4
    assert capsys.readouterr().err.count("cannot write to standard output") == 1


def test_an_error_line_is_never_as_long_as_what_it_quotes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "x" * 100_000
    for words in (
        [long],
        ["train", "--epochs", long],
        ["train", "--loss", long],
        ["evaluate", long],
        ["plot", str(run), "--only", long],
        ["predict", str(run), long],
        ["train", "--resume", long],
        ["train", "--out", f"{run}/{long}", "--epochs", "1"],
    ):
        assert main(words) in (1, 2), words[0]
        error = capsys.readouterr().err
        assert 0 < len(error) <= 4200, words[0]
        assert error.count("\n") == 1


def test_commands_work_outside_the_main_thread(data: Dataset, tmp_path: Path) -> None:
    """As in an app, or in a thread of a notebook: without handlers of signals."""
    folder, found = str(tmp_path / "run"), []

    def work() -> None:
        for words in (
            ["train", "--epochs", "1", "--samples", "2", "--out", folder],
            ["train", "--resume", folder],
            ["evaluate", folder],
            ["plot", folder, "--only", "curves"],
            ["doctor", "--json"],
        ):
            found.append(main(words))
        found.append(train.main(["--resume", folder, "--quiet"]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0] * 6
