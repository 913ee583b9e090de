"""Help: a command's own options first, sections, examples."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator

import click
import pytest
from click.testing import Result

from onnxray import models
from onnxray.cli.commands import COMMANDS
from onnxray.cli.main import main
from onnxray.cli.terminal.help import CARD, OUTPUT, OWN, RUN, SECTIONS, Command


def every() -> Iterator[tuple[str, Command]]:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        inner = command.commands.items() if isinstance(command, click.Group) else [("", command)]
        for last, found in inner:
            assert isinstance(found, Command)
            yield f"{name} {last}".strip(), found


@pytest.mark.parametrize(("name", "command"), list(every()))
def test_every_command_has_an_example_that_it_understands(name: str, command: Command) -> None:
    words = shlex.split(command.example)
    assert words[: len(name.split())] == name.split()
    command.make_context(name, words[len(name.split()) :]).close()


@pytest.mark.parametrize(("name", "command"), list(every()))
def test_sections_stand_in_order_own_options_first(run: Callable[..., Result], name: str, command: Command) -> None:
    shown = run(*name.split(), "--help").stdout
    titles = [line.removesuffix(":") for line in shown.splitlines() if line.removesuffix(":") in SECTIONS]
    assert titles == [title for title in SECTIONS if title in titles]
    assert titles[0] == OWN


def test_what_commands_share_stands_behind(run: Callable[..., Result]) -> None:
    shown = run("explain", "--help").stdout
    places = [shown.index(f"{title}:") for title in (OWN, OUTPUT, RUN, CARD)]
    for option, place in (("--threshold", 0), ("--out", 1), ("--threads", 2), ("--mean", 3)):
        at = shown.index(f"  {option}" if option != "--out" else "-o, --out")
        assert places[place] < at
        assert place == 3 or at < places[place + 1]


def test_output_is_o_everywhere() -> None:
    for name, command in every():
        for parameter in command.params:
            if "--out" in parameter.opts:
                assert parameter.opts == ["-o", "--out"], name
            if "--option" in parameter.opts:
                assert parameter.opts == ["-O", "--option"], name


@pytest.mark.parametrize("arguments", [(), ("models",)])
def test_without_a_command_the_help_is_printed(run: Callable[..., Result], arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == run(*arguments, "--help").stdout


def test_no_help_shows_the_types_of_its_library() -> None:
    for name, command in every():
        shown = command.get_help(click.Context(command, info_name=name))
        assert not re.findall(r"INTEGER|FLOAT\b", shown), name


def test_samples_named_in_examples_exist() -> None:
    there = {path.name for path in models.samples()}
    for name, command in every():
        for sample in re.findall(r"samples/(\S+)", command.example):
            assert sample in there, name
