"""A user's own loss: tried before the start, recorded, sent to workers; and the page on it."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_docs import DOCS, blocks
from test_weights import limit, z_scores
from tiny import command, tiny_dataset

import lenet_np.data
from lenet_np import workers
from lenet_np.diagnostics import diagnose
from lenet_np.es import BatchLoss, estimate_weighed, sample_noise
from lenet_np.estimators import leave_one_out, plain
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state, train
from lenet_np.losses import zero_one_loss
from lenet_np.settings import SettingError, Settings, resolve
from lenet_np.smoothed import smoothed_zero_one
from lenet_np.threads import one_blas_thread
from lenet_np.tools.commands import train as command_module
from lenet_np.tools.commands.evaluate import main as evaluate
from lenet_np.tools.commands.plot import main as plot
from lenet_np.tools.commands.train import main
from lenet_np.tools.runs import start as start_module
from lenet_np.tools.runs.executors import executor
from lenet_np.tools.runs.folder import read_config
from lenet_np.tools.runs.loss import load_loss, try_loss

LOSSES = """
import numpy as np
calls = []
COSTS = 1 - np.eye(10)
COSTS[3, 5] = 10.0

def error(logits, labels):
    return logits.argmax(axis=0) != labels.argmax(axis=0)

def costs(logits, labels):
    return COSTS[labels.argmax(axis=0), logits.argmax(axis=0)]

def mean(logits, labels):
    return error(logits, labels).mean(axis=0)

def for_each_class(logits, labels):
    return (logits - labels) ** 2

def text(logits, labels):
    return error(logits, labels).astype(str)

def table(logits, labels):
    return error(logits, labels).tolist()

def nothing(logits, labels):
    pass

def nan(logits, labels):
    return np.where(error(logits, labels), np.nan, 0)

def broken(logits, labels):
    return {}["key"]

def changing(logits, labels):
    calls.append(1)
    return error(logits, labels) + len(calls)

def careless(logits, labels):
    logits -= logits.max(axis=0)
    return error(logits, labels)

def squeezed(logits, labels):
    return error(logits, labels).squeeze()

def relative(logits, labels):
    losses = costs(logits, labels)
    return losses - losses.mean()

def accuracy_of_batch(logits, labels):
    return error(logits, labels).mean(axis=1, keepdims=True)

def half_whole(logits, labels):
    losses = accuracy_of_batch(logits, labels)
    return losses - losses.mean()

def later(logits, labels):
    if logits.shape[-1] == 40:
        raise KeyError("forty")
    return error(logits, labels)
"""
SMALL = ["--samples", "20", "--batch-size", "40", "--epochs", "1", "--quiet"]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Write the losses above as a file, and let the command find the tiny data set."""
    for module in (command_module, start_module):
        monkeypatch.setattr(module, "load_dataset", lambda *_: tiny_dataset())
    path = tmp_path / "mine.py"
    path.write_text(LOSSES, encoding="utf-8")
    return path


def one_line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line


# --- a wrong loss of each kind ------------------------------------------------------------------

SHAPE = r"must give numbers of shape \(n, 1\), .* or \(n, N\) = \(200, 10\), one .* it gave "
WRONG = {
    "mean": SHAPE + r"shape \(10,\) in float64",
    "for_each_class": SHAPE + r"shape \(10, 200, 10\) in float32",
    "text": SHAPE + r"shape \(200, 10\) in <U",
    "table": SHAPE + "list",
    "nothing": SHAPE + "NoneType",
    "nan": r"it gave nan for finite logits; expected are finite numbers",
    "broken": r"it raised KeyError: 'key' \(line \d+ of mine.py\)",
    "changing": "it gave .* and then .* for the same logits; expected is a function of",
    "careless": "it raised ValueError: output array is read-only",
    "squeezed": r"must give numbers of shape \(n, N\) = \(1, 9\).* it gave shape \(9,\)",
    "relative": "other losses for the same samples and examples among fewer others; expected is",
    "half_whole": "other losses for the same samples and examples among fewer others",
    "missing": "mine.py has no function missing",
    "COSTS": "mine.py has no function COSTS",
}


