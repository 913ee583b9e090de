"""The explanation methods as a table, one of them in full, and as plain data."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..terminal.language import translated
from ..terminal.table import Column, table, terminal_width

if TYPE_CHECKING:
    from ...engine.methods.registry import Method


def chosen(name: str | None) -> list[type[Method]]:
    """The method called `name`, or all. Raises UnknownName."""
    from ...engine.methods.registry import find, methods

    return list(methods().values()) if name is None else [find(name)]


def as_table(known: Sequence[type[Method]]) -> str:
    """A line for each method: name, other names, what it does."""
    from ...engine.methods.registry import help_of

    heads = [translated(head) for head in ("method", "also", "what it shows")]
    columns = [Column(heads[0]), Column(heads[1], least=6, drop=1), Column(heads[2], least=30)]
    rows = [[cls.name, ", ".join(cls.aliases), translated(help_of(cls))] for cls in known]
    hint = translated("`onnxray methods NAME` describes one with its options.")
    return f"{table(columns, rows, terminal_width())}\n{hint}"


def as_text(cls: type[Method]) -> str:
    """A method's description and its options."""
    from ...engine.methods.options import describe
    from ...engine.methods.registry import options_of

    also = f" (also {', '.join(cls.aliases)})" if cls.aliases else ""
    lines = [f"{cls.name}{also}", "", inspect.cleandoc(cls.__doc__ or ""), ""]
    options = options_of(cls)
    lines.append("options, as in -O NAME=VALUE:" if options else "no options")
    for option in options:
        lines.append(f"  {option.name}={_default(option.default)}")
        lines.append(f"      {option.help} {describe(option).capitalize()}.")
    lines += ["", f"works at a layer: {_yes(cls.at_layer)}", f"can be compiled:  {_yes(cls.can_be_compiled())}"]
    return "\n".join(lines)


def to_mapping(cls: type[Method]) -> dict[str, Any]:
    """For JSON."""
    from ...engine.methods.options import describe
    from ...engine.methods.registry import help_of, options_of

    return {
        "name": cls.name,
        "aliases": list(cls.aliases),
        "summary": help_of(cls),
        "needs": cls.needs,
        "at_layer": cls.at_layer,
        "compiles": cls.can_be_compiled(),
        "options": [
            {
                "name": option.name,
                "default": option.default,
                "choices": list(option.choices),
                "values": describe(option),
                "help": option.help,
            }
            for option in options_of(cls)
        ],
    }


def _default(value: Any) -> str:
    return "none" if value is None else str(value)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
