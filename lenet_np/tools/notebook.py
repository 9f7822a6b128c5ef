"""What the tutorial needs around the lesson: its screen, its exercises, its runs."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lenet_np.data import Dataset, Split, load_dataset
from lenet_np.gradcheck.report import Finding, Report
from lenet_np.lenet import lenet5
from lenet_np.settings import Settings
from lenet_np.tools.cli.machine import keep_freed_memory
from lenet_np.tools.plots.style import COLOURS
from lenet_np.tools.runs.record import Record
from lenet_np.tools.runs.start import start
from lenet_np.tools.runs.table import Row, read_table
from lenet_np.tools.runs.training import take_steps

#: Where the tables and pictures of the studies are, beside the notebook.
STUDIES = Path("docs", "studies")
#: What the studies of noise in the weights compare, each at the best of these, which comes last.
VARIED = ("perturb", "loss", "objective", "rank", "samples", "batch_size", "decay", "epoch")
TUNED = ("sigma", "learning_rate")
#: Matplotlib's buttons take their symbols from a font on the network; these need none.
BUTTONS = {
    "minus": "-",
    "plus": "+",
    "fast-backward": "|&lt;",
    "step-backward": "&lt;",
    "play fa-flip-horizontal": "&#9664;",
    "pause": "||",
    "play": "&#9654;",
    "step-forward": "&gt;",
    "fast-forward": "&gt;|",
}


class StoppedError(Exception):
    """Ends a cell with a message: Jupyter shows what the method returns, and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


# --- the screen ---------------------------------------------------------------------------------


def prepare_screen() -> None:
    """Set matplotlib's style, and the font of source that is shown."""
    import matplotlib.pyplot as plt
    from cycler import cycler
    from IPython.display import HTML, display

    keep_freed_memory()  # faster; changes no result
    display(HTML("<style>.jp-OutputArea-output .highlight pre { font-family: monospace }</style>"))
    plt.rcParams.update(
        {
            "figure.dpi": 90,
            "figure.constrained_layout.use": True,
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "grid.alpha": 0.3,
            "image.interpolation": "nearest",
        }
    )


