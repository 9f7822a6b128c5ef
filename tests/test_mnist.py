"""MNIST found, verified and downloaded: against a server on this machine, never the network."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lenet_np.data import download, files, mnist
from lenet_np.data.dataset import DataError, Split
from lenet_np.data.download import Fingerprint
from lenet_np.data.mnist import MissingDataError, MnistFile, load_mnist

NAMES = [file.name for file in mnist.FILES]
FIRST = f"{NAMES[0]}.gz"
REAL_FILES = mnist.FILES


def fingerprint(content: bytes) -> Fingerprint:
    return Fingerprint(len(content), hashlib.sha256(content).hexdigest())


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def make_contents() -> dict[str, bytes]:
    """Four small files in MNIST's place: 12 images to learn from and 3 to test with."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (15, 28, 28), dtype=np.uint8)
    labels = (np.arange(15) % 10).astype(np.uint8)
    parts = (images[:12], labels[:12], images[12:], labels[12:])
    return {name: idx_bytes(part) for name, part in zip(NAMES, parts, strict=True)}


CONTENTS = make_contents()
PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}


@pytest.fixture(autouse=True)
def small_mnist(monkeypatch, tmp_path):
    """Expect the small files, five of them for validation, and keep off the user's folders."""
    files = tuple(
        MnistFile(name, fingerprint(PACKED[f"{name}.gz"]), fingerprint(content))
        for name, content in CONTENTS.items()
    )
    monkeypatch.setattr(mnist, "FILES", files)
    monkeypatch.setattr(mnist, "VALIDATION_SIZE", 5)
    monkeypatch.setattr(mnist, "MIRRORS", ("http://127.0.0.1:9/",))
    monkeypatch.setattr(mnist, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("LENET_NP_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Server:
    """An HTTP server on 127.0.0.1 that records the requests and answers with `reply`."""

    def __init__(self, reply: Callable[[BaseHTTPRequestHandler, str], None]) -> None:
        self.requests: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                server.requests.append(name)
                reply(self, name)

            def log_message(self, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/mnist/"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def send(
    handler: BaseHTTPRequestHandler, content: bytes, length: int | None = None, **headers: str
) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def reply_well(handler, name):
    send(handler, PACKED[name])


def reply_404(handler, name):
    handler.send_error(404)


def reply_other_content(handler, name):
    send(handler, PACKED[name][:-1] + bytes([PACKED[name][-1] ^ 1]))


def reply_cut_off(handler, name):
    send(handler, PACKED[name][:-10], length=len(PACKED[name]))


def reply_shorter(handler, name):
    send(handler, PACKED[name][:-10])


def reply_html(handler, name):
    send(handler, b"<html>Please log in</html>", Content_Type="text/html")


def reply_nothing(handler, name):
    handler.close_connection = True


@pytest.fixture
def serve(monkeypatch):
    """Start a mirror for each reply, in order, and make them the mirrors of the module."""
    servers = []

    def start(*replies):
        servers.extend(Server(reply) for reply in replies)
        monkeypatch.setattr(mnist, "MIRRORS", tuple(server.url for server in servers))
        return servers

    yield start
    for server in servers:
        server.close()


def write_files(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- splits -------------------------------------------------------------------------------------


def test_splits_share_memory(tmp_path):
    write_files(tmp_path, PACKED)
    dataset = load_mnist(tmp_path)
    assert dataset.name == "mnist"
    assert dataset.train.pixels.base is dataset.validation.pixels.base is not None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(11, np.uint8), "12 images but 11 labels"),
        (np.full(12, 10, np.uint8), "label 10 at position 0"),
    ],
)
def test_images_and_labels_that_do_not_belong_together_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        Split(np.zeros((12, 28, 28), np.uint8), labels)


# --- where files are looked for -----------------------------------------------------------------