@pytest.mark.parametrize("place", ["logits", "weights"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_loss_ends_in_one_line_before_anything_starts(name, place, file, capsys):
    out = file.parent / "run"
    assert main(["--loss", f"{file}:{name}", "--perturb", place, "--out", str(out)]) == 2
    line = one_line(capsys)
    assert line.startswith("python -m lenet_np.train: argument --loss: ")
    assert re.search(WRONG[name], line)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{folder}/none.py:error", "cannot read .*none.py: No such file"),
        ("{folder}/syntax.py:error", r"SyntaxError: .*syntax.py"),
        ("{folder}/raising.py:error", r"RuntimeError: two lines \(line 1 of raising.py\)"),
        ("{folder}/leaving.py:error", "SystemExit: 3"),
        ("no_such_module:error", "no_such_module is neither a file FILE.py nor a module here"),
        ("math:sin", "math is neither a file FILE.py nor a module"),
        (":error", "takes FILE.py:FUNCTION or MODULE:FUNCTION, got :error"),
        ("mine.py:", "takes FILE.py:FUNCTION or MODULE:FUNCTION, got mine.py:"),
        ("hinge", r"is one of \('zero-one', 'cross-entropy'\), or FILE.py:FUNCTION, got 'hinge'"),
    ],
)
def test_a_loss_that_cannot_be_had_ends_in_one_line(name, message, file, capsys):
    folder = file.parent
    (folder / "syntax.py").write_text("def error(:\n")
    (folder / "raising.py").write_text("raise RuntimeError('two\\nlines')\n")
    (folder / "leaving.py").write_text("raise SystemExit(3)\n")
    try:
        status = main(["--loss", name.format(folder=folder), "--out", str(folder / "run")])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert re.search(f"argument --loss: .*{message}", one_line(capsys))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--estimator", "exact"], "the estimator exact is made for losses.zero_one_loss alone"),
        (["--estimator", "rao-blackwell"], "the estimator rao-blackwell is made for"),
        (["--objective", "log-success"], "log-success counts successes: the loss must be 0 or 1"),
        (
            ["--objective", "log-success", "--perturb", "weights"],
            "log-success counts successes: the loss must be 0 or 1",
        ),
    ],
)
def test_what_needs_another_loss_is_refused_before_the_start(words, message, file, capsys):
    assert main(["--loss", f"{file}:costs", *words, "--out", str(file.parent / "run")]) == 2
    assert message in one_line(capsys)
    assert not (file.parent / "run").exists()


def test_a_loss_that_fails_later_ends_in_one_line_too(file, capsys):
    out = file.parent / "run"
    assert main(["--loss", f"{file}:later", *SMALL, "--out", str(out)]) == 2
    line = one_line(capsys)
    assert "mine.py:later: it raised KeyError: 'forty' (line " in line
    assert f"step 0 is saved in {out}" in line


# --- the same bits ------------------------------------------------------------------------------

PLACES = {
    "logits": {},
    "logits, leave-one-out, vjp": {"estimator": "leave-one-out", "route": "vjp"},
    "logits, log-success": {"objective": "log-success"},
    "weights": {"perturb": "weights", "samples": 4, "objective": "log-success"},
    "whole networks": {"perturb": "weights", "samples": 6, "rank": "full"},
}


def last_state(given, **options):
    settings = resolve({"epochs": 1, "batch_size": 40, "samples": 20} | given)
    *_, (state, _) = train(lenet5(), tiny_dataset().train, settings, **options)
    return state


def assert_same_bits(ours, theirs):
    for name, value in theirs.parameters.items():
        np.testing.assert_array_equal(ours.parameters[name], value, err_msg=name)


@pytest.mark.parametrize("place", PLACES)
def test_ones_own_copy_of_the_0_1_loss_gives_its_bits(place, file):
    given = {"objective": "error"} | PLACES[place]
    expected = last_state(given)
    loss = load_loss(f"{file}:error")
    assert try_loss(loss, resolve(given | {"loss": loss.name})) is loss
    assert_same_bits(last_state(given | {"loss": loss.name}, loss=loss), expected)
    assert_same_bits(last_state(given, loss=zero_one_loss), expected)


