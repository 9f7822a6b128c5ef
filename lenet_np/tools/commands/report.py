"""The command ``python -m lenet_np report``: all about a run in one HTML file, to send around."""

from __future__ import annotations

import base64
import io
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from lenet_np.data.files import WriteError, write_atomically
from lenet_np.tools.cli.parser import Parser, add_checkpoint, add_data_dir, add_split, folder
from lenet_np.tools.cli.screen import fail, say
from lenet_np.tools.commands.plot import PICTURES, Attempts, draw_run
from lenet_np.tools.plots.captions import title
from lenet_np.tools.plots.style import DPI, house_style
from lenet_np.tools.runs.folder import Config, RunFolderError, read_config
from lenet_np.tools.runs.history import read_history

PROGRAM = "python -m lenet_np report"
#: What to look at in each picture, by its name.
CAPTIONS = {
    "curves": "Learning curves. A step of a tenth is a digit that is lost, or that comes back.",
    "classes": "A row for each digit. Where recall is 0 and the margin far below it, the digit is "
    "dead: the noise hardly ever makes its answer the right one, and no gradient is left.",
    "confusion": "What is taken for what, and the errors with the worst margins.",
    "features": "One image on its way through every layer.",
    "histograms-weights": "The weights of every layer over the steps, the first in front.",
    "histograms-gradients": "The gradients of every layer over the steps, the first in front.",
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 1rem }}
h1 {{ font-size: 1.4rem }}
h2 {{ font-size: 1.15rem }}
figure {{ margin: 2rem 0 }}
img {{ width: 100%; height: auto; background: #fff; border-radius: 6px }}
th {{ text-align: left; font-weight: normal; padding-right: 2rem; white-space: nowrap }}
th, td {{ vertical-align: top }}
td {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status, which ``--help`` explains."""
    arguments = _parse(argv)
    attempt = Attempts(PROGRAM)
    config = attempt("", partial(read_config, arguments.run))
    if config is None:
        return 1
    pictures: dict[str, str] = {}

    def keep(figures: Mapping[str, Any]) -> None:
        pictures.update({name: _picture(name, figure) for name, figure in figures.items()})

    draw_run(arguments.run, config, arguments, attempt, keep)
    page = _page(arguments.run, config, pictures, attempt.failures)
    try:
        with write_atomically(arguments.out) as out:
            out.write(page.encode())
    except WriteError as error:
        return fail(PROGRAM, 1, error)
    say(str(arguments.out))
    return int(bool(attempt.failures))


def _parse(argv: Sequence[str] | None) -> Namespace:
    parser = Parser(
        prog=PROGRAM,
        description="Write a page about a run: how it went, every picture that `plot` draws, and "
        "its settings. The page is one file that works without a network.",
        epilog="Exit status: 0 done; 1 there is no such run, the page cannot be written, or it "
        "lacks a picture, and says why; 2 usage.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", type=folder, metavar="RUN", help="folder of a run, finished or not")
    add("--out", type=Path, metavar="FILE", help="the page to write (default: RUN/report.html)")
    add_checkpoint(parser)
    add_split(parser, "images of the confusion matrix and the feature maps")
    add_data_dir(parser)
    parser.set_defaults(only=PICTURES, digit=None, image=0)
    arguments = parser.parse_args(argv)
    arguments.out = arguments.out or arguments.run / "report.html"
    return arguments


def _picture(name: str, figure: Any) -> str:
    content = io.BytesIO()
    with house_style():
        figure.savefig(content, format="png", dpi=DPI)
    data = base64.b64encode(content.getvalue()).decode()
    caption, text = CAPTIONS[name], " ".join(figure.get_suptitle().split())
    return (
        f'<figure><img alt="{escape(f"{caption} {text}")}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _page(run: Path, config: Config, pictures: Mapping[str, str], failures: Sequence[str]) -> str:
    parts = []
    with suppress(RunFolderError):  # It was said already.
        parts.append(_table(_facts(run, config)))
    parts += pictures.values()
    parts += [f"<p>Not drawn: {escape(failure)}</p>" for failure in failures]
    parts += ["<h2>Settings</h2>", _table(asdict(config.settings))]
    about = {"run": run.resolve().name, **config.rest, **config.machine}
    about |= {f"SHA-256 of {name}": value for name, value in config.sha256.items()}
    parts += ["<h2>Where it came from</h2>", _table(about)]
    return PAGE.format(title=escape(title(config)), body="\n".join(parts))


def _facts(run: Path, config: Config) -> dict[str, str]:
    history = read_history(run)
    accuracy = history.columns["validation_accuracy"]
    best = int(accuracy.argmax())
    recall, answers = (history.by_class(name)[:, -1] for name in ("recall", "answers"))
    never = ", ".join(str(k) for k, share in enumerate(answers) if share == 0) or "none"
    return {
        "epochs trained": f"{len(accuracy)} of {config.settings.epochs}",
        "validation accuracy": f"{accuracy[-1]:.4f}",
        "best of all epochs": f"{accuracy[best]:.4f}, after epoch {history.epochs[best]}",
        "recall of each digit": ", ".join(f"{k}: {share:.3f}" for k, share in enumerate(recall)),
        "digits never predicted": "not recorded" if np.isnan(answers).any() else never,
    }


def _table(rows: Mapping[str, Any]) -> str:
    cells = (
        (name.replace("_", " "), " ".join(value) if isinstance(value, list) else str(value))
        for name, value in rows.items()
    )
    lines = (f"<tr><th>{escape(n)}</th><td>{escape(v)}</td></tr>" for n, v in cells)
    return f"<table>{''.join(lines)}</table>"
