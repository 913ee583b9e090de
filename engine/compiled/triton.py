"""A model repository for NVIDIA Triton Inference Server: NAME/config.pbtxt and NAME/1/model.onnx.

The configuration is that of Triton's ONNX Runtime backend ("Model Configuration" in its user guide): data types, shapes
without the batch axis where the server is to make batches, -1 for open sizes.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..atomic import atomic
from ..errors import ModelError, OutputError
from ..graph.model import Model, save
from ..proto.values import Value

_TYPES = {
    "bool": "TYPE_BOOL",
    **{f"uint{n}": f"TYPE_UINT{n}" for n in (8, 16, 32, 64)},
    **{f"int{n}": f"TYPE_INT{n}" for n in (8, 16, 32, 64)},
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "bfloat16": "TYPE_BF16",
    "object": "TYPE_STRING",
}
BATCH = 8


def write(model: Model, repository: Path, name: str, *, force: bool = False) -> Path:
    """Write `model` as version 1 of `name` into a model repository; the folder of the model.

    Raises OutputError (the model is there already and not `force`, a name that no server takes, no permission),
    ModelError.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise OutputError(f"{name!r} is not a name for a Triton model: letters, digits, '_', '-' and '.' make one")
    folder = repository / name
    if (folder / "config.pbtxt").exists() and not force:
        raise OutputError(f"{str(folder)!r} holds a model already: choose another place or give --force")
    text = config(model, name)
    save(model, folder / "1" / "model.onnx")
    with atomic(folder / "config.pbtxt") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder


def config(model: Model, name: str) -> str:
    """config.pbtxt of a model. The server batches requests where every input and output has an open first axis.

    Raises ModelError for a value that the server has no type for, or whose rank is not known.
    """
    values = [*model.inputs, *model.outputs]
    for value in values:
        if value.shape is None or str(value.dtype) not in _TYPES:
            raise ModelError(f"{value} cannot be declared to Triton: its type or its number of axes is not known to it")
    batched = all(v.shape and not isinstance(v.shape[0], int) for v in values)
    lines = [
        f"name: {_quoted(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {BATCH if batched else 0}",
        *_block("input", model.inputs, batched),
        *_block("output", model.outputs, batched),
        "instance_group [ { kind: KIND_AUTO, count: 1 } ]",
    ]
    if batched:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"


def _block(kind: str, values: tuple[Value, ...], batched: bool) -> list[str]:
    lines = [f"{kind} ["]
    for number, value in enumerate(values):
        dims = [d if isinstance(d, int) else -1 for d in value.shape or ()][1 if batched else 0 :]
        # A server's tensor has at least one axis besides the batch: one number per sample is an axis of one.
        shape = "dims: [ 1 ]\n    reshape: { shape: [ ] }" if not dims else f"dims: [ {', '.join(map(str, dims))} ]"
        comma = "," if number + 1 < len(values) else ""
        lines += [
            "  {",
            f"    name: {_quoted(value.name)}",
            f"    data_type: {_TYPES[str(np.dtype(value.dtype))]}",
            f"    {shape}",
            f"  }}{comma}",
        ]
    return [*lines, "]"]


def _quoted(text: str) -> str:
    """A string of the protobuf text format."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else "".join(f"\\{b:03o}" for b in c.encode()) for c in text)
    return f'"{"".join(plain)}"'
