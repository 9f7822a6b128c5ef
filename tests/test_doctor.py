"""The doctor sees what is wrong, says what to do, and never breaks itself."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

import lenet_np
from lenet_np.__main__ import main
from lenet_np.data import DataError, load_mnist, mnist
from lenet_np.data.mnist import MissingDataError
from lenet_np.tools.cli import machine
from lenet_np.tools.cli.screen import reason
from lenet_np.tools.commands import doctor
from lenet_np.tools.commands.doctor import FAIL, OK, WARN, Check

CHECKOUT = Path(lenet_np.__file__).parent.parent


@pytest.fixture(autouse=True)
def surrounded(monkeypatch, tmp_path):
    """Give each test a current folder and a cache of its own, and no data folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mnist, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LENET_NP_DATA", raising=False)


# --- packages -----------------------------------------------------------------------------------


def not_installed(name):
    raise metadata.PackageNotFoundError(name)


def test_the_doctor_knows_every_required_package(monkeypatch):
    monkeypatch.setattr(metadata, "distribution", not_installed)
    bounds = doctor.lower_bounds()
    assert list(bounds) == ["python", *doctor.PACKAGES]
    assert bounds["numpy"] == "1.26"


def test_the_bounds_of_an_installed_package_come_from_its_metadata(monkeypatch):
    installed = SimpleNamespace(
        metadata={"Requires-Python": ">=3.11"},
        requires=["numpy>=1.26", 'pytest>=7.4; extra == "test"', "odd"],
    )
    monkeypatch.setattr(metadata, "distribution", lambda name: installed)
    assert doctor.lower_bounds() == {"python": "3.11", "numpy": "1.26", "pytest": "7.4"}


def test_what_breaks_while_the_bounds_are_read_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(lenet_np, "__file__", str(tmp_path / "lenet_np" / "__init__.py"))
    monkeypatch.setattr(metadata, "distribution", not_installed)
    first, python, *_ = doctor.examine()
    assert (first.status, first.name) == (WARN, "requirements")
    assert python.status == OK


@pytest.fixture
def package(monkeypatch, tmp_path):
    """Make a package with the given source; return what the doctor says about it."""

    def look(source: str | None, bound: str | None = None, file: str = "__init__.py") -> Check:
        name = "examined_by_the_doctor"
        monkeypatch.setitem(doctor.PACKAGES, name, (name, FAIL, "nothing works"))
        monkeypatch.delitem(sys.modules, name, raising=False)
        path = tmp_path / "site" / (name if file == "__init__.py" else "") / file
        if source is not None:
            path.parent.mkdir(parents=True)
            path.write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path / "site")
        check = doctor.check_package(name, bound)
        sys.modules.pop(name, None)
        return check

    return look


@pytest.mark.parametrize(
    ("version", "bound", "status"),
    [
        ("1.26.0", "1.26", OK),
        ("1.26.0rc1", "1.26", OK),
        ("2.4.6", "1.26", OK),
        ("1.9", "1.26", FAIL),
        ("1.25.2", "1.26", FAIL),
        ("1.2", None, OK),
        ("unknown", "1.26", FAIL),
    ],
)
def test_versions_are_compared_by_their_numbers(package, version, bound, status):
    check = package(f"__version__ = {version!r}", bound)
    assert check.status == status
    assert version in check.text
    assert ("pip install --upgrade" in check.text) == (status == FAIL)


def test_a_missing_package_is_named_with_the_command_that_installs_it(package):
    check = package(None)
    assert check.status == FAIL
    assert check.text.startswith("missing, and nothing works without it")
    assert check.text.endswith(f'"{sys.executable}" -m pip install examined_by_the_doctor')


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise OSError('line\\n\\nline')", "OSError: line line"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import", "SyntaxError"),
        ("try:\n 1/0\nexcept Exception as e: raise ImportError('advice') from e", "ZeroDivision"),
    ],
)
def test_a_broken_import_is_one_line(package, capsys, source, why):
    check = package(source)
    assert check.status == FAIL
    assert check.text.startswith("broken, and nothing works without it: ")
    assert why in check.text
    assert "--force-reinstall" in check.text
    assert "\n" not in check.text


def test_what_a_package_prints_does_not_spoil_the_lines(package, capsys):
    check = package("import sys; print('noise'); print('x', file=sys.stderr); __version__ = '1'")
    assert check.status == OK
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("source", ["x = 1", "import no_such_module"])
def test_a_file_of_the_user_in_place_of_a_package_is_named(package, source):
    check = package(source, file="examined_by_the_doctor.py")
    assert check.status == FAIL
    assert "rename or move it" in check.text
    assert check.text.endswith("examined_by_the_doctor.py")


