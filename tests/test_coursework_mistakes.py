"""Coursework: each mistake gets its name, and no accident harms another task or the marking."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from broken_exercises import MATHEMATICS

import lenet_np
from lenet_np.coursework import child, process
from lenet_np.coursework.hints import HINTS
from lenet_np.coursework.mark import mark
from lenet_np.coursework.process import Limits
from lenet_np.coursework.report import report
from lenet_np.coursework.task import STATUS
from lenet_np.coursework.tasks import TASKS
from lenet_np.tools.commands.coursework import main

PACKAGE = Path(lenet_np.__file__).parent

# --- mistakes in the mathematics ----------------------------------------------------------------


@pytest.mark.parametrize("mistake", MATHEMATICS)
def test_a_mistake_is_named(student, mistake):
    task, code, text = MATHEMATICS[mistake]
    result = mark(student(text), (task,))
    (found,) = result.tasks
    assert found.status == "failed"
    assert found.points < found.of == TASKS[task].points
    assert code in {finding.code for finding in found.findings}, report(result)
    assert all(finding.hint for finding in found.findings if finding.code not in STATUS)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_mistake_is_named_in_every_layout(student, layout):
    text = MATHEMATICS["sign"][2]
    (found,) = mark(student(text, layout), ("dense",)).tasks
    assert [finding.code for finding in found.findings] == ["wrong-sign"]


def test_every_code_has_a_hint():
    """And none gives the code away: a hint is a question or a pointer, without an equation."""
    codes = {code for _, code, _ in MATHEMATICS.values()}
    codes |= {code for task in TASKS.values() for code in task.hints}
    for source in (PACKAGE / "gradcheck").rglob("*.py"):
        codes |= set(
            re.findall(r'(?:[Ff]inding|Guess)\(\s*"([a-z-]+)"', source.read_text(encoding="utf-8"))
        )
    for code in codes:
        assert HINTS[code]
    for text in HINTS.values():
        assert "np." not in text
        assert ".sum(" not in text


# --- parts --------------------------------------------------------------------------------------


def statuses(task):
    return [part.status for part in task.parts]


def test_a_wrong_bias_gradient_alone_costs_its_own_points(student):
    (conv2d,) = mark(student(MATHEMATICS["missing sum"][2]), ("conv2d",)).tasks
    assert [part.name for part in conv2d.parts if part.status != "passed"] == ["gradient of bias"]
    assert (conv2d.points, conv2d.of) == (18, 20)


def test_a_gradient_that_is_right_counts_though_the_forward_pass_is_wrong(student):
    (pool,) = mark(student(MATHEMATICS["forward"][2]), ("max_pool",)).tasks
    assert statuses(pool) == ["failed", "passed", "passed", "passed", "passed"]


def test_what_cannot_be_judged_says_so(student):
    """The gradient is that of the forward pass that is wrong: that earns nothing, and says why."""
    wrong = """
def relu_forward(x):
    return 3 * x, x
def relu_backward(dy, cache):
    return 3 * dy
