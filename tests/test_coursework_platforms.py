"""Coursework where it runs: formats, platforms, the kit for students, hidden tests, many files."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from broken_exercises import MATHEMATICS
from test_coursework_submissions import RELU, archive, notebook

import lenet_np
from lenet_np.coursework.copies import copied
from lenet_np.coursework.exports import write_wheel
from lenet_np.coursework.layouts import LAYOUTS
from lenet_np.coursework.mark import mark
from lenet_np.coursework.report import report
from lenet_np.coursework.tasks import TASKS
from lenet_np.coursework.template import exercise
from lenet_np.tools.commands.coursework import main

ROOT = Path(lenet_np.__file__).parents[1]
HALF = RELU.replace("(cache > 0)", "cache")


# --- formats ------------------------------------------------------------------------------------


def test_gradescope_gets_a_test_for_each_part(tmp_path, capsys):
    """The fields are those of https://gradescope-autograders.readthedocs.io/en/latest/specs/."""
    file = tmp_path / "exercise.py"
    file.write_text(HALF)
    main(["check", str(file), "--format", "gradescope", "--task", "relu", "dense"])
    results = json.loads(capsys.readouterr().out)
    assert results["score"] == sum(test["score"] for test in results["tests"]) == 4
    assert len(results["tests"]) == len(TASKS["relu"].parts) + len(TASKS["dense"].parts)
    top = {"score", "output", "output_format", "visibility", "stdout_visibility", "tests"}
    assert set(results) == top
    for test in results["tests"]:
        fields = {"name", "score", "max_score", "status", "output", "output_format", "visibility"}
        assert set(test) == fields
        assert isinstance(test["name"], str)
        assert 0 <= test["score"] <= test["max_score"]
        assert test["status"] in ("passed", "failed")
        assert test["output_format"] in ("text", "html", "simple_format", "md", "ansi")
        assert test["visibility"] in ("hidden", "after_due_date", "after_published", "visible")
    wrong = next(t for t in results["tests"] if t["name"] == "relu: gradient of x")
    assert wrong["status"] == "failed"
    assert "gradient of x" in wrong["output"]
    assert main(["check", str(file), str(file), "--format", "gradescope"]) == 2


def test_tables_have_a_header_and_a_row_for_each_student(tmp_path, capsys):
    path = tmp_path / "moodle.zip"
    names = {"=Anna, B_12_assignsubmission_file_": RELU, "Bo_13_assignsubmission_file_": "def f(:"}
    path.write_bytes(archive(**{f"{name}/exercise.py": text for name, text in names.items()}))
    tables = {}
    for kind in ("csv", "canvas", "moodle"):
        main(["check", str(path), "--format", kind, "--task", "relu", "dense"])
        tables[kind] = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    first, second = tables["csv"]
    assert (first["Student"], first["ID"], first["Points"], first["relu"]) == (
        "'=Anna, B",
        "12",
        "5",
        "5",
    )
    assert (first["Of"], first["dense"]) == ("15", "0")
    assert second["Points"] == "0"
    assert second["Problem"]
    canvas = tables["canvas"][0]
    assert list(canvas)[:5] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert list(canvas.values()) == ["'=Anna, B", "12", "", "", "", "5"]
    assert tables["moodle"][0] == {
        "Identifier": "Participant 12",
        "Full name": "'=Anna, B",
        "Grade": "5",
        "Maximum Grade": "15",
        "Last modified (grade)": "",  # Moodle refuses a worksheet without this column.
    }


# --- Gradescope ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def autograder(tmp_path_factory):
    """An image of Gradescope's, as far as its folders go, after setup.sh has been run in it."""
    root = tmp_path_factory.mktemp("image") / "autograder"
    points = root.parent / "points.toml"
    points.write_text("[relu]\n[dense]\n")
    words = ["export", "--gradescope", str(root / "source"), "--seed", "4", "--points", str(points)]
    assert main(words) == 0
    for name in ("submission", "results"):
        (root / name).mkdir()
    (root / "run_autograder").write_bytes((root / "source" / "run_autograder").read_bytes())
    (root / "run_autograder").chmod(0o755)
    shell(root, str(root / "source" / "setup.sh"))
    return root


