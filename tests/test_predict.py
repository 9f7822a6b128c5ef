"""The command ``predict``: what the network is shown, what it answers, and what is refused."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lenet_np.data import Split
from lenet_np.data.synthetic import centre, draw_digits
from lenet_np.lenet import lenet5
from lenet_np.loop import train
from lenet_np.losses import cross_entropy
from lenet_np.settings import Settings
from lenet_np.smoothed import negative_log_success
from lenet_np.tools.commands import predict
from lenet_np.tools.commands.predict import class_probabilities, shades
from lenet_np.tools.pictures.ink import find_ink, otsu, paper
from lenet_np.tools.pictures.normalise import make_field, thicken
from lenet_np.tools.pictures.picture import PictureError, read_picture
from lenet_np.tools.runs.checkpoint import Checkpoint, save

DIGITS = draw_digits(np.arange(10), np.random.default_rng(1))  # white on black, 28 x 28


def enlarged(k: int, times: int = 8) -> np.ndarray:
    """Draw digit k large, 0 paper to 1 ink, (H, W)."""
    size = 28 * times
    image = Image.fromarray(DIGITS[k]).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image) / 255


def field_of(values: np.ndarray) -> np.ndarray:
    """Prepare a grey picture (H, W) or a colour one (H, W, 3), 0 black to 1 white."""
    return make_field(find_ink(values if values.ndim == 3 else values[:, :, np.newaxis]).strength)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Compare two fields: the mean of |a - b| as a share of the ink's full strength.

    The centre of mass is placed to a whole pixel, and a trifle decides which of two: so the best
    of the nine places of one of them counts.
    """
    places = [np.roll(a, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return min(float(np.abs(place.astype(int) - b.astype(int)).mean() / 255) for place in places)


SAME = 0.025  # The fields of different digits differ by at least 2.5 times as much.
ALL = pytest.mark.parametrize("k", range(10))


def test_fields_of_different_digits_differ_by_far_more():
    fields = [field_of(enlarged(k)) for k in range(10)]
    least = min(difference(fields[i], fields[j]) for i in range(10) for j in range(i))
    assert least > 2.5 * SAME


# --- the preparation ----------------------------------------------------------------------------


@ALL
def test_a_digit_that_is_prepared_already_stays_as_it_is(k):
    assert difference(field_of(DIGITS[k] / 255), DIGITS[k]) < SAME


@ALL
def test_the_box_is_20_pixels_and_the_centre_of_mass_in_the_middle(k):
    rng = np.random.default_rng(k)
    ink = np.asarray(
        Image.fromarray(enlarged(k).astype(np.float32)).resize(tuple(rng.integers(60, 400, 2)))
    )
    field = field_of(1 - np.pad(ink, rng.integers(0, 90, (2, 2))))
    assert (field.shape, field.dtype) == ((28, 28), np.uint8)
    rows, columns = (np.flatnonzero(field.any(axis=axis)) for axis in (1, 0))
    assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
    for axis in (0, 1):
        mass = field.sum(axis=axis, dtype=float)
        assert abs(mass @ np.arange(28) / mass.sum() - 14) <= 0.5 + 1e-3


def test_the_centre_of_mass_not_of_the_box_is_centred():
    box = np.zeros((20, 20), np.uint8)
    box[:4] = 255
    box[4:, 9:11] = 25
    (field,) = centre(box[np.newaxis])
    mass = field.sum(axis=1, dtype=float)
    middle = mass @ np.arange(28) / mass.sum()
    # As far down as it can go without leaving the field; in the middle it would begin in row 4.
    assert field[8:].any(axis=1).all()
    assert not field[:8].any()
    assert 9 < middle < 14


@ALL
def test_the_aspect_ratio_is_kept(k):
    ink = enlarged(k)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    field = field_of(1 - ink) > 127
    height, width = (np.ptp(np.flatnonzero(field.any(axis=axis))) + 1 for axis in (1, 0))
    wanted = (np.ptp(rows) + 1) / (np.ptp(columns) + 1)
    assert (height - 1) / (width + 1) <= wanted <= (height + 1) / (width - 1)


@ALL
def test_dark_on_light_is_light_on_dark(k):
    ink = enlarged(k)
    assert np.abs(field_of(ink).astype(int) - field_of(1 - ink)).max() <= 1


@ALL
def test_paper_and_ink_may_be_of_any_two_greys(k):
    ink = enlarged(k)
    plain = field_of(1 - ink)
    for white, black in ((0.7, 0.5), (0.3, 0.95), (1.0, 0.85)):
        assert difference(field_of(white + (black - white) * ink), plain) < SAME / 2


@pytest.mark.parametrize(
    ("white", "black"),
    [((1, 1, 1), (1, 1, 0)), ((0, 0, 1), (1, 0, 0)), ((0.2, 0.5, 0.2), (0.2, 0.5, 0.8))],
)
def test_colours_of_the_same_brightness_are_told_apart(white, black):
    ink = enlarged(5)[:, :, np.newaxis]
    colour = np.array(white) + (np.array(black) - np.array(white)) * ink
    assert difference(field_of(colour), field_of(1 - enlarged(5))) < SAME / 2


@ALL
def test_the_size_of_the_picture_does_not_matter(k):
    fields = [field_of(1 - enlarged(k, times)) for times in (2, 5, 16)]
    assert max(difference(field, fields[-1]) for field in fields) < SAME


@ALL
def test_the_place_on_the_paper_does_not_matter(k):
    ink = enlarged(k, 4)
    plain = field_of(1 - ink)
    for margins in (((0, 90), (70, 0)), ((100, 100), (0, 200))):
        assert difference(field_of(1 - np.pad(ink, margins)), plain) < SAME


@ALL
def test_uneven_light_and_noise(k):
    ink = np.pad(enlarged(k), 40)
    y, x = np.mgrid[-1 : 1 : len(ink) * 1j, -1 : 1 : len(ink) * 1j]
    light = 1 - 0.25 * x - 0.2 * (x**2 + y**2)
    photo = (0.75 - 0.55 * ink) * light
    photo += np.random.default_rng(k).normal(0, 0.03, ink.shape)
    assert difference(field_of(photo), field_of(1 - ink)) < SAME


def test_speckles_a_frame_and_a_desk_are_left_out():
    ink = np.pad(enlarged(3), 60)
    plain = field_of(1 - ink)
    specks = ink.copy()
    rng = np.random.default_rng(0)
    for y, x in rng.integers(0, len(ink) - 2, (100, 2)):
        specks[y : y + 2, x : x + 2] = 1
    # What lies on the strokes themselves is part of them.
    assert difference(field_of(1 - specks), plain) < 1.5 * SAME
    frame = ink.copy()
    frame[20:-20, 20:-20] = 1
    frame[30:-30, 30:-30] = ink[30:-30, 30:-30]
    assert difference(field_of(1 - frame), plain) < SAME / 2
    desk = np.pad(1 - ink, ((80, 0), (0, 60)), constant_values=0.2)
    assert difference(field_of(desk), plain) < SAME


def test_a_digit_that_touches_the_edges_is_kept():
    ink = enlarged(5)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    tight = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert difference(field_of(1 - tight), field_of(1 - ink)) < 2 * SAME


def test_a_digit_in_two_pieces_keeps_both():
    ink = np.zeros((200, 200))
    ink[50:58, 60:120] = 1  # the bar of a five, apart from its belly
    ink[70:150, 60:70] = 1
    ink[142:150, 60:130] = 1
    field = field_of(1 - ink)
    rows = np.flatnonzero(field.any(axis=1))
    assert not field[rows[0] : rows[-1]].any(axis=1).all()  # the gap
    assert np.ptp(rows) + 1 == 20


def test_a_thin_pen_is_as_wide_as_the_thin_ones_of_mnist():
    ink = np.zeros((400, 400))
    ink[50:350, 199:201] = 1  # 2 of 300: 0.13 pixels of the box
    field = field_of(1 - ink)
    assert field.max() > 200
    across = field.sum(axis=1)[field.any(axis=1)] / 255
    assert 1.5 < across.mean() < 2.5
    wide = np.ones((300, 40))
    assert thicken(wide) is wide


def test_the_edges_of_strokes_are_grey():
    y, x = np.mgrid[:400, :400]
    field = field_of(np.where((abs(x - y * 0.7 - 60) < 25) & (abs(y - 200) < 150), 0.0, 1.0))
    assert len(np.unique(field)) > 20


def test_otsu_splits_two_heaps():
    rng = np.random.default_rng(0)
    heaps = np.concatenate([rng.normal(0.1, 0.02, 9000), rng.normal(0.6, 0.02, 1000)])
    assert 0.2 < otsu(heaps) < 0.5
    assert not (np.zeros(5) > otsu(np.zeros(5))).any()


def test_the_paper_below_a_fifth_of_ink_is_a_quadratic_surface():
    y, x = np.mgrid[-1:1:80j, -1:1:120j]
    truth = np.stack([0.7 + 0.1 * x - 0.05 * y * x, 0.6 - 0.1 * y**2 + 0.05 * x**2], axis=2)
    spoiled = truth.copy()
    spoiled[np.random.default_rng(0).random(x.shape) < 0.2] = 0.05
    np.testing.assert_allclose(paper(spoiled), truth, atol=2e-3)


@pytest.mark.parametrize(
    "values",
    [
        np.full((50, 60), 0.9),
        np.zeros((1, 1)),
        np.tile(np.linspace(0.2, 1, 100), (80, 1)),
        0.5 + 0.2 * np.random.default_rng(0).standard_normal((200, 200)),
        np.pad(np.full((90, 40), 0.9), ((0, 0), (0, 50)), constant_values=0.85),
    ],
    ids=["even", "one pixel", "gradient", "noise", "faint edge"],
)
def test_a_blank_picture_is_refused(values):
    with pytest.raises(PictureError, match="blank: nothing stands out"):
        field_of(values)


def test_a_dot_is_no_digit():
    values = np.ones((60, 60))
    values[30:33, 30:33] = 0
    with pytest.raises(PictureError, match="less than 5 pixels of ink"):
        field_of(values)


@pytest.mark.parametrize(("axis", "how"), [(1, "side by side"), (0, "one under the other")])
@pytest.mark.parametrize("digits", [(4,), (2, 0), (1, 9, 8)])
def test_digits_in_a_row_or_a_column_are_counted(digits, axis, how):
    several = np.concatenate([enlarged(k) for k in digits], axis=axis)
    doubts = find_ink(1 - np.pad(several, 10)[:, :, np.newaxis]).doubts
    count = len(digits)
    assert doubts == ((f"{count} shapes {how}: one digit is expected",) if count > 1 else ())


def test_what_is_cut_off_and_what_is_no_stroke_is_doubted():
    ink = np.pad(enlarged(3), 30)
    rows = np.flatnonzero((ink > 0.5).any(axis=1))
    (doubt,) = find_ink(1 - ink[rows[0] + 9 :, :, np.newaxis]).doubts
    assert "reaches the edge of the picture" in doubt
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    (doubt,) = find_ink(1.0 - (np.hypot(y, x) < 0.6)[:, :, np.newaxis]).doubts
    assert "a patch rather than strokes" in doubt


# --- files --------------------------------------------------------------------------------------

INK = np.rint(255 * np.pad(enlarged(5), 10)).astype(np.uint8)
GREY = Image.fromarray(255 - INK)


def saved_as(path: Path, image: Image.Image, **options) -> np.ndarray:
    image.save(path, **options)
    return make_field(find_ink(read_picture(path).values).strength)


def transparent(colour: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", GREY.size, colour)
    image.putalpha(Image.fromarray(INK))
    return image


def with_clear_margin() -> Image.Image:
    image = GREY.convert("RGBA")
    clear = Image.new("RGBA", (image.width + 20, image.height + 20), (0, 0, 0, 0))
    clear.paste(image, (10, 10))
    return clear


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("grey.png", lambda: GREY),
        ("grey.jpg", lambda: GREY),
        ("colour.jpg", lambda: GREY.convert("RGB")),
        ("print.jpg", lambda: GREY.convert("CMYK")),
        ("palette.png", lambda: GREY.convert("P")),
        ("two.png", lambda: GREY.convert("1", dither=Image.Dither.NONE)),
        ("deep.png", lambda: Image.fromarray(40_000 - 100 * INK.astype(np.uint16))),
        ("alpha.png", lambda: GREY.convert("LA")),
        ("black.png", lambda: transparent((0, 0, 0))),
        ("white.png", lambda: transparent((255, 255, 255))),
        ("margin.png", with_clear_margin),
        ("a.gif", lambda: GREY),
        ("a.bmp", lambda: GREY),
        ("a.tiff", lambda: GREY),
    ],
)
def test_every_kind_of_picture_gives_the_same_field(tmp_path, name, make):
    field = saved_as(tmp_path / name, make())
    assert difference(field, field_of(1 - INK / 255)) < SAME


@pytest.mark.parametrize(("code", "turn"), [(3, 180), (6, 90), (8, 270)])
def test_the_camera_says_which_way_is_up(tmp_path, code, turn):
    exif = Image.Exif()
    exif[0x0112] = code
    field = saved_as(tmp_path / "a.jpg", GREY.rotate(turn, expand=True), exif=exif, quality=95)
    assert difference(field, field_of(1 - INK / 255)) < SAME


def deep_colour(values: np.ndarray) -> bytes:
    """Write a PNG of 16 bits a colour, which Pillow does not."""
    colours = np.repeat(values[:, :, np.newaxis], 3, axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in colours)
    return png_of(values.shape[1], values.shape[0], (16, 2), zlib.compress(rows))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_values_of_fewer_bits_than_the_file_has_are_read(tmp_path, bits):
    values = (1 - INK / 255) * (2**bits - 1)
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "grey.png")
    (tmp_path / "colour.png").write_bytes(deep_colour(values))
    for name in ("grey.png", "colour.png"):
        field = field_of(read_picture(tmp_path / name).values)
        # Of ten bits of colour, Pillow keeps the upper two.
        assert difference(field, field_of(1 - INK / 255)) < (2 if bits == 10 else 1) * SAME


