"""Messages in the words of the command line."""

from __future__ import annotations

import pytest

from onnxray.cli.terminal.words import _NAMES, as_options


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("give mean=, std=, order= or put a card", "give --mean, --std, --order or put a card"),
        ("name one with layer=, or", "name one with --layer, or"),
        ("compare with layer='relu'", "compare with --layer 'relu'"),
        ("(size=)", "(--size)"),
        ("lower decision_threshold=", "lower --decision-threshold"),
        ("give the class's index, or labels=...", "give the class's index, or --labels ..."),
        ("batch=4 asks for no more", "--batch 4 asks for no more"),
        ("'/runs/size=3/a.png' is damaged", "'/runs/size=3/a.png' is damaged"),
        ("with detector={'threshold': P}", "with --detector threshold=P"),
        ("them with detector={'boxes': NAME, 'scores': NAME}", "them with --detector boxes=NAME,scores=NAME"),
        ("seed=3 and steps=4", "seed=3 and steps=4"),
        (
            "devices=(0,): CPU has no numbered devices: leave devices out",
            "--devices 0: CPU has no numbered devices: leave --devices out",
        ),
        ("devices=(0, 1) and the option", "--devices 0,1 and the option"),
        ("half: the model is float16: leave half out", "--half: the model is float16: leave --half out"),
        ("takes longer than without half", "takes longer than without --half"),
        ("with half as many; the other half", "with half as many; the other half"),
    ],
)
def test_keyword_arguments_become_options(text: str, wanted: str) -> None:
    assert as_options(text) == wanted


def test_they_are_options() -> None:
    from onnxray.cli.commands import compile, dream, explain

    commands = (explain.command, compile.command, dream.command)
    known = {name for command in commands for p in command.params for name in p.opts}
    assert {f"--{name.replace('_', '-')}" for name in _NAMES} <= known