def test_an_old_python_is_refused():
    assert doctor.check_python({"python": "3.11"}).status == OK
    check = doctor.check_python({"python": "99.1"})
    assert check.status == FAIL
    expected = "{}.{}.{} is too old: 99.1 or newer is needed".format(*sys.version_info)
    assert check.text.startswith(expected)


def test_what_is_not_required_is_never_a_warning(monkeypatch):
    monkeypatch.setattr(doctor, "EXTRAS", {"no_such_module": "helps", "pytest": "tests"})
    missing, there = doctor.check_extras()
    assert missing.status == there.status == OK
    assert missing.text.endswith("-m pip install no_such_module")
    assert pytest.__version__ in there.text


# --- MNIST --------------------------------------------------------------------------------------


def make_whole(folder: Path) -> None:
    pass


def make_packed_like_torchvision(folder: Path) -> None:
    (folder / "MNIST").mkdir()
    (folder / "MNIST" / "raw").mkdir()
    for file in mnist.FILES:
        (folder / file.name).rename(folder / "MNIST" / "raw" / file.name)


def remove_one(folder: Path) -> None:
    (folder / mnist.FILES[2].name).unlink()


def truncate_one(folder: Path) -> None:
    os.truncate(folder / mnist.FILES[2].name, 100)


def change_a_byte(folder: Path) -> None:
    with open(folder / mnist.FILES[2].name, "r+b") as file:
        file.seek(100)
        file.write(b"x")


def remove_all(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def make_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    "damage",
    [
        make_whole,
        make_packed_like_torchvision,
        remove_one,
        truncate_one,
        change_a_byte,
        remove_all,
        make_a_file,
    ],
)
def test_the_doctor_foretells_what_loading_would_do(small_mnist, tmp_path, damage, named):
    """Its verdict is compared with `load_mnist`: loaded, missing, or refused."""
    folder = small_mnist
    if not named:
        folder = tmp_path / "cache" / "mnist"
        folder.parent.mkdir()
        small_mnist.rename(folder)
    damage(folder)
    data_dir = folder if named else None
    try:
        load_mnist(data_dir, download=False)
        expected = OK
    except MissingDataError:
        expected = WARN
    except DataError:
        expected = FAIL
    summary, *files = doctor.check_mnist(data_dir)
    assert summary.name == "MNIST"
    assert summary.status == expected
    assert str(folder) in summary.text
    worst = max((OK, WARN, FAIL).index(check.status) for check in (summary, *files))
    assert worst == (OK, WARN, FAIL).index(expected)
    if damage is not make_a_file:
        assert ("named by --data-dir" if named else "the cache folder") in summary.text
        assert [check.name for check in files] == [file.name for file in mnist.FILES]
    if damage in (remove_one, truncate_one, change_a_byte):
        assert [check.status for check in files] == [OK, OK, expected, OK]
    if damage in (truncate_one, change_a_byte):
        assert re.search(r"it is cut off|SHA-256", files[2].text)


def test_the_doctor_says_in_which_form_a_file_was_found(small_mnist):
    for name in (file.name for file in mnist.FILES):
        (small_mnist / name).rename(small_mnist / f"{name}.gz")
    _, first, *_ = doctor.check_mnist(small_mnist)
    assert first.text == "whole: train-images-idx3-ubyte.gz, unpacked, whatever its name says"


def test_the_order_of_the_places(small_mnist, monkeypatch, tmp_path):
    monkeypatch.setenv("LENET_NP_DATA", str(tmp_path / "other"))
    assert "named by LENET_NP_DATA" in next(iter(doctor.check_mnist(None))).text
    assert "named by --data-dir" in next(iter(doctor.check_mnist(small_mnist))).text


# --- the machine --------------------------------------------------------------------------------


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path):
    check = doctor.check_folder("runs", Path("runs"), doctor.RUN_DISK, FAIL)
    assert check.status == OK
    assert str(tmp_path / "runs") in check.text
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_stops_training(tmp_path):
    (tmp_path / "runs").write_text("a file")
    check = doctor.check_folder("runs", Path("runs"), doctor.RUN_DISK, FAIL)
    assert check.status == FAIL
    assert check.text.startswith("cannot write in")


