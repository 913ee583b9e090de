"""Texts without a translation: `python -m onnxray.cli.translations [PAGE.html ...]` prints them for a catalog.

Without pages these are the help texts of all commands and the texts of the templates and the methods; of pages, made in
English, every text that is not a name or a number.
"""

from __future__ import annotations

import importlib.resources
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from .commands import COMMANDS
from .main import main
from .terminal.echo import echo
from .terminal.help import SECTIONS
from .terminal.language import LANGUAGES, paragraphs, read_catalog, translation
from .terminal.translated_page import texts_of

# What Click and `terminal/help.py` themselves write.
_OWN = ("Usage:", "[OPTIONS]", "Example", "Commands", "default:", "required", "env var:")
_HELP_OPTION = ("Show this message and exit.", "Show the version and exit.")
_TEMPLATE = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{[a-z]+\}", re.DOTALL)


def help_texts() -> list[str]:
    """Every text of the help of every command, on one line each."""
    found = [*SECTIONS, *_OWN, *_HELP_OPTION, *COMMANDS.values(), *_of_command(main)]
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        found += _of_command(command)
    return list(dict.fromkeys(" ".join(text.split()) for text in found))


def _of_command(command: click.Command) -> Iterator[str]:
    yield from (part for part in paragraphs(inspect.cleandoc(command.help or "")) if not part.startswith("\b"))
    if command.short_help:
        yield command.short_help
    yield from (
        parameter.help for parameter in command.params if isinstance(parameter, click.Option) and parameter.help
    )
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _of_command(inner)


def page_texts() -> list[str]:
    """What stands in the templates of pages, between their places, and what each method shows."""
    from ..engine.methods.registry import help_of, methods

    folder = importlib.resources.files(f"{__package__}.pages").joinpath("site")
    files = [*folder.iterdir(), *folder.joinpath("microscope").iterdir()]
    pages = [file.read_text(encoding="utf-8") for file in files if file.name.endswith(".html")]
    # What a place is within makes one text with it, which is seen on the page as it is made.
    parts = [part for page in pages for part in texts_of(_TEMPLATE.sub("\N{SPACE}{}\N{SPACE}", page))]
    whole = [part for part in parts if "{}" not in part]
    return [*whole, *map(help_of, methods().values())]


def untranslated(texts: list[str], code: str, *, page: bool = False) -> list[str]:
    """Those without a translation; of pages, translations may have places."""
    known = read_catalog(code).texts
    return [text for text in texts if text not in known and not (page and translation(text, code))]


def report(pages: list[Path]) -> str:
    """Entries of a .po file to be filled in, for each language."""
    lines = []
    for code in LANGUAGES:
        found = untranslated(help_texts(), code) + untranslated(page_texts(), code, page=True)
        if pages:
            found = untranslated(
                [text for path in pages for text in texts_of(path.read_text("utf-8"))], code, page=True
            )
        lines += [f"# {code}: {len(found)} texts without a translation", *map(_entry, dict.fromkeys(found))]
    return "\n".join(lines)


def _entry(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'\nmsgid "{escaped}"\nmsgstr ""'


if __name__ == "__main__":
    echo(report([Path(name) for name in sys.argv[1:]]))