"""
    result = mark(student(wrong), ("relu",))
    assert statuses(result.tasks[0]) == ["failed", *["not judged"] * 3]
    assert "the gradient of x waits for a forward pass that is right" in report(result)


def test_functions_that_only_return_zeros_earn_nothing(tmp_path):
    text = "import numpy as np\nLAYOUT = 'batch-last'\n"
    forward = {"dense": "np.zeros((5, 3)), x", "relu": "0 * x, x", "max_pool": "0 * x[:, :2], x"}
    for task in TASKS.values():
        for name in task.functions:
            value = forward.get(task.name) if name.endswith("forward") else None
            text += f"def {name}(x, *others):\n    return {value or 'np.zeros((4, 3))'}\n"
    file = tmp_path / "exercise.py"
    file.write_text(text)
    result = mark(file, jobs=2)
    assert result.points == 0, report(result)


def test_a_part_that_was_judged_stands_when_a_later_one_never_ends(student):
    endless = "def relu_backward(dy, cache):\n    while True: pass\n"
    result = mark(student(endless), ("relu",), limits=Limits(2.0))
    assert statuses(result.tasks[0]) == ["passed", *["not judged"] * 3]
    assert result.points == 2
    assert "[time-limit]" in report(result)


# --- accidents ----------------------------------------------------------------------------------

ACCIDENTS = {
    "endless loop": ("time-limit", "while True:", "while True: pass"),
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
    finding, *_ = result.tasks[0].findings
    assert finding.code == "memory-limit"
    assert "np.ones" in finding.line


def test_missing_memory_limits_are_said(student, monkeypatch):
    """A system may refuse the limit, or not have it; the marking then says so and goes on."""
    if sys.platform != "win32":

        def refuse(*_):
            raise ValueError("not here")

        monkeypatch.setattr("resource.setrlimit", refuse)
        assert not child._limit_memory(1024)
    loaded = {"layout": "nchw", "functions": [], "unwritten": [], "notes": []}
    answer = process.Answer({**loaded, "memory_limited": False}, (), "", False)
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
    result = mark(student("del relu_forward, relu_backward\n"), ("relu", "dense"))
    assert [task.status for task in result.tasks] == ["not attempted", "passed"]
    assert "relu_backward cannot be found" in report(result)


def test_a_half_written_task_says_which_half(student):
    half = "def relu_backward(dy, cache):\n    raise NotImplementedError\n"
    result = mark(student(half), ("relu",))
    assert statuses(result.tasks[0])[:2] == ["passed", "not attempted"]
    assert result.points == 2
    assert report(result).count("relu_backward is not written yet") == 1
    result = mark(student("del relu_backward\n"), ("relu",))
    assert result.points == 2
    assert report(result).count("relu_backward cannot be found") == 1


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


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\nimportlib.import_module('lenet_np.ops')\n",
        "__import__('lenet_np')\n",
        "exec('from lenet_np import ops')\n",
        "from lenet_np.ops import relu_forward\n",
    ],
)
def test_every_kind_of_import_of_the_solutions_is_named(tmp_path, text):
    exercise_file = tmp_path / "exercise.py"
    exercise_file.write_text(f"LAYOUT = 'nchw'\n{text}")
    notes = mark(exercise_file, ("relu",)).notes
    line = text.count("\n") + 1
    assert notes == (f"line {line} imports lenet_np, which holds the solutions",)


def test_imports_by_a_module_beside_the_file_are_named(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "layers.py").write_text("x = 1\ndef f():\n    import lenet_np.ops\n")
    (tmp_path / "innocent.py").write_text("import lenet_np\n")  # another student's
    exercise_file = tmp_path / "exercise.py"
    exercise_file.write_text("LAYOUT = 'nchw'\ndef f():\n    from mine import layers\n")
    notes = mark(exercise_file, ("relu",)).notes
    assert notes == ("layers.py, line 3 imports lenet_np, which holds the solutions",)
    exercise_file.write_text("LAYOUT = 'nchw'\nprint('lenet_np', 'from afar')\n")
    assert mark(exercise_file, ("relu",)).notes == ()


def test_what_stands_under_the_name_in_the_end_is_attempted(student):
    stub = "def relu_forward(x):\n    raise NotImplementedError\n"
    other = "def mine(x):\n    return solution['relu_forward'](x)\n"
    (relu,) = mark(student(f"{stub}{other}relu_forward = mine\n"), ("relu",)).tasks
    assert relu.status == "passed"
    (relu,) = mark(
        student(f"{stub}if True:\n    {stub.replace('    ', '        ')}"), ("relu",)
    ).tasks
    assert relu.status == "not attempted"


# --- what a student's process may leave behind --------------------------------------------------

#: Where a task's process finds the folder in which its result is expected.
FOLDER = "import json, os, pathlib, sys\nfolder = pathlib.Path(json.loads(sys.argv[1])['folder'])\n"


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        '"text"',
        "{}",
        '{"memory_limited": true}',
        '{"memory_limited": 1, "remarks": []}',
        '{"memory_limited": true, "remarks": 5}',
        '{"memory_limited": true, "remarks": [5]}',
        '{"memory_limited": true, "remarks": [{"code": 1, "message": "m"}]}',
        '{"memory_limited": true, "remarks": [{"code": "c", "message": null}]}',
        '{"memory_limited": true, "remarks": [{"code": "c", "message": "m", "line": 3}]}',
        '{"memory_limited": true, "remarks": [{"code": "c", "message": "m", "more": 3}]}',
        '{"memory_limited": true, "remarks": [], "layout": 7}',
        '{"memory_limited": true, "remarks": [], "layout": "nchw", "functions": {"a": 1}}',
        "[" * 100_000,
        '{"memory_limited": true, "remarks": "' + "x" * 2_000_000 + '"}',
        "\\xff",
    ],
)
def test_a_malformed_result_is_called_that(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    for task in (None, "relu") if "layout" not in content else (None,):
        result, (remark,) = process._read_result(tmp_path / "result.json", task)
        assert (result, remark.code) == ({}, "result")


def test_a_malformed_result_fails_the_file_and_no_other(tmp_path, capsys):
    forger, good = tmp_path / "forger.py", tmp_path / "good.py"
    forger.write_text(f"{FOLDER}(folder / 'result.json').write_text('[3]')\nos._exit(0)\n")
    good.write_text("LAYOUT = 'nchw'\n")
    assert main(["check", str(forger), str(good), "--task", "relu", "--json"]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["problem"]["code"] == "result"
    assert second["problem"] is None


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_a_result_that_is_a_pipe_is_not_waited_for(student):
    pipe = f"{FOLDER}os.mkfifo(folder / 'result.json')\nos._exit(0)\n"
    assert mark(student(pipe), ("relu",)).problem.code == "result"


ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e\r"


@pytest.mark.parametrize(
    "text",
    [
        "raise ValueError('\\x1b]0;owned\\x07\\x1b[2J\\u202e\\r')\n",
        f"1 / 0  # {ESCAPE.strip()}\n",
        f"raise ValueError # {ESCAPE}\n",
        "def relu_forward(x):\n    raise ValueError('\\x1b[2J')\n",
        "def relu_forward(x):\n    raise TypeError('\\x1b[2J')\n",
        "class relu_forward:\n    def __init__(self, x):\n        raise SystemExit('\\x1b[2J')\n",
        "LAYOUT = '\\x1b[2J'\n",
    ],
)
def test_control_characters_never_reach_the_terminal(student, text, capsys):
    file = student(text, name="\x1b[31mred.py" if sys.platform != "win32" else "exercise.py")
    main(["check", str(file), "--task", "relu"])
    main(["check", str(file), "--task", "relu", "--json"])
    if sys.platform != "win32":
        damaged = student("", name="\x1b[31mred.zip")
        assert main(["check", str(damaged)]) == 1
    captured = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in captured.out + captured.err)


@pytest.mark.parametrize(
    "text",
    [
        "raise ValueError('x' * 24_000_000)\n",
        "def relu_forward(x):\n    raise ValueError('x ' * 12_000_000)\n",
        "def relu_forward(x):\n    raise TypeError('x' * 24_000_000)\n",
        "def relu_forward(x):\n    raise ValueError('x\\n' * 12_000_000)\n",
        "LAYOUT = '" + "x" * 200_000 + "'\n",
        "y = 1 / 0 #" + "x" * 200_000 + "\n",
    ],
)
def test_long_messages_are_cut(student, text):
    result = mark(student(text), ("relu",))
    assert not result.passed
    assert len(json.dumps(result.as_dict())) < 10_000
    assert len(report(result)) < 15_000


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"  # ended, but nobody has asked yet


@pytest.mark.skipif(sys.platform != "linux", reason="the page says that it is not done elsewhere")
@pytest.mark.parametrize("end", ["return solution['relu_forward'](x)", "while True: pass"])
def test_processes_in_a_session_of_their_own_end_with_the_task(student, tmp_path, end):
    pids = tmp_path / "pids"
    leaver = f"""
import os, subprocess, sys
def relu_forward(x):
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    one = subprocess.Popen(sleep, start_new_session=True)
    if os.fork() == 0:  # the way of daemons: a child of a child, in a session of its own
        os.setsid()
        if os.fork() == 0:
            with open({str(pids)!r}, "a") as file:
                print(os.getpid(), one.pid, file=file)
            os.execv(sys.executable, sleep)
        os._exit(0)
    {end}
"""
    mark(student(leaver), ("relu",), limits=Limits(3.0))
    left = [int(pid) for pid in pids.read_text().split()]
    assert len(left) >= 2
    assert not [pid for pid in left if is_running(pid)]


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_a_pipe_is_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.py")
    assert main(["check", str(tmp_path / "pipe.py"), "--task", "relu"]) == 1
    assert "cannot be read: it is not a file" in capsys.readouterr().err
    assert main(["check", str(tmp_path), "--task", "relu"]) == 1  # a folder that holds one
    assert "[no-exercise]" in capsys.readouterr().out