def shell(root, script):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PIP_INDEX_URL")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    # Nothing may be fetched.
    environment |= {"AUTOGRADER": str(root), "http_proxy": "nowhere", "https_proxy": "nowhere"}
    subprocess.run(["bash", script], cwd=root, env=environment, check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Gradescope's images are Linux")
@pytest.mark.parametrize(
    ("name", "text", "score"),
    [
        ("exercise.py", RELU, 5),
        ("mine.ipynb", notebook(HALF), 4),
        ("a.py", "def relu_forward(:", 0),
    ],
)
def test_gradescope_runs_the_folder(autograder, name, text, score):
    for old in (autograder / "submission").iterdir():
        old.unlink()
    (autograder / "submission" / name).write_text(text)
    shell(autograder, str(autograder / "run_autograder"))
    results = json.loads((autograder / "results" / "results.json").read_text())
    assert results["score"] == score
    assert {test["name"].split(":")[0] for test in results["tests"]} == {"relu", "dense"}
    installed = autograder / "source" / "lib" / "lenet_np"
    assert (installed / "ops.py").read_bytes() == (ROOT / "lenet_np" / "ops.py").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Gradescope's images are Linux")
def test_gradescope_gets_a_result_when_the_check_cannot_be_run(autograder):
    kept = autograder / "source" / "python.txt"
    python = kept.read_text()
    kept.write_text("false\n")
    shell(autograder, str(autograder / "run_autograder"))
    kept.write_text(python)
    results = json.loads((autograder / "results" / "results.json").read_text())
    assert results["score"] == 0
    assert "tell your instructor" in results["output"]


def test_the_wheel_is_whole(tmp_path):
    wheel = write_wheel(tmp_path)
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        record = next(name for name in names if name.endswith("RECORD"))
        assert {line.split(",")[0] for line in file.read(record).decode().splitlines()} == names
    package = ROOT / "lenet_np"
    assert {f"lenet_np/{p.relative_to(package).as_posix()}" for p in package.rglob("*.py")} < names


# --- the kit ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    made = {}
    for layout in ("batch-last", "nhwc"):
        made[layout] = tmp_path_factory.mktemp("kits") / layout
        assert main(["new", str(made[layout]), "--layout", layout, "--kit"]) == 0
    return made


def test_the_kit_holds_no_solution(kits):
    """No module of the lesson, and no function of the exercise that is more than a stub."""
    kit = kits["nhwc"]
    inside = {path.relative_to(kit).as_posix() for path in kit.rglob("*.py")}
    assert not [
        name for name in inside if name.endswith(("/reference.py", "/answers.py", "/ops.py"))
    ]
    functions = {name for task in TASKS.values() for name in task.functions}
    for path in (kit / "checks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name in functions:
                assert node.args.args[0].arg == "exercise", path  # the check of that name


def run_kit(kit, file):
    """Run check.py with NumPy alone: any import of the package fails."""
    block = kit.parent / "block"
    (block / "lenet_np").mkdir(parents=True, exist_ok=True)
    (block / "lenet_np" / "__init__.py").write_text("raise ImportError('must not be needed')\n")
    done = subprocess.run(
        [sys.executable, "check.py", str(file)],
        cwd=kit,
        env={**os.environ, "PYTHONPATH": str(block)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


#: The functions of a file, written out: a solution that needs NumPy alone, and its mistakes.
WRITTEN = """
def dense_forward(x, weight, bias):
    return weight @ x + bias[:, np.newaxis], (x, weight)
def dense_backward(dy, cache):
    x, weight = cache
    return weight.T @ dy, dy @ x.T, dy.sum(axis=1)
def relu_forward(x):
    return np.maximum(x, 0), x
def relu_backward(dy, cache):
    return dy * (cache > 0)
def im2col(x, kernel, stride, padding):
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    kh, kw = kernel
    oh, ow = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    parts = [
        x[:, i : i + stride * oh : stride, j : j + stride * ow : stride]
        for i in range(kh) for j in range(kw)
    ]
    return np.stack(parts, axis=1).reshape(x.shape[0] * kh * kw, -1)
def col2im(columns, x_shape, kernel, stride, padding):
    c, h, w, n = x_shape
    kh, kw = kernel
    oh, ow = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    columns = columns.reshape(c, kh, kw, oh, ow, n)
    dx = np.zeros((c, h + 2 * padding, w + 2 * padding, n))
    for i in range(kh):
        for j in range(kw):
            dx[:, i : i + oh * stride : stride, j : j + ow * stride : stride] += columns[:, i, j]
    return dx[:, padding : padding + h, padding : padding + w]
def max_pool_forward(x, window, stride):
    c, h, w, n = x.shape
    oh, ow = (h - window) // stride + 1, (w - window) // stride + 1
    y = np.empty((c, oh, ow, n))
    for p in range(oh):
        for q in range(ow):
            rows = slice(p * stride, p * stride + window)
            columns = slice(q * stride, q * stride + window)
            y[:, p, q] = x[:, rows, columns].max(axis=(1, 2))
    return y, (x, y, window, stride)
def max_pool_backward(dy, cache):
    x, y, window, stride = cache
    dx = np.zeros_like(x)
    for p in range(dy.shape[1]):
        for q in range(dy.shape[2]):
            block = np.s_[:, p * stride : p * stride + window, q * stride : q * stride + window]
            dx[block] += (x[block] == y[:, p : p + 1, q : q + 1]) * dy[:, p : p + 1, q : q + 1]
    return dx
def softmax_cross_entropy(logits, labels):
    p = np.exp(logits) / np.exp(logits).sum(axis=0)
    return -np.log((p * labels).sum(axis=0)), p - labels
def adam_update(parameter, gradient, m, v, step, learning_rate, beta1, beta2, epsilon):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    a, b = m / (1 - beta1**step), v / (1 - beta2**step)
    return parameter - learning_rate * a / (np.sqrt(b) + epsilon), m, v
def es_gradient(loss, logits, labels, noise, sigma):
    n = noise.shape[1]
    f = np.stack([loss(logits + sigma * noise[:, i], labels) for i in range(n)])
    return (f * noise).mean(axis=1) / sigma
def leave_one_out_gradient(loss, logits, labels, noise, sigma):
    n = noise.shape[1]
    f = np.stack([loss(logits + sigma * noise[:, i], labels) for i in range(n)])
    return ((f - f.mean(axis=0)) * noise).mean(axis=1) / sigma
def taylor_loss(logits, labels, estimator):
    loss, g = estimator(logits, labels)
    return loss, g
def override_forward(logits, labels, estimator):
    return estimator(logits, labels)
def override_backward(dloss, cache):
    return cache * dloss
def vjp_gradients(x, weight1, bias1, weight2, bias2, labels, estimator):
    hidden = weight1 @ x + bias1[:, np.newaxis]
    _, g = estimator(weight2 @ np.maximum(hidden, 0) + bias2[:, np.newaxis], labels)
    dhidden = weight2.T @ g
    return dhidden @ x.T, dhidden.sum(axis=1), g @ np.maximum(hidden, 0).T, g.sum(axis=1)
def target_gradient(logits, labels, estimator, rate):
    _, g = estimator(logits, labels)
    return logits - rate * g, 2 * rate * g
"""


def test_the_kit_says_what_the_command_says_word_for_word(kits):
    kit, text = kits["batch-last"], WRITTEN
    for right, wrong in (
        ("weight @ x + bias[:, np.newaxis], (", "weight @ x, ("),
        ("return dy * (cache > 0)", "return dy / 0"),
        ("+= columns", "= columns"),
        (".max(axis=(1, 2))", ".mean(axis=(1, 2))"),
        ("- labels\n", "- 2 * labels\n"),
        ("beta1 * m + (1 - beta1) * gradient", "beta1 * m + gradient"),
        ("(f * noise)", "(f + noise)"),
        ("return cache * dloss", "raise NotImplementedError"),
    ):
        assert right in text
        text = text.replace(right, wrong)
    text = exercise(LAYOUTS["batch-last"]) + text
    (kit / "exercise.py").write_text(text)
    ours = mark(kit / "exercise.py", jobs=2)
    assert run_kit(kit, "exercise.py") == report(ours) + "\n"
    assert len([finding for task in ours.tasks for finding in task.findings]) > 5
    assert 0 < ours.points < ours.of - 30


def test_the_kit_gives_full_marks_in_another_layout(kits, tmp_path):
    kit = kits["nhwc"]
    right = """
def dense_forward(x, weight, bias):
    return x @ weight + bias, (x, weight)
def dense_backward(dy, cache):
    x, weight = cache
    return dy @ weight.T, x.T @ dy, dy.sum(axis=0)
"""
    file = tmp_path / "mine.py"
    file.write_text("import numpy as np\nLAYOUT = 'nhwc'\n" + right)
    assert "  dense          passed          10 of 10\n" in run_kit(kit, file)


def test_github_classroom_gets_a_workflow_and_the_kit(tmp_path, capsys):
    points = tmp_path / "points.toml"
    points.write_text("[relu]\nforward = 7\n[dense]\n")
    words = ["export", "--github", str(tmp_path / "repository"), "--points", str(points)]
    assert main([*words, "--layout", "nchw"]) == 0
    text = (tmp_path / "repository" / ".github" / "workflows" / "classroom.yml").read_text()
    command = re.search(r"command: python (check.py exercise.py --task relu)\n", text)
    assert re.findall(r"max-score: (\d+)", text) == ["10", "10"]
    assert "runners: dense,relu" in text
    # Under other names the reporter sends no points to Classroom.
    assert "\nname: Autograding Tests\n" in text
    assert "\njobs:\n  run-autograding-tests:\n" in text
    assert "DENSE_RESULTS: ${{ steps.dense.outputs.result }}" in text
    done = subprocess.run(
        [sys.executable, *command[1].split()],
        cwd=tmp_path / "repository",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.endswith("0 of 10 points\n")


# --- hidden tests -------------------------------------------------------------------------------


def test_the_solution_passes_hidden_tests_and_the_report_says_which(student):
    result = mark(student(layout="nchw"), seed=5, jobs=2)
    assert result.passed, report(result)
    assert "(nchw, hidden tests, seed 5)" in report(result)
    assert "hidden" not in report(mark(student(), ("relu",)))


def test_answers_that_fit_the_open_tests_alone_fail_the_hidden_ones(student):
    fitted = """
def relu_forward(x):
    right = solution["relu_forward"](x)
    return (right[0] if x.shape in ((5, 4), (2, 3, 4, 2)) else 0 * x), right[1]
"""
    assert mark(student(fitted), ("relu",)).passed
    assert not mark(student(fitted), ("relu",), seed=4).passed


@pytest.mark.parametrize("mistake", ["sign", "bias correction", "own baseline", "1/K", "ties"])
def test_a_mistake_has_the_same_name_in_hidden_tests(student, mistake):
    task, code, text = MATHEMATICS[mistake]
    (found,) = mark(student(text), (task,), seed=5).tasks
    assert code in {finding.code for finding in found.findings}


# --- copies -------------------------------------------------------------------------------------


def test_what_is_pasted_from_the_package_is_noticed_and_not_punished(tmp_path, capsys):
    source = (ROOT / "lenet_np" / "ops.py").read_text(encoding="utf-8")
    start = source.index("def im2col(")
    pasted = source[start : source.index("\n\n\n", start)]
    renamed = re.sub(r"\bkernel\b", "size", re.sub(r'""".*?"""', '"""Mine."""', pasted, flags=re.S))
    file = tmp_path / "exercise.py"
    late = "from __future__ import annotations\n"  # the names of the types stay text
    file.write_text(late + RELU + renamed.replace("def im2col", "def my_windows"))
    main(["check", str(file), "--task", "relu"])
    out = capsys.readouterr().out
    assert "my_windows is built like ops.im2col of lenet_np, names aside" in out
    assert out.endswith("5 of 5 points\n")


def test_what_people_write_themselves_is_not_called_a_copy(tmp_path):
    file = tmp_path / "exercise.py"
    file.write_text(WRITTEN)
    assert list(copied((file,))) == []


# --- many submissions ---------------------------------------------------------------------------


def crowd(folder, count):
    """Write submissions that are right, that hang, crash, eat memory, and leave processes."""
    bad = {
        2: "while True: pass",
        5: "import ctypes; ctypes.string_at(0)",
        7: "return np.ones((50_000, 50_000)), x",
    }
    leaver = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    folder.mkdir()
    for n in range(count):
        text = RELU
        if n in bad:
            text = text.replace("    return np.max", f"    {bad[n]}\n    return np.max")
        if n == 9:
            text = leaver + text
        (folder / f"s{n:02}.py").write_text(text)
    return {f"s{n:02}": 5 if n not in bad else 0 for n in range(count)}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is not limited elsewhere")
def test_a_crowd_is_marked_whatever_some_of_it_do(tmp_path, capsys):
    right = crowd(tmp_path / "all", 12)
    words = ["check", *(str(p) for p in sorted((tmp_path / "all").iterdir())), "--task", "relu"]
    limits = ["--time-limit", "3", "--memory-limit", "1024"]
    keep = tmp_path / "marks.jsonl"
    assert main([*words, *limits, "--format", "csv", "--keep", str(keep)]) == 1
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert {row["Student"]: int(row["Points"]) for row in rows} == right
    assert len(captured.err.splitlines()) == 12
    assert "12 of 12: " in captured.err
    # All is kept: nothing is run again, and a file that was changed is.
    text = keep.read_text()
    keep.write_text(text[:-200])  # killed while it wrote
    start = time.monotonic()
    main([*words, *limits, "--format", "csv", "--keep", str(keep)])
    assert time.monotonic() - start < 15
    assert capsys.readouterr().out == captured.out


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
def test_an_interrupted_marking_ends_at_once_and_is_resumed(tmp_path):
    folder, keep = tmp_path / "all", tmp_path / "marks.jsonl"
    folder.mkdir()
    for n, body in enumerate(
        ("return np.maximum(x, 0), x", "while True: pass", "while True: pass")
    ):
        (folder / f"s{n}.py").write_text(RELU.replace("return np.maximum(x, 0), x", body))
    words = [*sorted(map(str, folder.iterdir())), "--task", "relu", "--keep", str(keep)]
    command = [sys.executable, "-m", "lenet_np", "coursework", "check", *words, "--jobs", "3"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not keep.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - start < 20
    assert "interrupted" in err
    assert json.loads(keep.read_text().split("\n")[1])["mark"]["points"] == 5
