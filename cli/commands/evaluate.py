"""`onnxray evaluate`: how right the maps of methods are on a model and images, in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..parameters import complete, options
from ..parameters.inputs import finish_run
from ..terminal.echo import echo
from ..terminal.help import Command


def _list_metrics(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from ...engine.evaluate.registry import help_of, metrics

        for name, cls in metrics().items():
            good = "high" if cls.better == "higher" else "low"
            echo(f"{name} ({cls.family}, {cls.range}, {good} is good): {help_of(cls)}")
        context.exit()


@click.command("evaluate", cls=Command, example="evaluate builtin --methods grad-cam,lrp --metrics insertion,deletion")
@options.model
@options.images
@options.option(
    "-m",
    "--methods",
    metavar="NAME,...",
    multiple=True,
    default=(),
    help="Methods, separated by commas or given several times; default: `all` that fit the model.",
    shell_complete=complete.methods,
)
@options.option(
    "--metrics",
    metavar="NAME,...",
    help="Metrics or families of them: faithfulness, localisation, robustness, randomisation, complexity, agreement, "
    "all; default: a few of each kind that take seconds. See --list-metrics.",
)
@options.option(
    "--masks",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE",
    help="Pixels of the objects: a folder of masks (000_mask.png, as in MVTec-AD's ground_truth), of Pascal VOC's XML, "
    "or COCO's JSON. Where they name classes, these are explained.",
)
@options.option(
    "-t",
    "--target",
    metavar="TARGET",
    default="predicted",
    show_default=True,
    help="What is explained, as in `onnxray explain`.",
    shell_complete=complete.targets,
)
@options.settings
@options.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is random.")
@options.option("--batch", type=click.IntRange(min=1), metavar="N", help="Maximum batch size.")
@options.option(
    "--list-metrics",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_metrics,
    help="List the metrics, and exit.",
)
@options.selection
@options.common("onnxray-evaluate", resume=True)
def command(common: options.Common, **asked: Any) -> None:
    """Judge the maps of explanation methods by metrics, and say which method to use here.

    Written: a table of means with 95 % intervals (table.csv, table.md), all values (evaluation.json), curves of
    insertion and the like, and a page with the best and the worst images of each method. An image whose values are
    known is not judged again with --resume.
    """
    from ..pages.report import document
    from ..tasks.evaluate import EvaluateOptions, as_text, evaluate

    asked["methods"] = tuple(asked["methods"])
    run = evaluate(EvaluateOptions(common=common, **asked), document)
    if not common.as_json:
        echo(as_text(run))
    finish_run(run, common.as_json)
