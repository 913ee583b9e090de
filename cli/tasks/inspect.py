"""What is known of a model as plain data and as text; the section of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..terminal.echo import one_line
from ..terminal.table import Column, axes_text, count, elide, shape_text, table, terminal_width

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.inspect.layers import Layer
    from ...engine.inspection import Report
    from ...engine.proto.bodies import Body
    from ..figures.parts import Section
    from .subject import Subject


# Characters of a line where stdout is no terminal.
_WIDE = 160

_COLUMNS = (
    Column("layer", least=16),
    Column("module", least=12),
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


def to_mapping(report: Report) -> dict[str, Any]:
    """Everything `inspect` knows, as JSON-like data."""
    model = report.model
    return {
        "path": str(model.path) if model.path else None,
        "sha256": model.sha256,
        "opset": model.opset,
        "opsets": {domain or "ai.onnx": version for domain, version in model.opsets.items()},
        "ir_version": model.proto.ir_version,
        "producer": report.producer,
        "metadata": dict(model.metadata),
        "inputs": [_value(v) for v in model.inputs],
        "outputs": [_value(v) for v in model.outputs],
        "batch": report.batch,
        "nodes": len(model.graph.node),
        "params": report.params,
        "macs": report.macs,
        "decisions": [
            {"what": d.what, "value": d.value, "reason": d.reason, "override": d.override} for d in report.decisions
        ],
        "layers": [_layer(model, layer) for layer in report.layers],
        **({"bodies": [_body(body) for body in report.bodies]} if report.bodies else {}),
    }


def _body(body: Body) -> dict[str, Any]:
    return {"node": body.node, "name": body.name, "values": list(body.values), "outputs": list(body.gives)}


def _value(value: Any) -> dict[str, Any]:
    shape = None if value.shape is None else list(value.shape)
    return {"name": value.name, "dtype": str(value.dtype) if value.dtype else None, "shape": shape}


def _layer(model: Model, layer: Layer) -> dict[str, Any]:
    from ...engine.attribution.layer_choice import why_fitting

    fits, reason = why_fitting(model, layer)
    field = layer.receptive_field
    return {
        "name": layer.name,
        "module": layer.module,
        "op": layer.op,
        "output": layer.output,
        "shape": None if layer.shape is None else list(layer.shape),
        "params": layer.params,
        "macs": layer.macs,
        "receptive_field": None
        if field is None
        else {"size": list(field.size), "stride": list(field.stride), "offset": list(field.offset)},
        "map_axes": None if layer.map_axes is None else list(layer.map_axes),
        "cam": fits,
        "cam_reason": reason,
        "inputs": list(layer.inputs),
    }


def as_text(report: Report, verbose: bool) -> str:
    """Everything `inspect` knows, for a terminal; with `verbose` also why CAM fits each layer or not."""
    return "\n".join([*_header(report), "", *_decisions(report), "", *_layers(report, verbose)])


def _header(report: Report) -> list[str]:
    model = report.model
    width = _width()
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
        *(("inside", text) for text in _bodies(report)),
        *(("metadata", f"{key} = {value}") for key, value in sorted(model.metadata.items())),
    ]
    shown: list[str] = []
    before = ""
    for title, text in lines:
        shown.append(f"{'' if title == before else title:<9} {elide(one_line(text), width - 10)}")
        before = title
    return shown


def _bodies(report: Report) -> list[str]:
    """A line for each graph inside a node."""
    most = 8
    lines = [
        f"{len(body.values)} value{'s'[len(body.values) == 1 :]} in {body.name} of {body.node} cannot be named, but "
        f"what it gives: {', '.join(body.gives)}"
        for body in report.bodies[:most]
    ]
    more = len(report.bodies) - most
    return [*lines, f"and {more} more graphs inside nodes"] if more > 0 else lines


def _decisions(report: Report) -> list[str]:
    lines = []
    for decision in report.decisions:
        lines.append(f"{decision.what}: {one_line(str(decision.value))}")
        lines.append(f"    because {one_line(decision.reason)}; otherwise give {decision.override}")
    return lines


def _width() -> int:
    """Characters of a line, in a file as on a wide terminal: names of thousands of characters are cut in the middle."""
    return terminal_width() or _WIDE


def _layers(report: Report, verbose: bool) -> list[str]:
    from ...engine.attribution.layer_choice import why_fitting

    columns = [*_COLUMNS, Column("why", least=20)] if verbose else list(_COLUMNS)
    rows = []
    for layer in report.layers:
        field = layer.receptive_field
        seen = (axes_text(field.size), axes_text(field.stride), axes_text(field.offset)) if field else ("-", "-", "-")
        output = "" if layer.output == layer.name else layer.output
        fits, reason = why_fitting(report.model, layer)
        cells = [
            layer.name,
            layer.module,
            layer.op,
            output,
            shape_text(layer.shape),
            count(layer.params),
            count(layer.macs),
            *seen,
        ]
        rows.append([*cells, "yes" if fits else "no", *([reason] if verbose else [])])
    if not rows:
        return ["no layer: nothing in the graph depends on an input"]
    without = [place for place, shown in ((3, any(row[3] for row in rows)), (1, _modules_tell(report))) if not shown]
    for place in without:  # the name says it already
        columns.pop(place)
        for row in rows:
            row.pop(place)
    return [table(columns, rows, _width())]


def _modules_tell(report: Report) -> bool:
    """Whether modules are more than the layers' names say: TorchScript's exporter makes these of them."""
    return any(layer.module and not layer.name.startswith("/") for layer in report.layers)


def section(subject: Subject) -> Section:
    """The layers as a table, for a report."""
    from ...engine.inspection import inspect
    from ..figures.parts import Section, Table

    report = inspect(subject.model)
    rows = []
    for layer in report.layers:
        field = layer.receptive_field
        seen = "" if field is None else f"{axes_text(field.size)}, stride {axes_text(field.stride)}"
        cells = (layer.name, layer.op, shape_text(layer.shape), count(layer.params), count(layer.macs), seen)
        rows.append(cells)
    titles = ("layer", "operator", "shape", "parameters", "MACs", "receptive field (pixels)")
    lead = "Every layer, with its receptive field: the part of the input that one of its elements depends on."
    return Section("Layers", lead, [Table(titles, tuple(rows), frozenset({3, 4}))])
