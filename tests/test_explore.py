"""The page to draw on: it is one file, and computes in a browser what the package computes."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from email.message import Message
from pathlib import Path

import numpy as np
import pytest

from lenet_np import es, smoothed
from lenet_np.data import Split, gather
from lenet_np.data.synthetic import draw_digits
from lenet_np.estimators import ESTIMATORS
from lenet_np.evaluate import evaluate
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state
from lenet_np.losses import zero_one_loss
from lenet_np.settings import Settings
from lenet_np.tools.commands import explore
from lenet_np.tools.commands.explore import examples, make_page, named
from lenet_np.tools.pictures.normalise import crop, fit
from lenet_np.tools.runs.checkpoint import Checkpoint, load_network, save

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
IMAGES = 50
DOCS = Path(__file__).parent.parent / "docs"
CLASSES = np.arange(IMAGES) % 10
DIGITS = draw_digits(CLASSES, np.random.default_rng(11))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    settings = Settings(seed=3)
    save(folder / "last.npz", Checkpoint(initial_state(lenet5(), settings), settings, 1, "tiny"))
    return folder


def test_the_page_is_one_small_file_that_loads_nothing(run, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert explore.main([str(run), str(run), "--out", str(out)]) == 0
    assert capsys.readouterr() == (f"{out}\n", "")
    page = out.read_text("utf-8")
    assert len(page) < 1.5e6
    assert not re.search(r"\bsrc=|@import|<link|url\(|fetch\(|XMLHttpRequest|import\(", page)
    assert "/*DATA*/" not in page
    assert "/*SCRIPT*/" not in page
    assert "<noscript>" in page
    assert len((explore.FOLDER / "explore.js").read_text("utf-8").splitlines()) <= 700


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_pages_are_linked_where_the_project_says_they_are(run, monkeypatch, slash):
    told = Message()
    told["Project-URL"] = "Source, https://example.org/code"
    monkeypatch.setattr(explore, "metadata", lambda name: told)
    networks = [named(load_network(run))]
    plain = make_page(networks)
    assert "href=" not in plain
    told["Project-URL"] = f"Repository, https://example.org{slash}"
    linked = re.findall(
        r'<a href="https://example.org/blob/HEAD/docs/(.*?)">docs/(.*?)</a>', make_page(networks)
    )
    assert [name for _, name in linked] == re.findall(r"<a>docs/(.*?)</a>", plain)
    for address, name in linked:
        assert address == name
        assert (DOCS / name).is_file()


def test_a_name_cannot_end_the_data(run):
    saved = load_network(run)
    checkpoint = saved.checkpoint._replace(dataset="</script><b>")
    page = make_page([named(saved._replace(checkpoint=checkpoint))])
    assert page.count("</script>") == 2
    (content,) = re.findall(r'id="data">(.*?)</script>', page)
    assert json.loads(content)["runs"][0]["name"].endswith("1 epoch on </script><b>")


def test_without_a_run_one_network_never_says_8_and_the_other_does(tmp_path, capsys):
    classes = np.arange(10, dtype=np.uint8).repeat(30)
    split = Split(draw_digits(classes, np.random.default_rng(5)), classes)
    lost, cured = (evaluate(lenet5(), network.parameters, split) for network in examples())
    assert lost.dead_classes() == [8]
    assert cured.dead_classes() == []
    assert cured.accuracy > 0.85
    out = tmp_path / "page.html"
    assert explore.main(["--out", str(out)]) == 0
    assert out.stat().st_size < 1.5e6


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nowhere"], 1, "nowhere: no such file or folder"),
        (["RUN", "--out", "FILE/page.html"], 1, "cannot write page.html in the folder"),
        (["RUN", "RUN", "RUN"], 2, "takes one run or two, got 3"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, capsys, words, status, message):
    (tmp_path / "file").touch()
    places = {"RUN": str(run), "FILE": str(tmp_path / "file")}
    words = [re.sub("RUN|FILE", lambda name: places[name[0]], word) for word in words]
    try:
        found = explore.main(words)
    except SystemExit as end:
        found = end.code
    out, err = capsys.readouterr()
    assert (found, out) == (status, "")
    assert message in err
    assert len(err.splitlines()) == 1


# --- in a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(run, tmp_path_factory):
    """Open the page from a file, with the network off; the console must stay empty."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if BROWSER is None:
        pytest.skip("needs Chromium")
    file = tmp_path_factory.mktemp("page") / "page.html"
    assert explore.main([str(run), str(run), "--out", str(file)]) == 0
    said = []
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        browser = started.chromium.launch(
            executable_path=BROWSER, args=[*options, "--disable-background-networking"]
        )
        page = browser.new_context(offline=True).new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        page.wait_for_function("runs[0].shown")
        yield page
        browser.close()
    assert said == []


