"""Writing the files that a student starts from."""

from __future__ import annotations

from pathlib import Path

from lenet_np.coursework.layouts import Layout
from lenet_np.coursework.tasks import TASKS

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

Each task passes or fails as a whole. What fails is explained: what is wrong, in which line if that
is known, and a hint. What you print is shown below the task it belongs to.

| task | points | functions |
| --- | --- | --- |
"""


class CourseworkError(ValueError):
    """The files cannot be written; the message says why."""


def exercise(layout: Layout) -> str:
    """Write the exercise file of a course."""
    parts = [HEAD, *(task.text for task in TASKS.values())]
    return "\n\n".join(part.format(**vars(layout)) for part in parts)


def write(folder: Path, layout: Layout) -> list[Path]:
    """Write the files into a folder, and name them.

    CourseworkError if one of them is there already, or cannot be written.
    """
    rows = (
        f"| {task.name} | {task.points} | {', '.join(f'`{name}`' for name in task.functions)} |\n"
        for task in TASKS.values()
    )
    texts = {EXERCISE: exercise(layout), README: HOW_TO + "".join(rows)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in texts:
            if (folder / name).exists():
                raise CourseworkError(
                    f"{folder / name} is there already, and is not overwritten: name another folder"
                )
        for name, text in texts.items():
            # "x": even a file that appeared just now is not overwritten.
            with open(folder / name, "x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise CourseworkError(f"cannot write in {folder}: {error.strerror or error}") from error
    return [folder / name for name in texts]
