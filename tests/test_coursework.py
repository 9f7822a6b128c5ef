"""Coursework: what is handed out and what passes; the command, the pytest plugin and the page."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from broken_exercises import MATHEMATICS

import lenet_np
from lenet_np.coursework.layouts import LAYOUTS
from lenet_np.coursework.mark import mark
from lenet_np.coursework.reference import solutions
from lenet_np.coursework.report import report
from lenet_np.coursework.tasks import TASKS
from lenet_np.coursework.template import exercise
from lenet_np.tools.commands.coursework import main

ROOT = Path(lenet_np.__file__).parents[1]

# --- right files, empty files -------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_solution_passes_every_task(student, layout):
    result = mark(student(layout=layout), jobs=2)
    assert result.passed, report(result)
    assert result.points == result.of == sum(task.points for task in TASKS.values()) == 100
    assert result.layout == layout


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_empty_file_fails_every_task(tmp_path, layout):
    assert main(["new", str(tmp_path), "--layout", layout]) == 0
    result = mark(tmp_path / "exercise.py")
    assert [task.status for task in result.tasks] == ["not attempted"] * len(TASKS)
    assert (result.points, result.problem, result.layout) == (0, None, layout)
    assert "conv2d_forward is not written yet" in report(result)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_exercise_file_holds_no_solution(layout):
    """Signatures, docstrings and ``raise NotImplementedError``, and nothing else."""
    tree = ast.parse(exercise(LAYOUTS[layout]))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert {f.name for f in functions} == {f for task in TASKS.values() for f in task.functions}
    for function in functions:
        docstring, body = function.body
        assert ast.get_docstring(function) == ast.literal_eval(docstring.value).strip() or docstring
        assert ast.unparse(body) == "raise NotImplementedError"
    others = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    assert [type(node) for node in others] == [ast.Expr, ast.Import, ast.Assign]


@pytest.mark.parametrize(
    ("layout", "shape", "columns"),
    [
        ("batch-last", "(C, H, W, N)", "(C*KH*KW, OH*OW*N)"),
        ("nchw", "(N, C, H, W)", "(N, C*KH*KW, OH*OW)"),
        ("nhwc", "(N, H, W, C)", "(N*OH*OW, KH*KW*C)"),
    ],
)
def test_docstrings_speak_of_the_layout(layout, shape, columns):
    text = exercise(LAYOUTS[layout])
    assert f"x : {shape}" in text
    assert columns in text


def test_layouts_go_there_and_back():
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 5))
    columns = np.random.default_rng(2).standard_normal((2, 3, 4, 5, 6, 7))
    for layout in LAYOUTS.values():
        assert np.array_equal(layout.images.to_package(layout.images.from_package(x)), x)
        theirs = layout.columns.from_package(columns)
        assert np.array_equal(layout.columns.to_package(theirs, columns.shape), columns)


def test_columns_are_ordered_as_the_docstring_says():
    """The equation of im2col, entry by entry, for (N, OH*OW) windows of a known image."""
    x = np.random.default_rng(3).standard_normal((2, 3, 4, 5))  # (C, H, W, N)
    nchw = solutions(LAYOUTS["nchw"])["im2col"](x.transpose(3, 0, 1, 2), (2, 3), 1, 0)
    nhwc = solutions(LAYOUTS["nhwc"])["im2col"](x.transpose(3, 1, 2, 0), (2, 3), 1, 0)
    last = solutions(LAYOUTS["batch-last"])["im2col"](x, (2, 3), 1, 0)
    for n, c, i, j, p, q in np.ndindex(5, 2, 2, 3, 2, 2):
        pixel = x[c, p + i, q + j, n]
        assert nchw[n, (c * 2 + i) * 3 + j, p * 2 + q] == pixel
        assert nhwc[(n * 2 + p) * 2 + q, (i * 3 + j) * 2 + c] == pixel
        assert last[(c * 2 + i) * 3 + j, (p * 2 + q) * 5 + n] == pixel


# --- the command --------------------------------------------------------------------------------


def test_new_never_overwrites(tmp_path, capsys):
    assert main(["new", str(tmp_path / "a")]) == 0
    kept = (tmp_path / "a" / "exercise.py").read_text(encoding="utf-8")
    assert main(["new", str(tmp_path / "a"), "--layout", "nchw"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "a" / "exercise.py").read_text(encoding="utf-8") == kept
    (tmp_path / "b").write_text("a file, not a folder")
    assert main(["new", str(tmp_path / "b")]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_many_files_make_json_lines(student, capsys):
    good, bad = student(name="good.py"), student("1 / 0\n", name="bad.py")
    status = main(["check", str(good), str(bad), "--task", "relu", "dense", "--json"])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert status == 1
    assert (first["file"], first["points"], first["of"]) == (str(good), 15, 15)
    assert first["passed"]
    assert second["problem"]["code"] == "exception"
    assert [task["name"] for task in second["tasks"]] == ["relu", "dense"]
    assert set(second["tasks"][0]) == {
        *("name", "status", "points", "of", "parts", "findings", "output", "output_cut")
    }


def test_exit_statuses(student, capsys, tmp_path):
    assert main(["check", str(student()), "--task", "relu"]) == 0
    assert main(["check", str(tmp_path / "absent.py")]) == 1
    assert "absent.py cannot be read: No such file" in capsys.readouterr().err
    for wrong in (
        ["check"],
        ["check", "exercise.py", "--task", "conv3d"],
        ["new", "folder", "--layout", "diagonal"],
        ["check", "exercise.py", "--time-limit", "0"],
        [],
    ):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("form", ["json", "csv", "text"])
def test_marks_that_a_full_disk_loses_are_said(student, form):
    words = ["coursework", "check", str(student()), "--task", "relu", "--format", form]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lenet_np", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.endswith("cannot write to standard output: No space left on device\n")
    assert done.stderr.count("\n") == 1


def test_list_names_every_task(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(task.teaches in out for task in TASKS.values())


# --- choosing tasks and points ------------------------------------------------------------------


def test_a_week_holds_the_tasks_that_were_chosen(tmp_path, capsys):
    assert main(["new", str(tmp_path), "--tasks", "conv2d,dense, relu"]) == 0
    written = (tmp_path / "exercise.py").read_text(encoding="utf-8")
    assert re.findall(r"^def (\w+)", written, re.MULTILINE) == [
        function for name in ("dense", "relu", "conv2d") for function in TASKS[name].functions
    ]
    assert "| conv2d | 20 |" in (tmp_path / "README.md").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["check", str(tmp_path / "exercise.py")]) == 1
    assert capsys.readouterr().out.endswith("0 of 35 points\n")
    with pytest.raises(SystemExit):
        main(["new", str(tmp_path / "b"), "--tasks", "dense,conv3d"])
    assert "no task 'conv3d'" in capsys.readouterr().err


def test_points_are_those_of_the_file_beside_the_exercise(student, tmp_path, capsys):
    file = student(MATHEMATICS["sign"][2])
    (tmp_path / "points.toml").write_text('[dense]\n"gradient of x" = 30\nshapes = 0\n[relu]\n')
    assert main(["check", str(file)]) == 1
    assert capsys.readouterr().out.endswith(
        "12 of 42 points\n"
    )  # 3 + 2 + 1 + 1 of dense, 5 of relu
    other = tmp_path / "other.toml"
    other.write_text("[relu]\nforward = 7\n")
    assert main(["check", str(file), "--points", str(other)]) == 0
    assert capsys.readouterr().out.endswith("10 of 10 points\n")


def test_points_that_students_handed_in_do_not_decide(student, tmp_path, capsys):
    files = []
    for name, points in (("a", 5), ("b", 900)):
        (tmp_path / name).mkdir()
        files.append(student(name=f"{name}/exercise.py"))
        files[-1].with_name("points.toml").write_text(f"[relu]\nforward = {points}\n")
    assert main(["check", *map(str, files)]) == 1
    assert "differ: name those that count with --points" in capsys.readouterr().err
    (tmp_path / "points.toml").write_text("[relu]\n")
    assert main(["check", *map(str, files), "--points", str(tmp_path / "points.toml")]) == 0
    assert capsys.readouterr().out.count("5 of 5 points\n") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[conv3d]\n", "no task 'conv3d'"),
        ("dense = 3\n", "no task 'dense'"),
        ("[dense]\nweight = 3\n", "dense has no part 'weight'; it has forward, gradient of x"),
        ("[dense]\nforward = -1\n", "a whole number from 0 to 1000, got -1"),
        ("[dense]\nforward = true\n", "got True"),
        ("[dense\n", "is not TOML"),
        ("", "names no task"),
    ],
)
def test_a_table_of_points_with_a_mistake_is_refused(student, tmp_path, capsys, text, message):
    (tmp_path / "points.toml").write_text(text)
    assert main(["check", str(student())]) == 1
    assert message in capsys.readouterr().err


# --- pytest -------------------------------------------------------------------------------------


PLUGIN = ("-p", "lenet_np.coursework.plugin")


def run_pytest(folder, *words):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--pyargs", "lenet_np.coursework", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    return subprocess.run(
        command, cwd=elsewhere, env=environment, capture_output=True, encoding="utf-8", check=False
    )


def test_pytest_marks_a_students_file(student, tmp_path):
    file = student(MATHEMATICS["sign"][2])
    words = (*PLUGIN, "--student", str(file), "--strict-markers", "-W", "error", "-m")
    good = run_pytest(tmp_path, *words, "relu")
    assert "1 passed, 12 deselected" in good.stdout, good.stdout + good.stderr
    bad = run_pytest(tmp_path, *words, "dense")
    assert "wrong-sign" in bad.stdout
    assert "1 failed, 12 deselected" in bad.stdout


@pytest.mark.parametrize("plugin", [PLUGIN, ()])
def test_pytest_without_a_file_skips(tmp_path, plugin):
    ran = run_pytest(tmp_path, *plugin, "-rs", "-W", "error", "--strict-markers")
    assert f"{len(TASKS)} skipped" in ran.stdout, ran.stdout + ran.stderr
    assert "lenet_np.coursework.plugin --student FILE" in ran.stdout


def test_pytest_of_other_projects_is_left_alone():
    """An installed lenet_np must not add options to every pytest of its environment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "pytest11" not in project.get("entry-points", {})


