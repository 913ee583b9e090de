"""The table of operators: which are differentiable and how, declared not to be and why, missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx.defs import OpSchema

from ..proto.operators import ML
from .registry import Constant, Gradient, Refusal, entries, find, find_decomposition

STANDARD = ("", ML)
# Operators that newer opsets have withdrawn; the upgrade rewrites them.
_REPLACED = {"Upsample": "Resize", "Scatter": "ScatterElements"}


@dataclass(frozen=True)
class Row:
    """One operator. `state` is "yes", "no" (declared, `note` says why), or "missing"."""

    domain: str
    name: str
    state: str
    note: str


def _body(schema: OpSchema) -> onnx.FunctionProto | None:
    """The operator's definition by others, in the newest version that depends on no input types."""
    return schema.function_body if schema.has_function else None


def _row(domain: str, name: str, schema: OpSchema | None) -> Row:
    entry = find(domain, name)
    if isinstance(entry, Gradient):
        return Row(domain, name, "yes", _inputs(entry, schema))
    if isinstance(entry, Constant):
        return Row(domain, name, "no", entry.reason)
    if find_decomposition(domain, name) is not None:
        return Row(domain, name, "yes", "rewritten into other operators first")
    if isinstance(entry, Refusal):
        return Row(domain, name, "no", f"error: {entry.reason}")
    if name in _REPLACED and not domain:
        return Row(domain, name, "yes", f"withdrawn from the standard; rewritten as {_REPLACED[name]} first")
    if schema is not None and not domain and (schema.has_function or schema.has_context_dependent_function):
        body = _body(schema)
        unknown = [n.op_type for n in body.node if not _known(n.op_type)] if body is not None else []
        if not unknown:
            return Row(domain, name, "yes", "by its definition in the standard")
    return Row(domain, name, "missing", "")


def _known(name: str) -> bool:
    return find("", name) is not None or find_decomposition("", name) is not None


def _inputs(entry: Gradient, schema: OpSchema | None) -> str:
    """Which inputs have a gradient, where not all float inputs do."""
    if entry.carries:
        return "straight-through: an approximation"
    if entry.inputs is None or schema is None or len(schema.inputs) == len(entry.inputs):
        return ""
    names = [schema.inputs[i].name for i in sorted(entry.inputs) if i < len(schema.inputs)]
    return "with respect to " + ", ".join(f"`{n}`" for n in names)


def rows() -> Iterator[Row]:
    """Every operator of the standard domains, and those of other domains that are registered; sorted."""
    newest = {(s.domain, s.name): s for s in onnx.defs.get_all_schemas() if s.domain in STANDARD}
    registered = {where: None for where, _ in entries() if where[0] not in STANDARD}
    both: dict[tuple[str, str], OpSchema | None] = {**newest, **registered}
    for (domain, name), schema in sorted(both.items(), key=lambda item: item[0]):
        yield _row(domain, name, schema)


def missing() -> list[str]:
    """Operators of the standard that are neither differentiable nor declared not to be."""
    return [f"{row.domain}::{row.name}" if row.domain else row.name for row in rows() if row.state == "missing"]
