"""Bringing models to a newer opset."""

from __future__ import annotations

import onnx
from onnx import ModelProto


def upgrade(proto: ModelProto, target: int) -> ModelProto:
    """`proto` at opset `target` or newer."""
    return onnx.version_converter.convert_version(proto, target)
