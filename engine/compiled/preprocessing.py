"""A card's preprocessing inside a graph, and the way back from the model's plane to the image's pixels.

Coordinates and rounding are those of `preprocess/image.py`; sizes are computed from the image's own, so that any size
goes in. The image is resampled as `kernels.resize` does, by ONNX's Resize with `antialias` (opset 18).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, ValueInfoProto

from ..errors import CardError
from ..preprocess.card import Card
from .build import Build, Entry

LAYOUTS = ("HWC", "NHWC", "UNIT")
_PLACEHOLDER = "image/pixels"


@dataclass(frozen=True)
class Placed:
    """`Geometry` as values of a graph: int64 vectors (y, x) of two, but for `side` (h, w) of the model's plane."""

    original: str
    resized: str
    offset: str
    side: tuple[int, int]


def preprocess(build: Build, card: Card, layout: str) -> tuple[Entry, Placed]:
    """The image input, uint8 (H, W, 3) or (N, H, W, 3), in the place of the model's; where it comes to lie.

    UNIT: float32 (N, 3, H, W) in 0..1, which becomes uint8 as it is.

    Where the card has `bits` or `window` it is uint16, with `window` "none" float32; where it names bands, the last
    axis has the picture's bands.
    """
    op = build.op
    _check(card, layout)
    placeholder = op.reserve("image/", _PLACEHOLDER)
    batch = op.shape(build.x)[0]
    dims: list[int | str] = ["height", "width", "bands" if card.has_bands else 3]
    if layout == "UNIT":
        dims = [batch if isinstance(batch, (int, str)) else "batch", 3, "height", "width"]
    elif layout == "NHWC":
        dims = [batch if isinstance(batch, (int, str)) else "batch", *dims]
    elif isinstance(batch, int) and batch != 1:
        raise CardError(f"the model takes {batch} images at a time: choose preprocess='NHWC'")
    kind = TensorProto.FLOAT if layout == "UNIT" else _kind(card)
    info = onnx.helper.make_tensor_value_info(build.x, kind, dims)
    op.set_type(placeholder, info.type)
    before, op.prefix = op.prefix, "image"
    if layout == "UNIT":
        original, planar = op.Shape(placeholder, start=2, end=4), _of_unit(build, placeholder)
    else:
        pixels = op.Unsqueeze(placeholder, [0]) if layout == "HWC" else placeholder
        original = op.Shape(pixels, start=1, end=3)
        planar = op.Transpose(pixels, perm=[0, 3, 1, 2])
    if isinstance(card.order, tuple):
        planar = op.Gather(planar, list(card.order), axis=1)
    planar = _levels(build, card, planar)
    if card.order == "GRAY":
        planar = _luminance(build, planar, _is_deep(card))
    placed = _place(build, card, original)
    planar = _fitted(build, card, _resampled(build, card, planar, placed), placed)
    if card.order == "BGR":
        planar = op.Gather(planar, [2, 1, 0], axis=1)
    tensor = _normalised(build, card, planar)
    op.prefix = before
    return Entry(ValueInfoProto.FromString(info.SerializeToString()), placeholder, tensor), placed


def converted(build: Build) -> Entry:
    """The integer input of a model that was given a real one to be differentiable (`with_real_input`)."""
    op = build.op
    info = next(v for v in build.problem.source.graph.input if v.name == build.x)
    placeholder = op.reserve("image/", _PLACEHOLDER)
    op.set_type(placeholder, info.type)
    return Entry(info, placeholder, op.Cast(placeholder, to=op.elem_type(build.x)))


def _of_unit(build: Build, planar: str) -> str:
    """float32 in 0..1 as uint8, rounded and clipped."""
    op = build.op
    levels = op.Clip(op.Mul(planar, op.const(np.float32(255))), op.const(np.float32(0)), op.const(np.float32(255)))
    return op.Cast(op.Round(levels), to=TensorProto.UINT8)


def _check(card: Card, layout: str) -> None:
    if layout == "UNIT" and (card.has_bands or _is_deep(card)):
        raise CardError(
            "preprocess='UNIT' takes red, green and blue of 8 bits, and the card says otherwise: choose HWC"
        )
    if card.interpolation not in ("bilinear", "bicubic", "nearest"):
        raise CardError(
            f"ONNX's Resize has no filter {card.interpolation!r}: prepare images outside the model, or give "
            "interpolation='bilinear' or 'bicubic' if that is near enough"
        )


