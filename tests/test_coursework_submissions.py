"""Coursework: what students hand in, and how it is found and read."""

from __future__ import annotations

import io
import json
import re
import zipfile
from contextlib import ExitStack

import pytest
from student import SOLUTION

from lenet_np.coursework.mark import mark
from lenet_np.coursework.points import CourseworkError
from lenet_np.coursework.report import report
from lenet_np.coursework.submissions import submissions
from lenet_np.tools.commands.coursework import main

RELU = """\
import numpy as np
LAYOUT = "nchw"
def relu_forward(x):
    return np.maximum(x, 0), x
def relu_backward(dy, cache):
    return dy * (cache > 0)
"""


def notebook(*cells):
    return json.dumps(
        {
            "cells": [
                {"cell_type": "markdown", "source": ["# def relu_forward"]},
                *(
                    {"cell_type": "code", "source": cell.splitlines(keepends=True), "outputs": []}
                    for cell in cells
                ),
            ],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def archive(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return content.getvalue()


# --- notebooks ----------------------------------------------------------------------------------


def test_a_notebook_is_marked(tmp_path):
    imports, layout, forward, backward = (
        "import numpy as np\n%matplotlib inline\n!pip install numpy\nnp.dot?\n",
        "%%time\nLAYOUT = 'nchw'\n",
        "files = !ls\nif True:\n    %time 1 + 1\n\n"
        + RELU[RELU.index("def") : RELU.index("def relu_b")],
        RELU[RELU.index("def relu_b") :],
    )
    file = tmp_path / "week1.ipynb"
    bash = "%%bash\nls | while read x; do echo $x; done\n"
    file.write_text(notebook(imports, bash, layout, forward, backward))
    result = mark(file, ("relu",))
    assert result.passed, report(result)


def test_messages_name_the_cell_and_the_line(tmp_path):
    file = tmp_path / "week1.ipynb"
    wrong = "\n\ndef relu_backward(dy, cache):\n    return dy / 0 + nothing\n"
    cells = (RELU, wrong, "1 / 0\n", "def f(:\n", "raise SystemExit\n", "input()\n")
    file.write_text(notebook(*cells))
    result = mark(file, ("relu",))
    (relu,) = result.tasks
    assert relu.points == 2
    assert relu.findings[0].line == "week1.ipynb cell 2:4: return dy / 0 + nothing"
    notes = "\n".join(result.notes)
    assert "week1.ipynb cell 3 raised ZeroDivisionError" in notes
    assert "(week1.ipynb cell 3:1: 1 / 0)" in notes
    assert (
        "week1.ipynb cell 4 is not Python: invalid syntax (week1.ipynb cell 4:1: def f(:)" in notes
    )
    assert "cell 6 waits for input" in notes


def test_an_endless_cell_is_named(tmp_path):
    file = tmp_path / "week1.ipynb"
    file.write_text(notebook(RELU, "x = 1\nwhile True:\n    x += 1\n"))
    from lenet_np.coursework.process import Limits

    result = mark(file, ("relu",), limits=Limits(2.0))
    assert result.problem.code == "time-limit"
    assert result.problem.line.startswith("week1.ipynb cell 2:")


@pytest.mark.parametrize(
    "text", ["{", "null", "[]", '{"cells": 3}', '{"cells": [{}]}', "[" * 10**5]
)
def test_a_damaged_notebook_is_said(tmp_path, text):
    file = tmp_path / "week1.ipynb"
    file.write_text(text)
    result = mark(file, ("relu",))
    assert (result.problem.code, result.problem.message) == (
        "syntax",
        "is not a notebook that can be read",
    )


# --- what is not installed ----------------------------------------------------------------------


def test_an_import_that_is_not_installed_costs_only_what_needs_it(tmp_path):
    file = tmp_path / "exercise.py"
    file.write_text(
        "import no_such_package.nn as nn, os\nfrom no_such_package import tensor\n"
        + RELU
        + "def dense_forward(x, weight, bias):\n    return nn.linear(x, weight, bias), x\n"
        + "def dense_backward(dy, cache):\n    return tensor(dy)\n"
        + "class Net(nn.Module):\n    pass\n"
    )
    result = mark(file, ("relu", "dense"))
    assert [task.status for task in result.tasks] == ["passed", "failed"]
    assert "no_such_package is not installed where this is marked" in report(result)
    assert len(result.notes) == 3
    assert "exercise.py:1: No module named 'no_such_package'" in result.notes[0].replace(
        "import no_such_package.nn as nn, os: ", ""
    )


def test_a_guarded_import_is_left_alone(tmp_path):
    file = tmp_path / "exercise.py"
    guarded = "try:\n    import no_such_package\nexcept ImportError:\n    no_such_package = None\n"
    file.write_text(f"{guarded}assert no_such_package is None\n{RELU}")
    assert mark(file, ("relu",)).passed


def test_annotations_from_the_future_stay_text(tmp_path):
    file = tmp_path / "exercise.py"
    file.write_text("from __future__ import annotations\n" + RELU + "def f(x: nothing): pass\n")
    assert mark(file, ("relu",)).passed


# --- folders and archives -----------------------------------------------------------------------


def found(path):
    with ExitStack() as stack:
        return [
            (s.student, s.number, [file.name for file in s.files])
            for s in submissions([path], stack)
        ]


def test_a_folder_of_many_files_is_one_submission(tmp_path):
    folder = tmp_path / "anna"
    (folder / "src").mkdir(parents=True)
    first, second = RELU.split("def relu_b")
    (folder / "a.py").write_text(f"import numpy as np\ndef relu_b{second}")
    (folder / "src" / "exercise.py").write_text(first)
    (folder / "plots.py").write_text("1 / 0\n")
    assert found(folder) == [("anna", "", ["exercise.py", "a.py"])]
    with ExitStack() as stack:
        (one,) = submissions([folder], stack)
        result = mark(one.files, ("relu",))
    assert result.passed, report(result)


def test_an_archive_of_moodle(tmp_path):
    path = tmp_path / "moodle.zip"
    path.write_bytes(
        archive(
            **{
                "Anna Smith_123_assignsubmission_file_/exercise.py": RELU,
                "Bo Li_124_assignsubmission_file/week1.ipynb": notebook(RELU),
                "Cy_125_assignsubmission_file_/work.zip": archive(**{"a/b/mine.py": RELU}),
                "Di_126_assignsubmission_file_/notes.txt": "later",
                "__MACOSX/x.py": RELU,
            }
        )
    )
    assert found(path) == [
        ("Anna Smith", "123", ["exercise.py"]),
        ("Bo Li", "124", ["week1.ipynb"]),
        ("Cy", "125", ["mine.py"]),
        ("Di", "126", []),
    ]


def test_an_archive_of_canvas(tmp_path):
    path = tmp_path / "canvas.zip"
    files = {
        "smithanna_101_2001_exercise.py": RELU,
        "libo_LATE_102_2002_week1-1.ipynb": notebook(RELU),
        "libo_LATE_102_2003_helper.py": "x = 1\n",
    }
    path.write_bytes(archive(**files))
    assert found(path) == [
        ("libo", "102", ["libo_LATE_102_2002_week1-1.ipynb"]),
        ("smithanna", "101", ["smithanna_101_2001_exercise.py"]),
    ]


def test_an_archive_of_one_student(tmp_path):
    path = tmp_path / "anna.zip"
    path.write_bytes(archive(**{"week1/exercise.py": RELU, "week1/helper.py": "x = 1"}))
    assert found(path) == [("anna", "", ["exercise.py"])]
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "anna.zip").write_bytes(path.read_bytes())
    (tmp_path / "all" / "bo.zip").write_bytes(path.read_bytes())
    assert [student for student, *_ in found(tmp_path / "all")] == ["anna", "bo"]


def test_files_of_several_students_side_by_side(tmp_path):
    folder = tmp_path / "submissions"
    folder.mkdir()
    (folder / "ann.py").write_text(RELU)
    (folder / "ben.ipynb").write_text(notebook(RELU))
    (folder / "cy.py").write_text("nothing\n")  # he has a mark too
    assert found(folder) == [
        ("ann", "", ["ann.py"]),
        ("ben", "", ["ben.ipynb"]),
        ("cy", "", ["cy.py"]),
    ]
    (folder / "exercise.py").write_text(RELU)
    assert [student for student, *_ in found(folder)] == ["submissions"]


def test_an_archive_cannot_write_outside(tmp_path):
    path = tmp_path / "evil.zip"
    path.write_bytes(
        archive(**{"../../../../tmp/evil.py": RELU, "/tmp/evil.py": RELU, "a.py": RELU})
    )
    assert found(path) == [("evil", "", ["a.py"])]


def test_a_bomb_and_a_damaged_archive_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lenet_np.coursework.submissions.LARGEST", 10**6)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("exercise.py", b" " * 10**7)
    with pytest.raises(CourseworkError, match="unpacks to more than 1 MB"):
        found(bomb)
    (tmp_path / "cut.zip").write_bytes(bomb.read_bytes()[:100])
    assert main(["check", str(tmp_path / "cut.zip")]) == 1
    assert "is not a ZIP file that can be read" in capsys.readouterr().err


def test_the_command_marks_every_student_of_an_archive(tmp_path, capsys):
    path = tmp_path / "moodle.zip"
    names = ("Anna Smith_123_assignsubmission_file_", "Di_126_assignsubmission_file_")
    path.write_bytes(archive(**{f"{names[0]}/a.py": RELU, f"{names[1]}/notes.txt": ""}))
    assert main(["check", str(path), "--task", "relu"]) == 1
    out = capsys.readouterr().out
    assert re.findall(r"(\d) of 5 points", out) == ["5", "0"]
    assert "[no-exercise] no file has a function of the exercise" in out
    assert f"{path}/{names[0]}" in out


def test_the_solution_as_a_notebook_is_right(tmp_path):
    file = tmp_path / "all.ipynb"
    file.write_text(notebook(*SOLUTION.format(layout="nhwc").split("\n\n")))
    assert mark(file, ("conv2d", "es", "vjp")).passed