# --- the page -----------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "coursework.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_console(block, folder):
    """Run the commands of a console block and put their output below each, as on the page."""
    lines = []
    for command in (line for line in block.splitlines() if line.startswith("$ ")):
        words = command.removeprefix("$ python ").split()
        ran = subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
        lines += [command, *ran.stdout.replace("week1\\", "week1/").splitlines()]
    return "".join(f"{line}\n" for line in lines)


def put_functions(source, text):
    """Write functions in the place of those of the same names."""
    lines = source.splitlines(keepends=True)
    new = {node.name: ast.get_source_segment(text, node) for node in ast.parse(text).body}
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.FunctionDef) and node.name in new:
            lines[node.lineno - 1 : node.end_lineno] = [new[node.name] + "\n"]
    return "".join(lines)


def apply_diff(source, diff):
    """Replace the lines with a minus by those with a plus."""
    old, new = (
        "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] == sign) for sign in "-+"
    )
    assert source.count(old) == 1
    return source.replace(old, new)


def walk(page, folder):
    """Walk the student's path on the page again, and write what the commands say now."""
    exercise_file = folder / "week1" / "exercise.py"

    def again(match):
        language, block = match.groups()
        if language == "console":
            block = run_console(block, folder)
        elif language in ("python", "diff"):
            change = put_functions if language == "python" else apply_diff
            source = exercise_file.read_text(encoding="utf-8")
            exercise_file.write_text(change(source, block), encoding="utf-8")
        return f"```{language}\n{block}```"

    path, *rest = page.partition("## For the instructor")
    return "".join([FENCE.sub(again, path), *rest])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the report has a line on memory")
def test_the_page_shows_what_happens(tmp_path):
    """If only words have changed: ``python tests/test_coursework.py`` writes the page anew."""
    assert walk(PAGE, tmp_path) == PAGE
    assert re.findall(r"^(\d+) of 20 points", PAGE, re.MULTILINE) == ["0", "14", "14", "14", "20"]


def test_the_page_makes_a_table_of_points(student, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", str(student()), "--task", "relu", "dense", "--json"]) == 0
    Path("marks.jsonl").write_text(capsys.readouterr().out)
    (snippet,) = (text for language, text in FENCE.findall(PAGE) if "import csv" in text)
    exec(snippet, {})
    assert Path("points.csv").read_text().strip().endswith("exercise.py,15,5,10")


def test_the_plan_on_the_page_has_every_task():
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    assert all(re.search(rf"\b{name}\b", rows) for name in TASKS)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        (ROOT / "docs" / "coursework.md").write_text(walk(PAGE, Path(temporary)), encoding="utf-8")