def _is_deep(card: Card) -> bool:
    """Whether the image has more than 8 bits: it is resampled as float32, without rounding, as outside a graph."""
    return card.bits is not None or card.window is not None


def _kind(card: Card) -> int:
    """The type of the image."""
    if not _is_deep(card):
        return int(TensorProto.UINT8)
    return int(TensorProto.FLOAT if card.window == "none" else TensorProto.UINT16)


def _levels(build: Build, card: Card, planar: str) -> str:
    """As `preprocess.depth.levels`: pixels of 0..255, float32 where the image has more than 8 bits."""
    op = build.op
    if not _is_deep(card) or card.window == "none":
        return planar
    values = op.Cast(planar, to=TensorProto.FLOAT)
    low, high = (0.0, float((1 << (card.bits or 16)) - 1)) if card.window is None else card.window
    if low:
        values = op.Sub(values, op.const(np.float32(low)))
    share = op.Clip(op.Div(values, op.const(np.float32(high - low))), op.const(np.float32(0)), op.const(np.float32(1)))
    return op.Mul(share, op.const(np.float32(255)))


def _luminance(build: Build, planar: str, deep: bool) -> str:
    """As `preprocess.luminance`: 16-bit fixed point, of floats without rounding."""
    op = build.op
    if deep:
        shares = np.array([19595, 38470, 7471], np.float32).reshape(1, 3, 1, 1) / np.float32(65536)
        return op.ReduceSum(op.Mul(planar, op.const(shares)), [1], keepdims=1)
    weights = op.const(np.array([19595, 38470, 7471], np.int32).reshape(1, 3, 1, 1))
    total = op.ReduceSum(op.Mul(op.Cast(planar, to=TensorProto.INT32), weights), [1], keepdims=1)
    shifted = op.Div(op.Add(total, op.const(np.int32(0x8000))), op.const(np.int32(1 << 16)))
    return op.Cast(shifted, to=TensorProto.UINT8)


def _place(build: Build, card: Card, original: str) -> Placed:
    """`preprocess.place` in a graph: float64 as there, so that halves are rounded alike."""
    op = build.op
    h, w = card.size
    if card.resize == "stretch":
        return Placed(original, op.const([h, w]), op.const([0, 0]), card.size)
    if card.resize == "crop" and card.stretch_to:
        resized = op.const(list(card.stretch_to))
        return Placed(original, resized, _crop_offset(build, card, resized), card.size)
    sides = op.Cast(original, to=TensorProto.DOUBLE)
    rows, columns = (op.Gather(sides, op.const([axis]), axis=0) for axis in (0, 1))
    if card.resize == "crop":
        if card.shortest_edge is not None:
            h = w = card.shortest_edge
        else:
            h, w = (max(side, round(side / card.crop_fraction)) for side in card.size)
    high, wide = (op.const(np.array([side], np.float64)) for side in (h, w))
    across, down = op.Div(op.Mul(columns, high), rows), op.Div(op.Mul(rows, wide), columns)
    rounded = op.Round if card.resize == "letterbox" or card.rounding == "nearest" else op.Floor
    across, down = (op.Max(op.const([1]), _whole(build, rounded(side))) for side in (across, down))
    if card.resize == "letterbox":
        fills_height = op.LessOrEqual(op.Mul(columns, high), op.Mul(rows, wide))
        across, down = op.Min(op.const([w]), across), op.Min(op.const([h]), down)
    elif card.shortest_edge is not None:
        fills_height = op.LessOrEqual(rows, columns)
    else:
        fills_height = op.GreaterOrEqual(op.Mul(columns, high), op.Mul(rows, wide))
        across, down = op.Max(op.const([w]), across), op.Max(op.const([h]), down)
    resized = op.Concat(
        op.Where(fills_height, op.const([h]), down), op.Where(fills_height, across, op.const([w])), axis=0
    )
    if card.resize == "crop":
        return Placed(original, resized, _crop_offset(build, card, resized), card.size)
    rest = op.Sub(op.const(list(card.size)), resized)
    offset = op.const([0, 0]) if card.align == "top-left" else op.Div(rest, op.const(2, like=rest))
    return Placed(original, resized, offset, card.size)


