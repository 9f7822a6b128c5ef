"""The synthetic digits: reproducible, framed like MNIST's, varied, and safely kept in the cache."""

from __future__ import annotations

import os

import numpy as np
import pytest

from lenet_np.data import synthetic
from lenet_np.data.dataset import DataError, Dataset
from lenet_np.data.strokes import SHAPES, trace
from lenet_np.data.synthetic import draw_digits, load_synthetic

SIZES = (300, 40, 50)
PER_CLASS = 60


@pytest.fixture(scope="module")
def classes():
    return np.repeat(np.arange(10), PER_CLASS)


@pytest.fixture(scope="module")
def images(classes):
    return draw_digits(classes, np.random.default_rng(0))


@pytest.fixture
def never_draw(monkeypatch):
    """Make drawing fail, so that what is loaded must come from the cache."""

    def refuse(*arguments):
        raise AssertionError("digits were drawn, although the cache holds them")

    monkeypatch.setattr(synthetic, "draw_digits", refuse)


def assert_same(one: Dataset, other: Dataset) -> None:
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, name).pixels, getattr(other, name).pixels)
        np.testing.assert_array_equal(getattr(one, name).classes, getattr(other, name).classes)


class TestStrokes:
    def test_every_digit_has_several_shapes(self):
        assert list(SHAPES) == list(range(10))
        for shapes in SHAPES.values():
            ways = [way for _, way in shapes]
            assert len(set(ways)) == len(ways) >= 2
            assert all(weight >= 1 for weight, _ in shapes)

    def test_curve_passes_through_its_points(self):
        segments = trace("0,0 40,30 0,100")
        np.testing.assert_allclose(segments[0, 0], [0, 0], atol=1e-12)
        np.testing.assert_allclose(segments[-1, 1], [0, 1], atol=1e-12)
        distances = np.linalg.norm(segments[:, 0] - [0.4, 0.3], axis=1)
        assert distances.min() < 0.06

    def test_pen_moves_on_without_a_jump(self):
        segments = trace("0,0 50,0! 50,80 20,90")
        np.testing.assert_allclose(segments[1:, 0], segments[:-1, 1], atol=1e-12)

    def test_corner_is_sharp(self):
        # Two straight lines: every point has x = 0.5 or y = 0. A curve would round the corner.
        points = trace("0,0 50,0! 50,80").reshape(-1, 2)
        assert np.all(np.isclose(points[:, 0], 0.5) | np.isclose(points[:, 1], 0.0))
        rounded = trace("0,0 50,0 50,80").reshape(-1, 2)
        assert not np.all(np.isclose(rounded[:, 0], 0.5) | np.isclose(rounded[:, 1], 0.0))

    def test_lifted_pen_draws_nothing(self):
        together = trace("0,0 0,100 / 50,0 50,100")
        apart = np.concatenate([trace("0,0 0,100"), trace("50,0 50,100")])
        np.testing.assert_array_equal(together, apart)


