"""Photographs and figures of digits, drawn: each kind is read as well as it was, and better.

A kind draws a digit (28, 28), white on black as MNIST's, into a scene. What counts is how many of
ten are read right, and that no other answer comes without a note.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lenet_np.data import Split
from lenet_np.data.synthetic import draw_digits
from lenet_np.lenet import lenet5
from lenet_np.loop import train
from lenet_np.settings import Settings
from lenet_np.tools.commands.predict import read
from lenet_np.tools.pictures.picture import PictureError
from lenet_np.tools.runs.checkpoint import Checkpoint, load_network, save

Rng = np.random.Generator
Draw = Callable[[np.ndarray, Rng], Image.Image]
#: By kind: how it is drawn, how many of ten are read right at least, and how many without a note.
KINDS: dict[str, tuple[Draw, int, int]] = {}


def kind(right: int, plainly: int | None = None) -> Callable[[Draw], Draw]:
    def enter(draw: Draw) -> Draw:
        KINDS[draw.__name__] = draw, right, right if plainly is None else plainly
        return draw

    return enter


# --- what the scenes are made of ----------------------------------------------------------------


def ink_of(digit: np.ndarray, size: int = 140) -> np.ndarray:
    image = Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, float) / 255


def cropped(ink: np.ndarray) -> np.ndarray:
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def placed(ink: np.ndarray, height: int, width: int, rng: Rng | None = None) -> np.ndarray:
    """Lay ink on empty paper: in the middle, or anywhere."""
    room = np.array([height, width]) - ink.shape
    top, left = room // 2 if rng is None else (int(rng.integers(0, side + 1)) for side in room)
    paper = np.zeros((height, width))
    paper[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return paper


def photo(values: np.ndarray, rng: Rng, noise: float = 3, blur: float = 0) -> Image.Image:
    noisy = np.clip(values + rng.normal(0, noise, values.shape), 0, 255).astype(np.uint8)
    image = Image.fromarray(noisy)
    return image.filter(ImageFilter.GaussianBlur(blur)) if blur else image


def coordinates(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return y, x


# --- what was read right before there was a second look -----------------------------------------


@kind(10)
def plain(digit, rng):
    return photo(235 - 200 * placed(ink_of(digit), 250, 210, rng), rng)


@kind(10)
def light_on_dark(digit, rng):
    return photo(20 + 210 * placed(ink_of(digit), 250, 210, rng), rng)


@kind(10)
def as_in_mnist(digit, rng):
    return Image.fromarray(digit)


@kind(10, 8)
def cut_out_closely(digit, rng):
    return photo(240 - 200 * cropped(ink_of(digit)), rng)


@kind(10)
def narrow_margins(digit, rng):
    margins = rng.integers(1, 15, (2, 2))
    return photo(240 - 200 * np.pad(cropped(ink_of(digit)), margins), rng)


@kind(10, 0)
def one_side_cut_off(digit, rng):
    margins = rng.integers(8, 40, 4)
    margins[rng.integers(4)] = 0
    return photo(240 - 200 * np.pad(cropped(ink_of(digit)), margins.reshape(2, 2)), rng)


@kind(10)
def uneven_light(digit, rng):
    ink = placed(ink_of(digit), 300, 300, rng)
    y, x = coordinates(ink.shape)
    turn = rng.uniform(0, 2 * np.pi)
    light = 1 - 0.3 * (np.cos(turn) * x + np.sin(turn) * y) - 0.2 * (x**2 + y**2)
    return photo((215 - 160 * ink) * light, rng, 6)


@kind(10)
def faint(digit, rng):
    return photo(200 - 60 * placed(ink_of(digit), 250, 250, rng), rng, 4)


@kind(10)
def a_frame(digit, rng):
    ink = np.pad(placed(ink_of(digit), 200, 200), 20)
    edge = np.pad(np.pad(np.zeros((214, 214)), 3, constant_values=1), 10)
    return photo(235 - 195 * np.maximum(ink, edge), rng)


@kind(10)
def a_sheet_with_some_desk(digit, rng):
    sheet = 235 - 195 * placed(ink_of(digit), 320, 320)
    return photo(np.pad(sheet, 25, constant_values=rng.uniform(30, 90)), rng)


@kind(10)
def ruled_paper(digit, rng):
    values = 230 - 190 * placed(ink_of(digit), 350, 300, rng)
    values[15::35] *= 0.85
    return photo(values, rng)


@kind(10)
def a_fold(digit, rng):
    values = 225 - 185 * placed(ink_of(digit), 350, 300, rng)
    x = int(rng.integers(30, 270))
    values[:, x : x + 2] *= 0.8
    values[:, x:] *= 0.93
    return photo(values, rng, 3, 0.5)


@kind(10)
def thick_pen(digit, rng):
    wide = Image.fromarray(digit).resize((130, 130)).filter(ImageFilter.MaxFilter(7))
    return photo(235 - 195 * placed(np.asarray(wide) / 255, 200, 200), rng)


@kind(10)
def noisy(digit, rng):
    return photo(200 - 150 * placed(ink_of(digit), 300, 300, rng), rng, 15)


@kind(10)
def blurred(digit, rng):
    return photo(225 - 185 * placed(ink_of(digit), 300, 300, rng), rng, 3, 4)


@kind(10)
def a_dark_title_bar(digit, rng):
    values = 235 - 195 * placed(ink_of(digit), 250, 300)
    return photo(np.pad(values, ((30, 0), (0, 0)), constant_values=60), rng, 0)


# --- what was misread in silence ----------------------------------------------------------------


def with_shadow(digit: np.ndarray, rng: Rng, depth: tuple[float, float], soft: float):
    ink = placed(ink_of(digit), 400, 300)
    y, x = coordinates(ink.shape)
    turn, where = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4)
    distance = np.cos(turn) * x + np.sin(turn) * y - where
    shade = (1 - rng.uniform(*depth)) / (1 + np.exp(np.clip(-distance / soft, -50, 50)))
    return photo((225 - 185 * ink) * (1 - shade), rng, 3, 0.5)


@kind(9)
def the_edge_of_a_shadow(digit, rng):
    return with_shadow(digit, rng, (0.5, 0.75), 0.002)


@kind(9)
def a_dark_shadow(digit, rng):
    return with_shadow(digit, rng, (0.35, 0.5), 0.002)


@kind(8)
def a_soft_shadow(digit, rng):
    return with_shadow(digit, rng, (0.5, 0.75), 0.05)


@kind(8)
def the_shadow_of_a_head(digit, rng):
    values = 225 - 185 * placed(ink_of(digit), 400, 400)
    y, x = coordinates(values.shape)
    middle = rng.uniform(-0.9, 0.9, 2)
    values[np.hypot(y - middle[0], x - middle[1]) < rng.uniform(0.4, 0.9)] *= 0.65
    return photo(values, rng, 3, 1)


def on_desk(sheet: np.ndarray, desk: float, rng: Rng, turn: float = 0) -> Image.Image:
    """Lay a sheet on a desk that is the larger part of the picture."""
    values = np.full((400, 400), desk)
    top, left = rng.integers(10, 390 - np.array(sheet.shape))
    if turn:
        top, left = (400 - np.array(sheet.shape)) // 2
    values[top : top + sheet.shape[0], left : left + sheet.shape[1]] = sheet
    image = photo(values, rng)
    return image.rotate(turn, Image.Resampling.BILINEAR, fillcolor=int(desk)) if turn else image


def sheet_with(digit: np.ndarray, side: int = 255) -> np.ndarray:
    return 228 - 178 * placed(ink_of(digit), side, side)


@kind(10)
def a_sheet_on_a_dark_desk(digit, rng):
    return on_desk(sheet_with(digit), 45, rng)


@kind(10)
def a_sheet_on_a_grey_desk(digit, rng):
    return on_desk(sheet_with(digit), rng.uniform(90, 150), rng)


@kind(10)
def a_sheet_laid_aslant(digit, rng):
    return on_desk(sheet_with(digit), 45, rng, rng.uniform(3, 12))


@kind(10)
def a_blackboard(digit, rng):
    return on_desk(255 - sheet_with(digit), 215, rng)


@kind(10)
def a_yellow_note(digit, rng):
    ink = placed(ink_of(digit), 210, 210)[:, :, np.newaxis]
    values = np.full((450, 550, 3), 235.0)
    values[100:310, 150:360] = (250, 225, 90) + (np.array([30, 30, 60]) - (250, 225, 90)) * ink
    return photo(values, rng)


def deep(bits: int) -> None:
    def draw(digit, rng):
        ink = placed(ink_of(digit), 250, 250, rng)
        return Image.fromarray(np.rint((0.9 - 0.7 * ink) * (2**bits - 1)).astype(np.uint16))

    draw.__name__ = f"{bits}_bits_of_16"
    kind(10)(draw)


for bits in (8, 10, 12, 14, 16):
    deep(bits)


def saved_figure(colours: str, size: tuple[int, int] = (4, 3), **options) -> None:
    def draw(digit, rng):
        from matplotlib.figure import Figure

        figure, file = Figure(figsize=size), io.BytesIO()
        panel = figure.subplots()
        panel.imshow(digit, cmap=colours)
        panel.set(**{"title": "Label: ?", **options})
        figure.savefig(file)
        return Image.open(file)

    kind_of = "_small" if size == (2, 2) else "_without_ticks" if options else ""
    draw.__name__ = f"a_figure_in_{colours}{kind_of}"
    kind(10)(draw)


for colours in ("viridis", "gray", "gray_r"):
    saved_figure(colours)
saved_figure("gray", title="", xticks=[], yticks=[])
saved_figure("gray", (2, 2))
saved_figure("viridis", (2, 2))


@kind(0)
def digits_in_a_column(digit, rng):
    ink = np.concatenate([np.pad(ink_of(digit), 5)] * 3)
    return photo(240 - 210 * placed(ink, 460, 200), rng)


@kind(0)
def digits_in_a_row(digit, rng):
    return photo(240 - 210 * np.pad(np.concatenate([ink_of(digit)] * 2, axis=1), 15), rng)


@kind(0)
def nothing_but_a_shadow(digit, rng):
    return with_shadow(0 * digit, rng, (0.5, 0.75), 0.02)


@kind(0)
def nothing_but_a_sheet(digit, rng):
    return on_desk(sheet_with(0 * digit), 45, rng)


# --- the test -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Train a network for a moment, on digits of the project's own."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 10, 6000).astype(np.uint8)
    settings = Settings(epochs=4, learning_rate=3e-3, loss="cross-entropy")
    *_, (state, _) = train(lenet5(), Split(draw_digits(classes, rng), classes), settings)
    file = tmp_path_factory.mktemp("run") / "last.npz"
    save(file, Checkpoint(state, settings, 4, "synthetic"))
    return load_network(file)


DIGITS = draw_digits(np.arange(10), np.random.default_rng(7))


@pytest.mark.parametrize("name", KINDS)
def test_a_scene_is_read_right_or_with_a_note(saved, tmp_path, name):
    draw, least, plainly_least = KINDS[name]
    right = plainly = 0
    silent = []
    for k, digit in enumerate(DIGITS):
        draw(digit, np.random.default_rng(k)).save(tmp_path / f"{k}.png")
        try:
            reading = read(saved, tmp_path / f"{k}.png")
        except PictureError:
            continue
        answer = int(reading.probabilities.argmax())
        is_right = answer == k and least > 0
        right += is_right
        plainly += is_right and not reading.notes
        if not is_right and not reading.notes:
            silent.append((k, answer))
    print(f"{name}: {right} right, {plainly} without a note; wrong without a note: {silent}")
    assert not silent
    assert right >= least
    assert plainly >= plainly_least
