"""Writing the files that a student starts from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .layouts import Layout
from .points import FILE, POINTS, CourseworkError, Points, write_points
from .tasks import TASKS

EXERCISE, README = "exercise.py", "README.md"

HEAD = '''\
"""LeNet-5 by hand: fill in the functions below with NumPy.

Each docstring says what goes in, what comes out, and the equation between them. In the shapes,
N is the batch, C channels, H and W height and width, F filters, KH and KW height and width of a
kernel, D or I and O features, K classes, n samples. All arrays are float64.

A backward function is given dy, the gradient of some number L with respect to the result, and
returns the gradients of L with respect to the inputs. A cache is whatever your forward function
wants to hand to it.

The batch and the channels stand as in this layout: images ({images:C, H, W, N}), features
({features:D, N}), dense weights ({weights:O, I}), kernels ({kernels:F, C, KH, KW}).

See how far you are with: python -m lenet_np coursework check exercise.py
"""

import numpy as np

LAYOUT = "{name}"  # the check reads this line
'''

HOW_TO = """\
# LeNet-5 by hand

Fill in the functions in `exercise.py`. They need NumPy and nothing else. Then ask how far you are:

```sh
python -m lenet_np coursework check exercise.py
python -m lenet_np coursework check exercise.py --task conv2d
```

Where there is a file `check.py` beside them, `python check.py` does the same with NumPy alone.

Each task has parts with points of their own. What fails is explained: what is wrong, in which line
if that is known, and a hint. What you print is shown below the task it belongs to.

| task | points | functions |
| --- | --- | --- |
"""


def exercise(layout: Layout, tasks: Iterable[str] = TASKS) -> str:
    """Write the exercise file of a course."""
    parts = [HEAD, *(TASKS[name].text for name in tasks)]
    return "\n\n".join(part.format(**vars(layout)) for part in parts)


def texts(layout: Layout, tasks: Iterable[str] = TASKS, points: Points = POINTS) -> dict[str, str]:
    """Give the files that a student starts from, by their names."""
    rows = (
        f"| {name} | {sum(points[name].values())} | "
        f"{', '.join(f'`{function}`' for function in TASKS[name].functions)} |\n"
        for name in tasks
    )
    return {
        EXERCISE: exercise(layout, tasks),
        README: HOW_TO + "".join(rows),
        FILE: write_points({name: points[name] for name in tasks}),
    }


def write(folder: Path, files: dict[str, str]) -> list[Path]:
    """Write files into a folder, and name them.

    CourseworkError if one of them is there already, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in files:
            if (folder / name).exists():
                raise CourseworkError(
                    f"{folder / name} is there already, and is not overwritten: name another folder"
                )
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            # "x": even a file that appeared just now is not overwritten.
            with open(folder / name, "x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            if text.startswith("#!"):
                (folder / name).chmod(0o755)
    except OSError as error:
        raise CourseworkError(f"cannot write in {folder}: {error.strerror or error}") from error
    return [folder / name for name in files]
