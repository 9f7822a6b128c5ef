"""Other data of MNIST's form: checked, split, named, recognised, and never taken for MNIST."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from lenet_np.data import DataError, load_dataset, others
from lenet_np.data.dataset import check_name
from lenet_np.data.idx import header
from lenet_np.data.synthetic import draw_digits
from lenet_np.tools.commands import evaluate, plot, train

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def make_arrays(seed: int = 0) -> list[np.ndarray]:
    """Draw 60 images to learn from and 20 to test with: on each a bar, lower for each class."""
    rng = np.random.default_rng(seed)
    arrays = []
    for count in (60, 20):
        classes = rng.permutation(np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 50, (count, 28, 28), dtype=np.uint8)
        for image, k in zip(images, classes, strict=True):
            image[2 * k + 3 : 2 * k + 6, 4:24] = 255
        arrays += [images, classes]
    return arrays


ARRAYS = make_arrays()


def write(folder: Path, arrays: list[np.ndarray] = ARRAYS, names=NAMES, pack=bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        (folder / name).write_bytes(pack(header(array.shape) + array.tobytes()))
    return folder


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("LENET_NP_DATA", raising=False)


def refuse_notices(text: str) -> None:
    raise AssertionError(f"unexpected notice: {text}")


def load(folder: Path, kind: str = "idx"):
    return load_dataset(kind, folder, notify=refuse_notices)


# --- what is read -------------------------------------------------------------------------------


def test_the_splits_are_the_files_in_order(tmp_path):
    data = load(write(tmp_path / "bars"))
    assert data.name == "idx-bars"
    images, labels, test_images, test_labels = ARRAYS
    np.testing.assert_array_equal(data.validation.pixels, images[:5])
    np.testing.assert_array_equal(data.validation.classes, labels[:5])
    np.testing.assert_array_equal(data.train.pixels, images[5:])
    np.testing.assert_array_equal(data.train.classes, labels[5:])
    np.testing.assert_array_equal(data.test.pixels, test_images)
    np.testing.assert_array_equal(data.test.classes, test_labels)


@pytest.mark.parametrize(("count", "validation"), [(2, 1), (23, 1), (24, 2), (59, 4), (60, 5)])
def test_a_twelfth_is_for_validation(tmp_path, count, validation):
    images, labels, *test = ARRAYS
    data = load(write(tmp_path, [images[:count], labels[:count], *test]))
    assert (len(data.validation), len(data.train)) == (validation, count - validation)


def test_no_more_than_5000_are_for_validation(tmp_path, monkeypatch):
    assert others.VALIDATION_SIZE == 5_000
    monkeypatch.setattr(others, "VALIDATION_SIZE", 3)
    assert len(load(write(tmp_path)).validation) == 3


EMNIST = [f"emnist-digits-{name}.gz".replace("t10k", "test") for name in NAMES]


@pytest.mark.parametrize(
    ("place", "names", "pack"),
    [
        (".", [f"{name}.gz" for name in NAMES], gzip.compress),
        (".", [f"{name}.gz" for name in NAMES], bytes),
        (".", [name.replace("-idx", ".idx") for name in NAMES], bytes),
        (".", EMNIST, gzip.compress),
        ("raw", NAMES, bytes),
    ],
)
def test_files_are_found_under_the_names_that_people_have(tmp_path, place, names, pack):
    write(tmp_path / "bars" / place, names=names, pack=pack)
    data = load(tmp_path / "bars")
    assert data.name == "idx-bars"
    np.testing.assert_array_equal(data.test.pixels, ARRAYS[2])


def test_packed_and_unpacked_beside_each_other_are_one_file(tmp_path):
    write(tmp_path)
    write(tmp_path, names=[f"{name}.gz" for name in NAMES], pack=gzip.compress)
    assert len(load(tmp_path).train) == 55


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("FashionMNIST/raw", "idx-FashionMNIST"),
        ("my data $x^$", "idx-my-data-x"),
        ("数字", "idx-data"),
        ("x" * 80, "idx-" + "x" * 60),
    ],
)
def test_the_display_name_is_that_of_the_folder(tmp_path, folder, name):
    data = load(write(tmp_path / folder))
    assert data.name == check_name(name)
    assert others.kind_of(name) == "idx"


def test_the_current_folder_has_a_name_too(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path / "bars"))
    assert load(Path()).name == "idx-bars"


# --- what is refused ----------------------------------------------------------------------------

IMAGES, LABELS, *TEST = ARRAYS


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([IMAGES, LABELS + 1, *TEST], "label 10 at position"),
        ([IMAGES[:-1], LABELS, *TEST], "59 images but 60 labels: they do not belong together"),
        (
            [IMAGES[:, 1:], LABELS, *TEST],
            r"of shape \(N, 28, 28\), got uint8 of shape \(60, 27, 28",
        ),
        ([IMAGES, LABELS[:, None], *TEST], r"labels must be .* got uint8 of shape \(60, 1\)"),
        ([LABELS, LABELS, *TEST], r"images must be .*, got uint8 of shape \(60,\)"),
        ([IMAGES > 100, LABELS, *TEST], "no value is above 1, expected grey values from 0 to 255"),
        ([IMAGES[:1], LABELS[:1], *TEST], "1 training and 20 test images are too few"),
        ([IMAGES, LABELS, TEST[0][:0], TEST[1][:0]], "60 training and 0 test images are too few"),
    ],
)
def test_wrong_sizes_and_ranges_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message) as caught:
        load(write(tmp_path, arrays))
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["absent", "cut", "text"])
def test_a_file_that_is_absent_or_damaged_is_named(tmp_path, name, damage):
    write(tmp_path)
    if damage == "absent":
        (tmp_path / name).unlink()
    else:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-1] if damage == "cut" else b"<html>")
    with pytest.raises(DataError, match=rf"{re.escape(str(tmp_path))}.*{name}"):
        load(tmp_path)


def test_files_of_several_data_sets_are_not_mixed(tmp_path):
    write(tmp_path, names=EMNIST)
    write(tmp_path, names=[name.replace("digits", "mnist") for name in EMNIST])
    with pytest.raises(
        DataError, match=r"several files .*emnist-digits-train-images.*emnist-mnist"
    ):
        load(tmp_path)


def test_a_folder_must_be_named(monkeypatch, tmp_path):
    with pytest.raises(DataError, match=r"no folder is named for idx.*--data-dir"):
        load_dataset("idx")
    monkeypatch.setenv("LENET_NP_DATA", str(write(tmp_path / "bars")))
    assert load_dataset("idx").name == "idx-bars"
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "absent")


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_they_are_never_taken_for_mnist(tmp_path, name):
    with pytest.raises(DataError, match=r"not the official MNIST files(.|\n)*--dataset idx"):
        load_dataset(name, write(tmp_path), notify=refuse_notices)


# --- transposed ---------------------------------------------------------------------------------


def digits(turn) -> list[np.ndarray]:
    """Draw digits, and turn each image."""
    classes = (np.arange(400) % 10).astype(np.uint8)
    images = turn(draw_digits(classes, np.random.default_rng(5)))
    return [images, classes, images[:50], classes[:50]]


def transpose(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 2, 1)


def test_transposed_digits_are_hinted_at_and_turned(tmp_path):
    folder = write(tmp_path / "emnist", digits(transpose), EMNIST)
    notices: list[str] = []
    data = load_dataset("idx", folder, notices.append)
    assert data.name == "idx-emnist"
    assert notices == [
        f"the images in {folder} look transposed; --dataset transposed-idx turns them"
    ]
    turned = load(folder, "transposed-idx")
    assert turned.name == "transposed-idx-emnist"
    for split in ("train", "validation", "test"):
        mine, theirs = getattr(turned, split), getattr(data, split)
        np.testing.assert_array_equal(mine.pixels, transpose(theirs.pixels))
        np.testing.assert_array_equal(mine.classes, theirs.classes)


def test_turning_upright_digits_is_hinted_at(tmp_path):
    folder = write(tmp_path / "upright", digits(lambda images: images))
    load(folder)
    notices: list[str] = []
    load_dataset("transposed-idx", folder, notices.append)
    assert notices == [f"the images in {folder} look transposed; --dataset idx turns them"]


@pytest.mark.parametrize(
    "turn",
    [
        lambda images: np.rot90(images, 1, (1, 2)),
        lambda images: images[:, :, ::-1],
        lambda images: np.random.default_rng(0).permutation(images),
    ],
    ids=["turned by a right angle", "mirrored", "no digits of their classes"],
)
def test_other_images_are_not_called_transposed(tmp_path, turn):
    load(write(tmp_path, digits(turn)))


# --- runs ---------------------------------------------------------------------------------------

SHORT = ["--loss", "cross-entropy", "--batch-size", "20", "--threads", "1"]


@pytest.fixture
def run(tmp_path, capsys) -> Path:
    """A run of one epoch on the bars."""
    folder = write(tmp_path / "bars")
    words = ["--dataset", "idx", "--data-dir", str(folder), "--out", str(tmp_path / "run")]
    assert train.main([*words, *SHORT, "--epochs", "1"]) == 0
    return tmp_path / "run"


def test_every_accuracy_of_a_run_names_the_data(run, capsys):
    accuracies = [line for line in capsys.readouterr().out.splitlines() if "accuracy 0" in line]
    assert len(accuracies) == 2
    assert all("on idx-bars" in line for line in accuracies)
    config = json.loads((run / "config.json").read_text())
    assert config["dataset"]["name"] == "idx-bars"
    assert sorted(config["dataset"]["sha256"]) == ["test", "train", "validation"]
    assert json.loads((run / "summary.json").read_text())["dataset"] == "idx-bars"


@pytest.mark.parametrize("words", [[], ["--dataset", "idx"], ["--dataset", "auto"]])
def test_a_run_is_resumed_though_its_files_were_moved(run, tmp_path, capsys, words):
    (tmp_path / "bars").rename(tmp_path / "elsewhere")
    resume = ["--resume", str(run), "--data-dir", str(tmp_path / "elsewhere"), "--epochs", "2"]
    assert train.main([*resume, *words]) == 0
    accuracies = [line for line in capsys.readouterr().out.splitlines() if "accuracy 0" in line]
    assert len(accuracies) == 4  # of each epoch, and on the test set after each start
    assert all("on idx-bars" in line for line in accuracies)
    assert train.main([*resume[:-1], "3"]) == 0


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--data-dir", "other"], 3, "idx-bars data are not those that the run was started with"),
        ([], 3, "no folder is named for idx-bars"),
        (["--dataset", "mnist"], 2, "--dataset: the run was started on idx-bars, got mnist"),
        (["--dataset", "transposed-idx"], 2, "the run was started on idx-bars, got transposed-idx"),
    ],
)
def test_a_run_is_not_resumed_on_other_data(
    run, tmp_path, monkeypatch, capsys, words, status, message
):
    write(tmp_path / "other", make_arrays(seed=1))
    monkeypatch.chdir(tmp_path)
    before = {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}
    assert train.main(["--resume", str(run), "--epochs", "2", *words]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert before == {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}


def test_a_run_is_evaluated_and_the_data_are_named(run, tmp_path, capsys):
    capsys.readouterr()
    assert evaluate.main([str(run), "--data-dir", str(tmp_path / "bars")]) == 0
    assert "read: test images of idx-bars\n" in capsys.readouterr().out
    other = write(tmp_path / "other", make_arrays(seed=1))
    assert evaluate.main([str(run), "--dataset", "idx", "--data-dir", str(other), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["trained_on"], said["dataset"]) == ("idx-bars", "idx-other")
    assert evaluate.main([str(run)]) == 3


def test_pictures_of_a_run_are_drawn_from_its_own_data_alone(run, tmp_path, capsys):
    words = [str(run), "--only", "confusion", "--data-dir"]
    assert plot.main([*words, str(tmp_path / "bars")]) == 0
    capsys.readouterr()
    assert plot.main([*words, str(write(tmp_path / "other", make_arrays(seed=1)))]) == 1
    assert "are not those that the run was started with" in capsys.readouterr().err