# The forms in which people have the files: what lies where, and how the first one is called.
DOTTED = {name.replace("-idx", ".idx"): content for name, content in CONTENTS.items()}
RENAMED = {f"{name}.gz": content for name, content in CONTENTS.items()}
PACKED_AGAIN = {name: gzip.compress(content, 1, mtime=1) for name, content in RENAMED.items()}
WITHOUT_END = {name: PACKED[f"{name}.gz"] for name in NAMES}
FORMS = {
    "official": (PACKED, FIRST, "packed"),
    "unpacked": (CONTENTS, NAMES[0], "unpacked"),
    "with a dot": (DOTTED, "train-images.idx3-ubyte", "unpacked"),
    "packed with a dot": (
        {f"{name}.gz": gzip.compress(content) for name, content in DOTTED.items()},
        "train-images.idx3-ubyte.gz",
        "packed",
    ),
    "unpacked, name kept": (RENAMED, FIRST, "unpacked, whatever its name says"),
    "packed, name without .gz": (WITHOUT_END, NAMES[0], "packed, whatever its name says"),
    "packed again": (PACKED_AGAIN, FIRST, "packed"),
    "in folders of their names": (
        {f"{name}/{name}": content for name, content in CONTENTS.items()},
        str(Path(NAMES[0], NAMES[0])),
        "unpacked",
    ),
    "in folders of other names": (
        {f"{name}.gz/{name.replace('-idx', '.idx')}": CONTENTS[name] for name in NAMES},
        str(Path(FIRST, "train-images.idx3-ubyte")),
        "unpacked",
    ),
    "torchvision's root": (
        {f"MNIST/raw/{name}": content for name, content in CONTENTS.items()},
        str(Path("MNIST", "raw", NAMES[0])),
        "unpacked",
    ),
    "torchvision's MNIST": (
        {f"raw/{name}": content for name, content in PACKED.items()},
        str(Path("raw", FIRST)),
        "packed",
    ),
}


def values_of(name: str) -> np.ndarray:
    content = CONTENTS[name]
    if "labels" in name:
        return np.frombuffer(content[8:], np.uint8)
    return np.frombuffer(content[16:], np.uint8).reshape(-1, 28, 28)


def keras_file(save=np.savez, **other: np.ndarray) -> bytes:
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = dict(zip(names, map(values_of, NAMES), strict=True))
    file = io.BytesIO()
    save(file, **{name: array for name, array in (arrays | other).items() if array is not None})
    return file.getvalue()


def assert_loaded(dataset) -> None:
    images, labels, test_images, test_labels = map(values_of, NAMES)
    np.testing.assert_array_equal(dataset.validation.pixels, images[:5])
    np.testing.assert_array_equal(dataset.validation.classes, labels[:5])
    np.testing.assert_array_equal(dataset.train.pixels, images[5:])
    np.testing.assert_array_equal(dataset.train.classes, labels[5:])
    np.testing.assert_array_equal(dataset.test.pixels, test_images)
    np.testing.assert_array_equal(dataset.test.classes, test_labels)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_files_is_found_and_named(tmp_path, form):
    contents, name, packed = FORMS[form]
    for path, content in contents.items():
        write_files((tmp_path / path).parent, {Path(path).name: content})
    assert_loaded(load_mnist(tmp_path, download=False))
    found, faults = mnist.find_file(tmp_path, mnist.FILES[0])
    assert (found.form, faults) == (f"{name}, {packed}", [])


@pytest.mark.parametrize("form", FORMS)
def test_in_every_form_other_content_is_refused(tmp_path, form):
    contents, _, _ = FORMS[form]
    changed = CONTENTS[NAMES[0]][:-1] + bytes([CONTENTS[NAMES[0]][-1] ^ 1])
    for index, (path, content) in enumerate(contents.items()):
        packed = content[:2] == b"\x1f\x8b"
        wrong = gzip.compress(changed) if packed else changed
        write_files((tmp_path / path).parent, {Path(path).name: content if index else wrong})
    with pytest.raises(DataError, match=r"not the official file: SHA-256") as caught:
        load_mnist(tmp_path)
    assert str(tmp_path / next(iter(contents))) in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("place", [".", "raw"])
