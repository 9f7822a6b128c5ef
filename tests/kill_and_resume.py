"""Kill a training run again and again, go on each time, and compare with one that was not killed.

Run it as a script for the long form, on MNIST where it can be had, else on the synthetic digits:

    python tests/kill_and_resume.py --kills 20
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np


def kill_and_resume(
    command: Callable[..., list[str]], folder: Path, kills: int, longest: float, seed: int
) -> list[str]:
    """Let a run in ``folder`` be killed at random moments, then end; say what happened.

    ``command`` makes the words of a training command from more flags. Each life lasts up to
    ``longest`` seconds; it ends by SIGKILL, which no program can notice. A life that comes to the
    end of the run before that is the last.
    """
    rng = np.random.default_rng(seed)
    story = []
    for number in range(1, kills + 1):
        words = ["--resume", str(folder)] if (folder / "last.npz").exists() else ["--out", folder]
        process = subprocess.Popen(
            command(*map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        lifetime = rng.uniform(0, longest)
        try:
            error = process.communicate(timeout=lifetime)[1]
            assert process.returncode == 0, error.decode()
            story.append(f"life {number:2d} came to the end of the run")
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        step = last_step(folder)
        story.append(f"kill {number:2d} after {lifetime:4.2f} s; on the disk: step {step}")
    done = subprocess.run(
        command("--resume", str(folder)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return story


def last_step(folder: Path) -> int | None:
    """Read the step of the saved state; None where there is none."""
    if not (folder / "last.npz").exists():
        return None
    with np.load(folder / "last.npz", allow_pickle=False) as file:
        return json.loads(str(file["header"]))["adam_step"]


def differences(one: Path, other: Path) -> list[str]:
    """List what two runs left that is not the same to the last bit, times aside."""
    found = []
    for name in ("last.npz", "best.npz"):
        with np.load(one / name) as a, np.load(other / name) as b:
            if a.files != b.files:
                found.append(f"{name}: other arrays")
                continue
            for array in a.files:
                if array == "header":
                    headers = [json.loads(str(file[array])) for file in (a, b)]
                    for header in headers:
                        header.pop("seconds")
                    if headers[0] != headers[1]:
                        found.append(f"{name}: {headers}")
                elif a[array].tobytes() != b[array].tobytes():
                    found.append(f"{name}: {array}")
    tables = []
    for folder in (one, other):
        with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row.pop("seconds")
        tables.append(rows)
    if tables[0] != tables[1]:
        found.append("metrics.csv")
    if (one / "histograms.bin").read_bytes() != (other / "histograms.bin").read_bytes():
        found.append("histograms.bin")
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    for summary in summaries:
        del summary["training_seconds"], summary["peak_memory_bytes"]
    if summaries[0] != summaries[1]:
        found.append("summary.json")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--longest", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--save-every", type=int, default=37, metavar="STEPS")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    def command(*words: str) -> list[str]:
        flags = ["--save-every", str(options.save_every), "--histograms-every", "101"]
        if "--out" in words:
            flags += ["--epochs", str(options.epochs), "--objective", "log-success"]
        return [sys.executable, "-m", "lenet_np.train", "--quiet", *words, *flags]

    with tempfile.TemporaryDirectory() as top:
        one, other = Path(top, "never-killed"), Path(top, "killed")
        subprocess.run(command("--out", str(one)), check=True)
        for line in kill_and_resume(command, other, options.kills, options.longest, options.seed):
            print(line)
        found = differences(one, other)
    print("differences:", ", ".join(found) if found else "none, to the last bit")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
