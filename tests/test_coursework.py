"""Coursework: the right file passes, the empty one fails, and each mistake gets its name."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from student import SOLUTION, announce_installation

import lenet_np
from lenet_np.coursework import child, process
from lenet_np.coursework.command import main
from lenet_np.coursework.hints import HINTS, hint
from lenet_np.coursework.layouts import LAYOUTS
from lenet_np.coursework.mark import mark
from lenet_np.coursework.process import Limits
from lenet_np.coursework.reference import solutions
from lenet_np.coursework.report import report
from lenet_np.coursework.tasks import TASKS
from lenet_np.coursework.template import exercise

ROOT = Path(lenet_np.__file__).parents[1]


@pytest.fixture
def student(tmp_path):
    """Write a student's file: the solution, and below it what the student does otherwise."""

    def write(text="", layout="batch-last", name="exercise.py"):
        file = tmp_path / name
        file.write_text(SOLUTION.format(layout=layout) + text, encoding="utf-8")
        return file

    return write


# --- right files, empty files -------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_solution_passes_every_task(student, layout):
    result = mark(student(layout=layout))
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


# --- mistakes in the mathematics ----------------------------------------------------------------

MATHEMATICS = {
    "sign": (
        "dense",
        "wrong-sign",
        """
def dense_backward(dy, cache):
    dx, dweight, dbias = solution["dense_backward"](dy, cache)
    return -dx, dweight, dbias
""",
    ),
    "mean over the batch": (
        "conv2d",
        "batch-mean",
        """
def conv2d_backward(dy, cache):
    dx, dweight, dbias = solution["conv2d_backward"](dy, cache)
    return dx, dweight / dy.shape[-1], dbias
""",
    ),
    "missing sum": (
        "conv2d",
        "bias-sum",
        """
def conv2d_backward(dy, cache):
    dx, dweight, dbias = solution["conv2d_backward"](dy, cache)
    return dx, dweight, dy[:, 0, 0].sum(axis=1)
""",
    ),
    "first example": (
        "dense",
        "first-example-only",
        """
def dense_backward(dy, cache):
    dx, dweight, dbias = solution["dense_backward"](dy, cache)
    return dx, dweight, dy[:, 0]
""",
    ),
    "no sum": (
        "dense",
        "bias-sum",
        """
def dense_backward(dy, cache):
    dx, dweight, dbias = solution["dense_backward"](dy, cache)
    return dx, dweight, dy
""",
    ),
    "= instead of +=": (
        "im2col",
        "overwrite-overlap",
        """
def col2im(columns, x_shape, kernel, stride, padding):
    c, h, w, n = x_shape
    kh, kw = kernel
    oh, ow = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    columns = columns.reshape(c, kh, kw, oh, ow, n)
    dx = np.zeros((c, h + 2 * padding, w + 2 * padding, n))
    for i in range(kh):
        for j in range(kw):
            dx[:, i : i + oh * stride : stride, j : j + ow * stride : stride] = columns[:, i, j]
    return dx[:, padding : padding + h, padding : padding + w]
""",
    ),
    "flipped kernel": (
        "conv2d",
        "flipped-kernel",
        """
def conv2d_backward(dy, cache):
    dx, dweight, dbias = solution["conv2d_backward"](dy, cache)
    return dx, dweight[:, :, ::-1, ::-1], dbias
""",
    ),
    "in place": (
        "relu",
        "in-place",
        """
def relu_forward(x):
    x[x < 0] = 0
    return x, x > 0
def relu_backward(dy, cache):
    return dy * cache
""",
    ),
    "shape": (
        "dense",
        "shape",
        """
def dense_backward(dy, cache):
    dx, dweight, dbias = solution["dense_backward"](dy, cache)
    return dx, dweight, dbias[:, np.newaxis]
""",
    ),
    "layout": (
        "conv2d",
        "layout",
        """
def conv2d_forward(x, weight, bias, stride, padding):
    y, cache = solution["conv2d_forward"](x, weight, bias, stride, padding)
    return y.transpose(3, 0, 1, 2), cache
""",
    ),
    "forward": (
        "max_pool",
        "forward-wrong",
        """
def max_pool_forward(x, window, stride):
    y, cache = solution["max_pool_forward"](x, window, stride)
    return y + 1, cache
""",
    ),
    "ties": (
        "max_pool",
        "ties",
        """
def max_pool_forward(x, window, stride):
    y, cache = solution["max_pool_forward"](x, window, stride)
    return y, (x, y, window, stride)
def max_pool_backward(dy, cache):
    x, y, window, stride = cache
    dx = np.zeros_like(x)
    for p in range(dy.shape[1]):
        for q in range(dy.shape[2]):
            block = np.s_[:, p * stride : p * stride + window, q * stride : q * stride + window]
            dx[block] += (x[block] == y[:, p : p + 1, q : q + 1]) * dy[:, p : p + 1, q : q + 1]
    return dx
""",
    ),
    "overflow": (
        "cross_entropy",
        "overflow",
        """
def softmax_cross_entropy(logits, labels):
    p = np.exp(logits) / np.exp(logits).sum(axis=0)
    return -np.log((p * labels).sum(axis=0)), p - labels
""",
    ),
    "mean of the losses": (
        "cross_entropy",
        "batch-mean",
        """
def softmax_cross_entropy(logits, labels):
    loss, dlogits = solution["softmax_cross_entropy"](logits, labels)
    return loss, dlogits / 3
""",
    ),
    "bias correction": (
        "adam",
        "bias-correction",
        """
def adam_update(parameter, gradient, m, v, step, learning_rate, beta1, beta2, epsilon):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    return parameter - learning_rate * m / (np.sqrt(v) + epsilon), m, v
""",
    ),
    "epsilon": (
        "adam",
        "epsilon",
        """
def adam_update(parameter, gradient, m, v, step, learning_rate, beta1, beta2, epsilon):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    a, b = m / (1 - beta1**step), v / (1 - beta2**step)
    return parameter - learning_rate * a / (np.sqrt(b) + epsilon), m, v
""",
    ),
    "adam in place": (
        "adam",
        "in-place",
        """
def adam_update(parameter, gradient, m, v, *others):
    new, new_m, new_v = solution["adam_update"](parameter, gradient, m, v, *others)
    m[:] = new_m
    return new, m, new_v
""",
    ),
    "1/sigma": (
        "es",
        "sigma",
        """
def es_gradient(loss, logits, labels, noise, sigma):
    total = 0
    for i in range(noise.shape[1]):
        total = total + loss(logits + sigma * noise[:, i], labels) * noise[:, i]
    return total / noise.shape[1]
""",
    ),
    "own baseline": (
        "leave_one_out",
        "baseline",
        """
def leave_one_out_gradient(loss, logits, labels, noise, sigma):
    n = noise.shape[1]
    f = np.stack([loss(logits + sigma * noise[:, i], labels) for i in range(n)])
    return ((f - f.mean(axis=0)) * noise).mean(axis=1) / sigma
""",
    ),
    "two calls": (
        "taylor",
        "estimator-calls",
        """
def taylor_loss(logits, labels, estimator):
    return (estimator(logits, labels)[1] * logits).sum(axis=0), estimator(logits, labels)[1]
""",
    ),
    "upstream": (
        "override",
        "upstream-ignored",
        """
def override_backward(dloss, cache):
    return solution["override_backward"](np.ones_like(dloss), cache)
""",
    ),
    "transposed": (
        "vjp",
        "shape",
        """
def vjp_gradients(*inputs):
    dweight1, dbias1, dweight2, dbias2 = solution["vjp_gradients"](*inputs)
    return dweight1.reshape(-1), dbias1, dweight2, dbias2
""",
    ),
    "1/K": (
        "target",
        "constant-factor",
        """
def target_gradient(logits, labels, estimator, rate):
    targets, dlogits = solution["target_gradient"](logits, labels, estimator, rate)
    return targets, 2 * (logits - targets)
""",
    ),
}