def test_the_file_of_keras_is_found_and_named(tmp_path, save, place):
    write_files(tmp_path / place, {"mnist.npz": keras_file(save)})
    assert_loaded(load_mnist(tmp_path, download=False))
    found, _ = mnist.find_file(tmp_path, mnist.FILES[0])
    assert found.form == f"{Path(place, 'mnist.npz')}, x_train"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"x_train": np.zeros((12, 28, 28), np.uint8)}, "not the official file: SHA-256"),
        ({"x_train": np.zeros((12, 28, 28))}, "x_train is float64, not uint8"),
        ({"x_train": np.asfortranarray(values_of(NAMES[0]))}, "not uint8 row by row"),
        ({"x_train": np.array([{}], object)}, "x_train is object, not uint8"),
        ({"x_train": np.zeros((1000, 28, 28), np.uint8)}, "cannot reshape"),
        ({"x_train": np.zeros((), np.uint8)}, "not the official file: 5 bytes"),
        ({"x_train": None}, "no item named 'x_train.npy'"),
    ],
)
def test_other_arrays_in_a_file_called_as_that_of_keras_are_refused(tmp_path, other, reason):
    write_files(tmp_path, {"mnist.npz": keras_file(**other)})
    with pytest.raises(DataError, match=f"not the official MNIST files(.|\n)*mnist.npz.*{reason}"):
        load_mnist(tmp_path)


def test_a_damaged_file_of_keras_is_refused_wherever_the_damage_is(tmp_path):
    good = keras_file(np.savez_compressed)
    for position in range(0, len(good), 97):
        damaged = bytearray(good)
        damaged[position] ^= 0xFF
        write_files(tmp_path, {"mnist.npz": bytes(damaged)})
        try:
            dataset = load_mnist(tmp_path, download=False)
        except DataError:
            continue
        assert_loaded(dataset)  # some bytes mean nothing
    for end in range(0, len(good), 97):
        write_files(tmp_path, {"mnist.npz": good[:end]})
        with pytest.raises(DataError, match=r"mnist\.npz: damaged"):
            load_mnist(tmp_path, download=False)