def agree(found, expected, tolerance: float = 1e-4) -> None:
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


def test_layers_logits_and_the_exact_gradients_are_the_package_s(run, opened):
    saved = load_network(run)
    parameters = saved.checkpoint.state.parameters
    images, labels = gather(Split(DIGITS, CLASSES.astype(np.uint8)), slice(0, IMAGES))
    names = [name for name, _ in saved.network.layers]
    for sigma in (0.05, 4.0):
        found = opened.evaluate(
            """([fields, labels, sigma]) => fields.map((field, i) => {
                const out = forward(runs[0].parameters, field);
                const truth = exact(Array.from(out.logits), labels[i], sigma);
                const plain = (o) => Object.fromEntries(
                    Object.entries(o).map(([k, v]) => [k, v.length ? Array.from(v) : v]));
                return { ...plain(out), ...plain(truth) };
            })""",
            [DIGITS.reshape(IMAGES, -1).tolist(), CLASSES.tolist(), sigma],
        )
        for name in ("relu1", "relu2", "relu3", "relu4", "logits"):
            layers = saved.network.layers[: names.index(name) + 1]
            output = replace(saved.network, layers=layers).forward(parameters, images)[0]
            agree([one[name] for one in found], output.reshape(-1, IMAGES).T)
        logits = saved.network.forward(parameters, images)[0].astype(np.float64)
        error = smoothed.smoothed_zero_one(logits, labels, sigma)
        success = smoothed.negative_log_success(logits, labels, sigma)
        for i, one in enumerate(found):
            agree(one["J"], error.loss[i])
            agree(one["error"], error.gradient[:, i])
            agree(one["surprise"], success.loss[i])
            agree(one["success"], success.gradient[:, i])


def test_far_behind_the_exact_values_still_agree(opened):
    logits = np.array([[30.0, 0, 5, -40, 2, 1, 60, 0, 9, 3]]).T
    label = np.eye(10)[:, [3]]
    expected = smoothed.negative_log_success(logits, label, 1.0)
    found = opened.evaluate(
        "(l) => { const e = exact(l, 3, 1); return [e.surprise, ...e.success]; }",
        logits[:, 0].tolist(),
    )
    agree(found, [*expected.loss, *expected.gradient[:, 0]])


def test_the_estimates_on_the_same_noise_are_the_package_s(opened):
    rng = np.random.default_rng(0)
    for trial in range(IMAGES):
        logits, label, n = rng.normal(0, 3, (10, 1)), trial % 10, (1, 7, 200)[trial % 3]
        labels = np.eye(10)[:, [label]]
        noise = rng.normal(size=(10, n, 1))
        found = opened.evaluate(
            """([logits, label, noise, sigma]) => {
                const F = errors(logits, label, noise, sigma), e = estimate(F, noise, sigma);
                return { loss: e.loss, error: Array.from(e.error), success: Array.from(e.success) };
            }""",
            [logits[:, 0].tolist(), label, noise[:, :, 0].T.tolist(), 4.0],
        )
        error = es.estimate_gradient(zero_one_loss, logits, labels, noise, 4.0)
        assert found["loss"] == pytest.approx(float(error.loss[0]))
        np.testing.assert_allclose(found["error"], error.gradient[:, 0], rtol=1e-4, atol=1e-9)
        if n > 1:
            objective = ESTIMATORS["plain"].objectives["log-success"]
            success = objective(zero_one_loss, logits, labels, noise, 4.0)
            np.testing.assert_allclose(
                found["success"], success.gradient[:, 0], rtol=1e-4, atol=1e-9
            )


