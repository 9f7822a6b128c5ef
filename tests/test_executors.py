"""Steps that are worked on in other processes, and on a Dask cluster on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import command, tiny_dataset

from lenet_np.lenet import lenet5
from lenet_np.loop import train
from lenet_np.settings import Settings, resolve
from lenet_np.tools.commands import study
from lenet_np.tools.runs.executors import WorkersError, executor
from lenet_np.tools.studies.table import Study

LOOPBACK = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
KINDS = [
    {},
    {"perturb": "weights", "samples": 4},
    {"perturb": "weights", "samples": 12, "rank": "full"},
]


def last_state(given, **options):
    settings = resolve({"epochs": 2, "batch_size": 40, "samples": 20} | given)
    *_, (state, _) = train(lenet5(), tiny_dataset().train, settings, **options)
    return state


def assert_same_bits(ours, theirs):
    for name, value in theirs.parameters.items():
        np.testing.assert_array_equal(ours.parameters[name], value, err_msg=name)


@pytest.fixture(scope="module")
def cluster():
    """A real scheduler and two workers on the loopback address."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **LOOPBACK) as cluster:
        yield cluster


def kill_a_worker(cluster):
    worker = next(iter(cluster.workers.values()))
    os.kill(worker.process.process.pid, signal.SIGKILL)


@pytest.mark.parametrize("given", KINDS)
def test_a_cluster_gives_the_bits_of_threads_though_a_worker_is_killed(cluster, given):
    expected = last_state(given, threads=1)
    settings = resolve({"epochs": 2, "batch_size": 40, "samples": 20} | given)
    with executor(None, cluster.scheduler_address) as pool:
        steps = train(lenet5(), tiny_dataset().train, settings, executor=pool)
        for number, (state, _) in enumerate(steps):  # noqa: B007 (the last is compared)
            if number == 3:
                kill_a_worker(cluster)
    assert_same_bits(state, expected)


def run(*words, before=""):
    flags = ["--samples", "2", "--batch-size", "40", "--epochs", "2", "--quiet", *map(str, words)]
    return subprocess.run(
        command(*flags, before=before), capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command_works_on_a_cluster(cluster, tmp_path):
    done = run("--out", tmp_path / "run", "--dask", cluster.scheduler_address)
    assert (done.returncode, done.stderr) == (0, "")
    same = run("--out", tmp_path / "threads")
    assert same.stdout == done.stdout
    with (
        np.load(tmp_path / "run" / "last.npz") as ours,
        np.load(tmp_path / "threads" / "last.npz") as theirs,
    ):
        for name in theirs.files:
            if name != "header":
                np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_scheduler_that_goes_away_is_one_clear_line(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **LOOPBACK) as cluster:
        pool = executor(None, cluster.scheduler_address)
        settings = resolve({"epochs": 99, "batch_size": 40, "samples": 20})
        with pytest.raises(WorkersError, match="the workers are gone"), pool as workers:
            for step, _ in enumerate(
                train(lenet5(), tiny_dataset().train, settings, executor=workers)
            ):
                if step == 2:
                    cluster.close()


def test_a_study_is_spread_over_a_cluster_though_a_worker_is_killed(
    cluster, tmp_path, monkeypatch, capsys
):
    settings = Settings(epochs=1, batch_size=500, samples=2)
    runs = {f"run{seed}": replace(settings, seed=seed) for seed in range(3)}
    monkeypatch.setattr(study, "STUDIES", {"lottery": Study("?", runs)})
    words = ["lottery", "--dataset", "synthetic", "--out"]
    assert study.main([*words, str(tmp_path / "here"), "--jobs", "2"]) == 0
    killed = []

    def say(line):
        if not killed:  # The first run is done; two are on the way, or wait.
            kill_a_worker(cluster)
            killed.append(line)

    monkeypatch.setattr(study, "say", say)
    address = cluster.scheduler_address
    assert study.main([*words, str(tmp_path / "there"), "--dask", address]) == 0
    assert killed
    table = Path("synthetic", "lottery.csv")
    assert (tmp_path / "there" / table).read_bytes() == (tmp_path / "here" / table).read_bytes()
    monkeypatch.setattr(study, "say", print)
    assert study.main([*words, str(tmp_path / "there"), "--dask", "tcp://127.0.0.1:1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in line


def test_where_nobody_answers_is_said():
    pytest.importorskip("distributed")
    with (
        pytest.raises(WorkersError, match=r"no Dask scheduler answers at nowhere"),
        executor(None, "nowhere://x"),
    ):
        pass


# --- processes ----------------------------------------------------------------------------------


def test_a_killed_process_is_one_clear_line_and_nothing_is_lost(tmp_path):
    out = tmp_path / "run"
    kill = """
import os, signal
from lenet_np.tools.runs import record
after_step = record.Record.after_step
def kill(self, state, metrics):
    after_step(self, state, metrics)
    if state.optimizer.step == 5:
        import multiprocessing
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
record.Record.after_step = kill
"""
    # Another process imports what starts this one: it must not train too.
    done = run("--out", out, "--workers", 2, "--save-every", 2, before=kill)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "the workers are gone" in line
    assert f"step 4 is saved in {out}. To go on: " in line
    assert "--workers 2" in line
    again = run("--resume", out)
    assert (again.returncode, again.stderr) == (0, "")


def test_without_the_package_the_flag_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(WorkersError, match=r"python -m pip install 'lenet_np\[dask\]'"),
        executor(None, "tcp://127.0.0.1:1"),
    ):
        pass