def test_a_full_disk_stops_training_but_not_for_want_of_a_cache(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    assert doctor.check_folder("runs", Path("runs"), doctor.RUN_DISK, FAIL).status == FAIL
    assert doctor.check_cache().status == WARN
    assert (
        "1 MB free, 20 MB needed"
        in doctor.check_folder("runs", Path("runs"), doctor.RUN_DISK, FAIL).text
    )


@pytest.mark.parametrize(
    ("available", "status"), [(2 * 10**9, OK), (10**8, WARN), (None, OK), (0, WARN)]
)
def test_memory_is_compared_with_what_a_run_needs(monkeypatch, available, status):
    monkeypatch.setattr(machine, "available_memory", lambda: available)
    check = doctor.check_memory()
    assert check.status == status
    assert ("unknown" in check.text) == (available is None)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"meminfo": "MemTotal: 9 kB\nMemAvailable:   3000 kB\n"}, 3_072_000),
        ({"meminfo": "MemAvailable: 3000 kB\n", "memory.max": "max\n"}, 3_072_000),
        ({"meminfo": "MemAvailable: 3000 kB\n", "memory.max": "1000\n"}, 1000),
    ],
)
def test_the_memory_that_is_available(monkeypatch, files, expected):
    def read_text(path, **options):
        if path.name not in files:
            raise FileNotFoundError(path)
        return files[path.name]

    monkeypatch.setattr(Path, "read_text", read_text)
    assert machine.available_memory() == expected


def test_memory_is_unknown_where_nothing_tells(monkeypatch):
    def read_text(path, **options):
        raise PermissionError(path)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert machine.available_memory() is None


def test_a_blas_that_cannot_be_held_to_one_thread_is_a_warning(monkeypatch):
    assert [check.name for check in doctor.check_blas()] == ["processor", "BLAS", "threads"]
    monkeypatch.setattr(doctor, "blas_threads", lambda: None)
    monkeypatch.setattr(doctor, "default_threads", lambda: 1)
    _, blas, threads = doctor.check_blas()
    assert blas.status == WARN
    assert "cannot be held to one thread" in blas.text
    assert threads.text == "1 by default"


def test_the_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    text = doctor.check_terminal(stream).text
    assert text == "standard output is no terminal, encoding ascii, TERM dumb"


def test_the_first_of_several_causes_is_told():
    inner, middle, outer = (ImportError(text) for text in ("the cause", "advice", "more\nadvice"))
    outer.__cause__, middle.__cause__ = middle, inner
    assert reason(outer) == "ImportError: the cause"
    assert reason(ValueError()) == "ValueError"


# --- the command --------------------------------------------------------------------------------


def findings(monkeypatch, *checks: Check) -> None:
    monkeypatch.setattr(doctor, "examine", lambda data_dir: iter(checks))


@pytest.mark.parametrize(
    ("statuses", "status", "verdict"),
    [
        ([OK, OK], 0, "Ready: training can run."),
        ([OK, WARN], 0, "Ready: training can run (lines with warn: 1)."),
        ([WARN, FAIL], 1, "Not ready: training cannot run (thing 1)."),
    ],
)
def test_the_verdict_and_the_exit_status(monkeypatch, capsys, statuses, status, verdict):
    findings(monkeypatch, *(Check(s, f"thing {i}", "seen") for i, s in enumerate(statuses)))
    assert doctor.main([]) == status
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == verdict
    assert [line.split()[0] for line in lines] == statuses
    assert doctor.main(["--json"]) == status
    printed = json.loads(capsys.readouterr().out)
    assert printed["ready"] == (status == 0)
    assert [check["status"] for check in printed["checks"]] == statuses


def test_everything_is_looked_at_and_a_look_that_breaks_is_a_warning(
    monkeypatch, capsys, small_mnist
):
    def broken() -> Check:
        raise RuntimeError("no\nway")

    monkeypatch.setattr(doctor, "check_memory", broken)
    assert doctor.main(["--data-dir", str(small_mnist)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line[6:29].strip() for line in lines[:-1]]
    assert names[:6] == ["Python", "numpy", "scipy", "matplotlib", "requests", "pytest"]
    assert {"processor", "BLAS", "threads", "memory", "runs", "cache", "MNIST", "terminal"} < {
        *names
    }
    assert "warn  memory                   cannot be looked at: RuntimeError: no way" in lines


def test_ctrl_c_ends_it_in_one_line(monkeypatch, capsys):
    def interrupted(data_dir):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "python -m lenet_np: interrupted\n"


@pytest.mark.parametrize("words", [["--data-dir", ""], ["--dat", "x"], ["more"]])
def test_wrong_words_are_refused_in_one_line(capsys, words):
    with pytest.raises(SystemExit) as stop:
        doctor.main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_it_works_where_no_package_does(tmp_path):
    """In a process of its own, which can import nothing but the standard library."""
    code = (
        "import sys\n"
        "for name in ('numpy', 'scipy', 'matplotlib', 'requests', 'pytest'):\n"
        "    sys.modules[name] = None\n"
        "from lenet_np.__main__ import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("FAIL")] == ["numpy", "scipy"]
    assert lines[-1] == "Not ready: training cannot run (numpy, scipy)."
    assert any(line.startswith("ok    runs") for line in lines)
