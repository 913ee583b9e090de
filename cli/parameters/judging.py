"""Options of the commands that judge explanations: methods, metrics, masks, the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..terminal.echo import echo
from . import complete
from .options import option

if TYPE_CHECKING:
    from ...engine.evaluate.registry import Metric

F = TypeVar("F", bound=Callable[..., Any])


def asked(f: F) -> F:
    """--methods, --metrics, --metric-option, --masks, --target, --list-metrics."""
    text = "List the metrics with their options, and exit."
    about: dict[str, Any] = {"is_flag": True, "is_eager": True, "expose_value": False, "callback": _list_metrics}
    f = option("--list-metrics", help=text, **about)(f)
    text = "What is explained, as in `onnxray explain`."
    about = {"metavar": "TARGET", "default": "predicted", "show_default": True, "shell_complete": complete.targets}
    f = option("-t", "--target", help=text, **about)(f)
    text = (
        "Pixels of the objects: a folder of masks (000_mask.png, as in MVTec-AD's ground_truth), of Pascal VOC's XML, "
        "a CSV of boxes, or COCO's JSON. Where they name classes, these are explained."
    )
    f = option("--masks", type=click.Path(path_type=Path), metavar="DIR|FILE", help=text)(f)
    text = "Option of a metric, or of all that have it: insertion:step=1024. See --list-metrics."
    about = {"metavar": "[METRIC:]NAME=VALUE", "multiple": True, "default": ()}
    f = option("-M", "--metric-option", "metric_settings", help=text, **about)(f)
    text = (
        "Metrics or families of them: faithfulness, localisation, robustness, randomisation, complexity, agreement, "
        "all; default: a few of each kind that take seconds. See --list-metrics."
    )
    f = option("--metrics", metavar="NAME,...", help=text)(f)
    text = "Methods, separated by commas or given several times; default: `all` that fit the model."
    about = {"metavar": "NAME,...", "multiple": True, "default": (), "shell_complete": complete.methods}
    return option("-m", "--methods", help=text, **about)(f)


def _list_metrics(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from ...engine.evaluate.registry import help_of, metrics, options_of
        from ...engine.methods.options import describe

        for name, cls in metrics().items():
            good = "high" if cls.better == "higher" else "low"
            echo(f"{name} ({cls.family}, {cls.range}, {good} is good): {help_of(cls)}")
            for one in options_of(cls):
                default = "none" if one.default is None else one.default
                echo(f"    -M {name}:{one.name}={default}  {one.help} {describe(one).capitalize()}.")
        context.exit()


def chosen_metrics(names: str | None, masks: bool, settings: Sequence[str]) -> list[Metric]:
    """The metrics asked for, with their options. masks: whether the pixels of objects are known.

    Raises UnknownName (metric, option), MethodError (metrics that need masks); click.UsageError for an option's text.
    """
    from ...engine.evaluate.registry import chosen

    return with_settings(chosen(names, masks), settings)


def with_settings(made: Sequence[Metric], settings: Sequence[str]) -> list[Metric]:
    """Metrics with the options of the command line.

    Raises UnknownName (metric, option); click.UsageError for an option's text.
    """
    from ...engine.errors import MethodError
    from ...engine.evaluate.registry import with_options

    try:
        return with_options(made, settings)
    except MethodError as error:
        raise click.UsageError(str(error)) from None
