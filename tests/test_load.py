"""Which data set is loaded, and that a broken network never holds up who did not ask for it."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lenet_np.data import DataError, Dataset, Split, load, load_dataset, mnist
from lenet_np.data.mnist import MissingDataError
from lenet_np.tools.commands import evaluate, plot, train

SYNTHETIC = Dataset(
    "synthetic", *[Split(np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8))] * 3
)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Give each test an empty cache, a mirror that refuses connections, and stand-in digits."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(mnist, "MIRRORS", (f"http://127.0.0.1:{port}/",))
    monkeypatch.setattr(mnist, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("LENET_NP_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    synthetic = ModuleType("lenet_np.data.synthetic")
    synthetic.load_synthetic = lambda: SYNTHETIC
    monkeypatch.setitem(sys.modules, "lenet_np.data.synthetic", synthetic)


def refuse_notices(text: str) -> None:
    raise AssertionError(f"unexpected notice: {text}")


@pytest.mark.parametrize("name", ["MNIST", "fashion", ""])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(DataError, match=f"{name!r}; there are auto, mnist, synthetic"):
        load_dataset(name)


def test_synthetic_asks_for_nothing():
    assert load_dataset("synthetic", notify=refuse_notices) is SYNTHETIC


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_mnist_is_taken_where_it_is_found(small_mnist, name):
    dataset = load_dataset(name, small_mnist, notify=refuse_notices)
    assert dataset.name == "mnist"
    assert [len(split.classes) for split in (dataset.train, dataset.validation)] == [4, 2]


def test_mnist_never_falls_back(tmp_path):
    with pytest.raises(MissingDataError, match="could not be downloaded"):
        load_dataset("mnist", tmp_path)


def test_auto_falls_back_with_a_plain_notice(tmp_path):
    notices = []
    (tmp_path / "folder").mkdir()
    assert load_dataset("auto", tmp_path / "folder", notify=notices.append) is SYNTHETIC
    (notice,) = notices
    assert len(notice.splitlines()) == 2
    assert str(tmp_path / "folder") in notice
    assert "Failed to establish a new connection" in notice
    assert "synthetic digits instead" in notice
    for remedy in ("--data-dir", "LENET_NP_DATA", "--dataset mnist"):
        assert remedy in notice


def test_the_notice_goes_to_the_standard_error_stream(capsys):
    load_dataset("auto")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "synthetic digits instead" in captured.err


def test_auto_does_not_hide_a_wrong_file_of_the_user(small_mnist):
    (small_mnist / mnist.FILES[0].name).write_bytes(b"damaged")
    with pytest.raises(DataError, match="not the official MNIST files"):
        load_dataset("auto", small_mnist, notify=refuse_notices)


def test_auto_does_not_hide_a_file_in_the_folders_place(small_mnist):
    with pytest.raises(DataError, match="is a file: name the folder"):
        load_dataset("auto", small_mnist / mnist.FILES[0].name, notify=refuse_notices)


@pytest.mark.parametrize("name", ["auto", "mnist", "synthetic"])
def test_a_folder_that_does_not_exist_is_an_error_for_every_data_set(tmp_path, name):
    with pytest.raises(DataError, match=r"absent .named by --data-dir. does not exist") as caught:
        load_dataset(name, tmp_path / "absent", notify=refuse_notices)
    assert not isinstance(caught.value, MissingDataError)


@pytest.mark.parametrize("name", [r"$\frac{$", "mnist\nand more", "\x1b[2J", "x" * 100_000])
def test_an_unknown_name_is_one_short_line(name):
    with pytest.raises(DataError, match="no data set is named") as caught:
        load_dataset(name)
    assert len(str(caught.value)) < 150
    assert str(caught.value).isprintable()


BROKEN = [r"$\frac{$", "mnist\nand more", "\x1b[2J", "", "x" * 100_000, 5, None]


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_name_is_one_short_line_from_every_command(tmp_path, capsys, name):
    run = Path(shutil.copytree(Path(__file__).parent / "old_runs" / "finished", tmp_path / "run"))
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["name"] = name
    (run / "config.json").write_text(json.dumps(config))
    with np.load(run / "last.npz") as file:
        arrays = dict(file)
    header = json.loads(str(arrays["header"])) | {"dataset": name}
    np.savez(run / "last.npz", **arrays | {"header": np.array(json.dumps(header))})

    assert plot.main([str(run)]) == train.main(["--resume", str(run)]) == 1
    assert evaluate.main([str(run / "last.npz")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    for line in lines:
        # A name of 100,000 letters makes a checkpoint larger than any: it is not even read.
        reason = "is no name of a data set: letters, digits and _ . - only"
        assert reason in line or (name == "x" * 100_000 and "damaged, or not a checkp" in line)
        assert line.isprintable()
        assert len(line) < 400


def test_auto_waits_only_shortly_for_a_silent_server(monkeypatch):
    notices = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(mnist, "MIRRORS", (f"http://127.0.0.1:{silent.getsockname()[1]}/",) * 2)
        monkeypatch.setattr(load, "AUTO_TIME_LIMIT", 0.5)
        start = time.monotonic()
        assert load_dataset("auto", notify=notices.append) is SYNTHETIC
    assert time.monotonic() - start < 5
    assert "time limit" in notices[0]


def test_auto_does_not_wait_for_a_name_server_that_hangs(monkeypatch):
    released = threading.Event()

    def hang(*arguments, **options):
        released.wait(20)
        raise socket.gaierror("released")

    notices = []
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(load, "AUTO_TIME_LIMIT", 0.2)
    start = time.monotonic()
    assert load_dataset("auto", notify=notices.append) is SYNTHETIC
    released.set()
    assert time.monotonic() - start < 10
    assert "could not be downloaded within" in notices[0]