@pytest.mark.parametrize("name", ["costs", "accuracy_of_batch"])
@pytest.mark.parametrize("place", ["logits", "weights", "whole networks"])
def test_processes_without_the_file_give_the_bits_of_threads(place, name, file):
    given = PLACES[place] | {"loss": f"{file}:{name}", "objective": "error"}
    loss = try_loss(load_loss(f"{file}:{name}"), resolve(given))
    assert isinstance(loss, BatchLoss) == (name != "costs")
    expected = last_state(given, loss=loss, threads=1)
    file.unlink()
    with executor(2, None) as pool:
        assert_same_bits(last_state(given, loss=loss, executor=pool), expected)


def test_a_cluster_without_the_file_gives_the_bits_of_threads(file):
    distributed = pytest.importorskip("distributed")
    given = {"loss": f"{file}:costs"}
    loss = load_loss(f"{file}:costs")
    expected = last_state(given, loss=loss, threads=1)
    file.unlink()
    loopback = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **loopback) as cluster,
        executor(None, cluster.scheduler_address) as pool,
    ):
        assert_same_bits(last_state(given, loss=loss, executor=pool), expected)


def test_a_pickled_loss_works_where_its_module_is_not(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "mine.py").write_text(LOSSES)
    monkeypatch.syspath_prepend(str(tmp_path))
    sent = pickle.dumps(load_loss("package.mine:costs"))
    program = f"""
import pickle, numpy as np
logits = np.eye(10, dtype=np.float32)[:, [5]]
print(pickle.loads({sent!r})(logits, np.eye(10, dtype=np.float32)[:, [3]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=DOCS.parent
    )
    assert (done.stdout.strip(), done.stderr) == ("[10.]", "")


def test_the_command_sends_it_to_processes(file):
    out = file.parent / "run"
    words = ["--loss", f"{file}:costs", *SMALL, "--workers", "2", "--out", str(out)]
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


# --- with a function, in a notebook -------------------------------------------------------------


def test_train_takes_a_function():
    seen = []

    def loss(logits, labels):
        seen.append(logits.shape)
        return np.abs(logits.argmax(axis=0) - labels.argmax(axis=0))

    last_state({}, loss=loss, threads=1)
    assert seen[0] == (10, 20, 40)


def test_train_refuses_a_name_alone_and_a_function_beside_cross_entropy():
    with pytest.raises(SettingError, match=r"mine.py:costs is a function: pass it as loss="):
        last_state({"loss": "mine.py:costs"})
    with pytest.raises(SettingError, match="is cross-entropy, but a function was passed too"):
        last_state({"loss": "cross-entropy"}, loss=zero_one_loss)


def test_the_exact_gradient_of_ones_own_loss_is_not_known():
    settings, data = Settings(loss="mine.py:costs", samples=20), tiny_dataset().validation
    parameters = initial_state(lenet5(), settings).parameters
    found = diagnose(lenet5(), parameters, data, settings, 1)
    assert np.isnan(found.gradient_norm).all()
    assert np.isnan([found.signal_to_noise, found.cosine, found.signal_share]).all()
    same = diagnose(lenet5(), parameters, data, Settings(samples=20), 1)
    np.testing.assert_array_equal(found.margin, same.margin)


def test_defaults_suit_a_loss_that_need_not_count():
    assert resolve({"perturb": "weights", "loss": "mine.py:costs"}).objective == "error"


# --- losses of a whole minibatch ----------------------------------------------------------------


def macro_f1(logits, labels):
    """Lose one less the mean F1 of the classes: (n, 1)."""
    answers, truth = (np.eye(len(a))[a.argmax(axis=0)] for a in (logits, labels))  # (n, N, K)
    right, all_of_class = (answers * truth).sum(axis=1), (answers + truth).sum(axis=1)
    return 1 - (2 * right / np.maximum(all_of_class, 1)).mean(axis=1, keepdims=True)


def squared_sum(logits, labels):
    """Square the sum of all images' logits of their labels: not a sum over images."""
    return np.square((logits * labels).sum(axis=(0, 2)))[:, np.newaxis]