def test_a_huge_array_is_read_no_further_than_plausible(tmp_path):
    huge = np.zeros((100_000, 28, 28), np.uint8)
    write_files(tmp_path, {"mnist.npz": keras_file(np.savez_compressed, x_train=huge)})
    tracemalloc.start()
    with pytest.raises(DataError, match=r"mnist\.npz: .*cannot reshape"):
        load_mnist(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_a_good_unpacked_file_makes_up_for_a_damaged_packed_one(tmp_path):
    write_files(tmp_path, PACKED | {FIRST: b"damaged"})
    write_files(tmp_path / "MNIST" / "raw", CONTENTS)
    assert len(load_mnist(tmp_path, download=False).train) == 7


def test_the_argument_precedes_the_variable_which_precedes_the_cache(tmp_path, monkeypatch):
    write_files(tmp_path / "cache" / "mnist", PACKED)
    assert len(load_mnist(download=False).train) == 7
    monkeypatch.setenv("LENET_NP_DATA", "")
    assert len(load_mnist(download=False).train) == 7

    monkeypatch.setenv("LENET_NP_DATA", str(tmp_path / "variable"))
    (tmp_path / "variable").mkdir()
    with pytest.raises(MissingDataError, match=r"0 of the 4 MNIST files found in .*variable"):
        load_mnist(download=False)
    write_files(tmp_path / "variable", PACKED)
    assert len(load_mnist(download=False).train) == 7

    (tmp_path / "argument").mkdir()
    with pytest.raises(MissingDataError, match=r"0 of the 4 MNIST files found in .*argument"):
        load_mnist(tmp_path / "argument", download=False)


@pytest.mark.parametrize("named_by", ["--data-dir", "LENET_NP_DATA"])
def test_a_named_folder_that_does_not_exist_is_refused(tmp_path, serve, monkeypatch, named_by):
    (server,) = serve(reply_well)
    folder = tmp_path / "mnits"
    if named_by == "LENET_NP_DATA":
        monkeypatch.setenv("LENET_NP_DATA", str(folder))
    with pytest.raises(DataError, match=rf"mnits .named by {named_by}. does not exist") as caught:
        load_mnist(folder if named_by == "--data-dir" else None)
    assert not isinstance(caught.value, MissingDataError)
    assert server.requests == []
    assert not folder.exists()


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    write_files(tmp_path, PACKED)
    with pytest.raises(DataError, match=r"named by --data-dir. is a file: name the folder"):
        load_mnist(tmp_path / FIRST)


def test_a_complete_folder_needs_neither_network_nor_requests(tmp_path):
    write_files(tmp_path, PACKED)
    code = f"""
import sys
from lenet_np.data import mnist
from lenet_np.data.download import Fingerprint
from lenet_np.data.mnist import MnistFile
mnist.FILES, mnist.VALIDATION_SIZE = {mnist.FILES!r}, 5
mnist.load_mnist({str(tmp_path)!r})
assert "requests" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


def environment() -> dict[str, str]:
    """Let another interpreter find the package."""
    return os.environ | {"PYTHONPATH": str(Path(mnist.__file__).parents[2])}


# --- download -----------------------------------------------------------------------------------


def test_downloads_what_is_missing_once(tmp_path, serve):
    (server,) = serve(reply_well)
    assert len(load_mnist(tmp_path).train) == 7
    assert server.requests == list(PACKED)
    assert {name: (tmp_path / name).read_bytes() for name in PACKED} == PACKED
    assert listing(tmp_path) == sorted(PACKED)

    load_mnist(tmp_path)
    assert len(server.requests) == 4
    (tmp_path / FIRST).unlink()
    load_mnist(tmp_path)
    assert server.requests[4:] == [FIRST]


def test_downloads_to_the_cache_by_default(tmp_path, serve):
    serve(reply_well)
    load_mnist()
    assert listing(tmp_path / "cache" / "mnist") == sorted(PACKED)


def test_a_server_that_labels_the_files_as_compressed_does_no_harm(tmp_path, serve):
    serve(lambda handler, name: send(handler, PACKED[name], Content_Encoding="gzip"))
    assert len(load_mnist(tmp_path).train) == 7


BAD_REPLIES = [
    (reply_404, "404 Client Error: Not Found"),
    (reply_other_content, r"not the official file: SHA-256 \w+\.\.\., expected"),
    (reply_cut_off, "IncompleteRead|bytes, expected"),
    (reply_shorter, r"not the official file: [\d,]+ bytes, expected"),
    (reply_html, "not the official file: 26 bytes, expected"),
    (reply_nothing, "closed connection without response"),
]


@pytest.mark.parametrize(("reply", "reason"), BAD_REPLIES)
def test_whatever_a_mirror_does_the_next_one_is_asked(tmp_path, serve, reply, reason):
    bad, good = serve(reply, reply_well)
    assert len(load_mnist(tmp_path).train) == 7
    # Once a mirror has failed, the one that delivered is asked first.
    assert (bad.requests, good.requests) == ([FIRST], list(PACKED))
    assert listing(tmp_path) == sorted(PACKED)


@pytest.mark.parametrize(("reply", "reason"), BAD_REPLIES)
def test_the_reason_of_a_failure_is_told_and_nothing_is_left(tmp_path, serve, reply, reason):
    (server,) = serve(reply)
    with pytest.raises(MissingDataError, match=rf"{server.url}{FIRST}: .*({reason})"):
        load_mnist(tmp_path)
    assert listing(tmp_path) == []


def test_reads_no_more_than_a_byte_beyond_the_expected_size(tmp_path, serve):
    sent = []

    def reply_endlessly(handler, name):
        handler.send_response(200)
        handler.end_headers()
        try:
            while sum(sent) < 100_000_000:
                sent.append(handler.wfile.write(bytes(100_000)))
        except OSError:
            pass

    serve(reply_endlessly)
    expected = mnist.FILES[0].packed.size
    with pytest.raises(DataError, match=f"{expected + 1:,} bytes or more, expected {expected:,}"):
        load_mnist(tmp_path)
    assert sum(sent) < 100_000_000


@pytest.mark.parametrize("silent_after", ["connecting", "half a file"])
def test_a_mirror_that_hangs_is_left_after_the_timeout(tmp_path, serve, silent_after):
    released = threading.Event()

    def hang(handler, name):
        if silent_after == "half a file":
            send(handler, PACKED[name][:100], length=len(PACKED[name]))
        released.wait(10)

    serve(hang, reply_well)
    start = time.monotonic()
    assert len(load_mnist(tmp_path, timeout=(0.3, 0.3)).train) == 7
    released.set()
    assert 0.3 <= time.monotonic() - start < 5


def test_a_mirror_that_drips_is_left_at_the_time_limit(tmp_path, serve, monkeypatch):
    def drip(handler, name):
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(50):
                handler.wfile.write(bytes(10))
                time.sleep(0.1)
        except OSError:
            pass

    dripping, unasked = serve(drip, reply_well)
    # The clock is looked at when a chunk is complete.
    monkeypatch.setattr(download, "_CHUNK", 20)
    with pytest.raises(MissingDataError, match=f"{dripping.url}{FIRST}: given up: the time limit"):
        load_mnist(tmp_path, time_limit=0.5)
    assert unasked.requests == []
    assert listing(tmp_path) == []


def test_when_all_mirrors_fail_the_message_tells_all_and_what_to_do(tmp_path, serve):
    folder = tmp_path / "my data"
    folder.mkdir()
    first, second = serve(reply_404, reply_html)
    with pytest.raises(MissingDataError) as caught:
        load_mnist(folder)
    message = str(caught.value)
    assert f"{first.url}{FIRST}: 404" in message
    assert f"{second.url}{FIRST}: not the official file" in message
    assert str(folder) in message.splitlines()[0]
    assert "--data-dir" in message
    assert "LENET_NP_DATA" in message
    assert "--dataset synthetic" in message
    assert listing(folder) == []


def test_a_proxy_that_fails_is_called_a_proxy(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    # The name is never looked up: it is the proxy's task.
    monkeypatch.setattr(mnist, "MIRRORS", ("https://mirror.invalid/",))
    with pytest.raises(MissingDataError, match="downloaded: proxy: Failed to establish"):
        load_mnist(tmp_path)


def test_nobody_listening_is_said_in_few_words(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(mnist, "MIRRORS", (f"http://127.0.0.1:{port}/",))
    with pytest.raises(MissingDataError) as caught:
        load_mnist()
    summary = str(caught.value).splitlines()[0]
    assert "Failed to establish a new connection" in summary
    assert "HTTPConnection" not in summary
    # No answer worth keeping: no folder either.
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_line_of_the_message_fetches_all_files(tmp_path, serve):
    serve(reply_well)
    (tmp_path / "my data").mkdir()
    with pytest.raises(MissingDataError) as caught:
        load_mnist(tmp_path / "my data", download=False)
    (line,) = [line for line in str(caught.value).splitlines() if line.startswith("  curl ")]
    subprocess.run(line.strip(), shell=True, check=True, capture_output=True, timeout=20)
    assert listing(tmp_path / "my data") == sorted(PACKED)
    load_mnist(tmp_path / "my data", download=False)


def test_two_processes_at_once_do_not_harm_each_other(tmp_path, serve):
    both = threading.Barrier(2, timeout=20)

    def reply_to_both_at_once(handler, name):
        if name == FIRST:
            both.wait()
        half = len(PACKED[name]) // 2
        send(handler, PACKED[name][:half], length=len(PACKED[name]))
        time.sleep(0.05)
        handler.wfile.write(PACKED[name][half:])

    serve(reply_to_both_at_once)
    code = f"""
from lenet_np.data import mnist
from lenet_np.data.download import Fingerprint
from lenet_np.data.mnist import MnistFile
mnist.FILES, mnist.MIRRORS, mnist.VALIDATION_SIZE = {mnist.FILES!r}, {mnist.MIRRORS!r}, 5
assert len(mnist.load_mnist({str(tmp_path)!r}).train) == 7
"""
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, env=environment()) for _ in range(2)]
    assert [process.wait(timeout=30) for process in processes] == [0, 0]
    assert listing(tmp_path) == sorted(PACKED)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(io.StringIO, False), (Terminal, True)])
def test_progress_is_shown_on_a_terminal_only(tmp_path, serve, monkeypatch, stream, shown):
    serve(reply_well)
    monkeypatch.setattr(sys, "stderr", stream())
    load_mnist(tmp_path)
    assert (f"downloading {FIRST}" in sys.stderr.getvalue()) is shown
    if not shown:
        assert sys.stderr.getvalue() == ""


# --- damaged files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (PACKED[FIRST][:-1], "damaged or cut off"),
        (PACKED[FIRST][:-1] + b"\1", "damaged or cut off"),
        (CONTENTS[NAMES[0]][:-1], "cut off"),
        (CONTENTS[NAMES[0]] + b"\0", "more bytes follow"),
        (CONTENTS[NAMES[0]][:-1] + b"\1", "not the official file: SHA-256"),
        (CONTENTS[NAMES[2]], "not the official file: 2,368 bytes, expected 9,424"),
        (b"", "begins with nothing"),
    ],
)
def test_a_damaged_file_in_the_cache_is_replaced_with_a_notice(tmp_path, serve, content, fault):
    (server,) = serve(reply_well)
    folder = tmp_path / "cache" / "mnist"
    write_files(folder, PACKED | {FIRST: content})
    notices = []
    assert len(load_mnist(notify=notices.append).train) == 7
    assert server.requests == [FIRST]
    assert (folder / FIRST).read_bytes() == PACKED[FIRST]
    (notice,) = notices
    assert FIRST in notice
    assert fault in notice
    assert "downloading it again" in notice


def test_a_damaged_file_in_the_cache_is_never_loaded(tmp_path, serve):
    serve(reply_404)
    write_files(tmp_path / "cache" / "mnist", PACKED | {FIRST: PACKED[FIRST][:-1]})
    with pytest.raises(MissingDataError, match="could not be downloaded"):
        load_mnist()
    with pytest.raises(MissingDataError, match=f"3 of the 4 (.|\n)*{FIRST}: .* damaged"):
        load_mnist(download=False)


@pytest.mark.parametrize("named_by", ["argument", "variable"])
def test_a_damaged_file_of_the_user_is_named_and_left(tmp_path, serve, monkeypatch, named_by):
    (server,) = serve(reply_well)
    write_files(tmp_path, PACKED | {FIRST: b"mine"})
    argument = tmp_path if named_by == "argument" else None
    if argument is None:
        monkeypatch.setenv("LENET_NP_DATA", str(tmp_path))
    with pytest.raises(DataError, match="left as they are") as caught:
        load_mnist(argument)
    assert not isinstance(caught.value, MissingDataError)
    assert f"{tmp_path / FIRST}: not an IDX file of bytes: it begins with 6d 69" in str(
        caught.value
    )
    assert server.requests == []
    assert (tmp_path / FIRST).read_bytes() == b"mine"


def test_a_folder_in_a_files_place_is_named(tmp_path):
    (tmp_path / FIRST).mkdir()
    with pytest.raises(DataError, match=f"{FIRST} cannot be read"):
        load_mnist(tmp_path)


# --- folders that cannot be written -------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", ["mkdir", "fsync", "replace"])
def test_a_folder_that_cannot_be_written_is_said_plainly(tmp_path, serve, monkeypatch, code, step):
    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    (server, second) = serve(reply_well, reply_well)
    monkeypatch.setattr(Path if step == "mkdir" else os, step, fail)
    with pytest.raises(MissingDataError) as caught:
        load_mnist(tmp_path)
    summary = str(caught.value).splitlines()[0]
    assert f"cannot write {FIRST} in the folder {tmp_path}: {os.strerror(code)}" in summary
    assert "--data-dir" in str(caught.value)
    # Another mirror cannot help.
    assert (server.requests, second.requests) == ([FIRST], [])
    monkeypatch.undo()
    assert listing(tmp_path) == []


@pytest.mark.skipif(
    sys.platform == "win32" or getattr(os, "geteuid", lambda: 1)() == 0,
    reason="needs permissions that bind this user",
)
def test_a_read_only_folder_is_said_plainly(tmp_path, serve):
    serve(reply_well)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(MissingDataError, match=r"cannot write .* Permission denied"):
            load_mnist(tmp_path)
    finally:
        tmp_path.chmod(0o755)


def test_a_file_that_another_process_just_put_there_is_taken(tmp_path, serve, monkeypatch):
    """Windows refuses to replace a file that is being read; then the good one is there already."""
    replace = os.replace

    def replace_by_another(source, target):
        replace(source, target)
        raise PermissionError(errno.EACCES, "in use")

    serve(reply_well)
    monkeypatch.setattr(os, "replace", replace_by_another)
    assert len(load_mnist(tmp_path).train) == 7


# --- files --------------------------------------------------------------------------------------


def test_atomic_writing_leaves_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), files.write_atomically(path) as file:
        file.write(b"half of the n")
        file.flush()
        assert path.read_bytes() == b"old"
        assert len(listing(tmp_path)) == 2
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["file"]


def test_two_atomic_writers_at_once_do_not_mix(tmp_path):
    path = tmp_path / "file"
    with files.write_atomically(path) as one, files.write_atomically(path) as two:
        one.write(b"one")
        two.write(b"two")
    assert path.read_bytes() == b"one"
    assert listing(tmp_path) == ["file"]


def test_cache_folder_follows_the_system(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    expected = {
        "linux": tmp_path / ".cache" / "lenet_np",
        "darwin": tmp_path / "Library" / "Caches" / "lenet_np",
        "win32": tmp_path / "AppData" / "Local" / "lenet_np",
    }
    for platform, folder in expected.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert files.cache_folder() == folder
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert files.cache_folder() == tmp_path / "xdg" / "lenet_np"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert files.cache_folder() == expected["linux"]
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert files.cache_folder() == tmp_path / "local" / "lenet_np"


def test_an_unknown_home_is_a_data_error(monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(DataError, match=r"home folder is unknown.*LENET_NP_DATA"):
        files.cache_folder()


# --- the real files -----------------------------------------------------------------------------

REAL_FOLDER = os.environ.get("LENET_NP_DATA")


@pytest.mark.mnist
@pytest.mark.skipif(
    not REAL_FOLDER or not Path(REAL_FOLDER).is_dir(),
    reason="needs MNIST: set LENET_NP_DATA to its folder",
)
def test_the_real_mnist(monkeypatch):
    monkeypatch.setattr(mnist, "FILES", REAL_FILES)
    monkeypatch.setattr(mnist, "VALIDATION_SIZE", 5_000)
    dataset = load_mnist(REAL_FOLDER, download=False)
    splits = (dataset.train, dataset.validation, dataset.test)
    assert [split.pixels.shape for split in splits] == [
        (55_000, 28, 28),
        (5_000, 28, 28),
        (10_000, 28, 28),
    ]
    firsts = [split.classes[:8].tolist() for split in splits]
    assert firsts == [
        [7, 3, 4, 6, 1, 8, 1, 0],
        [5, 0, 4, 1, 9, 2, 1, 3],
        [7, 2, 1, 0, 4, 1, 4, 9],
    ]
    counts = [np.bincount(split.classes).tolist() for split in splits]
    assert counts == [
        [5444, 6179, 5470, 5638, 5307, 4987, 5417, 5715, 5389, 5454],
        [479, 563, 488, 493, 535, 434, 501, 550, 462, 495],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ]
    images, labels = dataset.train[:100]
    assert images.shape == (100, 28, 28, 1)
    assert (images.min(), images.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(labels.argmax(axis=1), dataset.train.classes[:100])
