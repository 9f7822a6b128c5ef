"""A run that is killed again and again ends as one that never was, to the last bit."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kill_and_resume import differences, kill_and_resume
from tiny import command

SETTINGS = ("--epochs", "40", "--samples", "10", "--seed", "5")
SAVING = ("--save-every", "2", "--histograms-every", "2", "--quiet")


def training(*words: str) -> list[str]:
    return command(*words, *(SETTINGS if "--out" in words else ()), *SAVING)


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "never killed"
    subprocess.run(training("--out", str(folder)), check=True, capture_output=True)
    return folder


def test_kills_leave_no_trace(never_killed: Path, tmp_path: Path) -> None:
    # A life is as long as the import of NumPy and some epochs; how far it comes does not matter.
    folder = tmp_path / "killed"
    kill_and_resume(training, folder, kills=4, longest=2.0, seed=1)
    assert differences(never_killed, folder) == []


def plant_weight(folder: Path) -> None:
    with np.load(folder / "last.npz") as file:
        arrays = {name: file[name] for name in file.files}
    weight = arrays["parameters/conv1.bias"]
    weight[0] = np.nextafter(weight[0], np.float32(1))
    np.savez(folder / "last.npz", **arrays)


def plant_row(folder: Path) -> None:
    table = folder / "metrics.csv"
    lines = table.read_text().splitlines()
    lines[3] = lines[3].replace(",", ",1", 1)
    table.write_text("\n".join(lines) + "\n")


def plant_histogram(folder: Path) -> None:
    file = folder / "histograms.bin"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)


def plant_summary(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    summary["test_accuracy"] += 1e-9
    (folder / "summary.json").write_text(json.dumps(summary))


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (plant_weight, ["last.npz: parameters/conv1.bias"]),
        (plant_row, ["metrics.csv"]),
        (plant_histogram, ["histograms.bin"]),
        (plant_summary, ["summary.json"]),
    ],
)
def test_a_difference_is_seen(never_killed: Path, tmp_path: Path, plant, found) -> None:
    other = tmp_path / "other"
    shutil.copytree(never_killed, other)
    assert differences(never_killed, other) == []
    plant(other)
    assert differences(never_killed, other) == found
