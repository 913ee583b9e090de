"""`onnxray inspect`: what is in a model, and what onnxray decided about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..parameters import options
from ..parameters.inputs import open_model
from ..tasks.inspect import to_mapping
from ..terminal.table import Column, axes_text, count, elide, one_line, shape_text, table, terminal_width

if TYPE_CHECKING:
    from ...engine.inspect.report import Report

_COLUMNS = (
    Column("layer", least=16),
    Column("operator", least=8),
    Column("output", least=12, drop=1),
    Column("shape", least=8),
    Column("params", right=True),
    Column("MACs", right=True),
    Column("field", right=True),
    Column("stride", right=True, drop=3),
    Column("offset", right=True, drop=2),
    Column("CAM"),
)


@click.command("inspect")
@options.model
@click.option("-v", "--verbose", is_flag=True, help="Also why class activation mapping fits each layer or not.")
@options.as_json
@options.card
def command(model: str, verbose: bool, as_json: bool, card: dict[str, Any]) -> None:
    """List a model's layers, inputs, outputs and what is decided about them.

    Receptive fields are given in pixels of the input: the field's size, the stride from one element to the next, and
    the offset of the first element's centre. MACs are multiply-accumulates for one sample. CAM says whether class
    activation mapping fits.
    """
    from ...engine.inspect.report import inspect

    report = inspect(open_model(model, card))
    if as_json:
        click.echo(json.dumps(to_mapping(report), indent=2, ensure_ascii=False, default=str))
    else:
        click.echo("\n".join([*_header(report), "", *_decisions(report), "", *_layers(report, verbose)]))


def _header(report: Report) -> list[str]:
    model = report.model
    width = terminal_width() or 200
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in model.opsets.items())
    lines = [
        ("model", str(model.path) if model.path else "in memory"),
        ("sha256", model.sha256),
        ("producer", report.producer),
        ("opset", f"{opsets}; IR version {model.proto.ir_version}"),
        *(("input", str(v)) for v in model.inputs),
        *(("output", str(v)) for v in model.outputs),
        ("batch", report.batch),
        (
            "size",
            f"{len(report.layers)} layers, {count(report.params)} parameters, {count(report.macs)} MACs per sample",
        ),
        *(("metadata", f"{key} = {value}") for key, value in sorted(model.metadata.items())),
    ]
    shown: list[str] = []
    before = ""
    for title, text in lines:
        shown.append(f"{'' if title == before else title:<9} {elide(one_line(text), width - 10)}")
        before = title
    return shown


def _decisions(report: Report) -> list[str]:
    lines = []
    for decision in report.decisions:
        lines.append(f"{decision.what}: {one_line(str(decision.value))}")
        lines.append(f"    because {one_line(decision.reason)}; otherwise give {decision.override}")
    return lines


def _layers(report: Report, verbose: bool) -> list[str]:
    columns = [*_COLUMNS, Column("why", least=20)] if verbose else list(_COLUMNS)
    rows = []
    for layer in report.layers:
        field = layer.receptive_field
        seen = (axes_text(field.size), axes_text(field.stride), axes_text(field.offset)) if field else ("-", "-", "-")
        output = "" if layer.output == layer.name else layer.output
        cells = [layer.name, layer.op, output, shape_text(layer.shape), count(layer.params), count(layer.macs), *seen]
        rows.append([*cells, "yes" if layer.cam else "no", *([layer.cam_reason] if verbose else [])])
    if not rows:
        return ["no layer: nothing in the graph depends on an input"]
    if not any(row[2] for row in rows):  # every layer is called as its output: one column says both
        columns.pop(2)
        for row in rows:
            row.pop(2)
    return [table(columns, rows, terminal_width())]