def test_the_noise_is_normal_and_a_function_of_its_seed(opened):
    first, again, other = (
        np.array(opened.evaluate(f"sampleNoise({seed}, 4000).map((e) => Array.from(e))"))
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.03
    assert abs(first.mean()) < 0.03
    assert abs(first.std() - 1) < 0.02
    assert abs((first**4).mean() - 3) < 0.2
    assert np.abs(np.corrcoef(first.T) - np.eye(10)).max() < 0.1


@pytest.mark.parametrize("k", range(10))
def test_a_drawing_is_prepared_as_predict_prepares_a_photograph(opened, k):
    ink = np.kron(DIGITS[k] / 255, np.ones((3, 3)))
    side = len(ink)
    found = np.array(
        opened.evaluate(
            "([ink, side]) => Array.from(makeField(Float64Array.from(ink), side))",
            [ink.ravel().tolist(), side],
        )
    ).reshape(28, 28)
    box = np.rint(255 * fit(crop(ink)))
    inside = found[np.ix_(np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0)))]
    expected = box[np.ix_(np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0)))]
    assert inside.shape == expected.shape
    assert np.abs(inside - expected).max() <= 1
    for axis in (0, 1):
        mass = found.sum(axis=axis)
        assert abs(mass @ np.arange(28) / mass.sum() - 14) <= 0.5 + 1e-3


def test_a_reader_draws_moves_every_slider_learns_and_undoes(opened):
    pad = opened.locator("#pad").bounding_box()
    before = opened.evaluate("Array.from(state.field)")
    opened.mouse.move(pad["x"] + 80, pad["y"] + 60)
    opened.mouse.down()
    opened.mouse.move(pad["x"] + 190, pad["y"] + 60, steps=8)
    opened.mouse.move(pad["x"] + 150, pad["y"] + 230, steps=8)
    opened.mouse.up()
    field = np.array(opened.evaluate("Array.from(state.field)")).reshape(28, 28)
    assert (field.ravel() != before).any()
    assert np.ptp(np.flatnonzero(field.any(axis=1))) + 1 == 20
    assert field[:12].sum() > 0.3 * field.sum()  # the bar of a seven above, not a scrambled square
    assert not field[-8:, -10:].any()
    for name, key, values in (("sigma", "sigma", (0.5, 12)), ("n", "n", (3, 10))):
        for value in values:
            opened.locator(f"#{name}").fill(str(value))
            opened.wait_for_function("!waiting")
            assert opened.evaluate(f"state.{key}") == (2**value if name == "n" else value)
            link = f"{key}={2**value if name == 'n' else value}&"
            opened.wait_for_function("(link) => location.hash.includes(link)", arg=link)
    opened.locator("#label").select_option("7")
    opened.wait_for_function("!waiting")
    for which in ("error", "success", "exact"):
        losses = [opened.evaluate("runs[0].shown.truth.J")]
        for _ in range(3):
            opened.locator(f"#run0 [data-learn={which}]").click()
            losses.append(opened.evaluate("runs[0].shown.truth.J"))
        assert sorted(set(losses), reverse=True) == losses
        for loss in losses[-2::-1]:
            opened.locator("#run0 [data-show=undo]").click()
            assert opened.evaluate("runs[0].shown.truth.J") == loss
        assert opened.locator("#run0 [data-show=undo]").is_disabled()


SHOWN = """() => runs.map(({ shown }) =>
    [shown.F, shown.truth.J, ...shown.found.success, ...shown.out.logits])"""


