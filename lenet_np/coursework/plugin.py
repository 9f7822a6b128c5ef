"""The pytest option ``--student FILE`` and a marker for each task, loaded on request.

``pytest -p lenet_np.coursework.plugin --pyargs lenet_np.coursework --student FILE -m conv2d``
"""

from __future__ import annotations

import pytest

from .tasks import TASKS


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option. A conftest beside the tests would be read after the options."""
    parser.getgroup("lenet_np").addoption(
        "--student", metavar="FILE", help="exercise file to mark; this runs the code in it"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for task in TASKS.values():
        config.addinivalue_line("markers", f"{task.name}: lenet_np coursework, {task.teaches}")
