"""The command ``evaluate``: its numbers are those of the network, and its mistakes are clear."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lenet_np import data as data_module
from lenet_np.data import DataError, Dataset, Split
from lenet_np.evaluate import Evaluation, logits_of
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state
from lenet_np.settings import Settings
from lenet_np.tools.commands.evaluate import as_text, main, summarise
from lenet_np.tools.runs.checkpoint import Checkpoint, save


def split(size: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size, 28, 28)).astype(np.uint8)
    return Split(pixels, rng.integers(0, 10, size).astype(np.uint8))


@pytest.fixture
def asked() -> list:
    """List the data sets that were asked for."""
    return []


@pytest.fixture
def data(monkeypatch, asked) -> Dataset:
    dataset = Dataset("mnist", split(30, 0), split(25, 1), split(40, 2))

    def load(name, folder):
        asked.append((name, folder))
        if name == "mnist":
            return dataset
        raise DataError(f"no data set is named {name!r}")

    monkeypatch.setattr(data_module, "load_dataset", load)
    return dataset


@pytest.fixture
def run(tmp_path):
    """Make a run folder with two networks: the last, and another one as the best."""
    for name, seed in (("last", 0), ("best", 3)):
        settings = Settings(seed=seed)
        state = initial_state(lenet5(), settings)
        save(tmp_path / f"{name}.npz", Checkpoint(state, settings, 2, "mnist"))
    return tmp_path


def answers(seed: int, images: Split) -> np.ndarray:
    parameters = initial_state(lenet5(), Settings(seed=seed)).parameters
    return logits_of(lenet5(), parameters, images).argmax(axis=0)


def evaluated(capsys, *words) -> dict:
    assert main([*map(str, words), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    (line,) = out.splitlines()
    return json.loads(line)


@pytest.mark.parametrize("which", ["test", "validation", "train"])
def test_the_numbers_are_those_of_the_network_on_the_split(data, run, capsys, which):
    images = getattr(data, which)
    result = evaluated(capsys, run, "--split", which)
    right = answers(0, images) == images.classes
    assert (result["images"], result["right"]) == (len(images), right.sum())
    assert result["accuracy"] == right.mean()
    low, high = result["wilson_95"]
    assert low < right.mean() < high
    assert (result["dataset"], result["trained_on"], result["epoch"]) == ("mnist", "mnist", 2)
    assert result["split"] == which
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (images.classes, answers(0, images)), 1)
    assert result["confusion"] == confusion.tolist()
    assert result["dead_classes"] == [k for k in range(10) if not confusion[:, k].any()]


def test_best_and_a_file_name_the_other_network(data, run, capsys):
    right = int((answers(3, data.test) == data.test.classes).sum())
    for words in ([run, "--checkpoint", "best"], [run / "best.npz"]):
        result = evaluated(capsys, *words)
        assert result["checkpoint"] == str(run / "best.npz")
        assert result["right"] == right
    last = evaluated(capsys, run)
    assert last["right"] != right  # or this test shows nothing
    assert evaluated(capsys, run, "--checkpoint", "last") == last


def test_the_data_set_is_that_of_the_training_unless_another_is_named(data, asked, run, capsys):
    evaluated(capsys, run)
    assert asked[-1] == ("mnist", None)
    assert main([str(run), "--dataset", "synthetic"]) == 3
    assert asked[-1][0] == "synthetic"


def test_data_that_cannot_be_had(data, run, capsys):
    state = initial_state(lenet5(), Settings())
    save(run / "other.npz", Checkpoint(state, Settings(), 1, "letters"))
    assert main([str(run / "other.npz")]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "this network was trained on letters: no data set is named 'letters'" in err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nothing"], 1, "no such file or folder"),
        (["."], 1, "is no run"),
        (["RUN/text.npz"], 1, "not a checkpoint"),
        (["RUN/nan.npz"], 1, "conv1.weight is not finite: this run diverged"),
        (["RUN", "--checkpoint", "first"], 2, "--checkpoint: invalid choice"),
        (["RUN/last.npz", "--checkpoint", "best"], 2, "--checkpoint: chooses from the folder of"),
        (["RUN/last.npz", "--checkpoint", "last"], 2, "last.npz is a file, leave it out"),
        (["RUN", "--split", "all"], 2, "--split"),
        (["RUN", "--threads", "0"], 2, "takes a whole number from 1"),
        ([], 2, "RUN"),
    ],
)
def test_mistakes_are_one_line(data, run, capsys, monkeypatch, words, status, message):
    (run / "empty").mkdir()
    monkeypatch.chdir(run / "empty")
    (run / "text.npz").write_text("hello")
    state = initial_state(lenet5(), Settings())
    state.parameters["conv1.weight"][0, 0, 0, 0] = np.nan
    save(run / "nan.npz", Checkpoint(state, Settings(), 1, "mnist"))
    try:
        found = main([word.replace("RUN", str(run)) for word in words])
    except SystemExit as end:
        found = end.code
    out, err = capsys.readouterr()
    assert (found, out) == (status, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_the_tables_on_the_screen(data, run, capsys):
    assert main([str(run)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"{run / 'last.npz'}: 2 epochs on mnist, zero-one loss" in out
    assert "test images of mnist" in out


def crowded() -> Evaluation:
    """Many images, a class without any, one that is never the answer, one never wrong."""
    confusion = np.full((10, 10), 12_345)
    confusion[3] = 0
    confusion[:, 7] = 0
    confusion[8] = 0
    confusion[8, 8] = 5
    confusion[1, 6] = 20_000
    return Evaluation(confusion)


def test_the_text_names_what_matters_and_fits():
    text = as_text(summarise(crowded()))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    table = {line.split()[0]: line.split() for line in lines[4:14]}
    assert table["1"][4:] == ["6", "(20000", "of", "118760)"]
    assert table["3"][1:] == ["0", "-", "0.0000", "-"]
    assert table["7"][2:4] == ["0.0000", "-"]
    assert table["8"][1:3] == ["5", "1.0000"]
    assert "never the answer (dead classes): 7" in lines
    rows = {line.split()[0]: line.split()[1:] for line in lines[-10:]}
    assert rows["8"] == ["."] * 8 + ["5", "."]
    assert rows["1"][6] == "20000"


def test_a_live_network_has_no_line_on_dead_classes():
    assert "dead" not in as_text(summarise(Evaluation(np.eye(10, dtype=np.int64))))


def test_json_has_null_where_there_is_no_number():
    result = json.loads(json.dumps(summarise(crowded()), allow_nan=False))
    by_class = result["classes"]
    assert [c["class"] for c in by_class] == list(range(10))
    assert by_class[3]["recall"] is None
    assert by_class[7]["precision"] is None
    assert by_class[8]["most_frequent_error"] is None
    assert (by_class[1]["most_frequent_error"], by_class[1]["times"]) == (6, 20_000)
    assert result["dead_classes"] == [7]


@pytest.mark.parametrize(
    ("right", "interval"),
    [
        # By hand for 9 of 10: (0.9 + z²/20 ± z sqrt(0.009 + z²/400)) / (1 + z²/10), z² = 3.84146.
        (9, (0.595850, 0.982124)),
        (0, (0, 0.277533)),
        (10, (1 - 0.277533, 1)),
    ],
)
def test_the_interval_is_wilson_s(right, interval):
    confusion = np.zeros((10, 10), np.int64)
    confusion[4, 4], confusion[4, 5] = right, 10 - right
    found = summarise(Evaluation(confusion))["wilson_95"]
    assert found == pytest.approx(interval, abs=1e-6)
    assert 0 <= found[0] <= found[1] <= 1
