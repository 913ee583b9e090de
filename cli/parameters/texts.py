"""Options about texts: on the command line, in files, one a line or a row, and what of them has a value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

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
        }
        return {name: value for name, value in found.items() if value}


NO_TEXTS = TextOptions()


def texts(f: F) -> F:
    """--text and what belongs to it: the command gets one `TextOptions`, as `texts`."""

    @functools.wraps(f)
    def command(
        *args: Any,
        texts: tuple[str, ...],
        pairs: tuple[str, ...],
        choices: tuple[str, ...],
        unit: str,
        spans: str | None,
        lines: bool,
        column: str | None,
        pair_column: str | None,
        continued: tuple[str, ...],
        generate: int,
        **others: Any,
    ) -> Any:
        if sum(map(bool, (pairs, choices, continued, generate))) > 1:
            raise click.UsageError("--pair, --choice, --continue and --generate exclude each other: give one of them")
        if continued and len(continued) != len(texts):
            raise click.UsageError(f"{len(texts)} --text and {len(continued)} --continue were given: give one of each")
        if pairs and len(pairs) != len(texts):
            raise click.UsageError(f"{len(texts)} --text and {len(pairs)} --pair were given: give one of each per pair")
        if pair_column and not column:
            raise click.UsageError("--pair-column names the second text of a row: name the first with --column")
        found = TextOptions(
            texts,
            pairs,
            choices,
            unit,
            () if spans is None else _spans(spans),
            lines,
            column,
            pair_column,
            continued,
            generate,
        )
        return f(*args, texts=found, **others)

    stack: Any = command
    text = "Column of a table that has the second texts of pairs."
    stack = option("--pair-column", metavar="NAME", section=TEXTS, help=text)(stack)
    text = "Column of a table (.csv, .tsv, .jsonl) that has the texts; default: `text`, or the first one."
    stack = option("--column", metavar="NAME", section=TEXTS, help=text)(stack)
    text = "Every line of a file is a text of its own."
    stack = option("--lines", is_flag=True, section=TEXTS, help=text)(stack)
    text = "Stretches of the text, in characters, that have one value each: 0:12,20:31."
    stack = option("--spans", metavar="A:B,...", section=TEXTS, help=text)(stack)
    text = "What of a text has a value."
    kind = click.Choice(["word", "token", "sentence"])
    stack = option("--unit", type=kind, default="word", show_default=True, section=TEXTS, help=text)(stack)
    text = "So many tokens that a language model says behind the text are explained, the most probable each time."
    kind_of = click.IntRange(0, 1000)
    stack = option("--generate", type=kind_of, default=0, metavar="N", section=TEXTS, help=text)(stack)
    text = "What stands behind the text and is explained token by token, of language models; one for each --text."
    stack = option("--continue", "continued", metavar="TEXT", multiple=True, section=TEXTS, help=text)(stack)
    text = "An answer of multiple choice, given once for each."
    stack = option("--choice", "choices", metavar="TEXT", multiple=True, section=TEXTS, help=text)(stack)
    text = "The second text of a pair, one for each --text."
    stack = option("--pair", "pairs", metavar="TEXT", multiple=True, section=TEXTS, help=text)(stack)
    text = "A text, for models of texts; may be given several times. Files: .txt, or a table with --column."
    decorated: F = option("--text", "texts", metavar="TEXT", multiple=True, is_eager=True, section=TEXTS, help=text)(
        stack
    )
    return decorated


def _spans(text: str) -> tuple[tuple[int, int], ...]:
    from ...engine.errors import TextError
    from ...engine.text.given import spans_of

    try:
        return spans_of(text)
    except TextError as error:
        raise click.BadParameter(str(error), param_hint="'--spans'") from None