def _crop_offset(build: Build, card: Card, resized: str) -> str:
    """How much of the surplus is cut off in front, negated; padding in front where the image is smaller."""
    op = build.op
    rest = op.Sub(resized, op.const(list(card.size)))
    exact = op.Cast(rest, to=TensorProto.DOUBLE)
    half = op.Div(exact, op.const(2, like=exact))
    if card.rounding == "transformers":
        cut = op.Floor(half)
    else:
        zero = op.const(0, like=half)
        toward_zero = op.Where(op.Less(half, zero), op.Ceil(half), op.Floor(half))
        cut = toward_zero
        if card.rounding == "torchvision":
            cut = op.Where(op.Greater(half, zero), op.Round(half), toward_zero)
    return op.Neg(_whole(build, cut))


def _entry(build: Build, vector: str, index: int) -> str:
    """One entry of an int64 vector, as a vector; a constant of a constant."""
    known = build.op.constant_value(vector)
    if known is not None:
        return build.op.const(known[index : index + 1])
    return build.op.Gather(vector, build.op.const([index]), axis=0)


def _whole(build: Build, value: str) -> str:
    return build.op.Cast(value, to=TensorProto.INT64)


def _resampled(build: Build, card: Card, planar: str, placed: Placed) -> str:
    """(N, C, H, W) -> (N, C, rh, rw), uint8 or float32."""
    op = build.op
    options: dict[str, Any] = {"coordinate_transformation_mode": "half_pixel", "mode": "linear"}
    if card.interpolation == "nearest":
        options |= {"mode": "nearest", "nearest_mode": "round_prefer_ceil"}
    elif card.interpolation == "bicubic":
        options |= {"mode": "cubic", "cubic_coeff_a": -0.5 if card.antialias else -0.75}
    if card.antialias and card.interpolation != "nearest":
        options |= {"antialias": 1, "exclude_outside": 1}
    deep = _is_deep(card)
    floats = planar if deep else op.Cast(planar, to=TensorProto.FLOAT)
    # One axis after the other, rounded in between, as Pillow does. Sizes of all axes: ONNX Runtime's optimiser moves
    # transpositions through a Resize, and fails where that names its axes.
    for axis in (1, 0):
        part = _entry(build, placed.resized, axis)
        front = op.Shape(floats, start=0, end=2 + axis)
        rest = [op.Shape(floats, start=3, end=4)] if axis == 0 else []
        resized = op.Resize(floats, None, None, op.Concat(front, part, *rest, axis=0), **options)
        if deep:
            floats = resized
            continue
        half, black, white = (op.const(number, like=resized) for number in (0.5, 0, 255))
        floats = op.Clip(op.Floor(op.Add(resized, half)), black, white)
    return floats if deep else op.Cast(floats, to=TensorProto.UINT8)


def _fitted(build: Build, card: Card, planar: str, placed: Placed) -> str:
    """Cropped or padded to the model's plane."""
    op = build.op
    if card.resize == "stretch":
        return planar
    zero = op.const([0, 0])
    side = op.const(list(card.size))
    start = op.Max(op.Neg(placed.offset), zero)
    end = op.Min(placed.resized, op.Sub(side, placed.offset))
    planar = op.Slice(planar, start, end, [2, 3])
    if card.resize == "letterbox" or _may_pad(card):
        front = op.Max(placed.offset, zero)
        back = op.Sub(op.Sub(side, front), op.Sub(end, start))
        pads = op.Concat(zero, front, zero, back, axis=0)
        border = np.float32(card.pad_value) if _is_deep(card) else np.uint8(card.pad_value)
        planar = op.Pad(planar, pads, op.const(border))
    shape = [op.shape(planar)[0], card.channels, *card.size]
    kind = TensorProto.FLOAT if _is_deep(card) else TensorProto.UINT8
    op.set_type(planar, onnx.helper.make_tensor_type_proto(kind, shape))
    return planar


