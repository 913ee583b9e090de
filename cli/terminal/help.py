"""Commands and groups whose help is grouped: a command's own options first, what all commands share behind them."""

from __future__ import annotations

import inspect
from typing import Any

import click

from .echo import echo
from .language import paragraphs, translated, translated_paragraphs

# Sections of the options, in the order of the help.
OWN, IMAGES, TEXTS, TABLES = "Options", "Images", "Texts", "Tables"
OUTPUT, RUN, SCALE = "Output", "Run", "Many images"
CARD = "Model card (found automatically; these override it)"
SECTIONS = (OWN, IMAGES, TEXTS, TABLES, OUTPUT, RUN, SCALE, CARD)


class Option(click.Option):
    """An option that stands in a section of the help."""

    def __init__(self, *args: Any, section: str = OWN, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section
        if self.metavar is None and isinstance(self.type, click.IntRange | click.types.IntParamType):
            self.metavar = "N"
        elif self.metavar is None and isinstance(self.type, click.FloatRange | click.types.FloatParamType):
            self.metavar = "NUMBER"


def help_record(context: click.Context, parameter: click.Parameter) -> tuple[str, str] | None:
    """Names and help of an option, in the language wanted, with its default and its range behind; None where hidden."""
    record = parameter.get_help_record(context)
    if record is None:
        return None
    names, text = record
    said = getattr(parameter, "help", None) or ""
    if not text.startswith(said):
        return record
    more = text[len(said) :]
    for word in ("default:", "required", "env var:"):
        more = more.replace(word, translated(word))
    return names, f"{translated(said)}{more}"


def short_help(command: click.Command) -> str:
    """The first paragraph of a command's help, in the language wanted."""
    said = paragraphs(inspect.cleandoc(command.short_help or command.help or ""))
    return translated(said[0]) if said else ""


def write_usage(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The line of a command's usage."""
    pieces = " ".join(command.collect_usage_pieces(ctx)).replace("[OPTIONS]", translated("[OPTIONS]"))
    formatter.write_usage(ctx.command_path, pieces, prefix=f"{translated('Usage:')} ")


def write_help(command: click.Command, formatter: click.HelpFormatter) -> None:
    """What a command does."""
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(translated_paragraphs(inspect.cleandoc(command.help or "").partition("\f")[0]))


def section_of(parameter: click.Parameter) -> str:
    """The section that the parameter stands in."""
    return parameter.section if isinstance(parameter, Option) else OWN


class Command(click.Command):
    """A command with an example, and its options by section. `example` is what follows `onnxray`."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_usage(self, ctx, formatter)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_help(self, formatter)
        if self.example:
            with formatter.section(translated("Example")):
                formatter.write_text(f"onnxray {self.example}")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        by_section: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = help_record(ctx, parameter)
            if record is not None and parameter.param_type_name == "option":  # arguments stand in the usage
                by_section.setdefault(section_of(parameter), []).append(record)
        for title in SECTIONS:
            if rows := by_section.get(title):
                with formatter.section(translated(title)):
                    formatter.write_dl(rows)


class Group(click.Group):
    """A group that prints its help where no command is given, and whose commands are of `Command`."""

    command_class = Command

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_usage(self, ctx, formatter)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_help(self, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = [help_record(ctx, parameter) for parameter in self.get_params(ctx)]
        with formatter.section(translated(OWN)):
            formatter.write_dl([record for record in records if record is not None])
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(translated("Commands")):
            formatter.write_dl([(name, short_help(command)) for name, command in self.commands.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)
