"""What tests share: no network, MNIST where it is, the table of gradient errors, a student."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from student import SOLUTION

from lenet_np.data import mnist
from lenet_np.data.download import Fingerprint
from lenet_np.data.mnist import MnistFile
from lenet_np.gradcheck import check as check_gradient

ERRORS = pytest.StashKey[dict[str, float]]()


# --- gradient checks ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def gradient_errors(request) -> dict[str, float]:
    """The worst relative error of each operation; printed when the tests are over."""
    return request.config.stash.setdefault(ERRORS, {})


@pytest.fixture
def check(gradient_errors):
    """`gradcheck.check`, which must pass; its error is entered into the table under ``name``."""

    def run(name, forward, backward, inputs, **options):
        report = check_gradient(forward, backward, inputs, seed=20, **options)
        report.raise_if_failed()
        worst = max(entry.relative_error for entry in report.inputs)
        gradient_errors[name] = max(worst, gradient_errors.get(name, 0.0))
        return report

    return run


def pytest_terminal_summary(terminalreporter, config):
    errors = config.stash.get(ERRORS, {})
    if not errors:
        return
    width = max(map(len, errors))
    terminalreporter.section("gradient checks: worst relative error")
    for name, error in sorted(errors.items()):
        terminalreporter.write_line(f"{name:{width}}  {error:.1e}")
    terminalreporter.write_line(f"{'max':{width}}  {max(errors.values()):.1e}")


# --- no network ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Fail the test if it opens a connection to anything but 127.0.0.1, even if it hides it."""
    attempts = []

    def guard(method):
        def connect(self, address):
            # Local sockets have a path for an address.
            if isinstance(address, tuple) and address[0] != "127.0.0.1":
                attempts.append(address)
                raise ConnectionRefusedError(f"tests must not connect to {address}")
            return method(self, address)

        return connect

    monkeypatch.setattr(socket.socket, "connect", guard(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guard(socket.socket.connect_ex))
    yield attempts
    if attempts:
        pytest.fail(f"the test tried to connect to {attempts}")


# --- MNIST --------------------------------------------------------------------------------------


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
    """Put four small files into a folder, and expect them in MNIST's place."""
    folder = tmp_path / "small"
    folder.mkdir()
    files = []
    for index, file in enumerate(mnist.FILES):
        shape = (6,) if index % 2 else (6, 28, 28)
        content = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
        content += bytes(int(np.prod(shape)))
        (folder / file.name).write_bytes(content)
        fingerprint = Fingerprint(len(content), hashlib.sha256(content).hexdigest())
        files.append(MnistFile(file.name, fingerprint, fingerprint))
    monkeypatch.setattr(mnist, "FILES", tuple(files))
    monkeypatch.setattr(mnist, "VALIDATION_SIZE", 2)
    return folder


def missing_mnist() -> str | None:
    """Say why the real MNIST cannot be used, or None if it can."""
    folder = os.environ.get("LENET_NP_DATA")
    if not folder:
        return "needs MNIST: set LENET_NP_DATA to its folder"
    for file in mnist.FILES:
        if not any((Path(folder) / name).is_file() for name in (file.name, f"{file.name}.gz")):
            return f"needs MNIST: {file.name}.gz is not in LENET_NP_DATA ({folder})"
    return None


def pytest_collection_modifyitems(items):
    reason = missing_mnist()
    if reason:
        for item in items:
            if item.get_closest_marker("mnist"):
                item.add_marker(pytest.mark.skip(reason=reason))


# --- coursework ---------------------------------------------------------------------------------


@pytest.fixture
def student(tmp_path):
    """Write a student's file: the solution, and below it what the student does otherwise."""

    def write(text="", layout="batch-last", name="exercise.py"):
        file = tmp_path / name
        file.write_text(SOLUTION.format(layout=layout) + text, encoding="utf-8")
        return file

    return write
