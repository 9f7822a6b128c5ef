"""The tutorial as it is stored, and executed again: the same story, without an error."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FILE = ROOT / "tutorial.ipynb"
NOTEBOOK = json.loads(FILE.read_text(encoding="utf-8"))
CELLS: list[dict[str, Any]] = NOTEBOOK["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]

#: The steps of the notebook that this project grew from, in its order.
STORY = (
    "Load data",
    "Pad the images",
    "Set-up and hyperparameters",
    "LeNet-5",
    "Features and labels",
    "Training pipeline",
    "Estimating the gradient",
    "A sample at a time: the while loop",
    "All samples at once",
    "Four attempts at using the estimate",
    "Computing the gradients of the parameters",
    "Summaries",
    "Evaluation",
    "Training",
    "Saving the model",
    "Testing",
)


def text(value: str | list[str]) -> str:
    """Join what the format may hold as lines."""
    return value if isinstance(value, str) else "".join(value)


def has_tag(cell: dict[str, Any], tag: str) -> bool:
    return tag in cell["metadata"].get("tags", ())


def printed(cell: dict[str, Any]) -> str:
    """Join what a code cell printed."""
    streams = [output for output in cell["outputs"] if output["output_type"] == "stream"]
    return "".join(text(stream["text"]) for stream in streams)


def texts_of(outputs: list[dict[str, Any]]) -> list[str]:
    """List all that outputs hold but pictures."""
    found = [text(output["text"]) for output in outputs if "text" in output]
    for output in outputs:
        data = output.get("data", {})
        found += [text(value) for kind, value in data.items() if kind.startswith("text/")]
    return found


def exercises() -> list[list[dict[str, Any]]]:
    """List the exercises: each a task, a stub, a check and a solution, one after the other."""
    starts = [number for number, cell in enumerate(CELLS) if has_tag(cell, "task")]
    return [CELLS[start : start + 4] for start in starts]


def solution_code(cell: dict[str, Any]) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", text(cell["source"]), flags=re.DOTALL)
    return str(block)


# --- as it is stored ----------------------------------------------------------------------------


def test_it_is_a_notebook_that_any_program_opens():
    assert (NOTEBOOK["nbformat"], NOTEBOOK["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert set(NOTEBOOK["metadata"]) == {"kernelspec", "language_info"}
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        wanted = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            wanted |= {"execution_count", "outputs"}
        assert set(cell) == wanted
        assert set(cell["metadata"]) <= {"tags"}


def test_it_was_executed_once_from_top_to_bottom_without_an_error():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    for cell in CODE:
        compile(text(cell["source"]), FILE.name, "exec")
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr", text(output["text"])


def test_the_stored_run_is_the_long_one_on_mnist():
    everything = "\n".join(printed(cell) for cell in CODE)
    assert re.search(r"^Data set: +mnist$", everything, flags=re.MULTILINE)
    assert re.search(r"^epochs +30$", everything, flags=re.MULTILINE)
    assert everything.count("EPOCH 30 ") == 3


def test_the_steps_of_the_original_are_there_in_its_order():
    headings = [
        line.lstrip("#").strip()
        for cell in CELLS
        if cell["cell_type"] == "markdown"
        for line in text(cell["source"]).splitlines()
        if line.startswith("#")
    ]
    places = [headings.index(step) for step in STORY]
    assert places == sorted(places)


def test_it_is_below_4_megabytes():
    assert FILE.stat().st_size < 4_000_000


def test_it_is_read_in_under_an_hour():
    """At 150 words a minute, comments in the code among them."""
    prose = [text(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown"]
    comments = [comment for cell in CODE for comment in re.findall(r"#.*", text(cell["source"]))]
    assert len(" ".join([*prose, *comments]).split()) < 9_000
    assert len(CELLS) < 100


def test_the_reader_sees_a_picture_at_once_and_a_training_soon():
    assert "![" in text(CELLS[0]["source"])
    before_training = 0
    for cell in CODE:
        before_training += len(text(cell["source"]).splitlines())
        if "mini.adam(" in text(cell["source"]):
            break
    assert before_training <= 60


def test_it_names_no_folder_of_a_machine():
    for cell in CODE:
        for shown in texts_of(cell["outputs"]):
            without_pictures = re.sub(r"base64,[\w+/=\\\s]*", "", shown)
            found = re.findall(r"(?:^|[\s'\"(=])(/\w+/\S*|[A-Za-z]:\\\S*)", without_pictures)
            assert not found, found


def test_its_links_lead_somewhere():
    links = [
        link
        for cell in CELLS
        if cell["cell_type"] == "markdown"
        for link in re.findall(r"\]\(([^)]+)\)", text(cell["source"]))
    ]
    assert links
    for link in links:
        if not link.startswith("https://"):
            assert (ROOT / link.partition("#")[0]).is_file(), link


def test_each_exercise_has_a_stub_a_check_and_a_folded_solution():
    assert len(exercises()) == 5
    for number, (task, stub, check, solution) in enumerate(exercises(), start=1):
        assert text(task["source"]).startswith(f"**Exercise {number}: ")
        assert has_tag(stub, "exercise")
        assert "return None" in text(stub["source"])
        assert has_tag(check, "check")
        assert printed(check) == "not solved yet\n"
        assert has_tag(solution, "solution")
        source = text(solution["source"])
        assert source.startswith("<details>\n<summary>")
        assert source.endswith("</details>")
        (name,) = re.findall(r"^def (\w+)", solution_code(solution), flags=re.MULTILINE)
        assert f"def {name}(" in text(stub["source"])


# --- the first cell, where something is missing --------------------------------------------------


def first_cell_stops(monkeypatch: pytest.MonkeyPatch, repository: str) -> str:
    """Run the first cell where no package is found; give what it says."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    source = text(CODE[0]["source"])
    assert len(source.splitlines()) <= 12
    assert 'REPOSITORY = ""' in source
    with pytest.raises(SystemExit) as caught:
        exec(source.replace('REPOSITORY = ""', f"REPOSITORY = {repository!r}"), {})
    return str(caught.value)


