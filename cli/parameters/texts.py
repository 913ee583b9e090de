"""Options about texts: on the command line, in files, one a line or a row, and what of them has a value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from ..terminal.help import TEXTS
from .options import option

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class TextOptions:
    """What is said of texts on the command line; `given` where any text stands there."""

    texts: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    unit: str = "word"
    spans: tuple[tuple[int, int], ...] = ()
    lines: bool = False
    column: str | None = None
    pair_column: str | None = None
    continued: tuple[str, ...] = ()
    generate: int = 0
    last: int = 0
    chat: bool = False

    @property
    def given(self) -> bool:
        return bool(self.texts)

    def to_mapping(self) -> dict[str, Any]:
        """Those that decide results, for a manifest, where they are not the usual ones: none of runs about images."""
        found = {
            "unit": "" if self.unit == TextOptions.unit else self.unit,
            "spans": [list(span) for span in self.spans],
            "lines": self.lines,
            "column": self.column,
            "pair_column": self.pair_column,
            "pairs": list(self.pairs),
            "choices": list(self.choices),
            "continued": list(self.continued),
            "generate": self.generate,
            "last": self.last,
            "chat": self.chat,
        }
        return {name: value for name, value in found.items() if value}


NO_TEXTS = TextOptions()


def texts(f: F) -> F:
    """--text and what belongs to it: the command gets one `TextOptions`, as `texts`."""

    @functools.wraps(f)
    def command(*args: Any, spans: str | None, **others: Any) -> Any:
        own = {name: others.pop(name) for name in _OF_VALUES}
        if others["pairs"] or others["choices"]:
            exclusive = [others["pairs"], others["choices"], own["continued"], own["generate"]]
            if sum(map(bool, exclusive)) > 1:
                raise click.UsageError(_EXCLUSIVE)
        if own["continued"] and own["generate"]:
            raise click.UsageError(_EXCLUSIVE)
        if own["last"] and not (own["continued"] or own["generate"]):
            raise click.UsageError("--last is about the tokens of --continue or --generate: give one of them")
        if own["continued"] and len(own["continued"]) != len(others["texts"]):
            count = f"{len(others['texts'])} --text and {len(own['continued'])} --continue"
            raise click.UsageError(f"{count} were given: give one of each")
        if spans is not None and own["unit"] != "word":
            raise click.UsageError("--unit and --spans both say what has a value: leave one of them out")
        if own["generate"] and own["last"] > own["generate"]:
            raise click.UsageError(f"--last {own['last']} is more than --generate {own['generate']}: give at most that")
        found = _read(others)
        return f(*args, texts=replace(found, spans=() if spans is None else _spans(spans), **own), **others)

    stack: Any = command
    text = "Stretches of the text, in characters, that have one value each: 0:12,20:31."
    stack = option("--spans", metavar="A:B,...", section=TEXTS, help=text)(stack)
    text = "What of a text has a value; slot: what stands in {{ }} in it, the rest of the text being fixed."
    kind = click.Choice(["word", "token", "sentence", "line", "slot"])
    stack = option("--unit", type=kind, default="word", show_default=True, section=TEXTS, help=text)(stack)
    text = "The text is what a user says to a language model: it is put into the tokenizer's chat template."
    stack = option("--chat", is_flag=True, section=TEXTS, help=text)(stack)
    text = "Of the tokens behind the text, only the last K are explained."
    kind_of = click.IntRange(0, 1000)
    stack = option("--last", type=kind_of, default=0, metavar="K", section=TEXTS, help=text)(stack)
    text = "So many tokens that a language model says behind the text are explained, the most probable each time."
    stack = option("--generate", type=kind_of, default=0, metavar="N", section=TEXTS, help=text)(stack)
    text = "What stands behind the text and is explained token by token, of language models; one for each --text."
    stack = option("--continue", "continued", metavar="TEXT", multiple=True, section=TEXTS, help=text)(stack)
    decorated: F = _read_options(stack)
    return decorated


def texts_alone(f: F) -> F:
    """--text, --pair, --choice and those of files: the command gets one `TextOptions`, as `texts`."""

    @functools.wraps(f)
    def command(*args: Any, **others: Any) -> Any:
        if others["pairs"] and others["choices"]:
            raise click.UsageError(_EXCLUSIVE)
        found = _read(others)
        return f(*args, texts=found, **others)

    decorated: F = _read_options(command)
    return decorated


# Parameters that are about texts, and those of them that are about files.
_OF_TEXTS = ("unit", "spans", "choices", "generate", "last", "chat")
_OF_FILES = ("lines", "column", "pair_column")


def check_texts(of_texts: bool, files: bool) -> None:
    """Raises click.UsageError for options that would have no effect."""
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") == ParameterSource.COMMANDLINE
        if given and not of_texts and parameter.name in (*_OF_TEXTS, *_OF_FILES):
            raise click.UsageError(f"{parameter.opts[-1]} is about texts, and none is given: leave it out")
        if given and not files and parameter.name in _OF_FILES:
            raise click.UsageError(f"{parameter.opts[-1]} is about files of texts, and none is given: leave it out")


_OF_VALUES = ("unit", "continued", "generate", "last", "chat")
_EXCLUSIVE = "--pair, --choice, --continue and --generate exclude each other: give one of them"


def _read(others: dict[str, Any]) -> TextOptions:
    """What is read, taken out of the options. Raises click.UsageError."""
    names = ("texts", "pairs", "choices", "lines", "column", "pair_column")
    found = TextOptions(**{name: others.pop(name) for name in names})
    if found.pairs and len(found.pairs) != len(found.texts):
        count = f"{len(found.texts)} --text and {len(found.pairs)} --pair"
        raise click.UsageError(f"{count} were given: give one of each per pair")
    if found.pair_column and not found.column:
        raise click.UsageError("--pair-column names the second text of a row: name the first with --column")
    return found


def _read_options(stack: Any) -> Any:
    """The options that say which texts are read."""
    text = "Column of a table that has the second texts of pairs."
    stack = option("--pair-column", metavar="NAME", section=TEXTS, help=text)(stack)
    text = "Column of a table (.csv, .tsv, .jsonl) that has the texts; default: `text`, or the first one."
    stack = option("--column", metavar="NAME", section=TEXTS, help=text)(stack)
    text = "Every line of a file is a text of its own."
    stack = option("--lines", is_flag=True, section=TEXTS, help=text)(stack)
    text = "An answer of multiple choice, given once for each."
    stack = option("--choice", "choices", metavar="TEXT", multiple=True, section=TEXTS, help=text)(stack)
    text = "The second text of a pair, one for each --text."
    stack = option("--pair", "pairs", metavar="TEXT", multiple=True, section=TEXTS, help=text)(stack)
    text = "A text, for models of texts; may be given several times. Files: .txt, or a table with --column."
    return option("--text", "texts", metavar="TEXT", multiple=True, is_eager=True, section=TEXTS, help=text)(stack)


def _spans(text: str) -> tuple[tuple[int, int], ...]:
    from ...engine.errors import TextError
    from ...engine.text.given import spans_of

    try:
        return spans_of(text)
    except TextError as error:
        raise click.BadParameter(str(error), param_hint="'--spans'") from None