class TestDrawing:
    def test_same_seed_same_digits(self, images, classes):
        np.testing.assert_array_equal(draw_digits(classes, np.random.default_rng(0)), images)

    def test_other_seed_other_digits(self, images, classes):
        others = draw_digits(classes, np.random.default_rng(1))
        assert not np.any(np.all(others == images, axis=(1, 2)))

    def test_shape_and_type(self, images, classes):
        assert images.shape == (len(classes), 28, 28)
        assert images.dtype == np.uint8

    def test_digit_fills_a_box_of_20_pixels(self, images):
        for axis in (1, 2):
            present = images.any(axis=axis)
            first = present.argmax(axis=1)
            last = 27 - present[:, ::-1].argmax(axis=1)
            extent = last - first + 1
            assert extent.max() <= 20
        height = images.any(axis=2).sum(axis=1)
        width = images.any(axis=1).sum(axis=1)
        assert np.maximum(height, width).min() >= 19

    def test_centre_of_mass_in_the_middle(self, images):
        # MNIST's lies between 13.5 and 14.5 as well: the middle of 28 pixels is the edge
        # between pixels 13 and 14, and the digits are moved by whole pixels.
        mass = images.astype(float)
        for axis in (1, 2):
            along = mass.sum(axis=axis)
            centre = along @ np.arange(28) / along.sum(axis=1)
            # A very lopsided digit stops at the frame.
            assert np.mean(np.abs(centre - 14) <= 0.5) > 0.99
            assert np.abs(centre - 14).max() < 1.5

    def test_grey_values_like_those_of_mnist(self, images):
        # MNIST: mean 33.3, 81 % black, 7.4 % full ink (250 or more), 12 % between.
        assert images.min() == 0
        assert 250 <= images.max() <= 255
        assert 28 < images.mean() < 39
        assert 0.75 < np.mean(images == 0) < 0.87
        assert 0.05 < np.mean(images >= 250) < 0.10

    def test_one_has_least_ink_and_eight_or_zero_most(self, images):
        ink = images.reshape(10, -1).mean(axis=1)
        assert ink.argmin() == 1
        assert ink.argmax() in (0, 8)

    @pytest.mark.parametrize("digit", range(10))
    def test_every_shape_of_a_digit_is_drawn(self, digit):
        table, first, counts = synthetic._shape_table()
        weights = [weight for weight, _ in SHAPES[digit]]
        drawn = synthetic._choose_shapes(np.full(400, digit), np.random.default_rng(0))
        chosen = [int(np.flatnonzero((table == shape).all(axis=(1, 2)))[0]) for shape in drawn]
        starts = first[digit] + np.cumsum([0, *weights[:-1]])
        assert sorted(set(chosen)) == starts.tolist()
        assert counts[digit] == sum(weights)

    def test_filled_up_shapes_draw_what_was_traced(self):
        table, first, _ = synthetic._shape_table()
        bar = trace(SHAPES[1][0][1]).reshape(-1, 2)
        row = table[first[1]]
        np.testing.assert_array_equal(row[: len(bar)], bar)
        np.testing.assert_array_equal(np.unique(row, axis=0), np.unique(bar, axis=0))

    def test_distance_to_a_segment(self):
        # From (5, 5) to (10, 5), x before y; the pixel (0, 5) is 5 from the start, (7, 8) is 3
        # from the line, (13, 9) is 5 from the end.
        distance = synthetic._distance_to_strokes(np.float32([[[5, 5], [10, 5]]]))
        assert distance.shape == (1, 20, 20)
        np.testing.assert_allclose(distance[0, [5, 8, 9], [0, 7, 13]], [5, 3, 5], rtol=1e-6)

    def test_digits_can_be_told_apart(self, images, classes):
        test_classes = np.arange(500) % 10
        test = draw_digits(test_classes, np.random.default_rng(1)).reshape(500, -1).astype(float)
        means = images.reshape(10, PER_CLASS, -1).mean(axis=1)
        squared = (means**2).sum(axis=1) - 2 * test @ means.T
        assert np.mean(squared.argmin(axis=1) == test_classes) > 0.55  # chance is 0.1

    def test_no_digits(self):
        assert draw_digits(np.empty(0, dtype=int), np.random.default_rng(0)).shape == (0, 28, 28)

    @pytest.mark.parametrize(
        "wrong",
        [np.array([3, 10]), np.array([-1]), np.array([1.0]), np.array([[1]]), np.array(1)],
        ids=["above 9", "negative", "float", "two axes", "no axis"],
    )
    def test_other_classes_are_refused(self, wrong):
        with pytest.raises(DataError, match="classes must be"):
            draw_digits(wrong, np.random.default_rng(0))


class TestLoading:
    def test_sizes_and_name(self, tmp_path):
        dataset = load_synthetic(0, SIZES, tmp_path)
        assert dataset.name == "synthetic"
        assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == SIZES

    def test_same_seed_same_digits(self, tmp_path):
        one = load_synthetic(3, SIZES, tmp_path / "one")
        assert_same(one, load_synthetic(3, SIZES, tmp_path / "other"))

    def test_other_seed_other_digits(self, tmp_path):
        one = load_synthetic(0, SIZES, tmp_path)
        other = load_synthetic(1, SIZES, tmp_path)
        assert not np.array_equal(one.train.classes, other.train.classes)
        assert not np.array_equal(one.train.pixels, other.train.pixels)

    def test_splits_share_no_image(self, tmp_path):
        dataset = load_synthetic(0, (300, 300, 300), tmp_path)
        splits = (dataset.train, dataset.validation, dataset.test)
        images = np.concatenate([split.pixels for split in splits]).reshape(900, -1)
        assert len(np.unique(images, axis=0)) == 900

    def test_first_images_do_not_depend_on_sizes(self, tmp_path):
        small = load_synthetic(0, (10, 20, 30), tmp_path)
        large = load_synthetic(0, SIZES, tmp_path)
        np.testing.assert_array_equal(small.train.pixels, large.train.pixels[:10])
        np.testing.assert_array_equal(small.test.pixels, large.test.pixels[:30])
        np.testing.assert_array_equal(small.validation.classes, large.validation.classes[:20])

    def test_classes_uniform_and_shuffled(self, tmp_path):
        classes = load_synthetic(0, (2000, 1, 1), tmp_path).train.classes
        counts = np.bincount(classes, minlength=10)
        # 200 each; the standard deviation is 13.4.
        assert np.abs(counts - 200).max() < 60
        # In random order a neighbour is the same in a tenth of the cases: 200, deviation 13.4.
        assert abs(np.sum(classes[1:] == classes[:-1]) - 200) < 60

    @pytest.mark.parametrize("sizes", [(0, 1, 1), (1, -5, 1), (1, 1)])
    def test_wrong_sizes_are_refused(self, sizes, tmp_path):
        with pytest.raises(DataError, match="three positive numbers"):
            load_synthetic(0, sizes, tmp_path)

    def test_negative_seed_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="got -1"):
            load_synthetic(-1, SIZES, tmp_path)


