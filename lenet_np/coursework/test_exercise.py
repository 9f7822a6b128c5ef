"""The tasks as tests of a student's file, which `plugin` names; without it they are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from .mark import mark
from .report import report
from .tasks import TASKS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each task, and mark it where the plugin has registered the markers."""
    marked = metafunc.config.pluginmanager.has_plugin("lenet_np.coursework.plugin")
    metafunc.parametrize(
        "task",
        [pytest.param(n, marks=getattr(pytest.mark, n) if marked else ()) for n in TASKS],
    )


def test_task(request: pytest.FixtureRequest, task: str) -> None:
    """Mark one task."""
    name = request.config.getoption("student", None)
    if name is None:
        pytest.skip("marks an exercise file: -p lenet_np.coursework.plugin --student FILE")
    file = Path(request.config.invocation_params.dir, name)
    if not file.is_file():
        pytest.fail(f"--student {name}: there is no such file", pytrace=False)
    result = mark(file, (task,))
    if not result.passed:
        pytest.fail(report(result), pytrace=False)
