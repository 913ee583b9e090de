"""Attributes of a node, with defaults, checked where they are geometry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import NodeProto

from ..errors import ModelError
from .nodes import label


def attributes(node: NodeProto) -> dict[str, Any]:
    """All attributes of `node` as Python values; strings are str (bytes that are no text survive as surrogates)."""
    found = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = _text(value)
        elif attribute.type == onnx.AttributeProto.STRINGS:
            value = [_text(item) for item in value]
        found[attribute.name] = value
    return found


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def axis_of(node: NodeProto, axis: int, rank: int) -> int:
    """`axis` counted from the front. Raises ModelError where a value of that rank has no such axis."""
    if not -rank <= axis < rank:
        raise ModelError(f"node {label(node)} works along axis {axis} of a value that has {rank}: the model is damaged")
    return axis % rank


def window(node: NodeProto, sizes: Sequence[int | None], kernel: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """(kernel, stride, dilation, padding before) per spatial axis of a convolution or pooling node.

    `sizes` are the spatial sizes of its input; they matter for `auto_pad` with a stride, where an unknown size counts
    as one that the stride divides. Raises ModelError for numbers that are no window.
    """
    given = attributes(node)
    count = len(kernel)
    strides = list(given.get("strides", [1] * count))
    dilations = list(given.get("dilations", [1] * count))
    pads = list(given.get("pads", [0] * 2 * count))
    mode = given.get("auto_pad", "NOTSET")
    if not (len(strides) == len(dilations) == len(sizes) == count and len(pads) == 2 * count):
        raise ModelError(f"node {label(node)} has a window of {count} axes that does not fit its input or itself")
    if min([*strides, *dilations, *kernel], default=1) < 1:
        raise ModelError(
            f"node {label(node)} has a window with a size, stride or dilation below 1: the model is damaged"
        )
    result = []
    for axis in range(count):
        k, s, d, p = kernel[axis], strides[axis], dilations[axis], pads[axis]
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            extent = (k - 1) * d + 1
            size = sizes[axis]
            left = s if not size or size % s == 0 else size % s
            total = max(extent - left, 0)
            p = total // 2 if mode == "SAME_UPPER" else total - total // 2
        elif mode == "VALID":
            p = 0
        result.append((k, s, d, p))
    return result
