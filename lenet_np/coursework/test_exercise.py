"""The tasks as tests: ``pytest --pyargs lenet_np.coursework --student FILE -m conv2d``.

They mark a student's file, and are skipped without one. The package's own tests are elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lenet_np.coursework.mark import mark
from lenet_np.coursework.report import report
from lenet_np.coursework.tasks import TASKS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each task, and mark it where the plugin has registered the markers."""
    if metafunc.config.getoption("student", None) is None:
        metafunc.parametrize("task", list(TASKS))
    else:
        marked = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in TASKS]
        metafunc.parametrize("task", marked)


@pytest.fixture
def student(request: pytest.FixtureRequest) -> Path:
    """The student's file."""
    name = request.config.getoption("student", None)
    if name is None:
        pytest.skip("marks an exercise file: name it with --student FILE")
    path = Path(request.config.invocation_params.dir, name)
    if not path.is_file():
        pytest.fail(f"--student {name}: there is no such file", pytrace=False)
    return path


def test_task(student: Path, task: str) -> None:
    """Mark one task."""
    result = mark(student, (task,))
    if not result.passed:
        pytest.fail(report(result), pytrace=False)