@pytest.mark.parametrize("mistake", MATHEMATICS)
def test_a_mistake_is_named(student, mistake):
    task, code, text = MATHEMATICS[mistake]
    result = mark(student(text), (task,))
    (found,) = result.tasks
    assert (found.status, found.points) == ("failed", 0)
    assert code in {finding.code for finding in found.findings}, report(result)
    assert all(finding.hint for finding in found.findings)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_mistake_is_named_in_every_layout(student, layout):
    text = MATHEMATICS["sign"][2]
    (found,) = mark(student(text, layout), ("dense",)).tasks
    assert [finding.code for finding in found.findings] == ["wrong-sign"]


def test_every_code_has_a_hint():
    """And none gives the code away: a hint is a question or a pointer, without an equation."""
    codes = {code for _, code, _ in MATHEMATICS.values()}
    codes |= {code for task in TASKS.values() for code in task.hints}
    for source in (ROOT / "lenet_np" / "gradcheck").rglob("*.py"):
        codes |= set(
            re.findall(r'(?:Finding|Guess)\(\s*"([a-z-]+)"', source.read_text(encoding="utf-8"))
        )
    for code in codes:
        assert hint("conv2d", code)
    for text in HINTS.values():
        assert "np." not in text
        assert ".sum(" not in text


# --- accidents ----------------------------------------------------------------------------------

