"""The options that several commands have: declared once, and each of their words is understood."""

from __future__ import annotations

import argparse
from importlib import import_module

import pytest

from lenet_np.__main__ import COMMANDS
from lenet_np.tools.runs.folder import CHECKPOINTS, RunFolderError, checkpoint_file

#: Which commands have an option; those of `coursework` are in parsers below its own.
USERS = {
    "--checkpoint": {"evaluate", "predict", "plot", "report", "explore"},
    "--split": {"evaluate", "plot", "report"},
    "--data-dir": {"benchmark", "doctor", "train", "evaluate", "plot", "report", "study"},
}


class ParserFoundError(BaseException):
    """The command has made its parser; nothing else is to happen."""


@pytest.fixture
def options(monkeypatch) -> dict[str, dict[str, argparse.Action]]:
    """Give the options of each command: by the command's name and their own."""

    def seize(parser, *_):
        raise ParserFoundError(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", seize)
    found = {}
    for name in COMMANDS:
        with pytest.raises(ParserFoundError) as caught:
            import_module(f"lenet_np.tools.commands.{name}").main([])
        (parser,) = caught.value.args
        found[name] = {word: action for action in parser._actions for word in action.option_strings}
    return found


@pytest.mark.parametrize("word", USERS)
def test_an_option_is_the_same_in_every_command(options, word):
    users = {name: options[name][word] for name in options if word in options[name]}
    assert users.keys() == USERS[word]
    for name, action in users.items():
        first = users["evaluate"]
        for part in ("type", "choices", "default", "metavar", "nargs", "required"):
            assert getattr(action, part) == getattr(first, part), f"{part} of {name}"
        if word != "--split":  # what the images are for differs
            assert action.help == first.help, name


def test_every_word_names_a_checkpoint_of_the_folder(options, tmp_path):
    for name in USERS["--checkpoint"]:
        assert set(options[name]["--checkpoint"].choices) == CHECKPOINTS.keys()
    for word, file in CHECKPOINTS.items():
        (tmp_path / file).touch()
        assert checkpoint_file(tmp_path, word) == tmp_path / file
    assert checkpoint_file(tmp_path) == checkpoint_file(tmp_path, "last")


@pytest.mark.parametrize(("word", "other"), [("last", "best"), ("best", "last")])
def test_of_two_checkpoints_the_one_that_is_there_is_named(tmp_path, word, other):
    with pytest.raises(RunFolderError) as caught:
        checkpoint_file(tmp_path, word)
    assert str(caught.value) == f"{tmp_path} is no run: there is no {word}.npz in it"
    (tmp_path / CHECKPOINTS[other]).touch()
    with pytest.raises(RunFolderError) as caught:
        checkpoint_file(tmp_path, word)
    assert str(caught.value) == (
        f"{tmp_path} has no {word}.npz, only {other}.npz: --checkpoint {other} takes that"
    )
