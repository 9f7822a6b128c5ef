"""The pytest option ``--student FILE`` and a marker for each task.

``pytest --pyargs lenet_np.coursework --student FILE -m conv2d``. pytest reads options before it
looks for packages, so a conftest beside the tests would come too late: this is a plugin, which an
installed lenet_np announces, and which ``-p lenet_np.coursework.plugin`` loads otherwise.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("lenet_np").addoption(
        "--student",
        metavar="FILE",
        help="exercise file for the tests of lenet_np.coursework to mark; this runs its code",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, where they are of use: runs of other projects are left alone."""
    if config.getoption("student") is None:
        return
    from lenet_np.coursework.tasks import TASKS

    for task in TASKS.values():
        config.addinivalue_line("markers", f"{task.name}: lenet_np coursework, {task.teaches}")
