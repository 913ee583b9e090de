"""From a method's values to the map that a compiled model gives out: channels, size, range."""

from __future__ import annotations

import onnx

from ..errors import MethodError
from .build import Build

UPSAMPLE = ("input", "none")
NORMALIZE = ("none", "minmax", "uint8")


def reduced(build: Build, maps: str, how: str) -> str:
    """(N, C, h, w) -> (N, 1, h, w), as `attribution.reduced` does."""
    op = build.op
    if how == "none" or op.shape(maps)[1] == 1:
        return maps
    if how == "sum":
        return op.ReduceSum(maps, [1], keepdims=1)
    strongest = op.ArgMax(op.Abs(maps), axis=1, keepdims=1)
    return op.GatherElements(maps, strongest, axis=1)


def normalized(build: Build, maps: str, display: str, how: str) -> str:
    """Each sample's map in 0..1, or 0..255 as uint8: 0 to the maximum where the method shows what is positive, else
    -m to m with m the greatest magnitude, so that 0 comes to lie in the middle. A map without a value stays at its 0.
    """
    op = build.op
    if how == "none":
        return maps
    if display == "positive":
        scaled = op.Div(op.Relu(maps), build.greatest(op.Relu(maps)))
    else:
        part = op.Div(maps, op.Mul(build.greatest(maps), op.const(2, like=maps)))
        scaled = op.Add(part, op.const(0.5, like=maps))
    if how == "minmax":
        return scaled
    scaled = op.Where(op.IsNaN(scaled), op.const(0, like=scaled), scaled)
    return op.Cast(op.Round(op.Mul(scaled, op.const(255, like=scaled))), to=onnx.TensorProto.UINT8)


def range_of(display: str, how: str) -> str | None:
    """The range of `normalized` in words, for the metadata."""
    if how == "none":
        return None
    top = "1" if how == "minmax" else "255"
    if display == "positive":
        return f"0 is 0 and below, {top} the maximum of the sample's map"
    return f"0 is -m, {top} is m, m the greatest magnitude of the sample's map; the middle is 0"


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise MethodError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
