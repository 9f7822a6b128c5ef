"""What is saved comes back bit for bit; what is damaged or foreign is refused."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lenet_np.data.files import WriteError
from lenet_np.layers import Dense, Sequential
from lenet_np.lenet import lenet5
from lenet_np.loop import State
from lenet_np.optim import Adam
from lenet_np.settings import Settings
from lenet_np.tools.runs.checkpoint import Checkpoint, CheckpointError, load, save


@pytest.fixture
def network() -> Sequential:
    return Sequential((4,), (("first", Dense(3)), ("second", Dense(2))))


@pytest.fixture
def checkpoint(network: Sequential) -> Checkpoint:
    rng = np.random.default_rng(1)
    parameters = network.init(rng)
    gradients = {name: rng.random(v.shape, np.float32) for name, v in parameters.items()}
    adam = Adam(0.01)
    state = State(*adam.update(parameters, gradients, adam.init(parameters)))
    return Checkpoint(state, Settings(seed=7, sigma=1.5), 3, "synthetic")


@pytest.fixture
def path(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    save(tmp_path / "state.npz", checkpoint)
    return tmp_path / "state.npz"


def test_a_checkpoint_comes_back_bit_for_bit(
    path: Path, network: Sequential, checkpoint: Checkpoint
) -> None:
    restored = load(path, network)
    assert restored[1:] == checkpoint[1:]
    (parameters, adam), (ours, our_adam) = restored.state, checkpoint.state
    assert adam.step == our_adam.step == 1
    pairs = ((parameters, ours), (adam.mean, our_adam.mean), (adam.square, our_adam.square))
    for loaded, saved in pairs:
        assert list(loaded) == list(saved)
        for name in saved:
            np.testing.assert_array_equal(loaded[name], saved[name])
            assert loaded[name].dtype == np.float32


def test_no_pickle_inside_and_no_temporary_file_beside(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
    assert [file.name for file in path.parent.iterdir()] == ["state.npz"]


def test_another_network_is_refused(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"another network.*conv1\.weight"):
        load(path, lenet5())


def test_another_shape_is_refused(path: Path) -> None:
    wider = Sequential((4,), (("first", Dense(5)), ("second", Dense(2))))
    with pytest.raises(CheckpointError, match=r"must be float32 of shape \(5, 4\)"):
        load(path, wider)


def test_every_truncation_is_refused(path: Path, network: Sequential) -> None:
    whole = path.read_bytes()
    for length in [0, 1, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            load(path, network)


def test_flipped_bytes_never_pass_unseen(
    path: Path, network: Sequential, checkpoint: Checkpoint
) -> None:
    whole = bytearray(path.read_bytes())
    refused = 0
    for position in range(0, len(whole), 7):
        damaged = whole.copy()
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            restored = load(path, network)
        except CheckpointError:
            refused += 1
        else:  # a byte that carries nothing, such as a date in the archive's index
            assert restored[1:] == checkpoint[1:]
            for name, value in checkpoint.state.parameters.items():
                np.testing.assert_array_equal(restored.state.parameters[name], value)
    assert refused > 0.5 * len(whole) / 7


@pytest.mark.parametrize("content", [b"hello", b"\x80\x04pickle", b"PK\x03\x04 broken"])
def test_other_files_are_refused(tmp_path: Path, network: Sequential, content: bytes) -> None:
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"other\.npz"):
        load(tmp_path / "other.npz", network)


def test_arrays_of_another_program_are_refused(tmp_path: Path, network: Sequential) -> None:
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(CheckpointError, match="found 'nothing'"):
        load(tmp_path / "other.npz", network)
    np.savez(tmp_path / "bare.npy", 1)
    np.save(tmp_path / "bare.npz.npy", np.zeros(3))
    with pytest.raises(CheckpointError):
        load(tmp_path / "bare.npz.npy", network)


def test_a_missing_file_is_named(tmp_path: Path, network: Sequential) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load(tmp_path / "none.npz", network)


def test_a_failed_save_leaves_the_old_file(
    path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(WriteError, match="No space left on device"):
        save(path, checkpoint)
    assert path.read_bytes() == before
