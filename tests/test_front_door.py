"""``python -m lenet_np``: the list of commands, and no traceback whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

import lenet_np
from lenet_np import __main__ as door

CHECKOUT = Path(lenet_np.__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT)}


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_every_command_has_its_line(capsys, words):
    assert door.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == list(door.COMMANDS)


@pytest.mark.parametrize("name", door.COMMANDS)
def test_every_command_is_there(name):
    assert find_spec(f"lenet_np.tools.commands.{name}")


def test_the_version(capsys):
    assert door.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lenet_np {lenet_np.__version__}\n"


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [
        ("trian", "; did you mean train?"),
        ("TRAIN", "; did you mean train?"),
        ("--doctor", "; did you mean doctor?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_an_unknown_command_is_one_line_with_the_nearest_name(capsys, word, suggestion):
    assert door.main([word]) == 2
    expected = (
        f"python -m lenet_np: no command {word!r}{suggestion} (python -m lenet_np lists them)\n"
    )
    assert capsys.readouterr() == ("", expected)


@pytest.fixture
def command(monkeypatch):
    """Enter a command with the given ``main`` into the table, as ``mine``."""

    def enter(main) -> None:
        module = SimpleNamespace(main=main)
        monkeypatch.setitem(sys.modules, "lenet_np.tools.commands.mine", module)
        monkeypatch.setitem(door.COMMANDS, "mine", "do it")

    return enter


def test_the_words_go_to_the_command_and_its_status_comes_back(command):
    seen = []
    command(lambda words: seen.append(words) or 4)
    assert door.main(["mine", "--a", "b"]) == 4
    assert seen == [["--a", "b"]]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "python -m lenet_np: interrupted\n"),
        (OSError(28, "disk full"), 1, "python -m lenet_np: [Errno 28] disk full\n"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_what_a_command_lets_through_is_at_most_one_line(command, capsys, error, status, message):
    def main(words):
        raise error

    command(main)
    assert door.main(["mine"]) == status
    assert capsys.readouterr() == ("", message)


def test_a_command_that_cannot_be_imported_sends_to_the_doctor(monkeypatch, capsys):
    monkeypatch.setitem(door.COMMANDS, "mine", "do it")
    assert door.main(["mine"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("python -m lenet_np: mine cannot start: ")
    assert "No module named 'lenet_np.tools.commands.mine'" in printed
    assert "python -m lenet_np doctor" in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("trian", 2),
        ("benchmark --turns 0", 2),
        ("coursework check nowhere.py", 1),
        ("evaluate nowhere", 1),
        ("plot nowhere", 1),
        ("predict nowhere a.png", 1),
        ("study diagrams --out file", 1),
        ("train --resume nowhere", 1),
    ],
)
def test_errors_do_not_come_out_among_the_results(words, status, monkeypatch, capsys, tmp_path):
    """Where the shell has closed stderr (2>&-), it is None, and print() would take stdout."""
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    monkeypatch.setattr(sys, "stderr", None)
    try:
        found = door.main(words.split())
    except SystemExit as stop:
        found = stop.code
    assert (found, capsys.readouterr().out) == (status, "")


def test_the_listing_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from lenet_np.__main__ import main\n"
        "main([])\n"
        "print(sorted({'numpy', 'scipy', 'matplotlib', 'requests', 'argparse'} & {*sys.modules}))\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    assert printed.endswith("\n[]\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a single process")
def test_ctrl_c_during_an_import_is_one_line(tmp_path):
    """The module turns the interruption into an ImportError, as NumPy does."""
    (tmp_path / "slow.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    raise ImportError from None\n"
    )
    code = (
        # A shell in the background lets the tests and their children ignore it.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from lenet_np import __main__ as door\n"
        "from lenet_np.tools import commands\n"
        f"commands.__path__.append({str(tmp_path)!r})\n"
        "door.COMMANDS['slow'] = ''\n"
        "sys.exit(door.main(['slow']))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (130, "python -m lenet_np: interrupted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX pipe")
@pytest.mark.parametrize("words", [[], ["doctor", "--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_left_is_no_error(words, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "lenet_np", *words],
            env={**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (0, "")
