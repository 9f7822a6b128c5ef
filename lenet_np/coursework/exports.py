"""Folders for the platforms on which coursework is handed in and marked."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from .. import __version__
from .points import FILE, Points, write_points

PACKAGE = Path(__file__).parents[1]

SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, in /autograder/source, when it builds the image.
set -euo pipefail
cd "$(dirname "$0")"
python=
for name in python3 python3.14 python3.13 python3.12 python3.11; do
  if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
    python=$name
    break
  fi
done
if [ -z "$python" ]; then  # an older image
  apt-get update && apt-get install -y python3.11 python3-pip
  python=python3.11
fi
echo "$python" > python.txt
rm -rf lib
"$python" -m zipfile -e lenet_np-*.whl lib
# NumPy is the only package that is needed: from the image, from a wheel in this folder, from PyPI.
"$python" -c 'import numpy' 2> /dev/null \\
  || "$python" -m pip install --target lib --no-index --find-links . numpy \\
  || "$python" -m pip install --target lib numpy
"""

RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for each submission, and reads results/results.json.
root=${{AUTOGRADER:-/autograder}}
cd "$root/source" || exit 1
mkdir -p "$root/results"
PYTHONPATH=lib "$(cat python.txt)" -m lenet_np coursework check "$root/submission" \\
  --points {points} --seed {seed} --format gradescope > "$root/results/results.json"
status=$?
if [ "$status" -gt 1 ] || [ ! -s "$root/results/results.json" ]; then
  echo '{{"score": 0, "output": "The check could not be run. Please tell your instructor."}}' \\
    > "$root/results/results.json"
fi
"""

WORKFLOW = """\
# GitHub Classroom: each task is a test whose points count when all of its parts pass.
# The reporter sends points to Classroom only from a workflow and a job with these two names.
name: Autograding Tests
on: [push, workflow_dispatch]
permissions:
  checks: write
  actions: read
  contents: read
jobs:
  run-autograding-tests:
    runs-on: ubuntu-latest
    if: github.actor != 'github-classroom[bot]'
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: python -m pip install numpy
{tests}      - uses: classroom-resources/autograding-grading-reporter@v1
        env:
{results}        with:
          runners: {names}
"""

WORKFLOW_TEST = """\
      - id: {name}
        uses: classroom-resources/autograding-command-grader@v1
        with:
          test-name: {name}
          command: python check.py exercise.py --task {name}
          timeout: 10
          max-score: {points}
"""


def write_wheel(folder: Path) -> Path:
    """Write the installed package as a wheel."""
    path = folder / f"lenet_np-{__version__}-py3-none-any.whl"
    about = f"lenet_np-{__version__}.dist-info"
    files = {
        str(Path("lenet_np", file.relative_to(PACKAGE)).as_posix()): file.read_bytes()
        for file in sorted(PACKAGE.rglob("*"))
        if file.suffix in (".py", ".typed")
    }
    metadata = f"Metadata-Version: 2.1\nName: lenet_np\nVersion: {__version__}\n"
    files[f"{about}/METADATA"] = f"{metadata}Requires-Python: >=3.11\n".encode()
    files[f"{about}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: lenet_np\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = ""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record += f"{name},sha256={digest.decode()},{len(content)}\n"
            wheel.writestr(name, content)
        wheel.writestr(f"{about}/RECORD", f"{record}{about}/RECORD,,\n")
    return path


def gradescope_files(points: Points, seed: int) -> dict[str, str]:
    """Write the scripts of an autograder, to stand beside the wheel."""
    run = RUN.format(points=FILE, seed=seed)
    return {"setup.sh": SETUP, "run_autograder": run, FILE: write_points(points)}


def github_workflow(points: Points) -> str:
    """Write the workflow of an assignment, to stand in a repository that holds the kit."""
    totals = {name: sum(parts.values()) for name, parts in points.items()}
    return WORKFLOW.format(
        tests="".join(WORKFLOW_TEST.format(name=n, points=p) for n, p in totals.items()),
        results="".join(
            f"          {name.upper()}_RESULTS: ${{{{ steps.{name}.outputs.result }}}}\n"
            for name in totals
        ),
        names=",".join(totals),
    )