def exact_gradient(loss, logits, labels, sigma):
    """Differentiate E[F]: of a square by hand, of a score by going through all answers."""
    classes, batch = logits.shape
    if loss is squared_sum:
        return 2 * (logits * labels).sum() * labels
    every = np.eye(classes)[:, :, np.newaxis].repeat(batch, axis=2)
    single = [smoothed_zero_one(logits, label, sigma) for label in every.swapaxes(0, 1)]
    share = np.stack([1 - one.loss for one in single])  # [answer, image]
    slope = np.stack([-one.gradient for one in single])  # [answer, class, image]
    total, images = np.zeros_like(logits), np.arange(batch)
    for answers in itertools.product(range(classes), repeat=batch):
        (value,) = loss(np.eye(classes)[:, [answers]], labels[:, np.newaxis]).ravel()
        p = share[list(answers), images]
        others = np.array([np.delete(p, i).prod() for i in images])
        total += value * others * slope[list(answers), :, images].T
    return total


def batch_scores(loss, weigh, replicates=20_000, samples=4, sigma=1.5):
    """Estimate many times, and give the z of each entry against the exact gradient."""
    rng = np.random.default_rng(31)
    logits, labels = rng.standard_normal((3, 4)) * 2, np.eye(3)[:, [0, 1, 2, 2]]
    found = []
    for _ in range(replicates):
        noise = sample_noise(rng, 3, samples, 4, np.float64)
        estimate = estimate_weighed(weigh, BatchLoss(loss), logits, labels, noise, sigma)
        found.append(estimate.gradient)
    return z_scores(np.stack(found), exact_gradient(loss, logits, labels, sigma)), np.var(found, 0)


@pytest.mark.parametrize("weigh", [plain, leave_one_out])
@pytest.mark.parametrize("loss", [squared_sum, macro_f1])
def test_the_estimate_of_a_loss_of_a_batch_is_unbiased(loss, weigh):
    """With one false alarm in a million for each case, and a fixed seed."""
    scores, _ = batch_scores(loss, weigh)
    assert np.abs(scores).max() < limit(scores.size)


def test_the_z_test_catches_values_of_another_sample():
    """Noise that is weighed by another sample's value teaches nothing."""

    def shifted(logits, labels):
        return np.roll(macro_f1(logits, labels), 1, axis=0)

    truth = exact_gradient(macro_f1, np.eye(3, 4), np.eye(3)[:, [0, 1, 2, 2]], 1.5)
    assert np.abs(truth).max() > 0.01
    rng, found = np.random.default_rng(31), []
    for _ in range(20_000):
        noise = sample_noise(rng, 3, 4, 4, np.float64)
        given = np.eye(3, 4), np.eye(3)[:, [0, 1, 2, 2]], noise, 1.5
        found.append(estimate_weighed(plain, BatchLoss(shifted), *given).gradient)
    scores = z_scores(np.stack(found), truth)
    assert np.abs(scores).max() > limit(scores.size)


def test_a_loss_of_a_batch_needs_a_baseline():
    _, without = batch_scores(macro_f1, plain, 2000)
    _, centred = batch_scores(macro_f1, leave_one_out, 2000)
    assert without.sum() > 2 * centred.sum()


def first_gradients(given, loss, monkeypatch, size):
    monkeypatch.setattr(workers, "PART_SIZE", size)
    monkeypatch.setattr(workers, "READINGS", size * 4)
    settings = resolve({"epochs": 1, "batch_size": 150, "samples": 4, "objective": "error"} | given)
    steps = train(lenet5(), tiny_dataset().train, settings, loss=loss)
    _, metrics = next(steps)
    steps.close()
    return metrics


def test_two_phases_are_one_where_the_noise_is_the_same(monkeypatch):
    """At the logits the noise does not depend on the parts; of whole networks neither."""
    for given in ({"estimator": "leave-one-out"}, PLACES["whole networks"]):
        loss = BatchLoss(macro_f1)
        parts = first_gradients(given, loss, monkeypatch, 64)
        whole = first_gradients(given, loss, monkeypatch, 150)
        assert parts.loss == pytest.approx(whole.loss)
        for name, value in whole.gradients.items():
            scale = np.abs(value).max()
            np.testing.assert_allclose(parts.gradients[name], value, atol=1e-4 * scale)