def _may_pad(card: Card) -> bool:
    """Whether a crop may be larger than the scaled image."""
    if card.stretch_to is not None:
        return any(a < b for a, b in zip(card.stretch_to, card.size, strict=True))
    return card.shortest_edge is not None and card.shortest_edge < max(card.size)


def _normalised(build: Build, card: Card, planar: str) -> str:
    """(N, C, h, w) of pixels -> the model's input tensor."""
    op = build.op
    wanted = np.dtype(card.dtype)
    kind = np.float64 if wanted == np.float64 else np.float32
    as_is = _is_deep(card) and kind == np.float32
    values = planar if as_is else op.Cast(planar, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)))
    mean, std = (np.asarray(v, kind).reshape(1, -1, 1, 1) for v in (card.mean, card.std))
    if mean.any():
        values = op.Sub(values, op.const(mean))
    if (std != 1).any():
        values = op.Div(values, op.const(std))
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        low, high = (op.const(float(end), like=values) for end in (limits.min, limits.max))
        values = op.Clip(op.Round(values), low, high)
    values = op.cast(values, build.x)
    if card.layout == "NHWC":
        return op.Transpose(values, perm=[0, 2, 3, 1])
    return op.Squeeze(values, [1]) if card.layout == "NHW" else values


def boxes_to_image(build: Build, boxes: str, placed: Placed) -> str:
    """Boxes (N, K) that begin with y0, x0, y1, x1 in pixels of the model's plane, on the image's pixels, within it."""
    op = build.op
    original, resized, offset = (
        op.Cast(v, to=TensorProto.FLOAT) for v in (placed.original, placed.resized, placed.offset)
    )
    corners = op.Reshape(op.Slice(boxes, op.const([0]), op.const([4]), op.const([1])), op.const([0, 2, 2]))
    corners = op.Mul(op.Sub(corners, offset), op.Div(original, resized))
    corners = op.Reshape(op.Min(op.Max(corners, op.const(np.float32(0))), original), op.const([0, 4]))
    return op.Concat(corners, op.Slice(boxes, op.const([4]), op.const([1 << 30]), op.const([1])), axis=1)


def to_image(build: Build, maps: str, placed: Placed) -> str:
    """(N, C, h, w) over the model's plane -> (N, C, H, W) on the image's pixels, 0 where the model does not look.

    `Geometry.to_image` with two products of matrices: each row of weights is the triangle around one pixel.
    """
    op = build.op
    kind = TensorProto.FLOAT
    for axis in (0, 1):
        count = op.Squeeze(_entry(build, placed.original, axis), [0])
        length = op.Cast(count, to=kind)
        resized = op.Cast(op.Squeeze(_entry(build, placed.resized, axis), [0]), to=kind)
        offset = op.Cast(op.Squeeze(_entry(build, placed.offset, axis), [0]), to=kind)
        cells = op.shape(maps)[2 + axis]
        assert isinstance(cells, int)
        side = float(placed.side[axis])
        zero, one = op.const(np.int64(0)), op.const(np.int64(1))
        pixel = op.Add(op.Cast(op.Range(zero, count, one), to=kind), op.const(np.float32(0.5)))
        on_plane = op.Add(op.Mul(pixel, op.Div(resized, length)), offset)  # where each pixel's centre lies
        start, end = op.const(np.float32(0)), op.const(np.float32(side))
        seen = op.And(op.GreaterOrEqual(on_plane, start), op.Less(on_plane, end))
        scale = op.const(np.float32(cells / side))
        centre = op.Unsqueeze(op.Clip(op.Mul(on_plane, scale), start, op.const(np.float32(cells))), [1])
        step = op.Max(op.Mul(op.Div(resized, length), scale), op.const(np.float32(1)))
        cell = op.const((np.arange(cells, dtype=np.float32) + 0.5).reshape(1, -1))
        weights = op.Relu(op.Sub(op.const(np.float32(1)), op.Div(op.Abs(op.Sub(cell, centre)), step)))
        weights = op.Div(weights, op.ReduceSum(weights, [1], keepdims=1))
        weights = op.Where(op.Unsqueeze(seen, [1]), weights, start)
        if axis == 0:
            maps = op.MatMul(weights, maps)
        else:
            maps = op.MatMul(maps, op.Transpose(weights, perm=[1, 0]))
    return maps
