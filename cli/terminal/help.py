"""Commands and groups whose help is grouped: a command's own options first, what all commands share behind them."""

from __future__ import annotations

from typing import Any

import click

from .echo import echo

# Sections of the options, in the order of the help.
OWN, IMAGES, TEXTS, OUTPUT, RUN = "Options", "Images", "Texts", "Output", "Run"
CARD = "Model card (found automatically; these override it)"
SECTIONS = (OWN, IMAGES, TEXTS, OUTPUT, RUN, CARD)


class Option(click.Option):
    """An option that stands in a section of the help."""

    def __init__(self, *args: Any, section: str = OWN, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section
        if self.metavar is None and isinstance(self.type, click.IntRange | click.types.IntParamType):
            self.metavar = "N"
        elif self.metavar is None and isinstance(self.type, click.FloatRange | click.types.FloatParamType):
            self.metavar = "NUMBER"


def section_of(parameter: click.Parameter) -> str:
    """The section that the parameter stands in."""
    return parameter.section if isinstance(parameter, Option) else OWN


class Command(click.Command):
    """A command with an example, and its options by section. `example` is what follows `onnxray`."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        if self.example:
            with formatter.section("Example"):
                formatter.write_text(f"onnxray {self.example}")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        by_section: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and parameter.param_type_name == "option":  # arguments stand in the usage
                by_section.setdefault(section_of(parameter), []).append(record)
        for title in SECTIONS:
            if rows := by_section.get(title):
                with formatter.section(title):
                    formatter.write_dl(rows)


class Group(click.Group):
    """A group that prints its help where no command is given, and whose commands are of `Command`."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)