ACCIDENTS = {
    "endless loop": ("time-limit", "while True:", "while True:\n        pass"),
    "loop in C": ("time-limit", "sleep(1e6)", "import time; time.sleep(1e6)"),
    "sys.exit": ("exit", "sys.exit(0)", "import sys; sys.exit(0)"),
    "os._exit": ("exit", None, "import os; os._exit(0)"),
    "exception": ("exception", "1 / 0", "1 / 0"),
    "reads stdin": ("input", "input()", "input()"),
    "floods": ("output-flood", None, "while True:\n        print('x' * 1000)"),
    "crashes": ("crash", "string_at(0)", "import ctypes; ctypes.string_at(0)"),
    "no return": ("none", None, "return None, 0"),
    "endless recursion": ("exception", None, "return relu_forward(x)"),
}


def accident(body):
    return f"""
def relu_forward(x):
    {body}
    return solution["relu_forward"](x)
"""


@pytest.mark.parametrize("kind", ACCIDENTS)
def test_an_accident_fails_its_task_and_no_other(student, kind):
    code, line, body = ACCIDENTS[kind]
    if kind == "crashes" and sys.platform == "win32":
        pytest.skip("an access violation is an OSError there")
    limits = Limits(2.0 if "loop" in kind else 20.0)
    result = mark(student(accident(body)), ("relu", "dense"), limits=limits)
    relu, dense = result.tasks
    assert relu.status == "failed", report(result)
    assert [finding.code for finding in relu.findings][:1] == [code]
    assert line is None or line in str(relu.findings[0].line)
    assert dense.status == "passed", report(result)


@pytest.mark.skipif(sys.platform != "linux", reason="the system cannot limit memory reliably")
def test_a_memory_hog_fails_its_task_and_no_other(student):
    hog = accident("return np.ones((50_000, 50_000)), x")  # 20 GB
    result = mark(student(hog), ("relu", "dense"), limits=Limits(20.0, 1024))
    assert [task.status for task in result.tasks] == ["failed", "passed"], report(result)
    (finding,) = result.tasks[0].findings
    assert finding.code == "memory-limit"
    assert "np.ones" in finding.line


def test_missing_memory_limits_are_said(student, monkeypatch):
    """A system may refuse the limit, or not have it; the marking then says so and goes on."""
    if sys.platform != "win32":

        def refuse(*_):
            raise ValueError("not here")

        monkeypatch.setattr("resource.setrlimit", refuse)
        assert not child._limit_memory(1024)
    loaded = {"remarks": [], "layout": "nchw", "functions": [], "unwritten": []}
    loaded["package_imports"] = []
    answer = process.Answer({**loaded, "memory_limited": False}, None, "", False)
    monkeypatch.setattr("lenet_np.coursework.mark.run", lambda *_: answer)
    notes = mark(student(), ("relu",), limits=Limits(1.0, 512)).notes
    assert notes == ("this system cannot limit a task's memory to 512 MB",)


def test_prints_are_shown_apart_and_cannot_pass_for_a_result(student):
    noise = (
        'print(\'{"remarks": [], "memory_limited": true}\'); import os; os.write(1, b"raw\\n"); '
        "print('\\x1b[31mred', chr(228)); return None, x"
    )
    result = mark(student(accident(noise)), ("relu",))
    (relu,) = result.tasks
    assert relu.findings[0].code == "none"
    assert "raw\n" in relu.output
    assert "ä" in relu.output
    assert "\x1b" not in relu.output
    assert "It printed:" in report(result)


def test_long_prints_are_cut(student):
    (relu,) = mark(student(accident("print('x' * 100)")), ("relu",)).tasks
    assert relu.status == "passed"
    assert relu.output_cut
    assert len(relu.output) == process.KEPT


def test_a_child_left_running_does_not_hold_up_the_marking(student):
    leaver = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    )
    assert mark(student(leaver), ("relu",), limits=Limits(20.0)).passed


def test_files_that_a_student_writes_do_not_stay(student, tmp_path):
    file = student(accident("open('left', 'w').close()"))
    assert mark(file, ("relu",)).passed
    assert [path.name for path in tmp_path.iterdir()] == ["exercise.py"]