@pytest.mark.parametrize("place", ["logits", "weights", "whole networks"])
def test_the_mean_error_of_a_batch_has_the_gradient_of_a_loss_of_a_batch(place, monkeypatch):
    """One image in a minibatch: it is a batch, and both losses are the same."""

    def mean_error(logits, labels):
        return zero_one_loss(logits, labels).mean(axis=1, keepdims=True)

    given = PLACES[place] | {"batch_size": 1, "objective": "error"}
    ours = first_gradients(given, BatchLoss(mean_error), monkeypatch, 64)
    theirs = first_gradients(given, zero_one_loss, monkeypatch, 64)
    for name, value in theirs.gradients.items():
        np.testing.assert_allclose(ours.gradients[name], value, rtol=1e-6)


@pytest.mark.parametrize("place", ["logits", "weights"])
def test_parts_of_a_batch_learn_from_one_value(place, monkeypatch):
    """The estimate by hand: all answers of a minibatch, one value, each part's noise by it."""
    given = PLACES[place] | {"batch_size": 150, "samples": 4, "objective": "error"}
    found = first_gradients(given, BatchLoss(macro_f1), monkeypatch, 64)
    settings = resolve({"epochs": 1} | given)
    network, data = lenet5(), tiny_dataset().train
    parameters = initial_state(network, settings).parameters
    (_, indices) = next(workers.plan(len(data), 0, settings))
    parts = workers.prepare(data, settings, 0, indices)
    assert len(parts) > 1
    total = {name: np.zeros_like(value) for name, value in parameters.items()}
    with one_blas_thread():
        answers = [workers.noisy_answers(network, parameters, part, settings) for part in parts]
        logits, labels = (np.concatenate(each, axis=-1) for each in zip(*answers, strict=True))
        values = macro_f1(logits, labels[:, np.newaxis]).astype(np.float32)

        def same(logits, labels):
            return values.repeat(logits.shape[-1], axis=1)

        for part in parts:
            taught = workers.loss_and_gradients(network, parameters, part, settings, same)
            total = {name: total[name] + taught.gradients[name] for name in total}
    assert found.loss == pytest.approx(values.mean(), rel=1e-5)
    for name, value in total.items():
        np.testing.assert_array_equal(found.gradients[name], 150 * value)


def test_exact_is_refused_for_a_loss_of_a_batch():
    with pytest.raises(SettingError, match="exact is for the 0-1 loss alone"):
        last_state({"estimator": "exact"}, loss=BatchLoss(macro_f1))


# --- the run's folder ---------------------------------------------------------------------------


@pytest.fixture(params=["logits", "weights"])
def finished(request, file):
    out = file.parent / "run"
    words = ["--loss", f"{file}:costs", "--perturb", request.param, *SMALL, "--out", str(out)]
    assert main(words) == 0
    return out


def test_a_run_records_name_and_hash_and_goes_on(finished, file, capsys):
    content = json.loads((finished / "config.json").read_text())
    assert content["settings"]["loss"] == f"{file}:costs"
    assert content["loss_sha256"] == load_loss(f"{file}:costs").sha256()
    assert main(["--resume", str(finished), "--epochs", "2", "--quiet"]) == 0
    assert read_config(finished).rest["loss_sha256"] == content["loss_sha256"]
    whole = file.parent / "whole"
    words = content["command"][3:]
    words[words.index("--out") + 1] = str(whole)
    assert main([*words, "--epochs", "2"]) == 0
    with np.load(finished / "last.npz") as ours, np.load(whole / "last.npz") as theirs:
        for name in set(theirs.files) - {"header"}:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_file_that_has_moved_can_be_named(finished, file, capsys):
    moved = file.rename(file.parent / "moved.py")
    words = ["--resume", str(finished), "--epochs", "2", "--quiet"]
    capsys.readouterr()
    assert main(words) == 2
    line = one_line(capsys)
    assert f"the run was started with {file}:costs, which it needs to go on: cannot read" in line
    assert "name it with --loss FILE.py:FUNCTION" in line
    assert main([*words, "--loss", f"{moved}:costs"]) == 0
    assert read_config(finished).settings.loss == f"{file}:costs"


def test_another_loss_is_refused_with_what_differs(finished, file, capsys):
    words = ["--resume", str(finished), "--epochs", "2"]
    capsys.readouterr()
    assert main([*words, "--loss", f"{file}:error"]) == 2
    assert "is not what the run was started with: function costs -> error" in one_line(capsys)
    assert main([*words, "--loss", "zero-one"]) == 2
    assert f"--loss: the run was started with {file}:costs, got zero-one" in one_line(capsys)
    before = load_loss(f"{file}:costs").sha256()
    file.write_text(LOSSES.replace("10.0", "11.0"))
    now = load_loss(f"{file}:costs").sha256()
    assert main(words) == 2
    assert f"SHA-256 of the file {before} -> {now}" in one_line(capsys)