def say(text: str) -> None:
    """Show Markdown with numbers that were computed in this run."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def show(*things: Any) -> None:
    """Show the source of functions, without docstrings and checks of their arguments."""
    for thing in things:
        say(f"`{thing.__module__}`\n```python\n{source(thing)}\n```")


def source(thing: Any) -> str:
    """Give the source of a function or class without docstrings and checks of the arguments."""
    lines = textwrap.dedent(inspect.getsource(thing)).splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if _distracts(statement):
                for number in range(statement.lineno - 1, statement.end_lineno):
                    lines[number] = "\0"
    return "\n".join(line for line in lines if line != "\0")


def _distracts(statement: ast.stmt) -> bool:
    """Say whether a statement is a docstring, calls a check, or does nothing but raise."""
    if isinstance(statement, ast.If):
        return not statement.orelse and isinstance(statement.body[-1], ast.Raise)
    value = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(value, ast.Constant):
        return True
    name = getattr(value.func, "id", "") if isinstance(value, ast.Call) else ""
    return name.startswith(("_require", "_check", "require"))


def slider(figure: Any, draw: Callable[[Any], None], values: Sequence[Any]) -> None:
    """Show a figure with a slider over some values, each of which ``draw`` draws.

    All pictures are in the page, so that it needs no server. Where a viewer runs no scripts, the
    one in the middle is seen.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display
    from matplotlib.animation import FuncAnimation

    with plt.rc_context({"animation.embed_limit": 8}):
        page = FuncAnimation(figure, draw, values).to_jshtml(fps=4, default_mode="once")
    draw(values[len(values) // 2])
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=figure.dpi)
    plt.close(figure)
    still = f'<img src="data:image/png;base64,{b64encode(picture.getvalue()).decode()}" id='
    page = page.replace("<img id=", still, 1)
    page = re.sub(r"<link[^>]*>", "", page)
    page = re.sub(r'<i class="fa fa-([\w\s-]+)"></i>', lambda found: BUTTONS[found[1]], page)
    display({"text/html": page, "image/png": picture.getvalue()}, raw=True)


# --- exercises ----------------------------------------------------------------------------------


def judge(answer: Any, check: Callable[[], Report]) -> None:
    """Say how an exercise stands; a function that is not written yet answers None."""
    if answer is None:
        print("not solved yet")
        return
    report = check()
    print("solved" if report.passed else "not right yet")
    print(report)


def compare(
    function: Callable[..., Any],
    cases: Iterable[tuple[tuple[Any, ...], Any]],
    tolerance: float = 1e-6,
) -> Report:
    """Hold the answers of a function against those expected: (arguments, answer) for each case."""
    findings, checked = [], 0
    for arguments, expected in cases:
        checked += 1
        got = function(*arguments)
        if np.shape(got) != np.shape(expected) or not np.allclose(got, expected, rtol=tolerance):
            given = ", ".join(map(_short, arguments))
            findings.append(
                Finding(
                    "value",
                    None,
                    f"{function.__name__}({given}) gave {_short(got)}, expected {_short(expected)}",
                )
            )
    return Report(tuple(findings), (), (f"{checked} cases",))


def _short(value: Any) -> str:
    if np.size(value) > 12:
        return f"an array {np.shape(value)}"
    return np.array2string(np.asarray(value), separator=", ", precision=6)


# --- data and runs ------------------------------------------------------------------------------


def open_data(quick: bool) -> Dataset:
    """Load MNIST, or the synthetic digits where it is missing; for a quick look, few of these."""
    if not quick:
        return load_dataset("auto", notify=print)
    whole = load_dataset("synthetic", notify=print)
    sizes = (whole.train, 6_400), (whole.validation, 1_000), (whole.test, 1_000)
    few = (Split(split.pixels[:size], split.classes[:size]) for split, size in sizes)
    return Dataset(whole.name, *few)


def run(folder: Path, data: Dataset, settings: Settings) -> None:
    """Train to the last epoch, keep the record in the folder, and print how it goes.

    A line is printed for the first two epochs, for every fifth, and whenever the digits that are
    never predicted change. StoppedError says what is left where it is interrupted.
    """
    network, since = lenet5(), time.perf_counter()
    beginning = start(folder, data, settings, network, ["tutorial.ipynb"])
    finished, dead = 0, None
    try:
        with closing(take_steps(beginning, network, Record(beginning, print))) as steps:
            for _, metrics, validation in steps:
                if validation is None:
                    continue
                finished = metrics.epoch
                if finished % 5 == 0 or finished <= 2 or dead != validation.dead_classes():
                    dead = validation.dead_classes()
                    never = f"   never predicted: {', '.join(map(str, dead))}" if dead else ""
                    print(f"EPOCH {finished:2}  validation {validation.accuracy:.3f}{never}")
    except KeyboardInterrupt:
        if not finished:
            raise StoppedError(
                "Stopped before an epoch was finished; run this cell again."
            ) from None
        raise StoppedError(
            f"Stopped after {finished} of {settings.epochs} epochs. They are saved in {folder}, "
            "and the cells below use them; to begin anew, run this cell again."
        ) from None
    print(f"{time.perf_counter() - since:.0f} seconds")


def study(name: str) -> list[Row]:
    """Read a table of docs/studies; where there is none, say so and give no rows."""
    file = STUDIES / f"{name}.csv"
    if not file.exists():
        say(f"`{file.as_posix()}` is not beside this notebook: it comes with the project.")
        return []
    return read_table(file)


def summarize(name: str) -> None:
    """Show what a study varied and how its best runs ended, those of other seeds together."""
    last = {row["run"]: row for row in study(name)}
    varied = [field for field in VARIED if len({row[field] for row in last.values()}) > 1]
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in last.values():
        groups[tuple(row[field] for field in varied)].append(row)
    if groups:
        columns = [*varied, "seeds", "validation", "digits lost"]
        lines = [f"`study {name}`", "", f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
        for group, tried in groups.items():
            rows = [row for row in tried if all(row[x] == tried[-1][x] for x in TUNED)]
            accuracies = sorted(float(row["validation_accuracy"]) for row in rows)
            lost = sum(len(row["dead_classes"].split()) for row in rows)
            ends = dict.fromkeys(f"{accuracies[place]:.3f}" for place in (0, -1))
            reached = " to ".join(ends)
            lines.append(f"| {' | '.join([*group, str(len(rows)), reached, str(lost)])} |")
        say("\n".join(lines))