def test_a_file_may_import_its_neighbours(student, tmp_path):
    (tmp_path / "helper.py").write_text("def twice(x):\n    return 2 * x\n")
    assert mark(student("from helper import twice\n"), ("relu",)).passed


def test_wrong_arguments_are_said(student):
    (relu,) = mark(student("def relu_forward():\n    pass\n"), ("relu",)).tasks
    assert relu.findings[0].code == "signature"


# --- files that cannot be marked ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("def f(:\n", "syntax", "exercise.py:8: def f(:"),
        ("return\n", "syntax", "exercise.py:8: return"),
        ("x = '\0'\n", "syntax", ""),
        ("import no_such_module\n", "exception", "exercise.py:8: import no_such_module"),
        ("raise SystemExit\n", "exit", "exercise.py:8: raise SystemExit"),
        ("while True:\n    pass\n", "time-limit", "exercise.py:"),
        ("x = input()\n", "input", "exercise.py:8: x = input()"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_said_once(student, text, code, line):
    result = mark(student(text), limits=Limits(2.0))
    assert result.problem.code == code
    assert (result.problem.line or "").startswith(line)
    assert {task.status for task in result.tasks} == {"failed"}
    assert result.points == 0
    assert report(result).count(f"[{code}]") == 1


def test_a_missing_function_is_not_attempted(student):
    result = mark(student("del relu_backward\n"), ("relu", "dense"))
    assert [task.status for task in result.tasks] == ["not attempted", "passed"]
    assert "relu_backward cannot be found" in report(result)


def test_a_half_written_task_says_which_half(student):
    half = "def relu_backward(dy, cache):\n    raise NotImplementedError\n"
    result = mark(student(half), ("relu",))
    assert result.tasks[0].status == "not attempted"
    assert "relu_backward is not written yet" in report(result)


def test_the_layout_must_be_named(student):
    assert mark(student("LAYOUT = 'nchw'\n"), ("relu",)).layout == "nchw"
    unknown = mark(student("LAYOUT = 'diagonal'\n"), ("relu",))
    assert unknown.problem.code == "no-layout"
    assert "diagonal" in unknown.problem.message
    file = student()
    file.write_text("import numpy as np\n")
    assert mark(file, ("relu",)).problem.code == "no-layout"
    assert mark(file, ("relu",), "nchw").problem is None


def test_files_that_import_the_solutions_are_named(student):
    assert "line 2 imports lenet_np, which holds the solutions" in mark(student(), ("relu",)).notes


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
        *("name", "status", "points", "of", "findings", "output", "output_cut")
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


def test_list_names_every_task(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(task.teaches in out for task in TASKS.values())


# --- pytest -------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path):
    """A folder that makes Python believe that lenet_np is installed, entry points and all."""
    announce_installation(tmp_path / "site")
    return [str(tmp_path / "site"), str(ROOT)]


def run_pytest(folder, path, *words):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--pyargs", "lenet_np.coursework", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTEST_ADDOPTS": ""}
    return subprocess.run(
        command, cwd=elsewhere, env=environment, capture_output=True, encoding="utf-8", check=False
    )


def test_pytest_marks_a_students_file(student, tmp_path, installed):
    file = student(MATHEMATICS["sign"][2])
    words = ("--student", str(file), "--strict-markers", "-W", "error", "-m")
    good = run_pytest(tmp_path, installed, *words, "relu")
    assert "1 passed, 12 deselected" in good.stdout, good.stdout + good.stderr
    bad = run_pytest(tmp_path, installed, *words, "dense")
    assert "wrong-sign" in bad.stdout
    assert "1 failed, 12 deselected" in bad.stdout


def test_pytest_without_an_installation_takes_the_plugin_by_name(student, tmp_path, installed):
    words = ("-p", "lenet_np.coursework.plugin", "--student", str(student()), "-m", "relu")
    for path in ([str(ROOT)], installed):  # and it is not loaded twice where it is installed
        ran = run_pytest(tmp_path, path, *words)
        assert "1 passed" in ran.stdout, ran.stdout + ran.stderr


def test_pytest_without_a_file_skips(tmp_path, installed):
    ran = run_pytest(tmp_path, installed, "-rs", "-W", "error", "--strict-markers")
    assert f"{len(TASKS)} skipped" in ran.stdout, ran.stdout + ran.stderr
    assert "name it with --student FILE" in ran.stdout


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
    assert PAGE.count("0 of 20 points\n") == 5  # and one of 20


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