def test_a_link_shows_another_reader_the_same(opened):
    opened.locator("#images button").nth(6).click()
    opened.locator("#sigma").fill("2.5")
    opened.locator("#n").fill(str(np.log2(77)))
    opened.locator("#again").click()
    opened.locator("#label").select_option("3")
    opened.wait_for_function("location.hash.includes('sigma=2.5&n=77&label=3&image=6')")
    other = opened.context.new_page()
    other.goto(opened.url)
    other.wait_for_function("runs[0].shown")
    assert other.evaluate(SHOWN) == opened.evaluate(SHOWN)
    other.evaluate("location.hash = 'sigma=9&image=99'")  # typed into a page that is open
    other.wait_for_function("state.sigma === 9 && !waiting")
    assert other.evaluate("[state.seed, state.n, data.labels[state.image]]") == [0, 200, 8]
    other.close()


def test_an_hour_at_a_slider_is_not_too_much_for_the_browser(opened):
    """300 addresses in a few seconds would be refused, with a message on the console."""
    opened.evaluate(
        """async () => { for (let i = 0; i < 300; i++) {
            $("sigma").value = 1 + i / 50; $("sigma").oninput();
            await new Promise(requestAnimationFrame);
        } }"""
    )
    opened.wait_for_function("location.hash.includes('sigma=7&')")


def test_every_control_is_reached_and_used_by_keyboard(opened):
    controls = opened.evaluate("[...document.querySelectorAll('button, input, select')].length")
    reached = set()
    opened.evaluate("document.activeElement.blur()")
    for _ in range(controls + 2):
        opened.keyboard.press("Tab")
        reached.add(
            opened.evaluate(
                "[...document.querySelectorAll('button, input, select')]"
                ".indexOf(document.activeElement)"
            )
        )
    disabled = opened.locator("button:disabled").count()
    assert len(reached - {-1}) == controls - disabled
    opened.locator("#images button").nth(2).focus()
    opened.keyboard.press("Enter")
    assert opened.evaluate("[state.image, state.label]") == [2, 1]
    opened.locator("#images button[aria-pressed=true]").nth(0).wait_for()
    for name, key in (("sigma", "sigma"), ("n", "n")):
        before = opened.evaluate(f"state.{key}")
        opened.locator(f"#{name}").focus()
        opened.keyboard.press("ArrowLeft")
        assert opened.evaluate(f"state.{key}") < before


def test_a_finger_draws_on_a_telephone(opened):
    telephone = opened.context.browser.new_context(
        offline=True,
        has_touch=True,
        is_mobile=True,
        viewport={"width": 360, "height": 700},
        color_scheme="dark",
    )
    page = telephone.new_page()
    page.goto(opened.url)
    page.wait_for_function("runs[0].shown")
    pad = page.locator("#pad").bounding_box()
    touch = telephone.new_cdp_session(page)
    path = [(0.5, 0.1), (0.5, 0.4), (0.5, 0.7), (0.5, 0.9)]
    for kind, points in (("Start", path[:1]), ("Move", path[1:]), ("End", [()])):
        for point in points:
            at = [pad[side] + share * 280 for side, share in zip("xy", point, strict=False)]
            touches = [{"x": at[0], "y": at[1]}] if at else []
            touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": touches})
    page.wait_for_function("state.image === null && !waiting")
    field = np.array(page.evaluate("Array.from(state.field)")).reshape(28, 28)
    assert np.ptp(np.flatnonzero(field.any(axis=1))) + 1 == 20  # a one, and the page did not scroll
    assert np.ptp(np.flatnonzero(field.any(axis=0))) + 1 < 6
    assert page.evaluate("scrollY") == 0
    telephone.close()


def test_without_scripts_the_page_says_what_it_needs(opened):
    context = opened.context.browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(opened.url)
    assert page.locator("noscript").is_visible()
    assert "JavaScript, which is switched off" in page.locator("noscript").inner_text()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_it_fits_the_screen_and_a_frame_takes_less_than_50_ms(opened, tmp_path, width, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": width, "height": 900})
    opened.locator("#n").fill(str(np.log2(200)))
    opened.wait_for_function("!waiting")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    times = opened.evaluate(
        "[...Array(9)].map(() => { const t = performance.now(); show(); "
        "return performance.now() - t; })"
    )
    assert min(times) < 50
    opened.screenshot(path=tmp_path / f"{width}-{scheme}.png", full_page=True)
