"""What is known of a model as plain data; the section of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..terminal.table import axes_text, count, shape_text

if TYPE_CHECKING:
    from ...engine.inspect.layers import Layer
    from ...engine.inspect.report import Report
    from ..figures.parts import Section
    from .subject import Subject


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
        "layers": [_layer(layer) for layer in report.layers],
    }


def _value(value: Any) -> dict[str, Any]:
    shape = None if value.shape is None else list(value.shape)
    return {"name": value.name, "dtype": str(value.dtype) if value.dtype else None, "shape": shape}


def _layer(layer: Layer) -> dict[str, Any]:
    field = layer.receptive_field
    return {
        "name": layer.name,
        "op": layer.op,
        "output": layer.output,
        "shape": None if layer.shape is None else list(layer.shape),
        "params": layer.params,
        "macs": layer.macs,
        "receptive_field": None
        if field is None
        else {"size": list(field.size), "stride": list(field.stride), "offset": list(field.offset)},
        "map_axes": None if layer.map_axes is None else list(layer.map_axes),
        "cam": layer.cam,
        "cam_reason": layer.cam_reason,
        "inputs": list(layer.inputs),
    }


def section(subject: Subject) -> Section:
    """The layers as a table, for a report."""
    from ...engine.inspect.report import inspect
    from ..figures.parts import Section, Table

    report = inspect(subject.model)
    rows = []
    for layer in report.layers:
        field = layer.receptive_field
        seen = "" if field is None else f"{axes_text(field.size)}, step {axes_text(field.stride)}"
        cells = (layer.name, layer.op, shape_text(layer.shape), count(layer.params), count(layer.macs), seen)
        rows.append(cells)
    titles = ("layer", "operator", "shape", "parameters", "MACs", "receptive field (pixels)")
    lead = "Every layer, with the part of the input that one of its elements can see, where that is defined."
    return Section("Layers", lead, [Table(titles, tuple(rows), frozenset({3, 4}))])