def test_a_run_of_another_loss_refuses_ones_own(file, capsys):
    out = str(file.parent / "run")
    assert main([*SMALL, "--out", out]) == 0
    capsys.readouterr()
    assert main(["--resume", out, "--loss", f"{file}:costs"]) == 2
    assert f"the run was started with zero-one, got {file}:costs" in one_line(capsys)


def test_an_interrupted_run_names_its_loss_in_the_command_that_goes_on(file):
    from lenet_np.tools.commands.train_arguments import parse, resume_command

    name = f"{file}:costs"
    words = resume_command(Path("run"), parse(["--resume", "run", "--loss", name]))
    assert words.split()[-2:] == ["--loss", name]


def test_whoever_reads_a_run_never_needs_the_file(finished, file, capsys, monkeypatch):
    from PIL import Image

    from lenet_np.tools.commands.predict import main as predict

    file.unlink()
    monkeypatch.setattr(lenet_np.data, "load_dataset", lambda *_: tiny_dataset())
    Image.fromarray(tiny_dataset().test.pixels[0]).save(file.parent / "digit.png")
    assert evaluate([str(finished)]) == 0
    assert predict([str(finished), str(file.parent / "digit.png")]) == 0
    assert plot([str(finished), "--only", "curves", "--out", str(file.parent)]) == 0
    assert "costs loss" in capsys.readouterr().out


def test_the_default_folder_is_named_after_the_function(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert main(["--loss", "mine.py:costs", *SMALL]) == 0
    (folder,) = Path("runs").iterdir()
    assert "-tiny-costs-n20-batch40-seed0" in folder.name


# --- the page -----------------------------------------------------------------------------------

PAGE = DOCS / "your-loss.md"
EXAMPLES = ("top_two", "costs", "distance", "abstain", "macro_f1")


@pytest.fixture
def page_file(file):
    path = file.parent / "my_losses.py"
    text = PAGE.read_text("utf-8").partition("## What to choose")[0]
    path.write_text("\n".join(b.text for b in blocks(text) if b.language == "python"))
    return path


@pytest.mark.parametrize("place", ["logits", "weights"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_page_train(name, place, page_file):
    out = str(page_file.parent / "run")
    words = ["--loss", f"{page_file}:{name}", "--perturb", place, *SMALL, "--out", out]
    assert main(words) == 0


def test_the_examples_are_short():
    text = PAGE.read_text("utf-8").partition("## What to choose")[0]
    for block in blocks(text):
        assert block.text.count("\n") + 1 < 20


def test_the_examples_do_what_the_page_says(page_file):
    """Each is worked out again, image by image, from its words."""
    examples = load_loss(f"{page_file}:costs").module()
    rng = np.random.default_rng(3)
    logits, classes = 5 * rng.standard_normal((10, 4, 60)), rng.integers(0, 10, 60)
    labels = np.eye(10)[:, np.newaxis, classes]
    found = {name: getattr(examples, name)(logits, labels) for name in EXAMPLES}
    for s in range(4):
        answers = []
        for i, label in enumerate(classes):
            first, second, *_ = np.argsort(-logits[:, s, i])
            answers.append(first)
            error = first != label
            assert found["top_two"][s, i] == (label not in (first, second))
            dear = {first, label} == {4, 9}
            assert found["costs"][s, i] == (10 if dear else error)
            assert found["distance"][s, i] == abs(int(first) - int(label))
            silent = logits[first, s, i] - logits[second, s, i] < 4
            assert found["abstain"][s, i] == (0.3 if silent else error)
        scores = []
        for k in range(10):
            right = sum(a == c == k for a, c in zip(answers, classes, strict=True))
            precision, recall = right / max(answers.count(k), 1), right / max(sum(classes == k), 1)
            scores.append(2 * precision * recall / max(precision + recall, 1e-9))
        assert found["macro_f1"][s] == pytest.approx([1 - np.mean(scores)])