def test_colours_of_which_nothing_is_left_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(deep_colour(255.0 - INK))
    with pytest.raises(PictureError, match="the upper 8 of them unused"):
        read_picture(tmp_path / "a.png")


def test_a_large_picture_is_reduced(tmp_path):
    large = GREY.resize((1600, 1600), Image.Resampling.BICUBIC)
    for image in (large, Image.fromarray(np.asarray(large).astype(np.uint16) * 200)):
        image.save(tmp_path / "a.png")
        values = read_picture(tmp_path / "a.png").values
        assert 700 < max(values.shape) <= 1300
        assert difference(field_of(values), field_of(1 - INK / 255)) < SAME


def test_the_first_of_several_frames_is_read(tmp_path):
    other = Image.fromarray(255 - np.pad(DIGITS[1], 103))
    GREY.save(tmp_path / "a.gif", save_all=True, append_images=[other, other])
    picture = read_picture(tmp_path / "a.gif")
    assert picture.notes == ("several frames: this is the first",)
    assert difference(field_of(picture.values), field_of(1 - INK / 255)) < SAME


def png_of(width: int, height: int, kind: tuple[int, int] = (8, 0), pixels: bytes = b"") -> bytes:
    """Write a PNG of some kind (bits, colour type); by default it holds no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, *kind, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def bytes_of(kind: str) -> bytes:
    file = io.BytesIO()
    GREY.save(file, kind)
    return file.getvalue()


def flipped() -> bytes:
    """Change a bit of a PNG's checksum: the pixels can still be decoded."""
    content = bytearray(bytes_of("PNG"))
    content[content.index(b"IEND") - 8] ^= 1
    return bytes(content)