class TestCache:
    def test_second_load_reads_the_file(self, tmp_path, request):
        drawn = load_synthetic(0, SIZES, tmp_path)
        request.getfixturevalue("never_draw")
        assert_same(load_synthetic(0, SIZES, tmp_path), drawn)

    def test_name_holds_version_and_seed(self, tmp_path):
        load_synthetic(7, SIZES, tmp_path)
        (file,) = tmp_path.iterdir()
        assert file.name == f"digits-v{synthetic.VERSION}-seed7-300-40-50.npz"

    def test_other_version_is_not_used(self, tmp_path, monkeypatch, request):
        load_synthetic(0, SIZES, tmp_path)
        monkeypatch.setattr(synthetic, "VERSION", synthetic.VERSION + 1)
        request.getfixturevalue("never_draw")
        with pytest.raises(AssertionError, match="were drawn"):
            load_synthetic(0, SIZES, tmp_path)

    def test_a_changed_drawing_has_a_new_version(self, tmp_path):
        # Who changes how digits look must raise VERSION, or users keep the old digits in their
        # cache; then note the new mean here. Rounding differs between machines by far less.
        means = {1: 34.0978}
        pixels = load_synthetic(0, (256, 1, 1), tmp_path).train.pixels
        assert pixels.mean() == pytest.approx(means[synthetic.VERSION], abs=0.002)

    def test_default_folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(synthetic, "cache_folder", lambda: tmp_path)
        load_synthetic(0, SIZES)
        assert len(list((tmp_path / "synthetic").glob("*.npz"))) == 1

    def test_no_home_folder_is_no_error(self, monkeypatch):
        def no_home():
            raise DataError("the home folder is unknown")

        monkeypatch.setattr(synthetic, "cache_folder", no_home)
        assert len(load_synthetic(0, SIZES).train) == SIZES[0]

    @pytest.mark.parametrize("damage", ["empty", "text", "cut", "flip", "sizes", "pickle", "lacks"])
    def test_damaged_file_is_drawn_anew(self, damage, tmp_path, request):
        drawn = load_synthetic(0, SIZES, tmp_path)
        (file,) = tmp_path.iterdir()
        content = file.read_bytes()
        if damage == "empty":
            file.write_bytes(b"")
        elif damage == "text":
            file.write_bytes(b"not an archive")
        elif damage == "cut":
            file.write_bytes(content[: len(content) // 2])
        elif damage == "flip":
            middle = len(content) // 3
            file.write_bytes(content[:middle] + b"\x55\xaa" + content[middle + 2 :])
        elif damage == "sizes":
            other = load_synthetic(0, (20, 20, 20), tmp_path / "other")
            splits = [other.train, other.validation, other.test]
            synthetic._write(file, splits)
        elif damage == "pickle":
            np.savez(file, train_pixels=np.array([{}], dtype=object))
        elif damage == "lacks":
            np.savez(file, train_pixels=drawn.train.pixels)
        assert file.read_bytes() != content
        assert_same(load_synthetic(0, SIZES, tmp_path), drawn)
        # The good file is back.
        request.getfixturevalue("never_draw")
        assert_same(load_synthetic(0, SIZES, tmp_path), drawn)

    def test_folder_that_cannot_be_made_is_no_error(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        drawn = load_synthetic(0, SIZES, tmp_path / "file" / "folder")
        assert len(drawn.test) == SIZES[2]

    def test_disk_full_is_no_error(self, tmp_path, monkeypatch):
        def full(*arguments, **arrays):
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(np, "savez_compressed", full)
        assert len(load_synthetic(0, SIZES, tmp_path).test) == SIZES[2]
        assert list(tmp_path.iterdir()) == []
