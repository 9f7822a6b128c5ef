"""The IDX reader: reads what the format allows, and refuses everything else by name."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lenet_np.data.dataset import DataError
from lenet_np.data.idx import header, read_idx

VALUES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
# Written out by hand, so that reader and writer cannot share a mistake.
CONTENT = bytes.fromhex("00000803 00000002 00000003 00000004") + bytes(range(24))


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file-idx"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reads_packed_and_unpacked_whatever_the_name(tmp_path, pack):
    array = read_idx(written(tmp_path, pack(CONTENT)))
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, VALUES)


def test_reads_labels(tmp_path):
    path = written(tmp_path, header((3,)) + b"\x07\x00\x09")
    np.testing.assert_array_equal(read_idx(path), [7, 0, 9])


def test_reads_more_values_than_one_chunk(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (3, 2**20 + 1), dtype=np.uint8)
    content = header(values.shape) + values.tobytes()
    np.testing.assert_array_equal(read_idx(written(tmp_path, gzip.compress(content, 1))), values)


def test_writes_the_header_that_it_reads():
    assert header((2, 3, 4)) == CONTENT[:16]


def test_reads_no_values(tmp_path):
    assert read_idx(written(tmp_path, header((0, 28, 28)))).shape == (0, 28, 28)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x00\x00\x08", "begins with 00 00 08, expected"),
        (b"<!DOCTYPE html>", "begins with 3c 21 44 4f"),
        (b"\x00\x00\x0d\x03" + CONTENT[4:], "not an IDX file of bytes"),
        (b"\x01\x00\x08\x03" + CONTENT[4:], "not an IDX file of bytes"),
        (b"\x00\x00\x08\x00" + CONTENT[4:], "begins with 00 00 08 00, expected"),
        (b"\x00\x00\x08\xff" + CONTENT[4:], "begins with 00 00 08 ff, expected"),
        (CONTENT[:15], "inside the header, after 15 bytes"),
        (CONTENT[:16], "promises 24 values of shape .2, 3, 4., but the file holds 0"),
        (CONTENT[:-1], "promises 24 values of shape .2, 3, 4., but the file holds 23"),
        (CONTENT + b"\x00", "promises 24 values of shape .*, but more bytes follow"),
        (header((2**32 - 1,) * 3) + bytes(9), "more than the .* plausible"),
        # This product is 0 modulo 2**64.
        (header((2**31, 2**31, 4)), "more than the .* plausible"),
    ],
)
def test_refuses(tmp_path, content, message, pack):
    path = written(tmp_path, pack(content))
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("end", range(2, len(gzip.compress(CONTENT))))
def test_refuses_a_gzip_stream_cut_off_anywhere(tmp_path, end):
    path = written(tmp_path, gzip.compress(CONTENT)[:end])
    with pytest.raises(DataError, match="damaged or cut off"):
        read_idx(path)


def test_refuses_a_damaged_gzip_stream(tmp_path):
    packed = bytearray(gzip.compress(CONTENT))
    for position in (*range(10, 16), len(packed) - 8, len(packed) - 1):
        damaged = packed.copy()
        damaged[position] ^= 0xFF
        with pytest.raises(DataError):
            read_idx(written(tmp_path, bytes(damaged)))


def test_refuses_rubbish_behind_the_gzip_stream(tmp_path):
    with pytest.raises(DataError, match="damaged"):
        read_idx(written(tmp_path, gzip.compress(CONTENT) + b"rubbish"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_takes_no_memory_for_an_empty_promise(tmp_path, pack):
    path = written(tmp_path, pack(header((1000,) * 3) + bytes(10)))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"promises 1,000,000,000 values .* holds 10"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


def test_unpacks_no_further_than_promised(tmp_path):
    path = written(tmp_path, gzip.compress(header((10,)) + bytes(50_000_000), 1))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"promises 10 values .* more bytes follow"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_a_file_that_cannot_be_read_is_a_data_error(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_idx(path)