REFUSED = {
    "empty.png": (b"", "an empty file"),
    "text.png": (b"hello", "no picture (PNG, JPEG, GIF"),
    "page.pdf": (b"%PDF-1.4\n", "no picture"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
    "half.png": (bytes_of("PNG")[: len(bytes_of("PNG")) // 2], "damaged or cut off"),
    "half.jpg": (bytes_of("JPEG")[: len(bytes_of("JPEG")) // 2], "damaged or cut off"),
    "begun.png": (bytes_of("PNG")[:20], "damaged or cut off"),
    "flipped.png": (flipped(), "damaged or cut off"),
    "bomb.png": (png_of(60_000, 60_000), "too large (at most 50 million"),
    "warning.png": (png_of(10_000, 10_000), "10000 x 10000 pixels: too large"),
    "above.png": (png_of(7_100, 7_100), "7100 x 7100 pixels: too large"),
    "strip.png": (png_of(2_100, 100), "2100 x 100 pixels, a strip"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_good_is_refused(tmp_path, name):
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_libtiff_does_not_write_on_the_screen(tmp_path, capfd):
    noise = np.random.default_rng(0).integers(0, 255, (300, 300)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.tiff", compression="tiff_lzw")
    content = bytearray((tmp_path / "a.tiff").read_bytes())
    content[200:2200] = b"\xff" * 2000
    (tmp_path / "a.tiff").write_bytes(content)
    with pytest.raises(PictureError, match="damaged or cut off"):
        read_picture(tmp_path / "a.tiff")
    os.write(2, b"and afterwards the screen is there again")
    assert capfd.readouterr() == ("", "and afterwards the screen is there again")


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(PictureError, match="no such file"):
        read_picture(tmp_path / "nothing.png")
    with pytest.raises(PictureError, match="a folder"):
        read_picture(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(PictureError, match="not a file"):
            read_picture(tmp_path / "pipe.png")


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((30, 30), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(PictureError, match="floating point"):
        read_picture(tmp_path / "a.tiff")


# --- the answer ---------------------------------------------------------------------------------


def test_cross_entropy_gives_the_softmax():
    logits = np.random.default_rng(0).normal(0, 4, (10, 7)).astype(np.float32)
    logits[0, 0] = 1e4  # no overflow
    shares = class_probabilities(logits, Settings(loss="cross-entropy"))
    for k in range(10):
        label = np.eye(10)[:, [k]] * np.ones((1, 7))
        np.testing.assert_allclose(shares[k], np.exp(-cross_entropy(logits, label)), atol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=0), 1)


@pytest.mark.parametrize("sigma", [0.5, 4.0])
def test_the_winning_shares_are_those_of_samples(sigma):
    """Against 100,000 samples; 5 standard errors, 60 comparisons: a false alarm in 30,000."""
    samples = 100_000
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 3, (10, 3)).astype(np.float32)
    shares = class_probabilities(logits, Settings(sigma=sigma))
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-9)
    for n in range(3):
        noisy = logits[:, [n]] + sigma * rng.standard_normal((10, samples))
        counted = np.bincount(noisy.argmax(axis=0), minlength=10) / samples
        error = np.sqrt(shares[:, n] * (1 - shares[:, n]) / samples) + 1 / samples
        assert (np.abs(counted - shares[:, n]) < 5 * error).all()
    np.testing.assert_array_equal(shares.argmax(axis=0), logits.argmax(axis=0))


@pytest.mark.parametrize("sigma", [0.3, 4.0])
@pytest.mark.parametrize("label", range(10))
def test_the_winning_shares_are_those_of_the_smoothed_loss(sigma, label):
    logits = np.random.default_rng(4).normal(0, 5, (10, 40))
    labels = np.eye(10)[:, [label]] * np.ones((1, 40))
    expected = np.exp(-negative_log_success(logits, labels, sigma).loss)
    shares = class_probabilities(logits, Settings(sigma=sigma))[label]
    np.testing.assert_allclose(shares, expected, rtol=1e-10, atol=1e-200)


def test_the_field_as_text():
    field = np.zeros((28, 28), np.uint8)
    field[3, 5] = 255
    wide = shades(field, 80, "utf-8").splitlines()
    assert {len(line) for line in wide} == {58}
    assert len(wide) == 30
    assert wide[4][11:13] == "██"
    assert sum(line.count("█") for line in wide) == 2
    narrow = shades(field, 57, "ascii").splitlines()
    assert {len(line) for line in narrow} == {30}
    assert narrow[4][6] == "@"
    assert shades(field, 80, "cp1252").isascii()
    assert shades(field, 80, "no such encoding").isascii()


# --- the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Train a network for a moment; save it as one of cross-entropy and as one of the 0-1 loss."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 10, 3000).astype(np.uint8)
    data = Split(draw_digits(classes, rng), classes)
    settings = Settings(epochs=3, learning_rate=3e-3, loss="cross-entropy")
    *_, (state, _) = train(lenet5(), data, settings)
    for name, of_run in (("ce", settings), ("es", Settings(sigma=2.5))):
        save(folder / name / "last.npz", Checkpoint(state, of_run, 3, "synthetic"))
        save(folder / name / "best.npz", Checkpoint(state, of_run, 2, "synthetic"))
    return folder


@pytest.fixture
def pictures(tmp_path) -> list[str]:
    """Draw the ten digits, dark on light and light on dark in turn."""
    names = []
    for k in range(10):
        ink = np.pad(enlarged(k, 5), 9)
        grey = 0.9 - 0.7 * ink if k % 2 else 0.1 + 0.8 * ink
        names.append(str(tmp_path / f"{k}.png"))
        Image.fromarray(np.rint(255 * grey).astype(np.uint8)).save(names[-1])
    return names


@pytest.mark.parametrize("kind", ["ce", "es"])
def test_digits_are_read_from_files(runs, pictures, capsys, kind):
    assert predict.main([str(runs / kind), *pictures, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["file"] for answer in answers] == pictures
    assert sum(answer["digit"] == k for k, answer in enumerate(answers)) >= 9
    for answer in answers:
        assert set(answer) == {"file", "digit", "probabilities", "meaning", "notes"}
        assert len(answer["probabilities"]) == 10
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)
        assert np.argmax(answer["probabilities"]) == answer["digit"]
    assert ("softmax" if kind == "ce" else "standard deviation 2.5") in answers[0]["meaning"]


def test_the_lines_on_the_screen(runs, pictures, capsys):
    assert predict.main([str(runs / "es"), *pictures[:2]]) == 0
    head, meaning, first, second = capsys.readouterr().out.splitlines()
    assert head == f"{runs / 'es' / 'last.npz'}: 3 epochs on synthetic, zero-one loss"
    assert "noise of standard deviation 2.5" in meaning
    answer = first.removeprefix(pictures[0])
    assert answer.startswith(": 0 (0 0.")
    assert answer.count(",") == 2  # three classes
    assert second.startswith(f"{pictures[1]}: 1 (1 ")


@pytest.mark.parametrize(
    ("words", "file", "epochs"),
    [
        ([], "last.npz", 3),
        (["--checkpoint", "last"], "last.npz", 3),
        (["--checkpoint", "best"], "best.npz", 2),
    ],
)
def test_the_weights_are_those_asked_for(runs, pictures, capsys, words, file, epochs):
    assert predict.main([str(runs / "ce"), pictures[0], *words]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert head.startswith(f"{runs / 'ce' / file}: {epochs} epochs")


def test_what_the_network_saw_is_shown(runs, pictures, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert predict.main([str(runs / "ce"), pictures[0], "--show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 30
    assert {len(line) for line in lines[3:]} == {30}
    assert predict.main([str(runs / "ce"), pictures[0], "--show", "--json"]) == 0
    field = np.array(json.loads(capsys.readouterr().out)["field"])
    assert field.shape == (28, 28)
    assert difference(field, DIGITS[0]) < SAME


def test_bad_pictures_do_not_keep_the_others_from_being_read(runs, pictures, tmp_path, capsys):
    for name, (content, _) in REFUSED.items():
        (tmp_path / name).write_bytes(content)
    bad = [str(tmp_path / name) for name in REFUSED]
    words = [str(runs / "ce"), pictures[0], *bad, pictures[1]]
    assert predict.main(words) == 1
    out, err = capsys.readouterr()
    assert [line.split(": ")[0] for line in out.splitlines()[2:]] == pictures[:2]
    assert len(err.splitlines()) == len(REFUSED)
    for line, name, (_, message) in zip(err.splitlines(), bad, REFUSED.values(), strict=True):
        assert line.startswith(f"python -m lenet_np predict: {name}: ")
        assert message in line
    assert predict.main([*words, "--json"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["file"] for answer in answers] == words[1:]
    assert [("error" in answer) for answer in answers] == [False, *[True] * len(bad), False]


def test_plain_pictures_do_not_wait_for_scipy(runs, pictures):
    code = (
        "import sys; from lenet_np.tools.commands import predict; predict.main(sys.argv[1:]); "
        "sys.exit('scipy' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(runs / "es"), *pictures], check=False)
    assert ran.returncode == 0


def test_several_digits_are_noted(runs, tmp_path, capsys):
    row = np.concatenate([enlarged(k, 3) for k in (2, 0)], axis=1)
    Image.fromarray(np.rint(255 * (1 - row)).astype(np.uint8)).save(tmp_path / "row.png")
    assert predict.main([str(runs / "ce"), str(tmp_path / "row.png")]) == 0
    assert "[2 shapes side by side: one digit is expected]" in capsys.readouterr().out


def test_a_drawing_with_a_border_line_is_read(runs, tmp_path, capsys):
    image = Image.new("L", (400, 400), 230)
    image.paste(Image.fromarray(np.rint(230 - 200 * enlarged(3)).astype(np.uint8)), (90, 90))
    ImageDraw.Draw(image).rectangle((20, 20, 380, 380), outline=30, width=5)
    image.save(tmp_path / "a.jpg", quality=60)
    assert predict.main([str(runs / "ce"), str(tmp_path / "a.jpg"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digit"] == 3


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nothing", "a.png"], 1, "no such file or folder"),
        (["RUN/last.npz", "a.png", "--checkpoint", "best"], 2, "last.npz is a file, leave it out"),
        (["RUN"], 2, "IMAGE"),
        ([], 2, "RUN"),
    ],
)
def test_mistakes_are_one_line(runs, capsys, words, status, message):
    try:
        found = predict.main([word.replace("RUN", str(runs / "ce")) for word in words])
    except SystemExit as end:
        found = end.code
    out, err = capsys.readouterr()
    assert (found, out) == (status, "")
    assert message in err
    assert len(err.splitlines()) == 1
