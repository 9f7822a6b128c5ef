"""Answers in a file, for where the package that computes them must not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .layouts import Array, Layout
from .task import Answers, Guess, Known

STORED = "answers.npz"


def _key(function: str, arguments: tuple[Any, ...]) -> str:
    """Name a question by its shapes and sizes: the last digits may differ between machines."""
    words = [function]
    for value in arguments:
        if isinstance(value, np.ndarray):
            words.append(f"{value.shape} {np.abs(value).max(initial=0.0):.3g}")
        else:
            words.append(str(getattr(value, "__name__", value)))
    return "; ".join(words)


class Recorder:
    """Asks another for answers, and keeps them."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.index: dict[str, dict[str, list[list[str]]]] = {}
        self.arrays: list[Array] = []

    def __call__(self, layout: Layout, function: str, *arguments: Any) -> dict[str, Known]:
        """Answer, and keep the answer."""
        known = self.answers(layout, function, *arguments)
        if _key(function, arguments) in self.index:
            return known
        entry: dict[str, list[list[str]]] = {}
        for name, (right, guesses) in known.items():
            entry[name] = [[guess.code, guess.message] for guess in guesses]
            self.arrays += [right, *(guess.value for guess in guesses)]
        self.index[_key(function, arguments)] = entry
        return known

    def save(self, path: Path) -> None:
        """Write a file for `load`."""
        arrays = {f"a{number}": array for number, array in enumerate(self.arrays)}
        np.savez_compressed(path, index=np.array(json.dumps(self.index)), **arrays)  # type: ignore[arg-type]


def load(path: Path) -> Answers:
    """Give answers from a file."""
    kept: dict[str, dict[str, Known]] = {}
    with np.load(path, allow_pickle=False) as file:
        number = 0
        for key, entry in json.loads(str(file["index"])).items():
            kept[key] = {}
            for name, guesses in entry.items():
                right, *values = (file[f"a{number + i}"] for i in range(1 + len(guesses)))
                number += 1 + len(guesses)
                named = (
                    Guess(code, text, v) for (code, text), v in zip(guesses, values, strict=True)
                )
                kept[key][name] = Known(right, tuple(named))
    return lambda _, function, *arguments: dict(kept[_key(function, arguments)])