def test_alone_and_without_an_address_it_says_what_to_do(monkeypatch):
    assert "set REPOSITORY above" in first_cell_stops(monkeypatch, "")


def test_where_pip_fails_it_says_what_it_tried(monkeypatch):
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    seen = first_cell_stops(monkeypatch, "https://example.invalid/x.git")
    assert seen.startswith("pip could not install git+https://example.invalid/x.git: ")


# --- executed again -----------------------------------------------------------------------------


def executed(cells: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Execute cells in a kernel of their own, in an empty folder."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.reads(json.dumps({**NOTEBOOK, "cells": cells}), as_version=4)
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return list(notebook.cells)


def with_solutions() -> list[dict[str, Any]]:
    """Put each solution behind its check, and the check once more."""
    cells = []
    for cell in CELLS:
        cells.append(cell)
        if has_tag(cell, "solution"):
            check = cells[-2]
            solved = {**check, "id": f"{check['id']}-solution", "source": solution_code(cell)}
            again = {**check, "id": f"{check['id']}-again"}
            cells += [{**solved, "metadata": {}}, {**again, "metadata": {"tags": ["again"]}}]
    return cells


#: Trains once more, and stops as the stop button does, in the second epoch.
STOPPED = """
whole = notebook.take_steps


def take_steps_and_stop(*arguments):
    epochs = 0
    for step in whole(*arguments):
        if epochs:
            raise KeyboardInterrupt
        epochs += step[2] is not None
        yield step


notebook.take_steps = take_steps_and_stop
stopped = create(None, data.name, settings)
try:
    notebook.run(stopped, data, settings)
except notebook.StoppedError as stop:
    print(str(stop).replace(str(stopped), "FOLDER"))
notebook.take_steps = whole
from lenet_np.tools.runs.history import read_history

print("epochs that can be drawn:", len(read_history(stopped).epochs))
"""


def with_a_stopped_training(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put a training that is stopped behind the first one."""
    (place,) = (n for n, cell in enumerate(cells) if "notebook.run(folder," in text(cell["source"]))
    stopped = {**cells[place], "id": "stopped", "source": STOPPED, "metadata": {}}
    return [*cells[: place + 1], stopped, *cells[place + 1 :]]


#: A line that may be changed: names, what they are, and what else they can be.
TRY = re.compile(r"^([\w, ]+ = ).*  # Try: (.*)$", flags=re.MULTILINE)


def tries() -> list[dict[str, Any]]:
    """List the cells with a line to change, once for each value that it suggests."""
    cells = []
    for cell in CODE:
        source = text(cell["source"])
        assert source.count("# Try") == len(TRY.findall(source)), source
        for line in TRY.finditer(source):
            for number, value in enumerate(line[2].split("; ")):
                changed = source[: line.start()] + line[1] + value + source[line.end() :]
                name = f"{cell['id']}-try-{line.start()}-{number}"
                cells.append({**cell, "id": name, "source": changed})
    return cells


def test_it_runs_and_its_exercises_can_be_solved(monkeypatch, tmp_path):
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(
            package,
            reason="executing the tutorial needs nbclient and ipykernel: "
            "python -m pip install nbclient ipykernel",
        )
    monkeypatch.setenv("LENET_NP_TUTORIAL", "quick")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # where other tests run beside it
    monkeypatch.delenv("MPLBACKEND", raising=False)
    assert len(tries()) > 20
    cells = executed([*with_a_stopped_training(with_solutions()), *tries()], tmp_path)
    now = {cell["id"]: cell for cell in cells}
    stable = [cell for cell in CODE if has_tag(cell, "stable") or has_tag(cell, "check")]
    assert len(stable) > len(exercises())
    for cell in stable:
        assert printed(now[cell["id"]]) == printed(cell), text(cell["source"])
    again = [printed(cell) for cell in cells if has_tag(cell, "again")]
    assert len(again) == len(exercises())
    assert all(re.search(r"^solved$", report, flags=re.MULTILINE) for report in again), again
    lines = printed(now["stopped"]).splitlines()
    assert lines[-2].startswith("Stopped after 1 of 2 epochs. They are saved in FOLDER")
    assert lines[-1] == "epochs that can be drawn: 1"
