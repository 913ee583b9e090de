"""Attributes of a node, with defaults."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import NodeProto


def attributes(node: NodeProto) -> dict[str, Any]:
    """All attributes of `node` as Python values; strings are str."""
    found = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def window(node: NodeProto, sizes: tuple[int | None, ...], kernel: list[int]) -> list[tuple[int, int, int, int]]:
    """(kernel, stride, dilation, padding before) per spatial axis of a convolution or pooling node.

    `sizes` are the spatial sizes of its input; they matter for `auto_pad` with a stride, where an unknown size counts as
    one that the stride divides.
    """
    given = attributes(node)
    count = len(kernel)
    strides = list(given.get("strides", [1] * count))
    dilations = list(given.get("dilations", [1] * count))
    pads = list(given.get("pads", [0] * 2 * count))[:count]
    mode = given.get("auto_pad", "NOTSET")
    result = []
    for axis in range(count):
        k, s, d, p = kernel[axis], strides[axis], dilations[axis], pads[axis]
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            extent = (k - 1) * d + 1
            size = sizes[axis] if axis < len(sizes) else None
            left = s if not size or size % s == 0 else size % s
            total = max(extent - left, 0)
            p = total // 2 if mode == "SAME_UPPER" else total - total // 2
        elif mode == "VALID":
            p = 0
        result.append((k, s, d, p))
    return result
