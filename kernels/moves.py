"""The compiled part of `occlusion`: rectangles of words moved from array to array.

Only `occlusion` imports this module, on its first call, for unlike most kernels these need Numba at import: a line is
copied by `memcpy`, which plain Numba does not call. Lines of crops are short, and its own loops copy what is left over
from whole vectors one by one: a line of 28 float32 takes 5.6 ns that way, 2.9 ns with `memcpy` (long ones the same).

The kernels return the number of the first place that does not fit, before anything is written, or -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from .jit import kernel


@intrinsic
def _copy(typing: Any, out: Any, to: Any, source: Any, start: Any, count: Any) -> Any:
    """out[to : to + count] = source[start : start + count], unchecked; arrays of one dtype that do not overlap."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(i: int) -> Any:
            array = context.make_array(signature.args[i])(context, builder, arguments[i])
            return builder.gep(array.data, [arguments[i + 1]])

        size = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        cgutils.raw_memcpy(builder, pointer(0), pointer(2), arguments[4], size)
        return context.get_dummy_value()

    return types.void(out, types.intp, source, types.intp, types.intp), generate


@kernel
def _move(out: Any, to: int, out_pitch: int, source: Any, start: int, pitch: int, rows: int, width: int) -> None:
    """A rectangle of `rows` lines of `width` words; lines that follow one another in both are moved as one."""
    if width <= 0:
        return
    if out_pitch == width and pitch == width:
        width *= rows
        rows = min(rows, 1)
    for row in range(rows):
        _copy(out, to + row * out_pitch, source, start + row * pitch, width)


@kernel
def _leaves(boxes: Any, height: int, width: int) -> Any:
    for b in range(len(boxes)):
        y0, x0, y1, x1 = boxes[b]
        if not (0 <= y0 <= y1 <= height and 0 <= x0 <= x1 <= width):
            return b
    return -1


@kernel
def _leaves_part(at: Any, h: int, w: int, height: int, width: int) -> Any:
    for b in range(len(at)):
        if not (0 <= at[b, 0] <= height - h and 0 <= at[b, 1] <= width - w):
            return b
    return -1


@kernel
def _between(value: int, low: int, high: int) -> Any:
    return max(low, min(value, high))


@kernel
def crop(
    out: Any,
    size: Any,
    clean: Any,
    shape: Any,
    at: Any,
    patch: Any,
    patch_step: int,
    patch_shape: Any,
    lies: Any,
    box: Any,
) -> Any:
    """Whole planes of the part first, then the patch over them. Writing that twice is cheaper than three pieces a line:
    a plane is in the first-level cache, and starting a loop costs more.

    lies: `changed_at` or None; box: `changed_box` or None.
    """
    count, planes, h, w, k = size
    _, height, width, _ = shape
    _, patch_height, patch_width, _ = patch_shape
    wrong = _leaves_part(at, h, w, height, width)
    if wrong >= 0:
        return wrong
    for b in range(count):
        top, left = at[b]
        y0, x0, y1, x1, py, px = 0, 0, 0, 0, 0, 0
        if lies is not None:
            py, px = lies[b]
            y0, x0, y1, x1 = py, px, py + patch_height, px + patch_width
            if box is not None:
                y0, x0, y1, x1 = max(y0, box[b, 0]), max(x0, box[b, 1]), min(y1, box[b, 2]), min(x1, box[b, 3])
            y0, y1 = _between(y0 - top, 0, h), _between(y1 - top, 0, h)
            x0, x1 = _between(x0 - left, 0, w), _between(x1 - left, 0, w)
        corner = b * patch_step + ((y0 + top - py) * patch_width + x0 + left - px) * k
        for a in range(planes):
            to = (b * planes + a) * h * w * k
            start, found = ((a * height + top) * width + left) * k, corner + a * patch_height * patch_width * k
            _move(out, to, w * k, clean, start, width * k, h, w * k)
            _move(out, to + (y0 * w + x0) * k, w * k, patch, found, patch_width * k, y1 - y0, (x1 - x0) * k)
    return -1


@kernel
def occlude(out: Any, size: Any, clean: Any, fill: Any, shape: Any, at: Any, boxes: Any) -> Any:
    """at None: whole copies, and boxes have to lie inside."""
    count, planes, h, w, k = size
    _, height, width, _ = shape
    wrong = _leaves(boxes, height, width) if at is None else _leaves_part(at, h, w, height, width)
    if wrong >= 0:
        return wrong
    for b in range(count):
        top, left = 0, 0
        if at is not None:
            top, left = at[b]
        y0, y1 = _between(boxes[b, 0] - top, 0, h), _between(boxes[b, 2] - top, 0, h)
        x0, x1 = _between(boxes[b, 1] - left, 0, w), _between(boxes[b, 3] - left, 0, w)
        for a in range(planes):
            to, start = (b * planes + a) * h * w * k, ((a * height + top) * width + left) * k
            _move(out, to, w * k, clean, start, width * k, h, w * k)
            to, start = to + (y0 * w + x0) * k, start + (y0 * width + x0) * k
            _move(out, to, w * k, fill, start, width * k, y1 - y0, (x1 - x0) * k)
    return -1


@kernel
def _difference(out: Any, base: int, source: Any, shape: Any, box: Any, without: Any) -> None:
    """out = source in `box`, except where it lies in `without`; of one sample, whose words start at `base`."""
    planes, height, width, k = shape
    y0, x0, y1, x1 = box
    u0, v0, u1, v1 = without
    # The common part, empty (and then at the box's end) where there is none.
    u0, u1 = _between(u0, y0, y1), _between(u1, y0, y1)
    v0, v1 = _between(v0, x0, x1), _between(v1, x0, x1)
    if u0 >= u1 or v0 >= v1:
        u0, u1 = y1, y1
    pitch = width * k
    for a in range(planes):
        plane = a * height * pitch
        above, common, below = plane + y0 * pitch, plane + u0 * pitch, plane + u1 * pitch
        _move(out, base + above + x0 * k, pitch, source, above + x0 * k, pitch, u0 - y0, (x1 - x0) * k)
        _move(out, base + common + x0 * k, pitch, source, common + x0 * k, pitch, u1 - u0, (v0 - x0) * k)
        _move(out, base + common + v1 * k, pitch, source, common + v1 * k, pitch, u1 - u0, (x1 - v1) * k)
        _move(out, base + below + x0 * k, pitch, source, below + x0 * k, pitch, y1 - u1, (x1 - x0) * k)


@kernel
def repaint(out: Any, clean: Any, fill: Any, shape: Any, boxes: Any, before: Any) -> Any:
    planes, height, width, k = shape
    wrong = _leaves(boxes, height, width)
    if wrong >= 0:
        return wrong
    wrong = _leaves(before, height, width)
    if wrong >= 0:
        return len(boxes) + wrong
    for b in range(len(boxes)):
        base = b * planes * height * width * k
        _difference(out, base, clean, shape, before[b], boxes[b])
        _difference(out, base, fill, shape, boxes[b], before[b])
    return -1


@kernel
def _select(out: Any, to: int, source: Any, start: int, segments: Any, here: int, id: int, width: int, k: int) -> None:
    """One line of `width` pixels: out = source where the segment is `id`."""
    into, outof, pixel = np.uint64(to), np.uint64(start), np.uint64(here)
    if k == 1:
        for x in range(np.uint64(max(width, 0))):
            out[into + x] = source[outof + x] if segments[pixel + x] == id else out[into + x]
    else:
        for x in range(np.uint64(max(width, 0))):
            if segments[pixel + x] == id:
                for i in range(x * np.uint64(k), (x + np.uint64(1)) * np.uint64(k)):
                    out[into + i] = source[outof + i]


@kernel
def occlude_segments(
    out: Any, size: Any, clean: Any, fill: Any, shape: Any, segments: Any, ids: Any, at: Any, boxes: Any
) -> Any:
    """at None: whole copies, and boxes have to lie inside."""
    count, planes, h, w, k = size
    _, height, width, _ = shape
    wrong = _leaves(boxes, height, width) if at is None else _leaves_part(at, h, w, height, width)
    if wrong >= 0:
        return wrong
    for b in range(count):
        top, left = 0, 0
        if at is not None:
            top, left = at[b]
        y0, y1 = _between(boxes[b, 0], top, top + h), _between(boxes[b, 2], top, top + h)
        x0, x1 = _between(boxes[b, 1], left, left + w), _between(boxes[b, 3], left, left + w)
        for a in range(planes):
            to, start = (b * planes + a) * h * w * k, a * height * width * k
            _move(out, to, w * k, clean, start + (top * width + left) * k, width * k, h, w * k)
            for y in range(y0, y1):
                here, line = y * width + x0, to + ((y - top) * w + x0 - left) * k
                _select(out, line, fill, start + here * k, segments, here, ids[b], x1 - x0, k)
    return -1


@kernel
def repaint_segments(
    out: Any, clean: Any, fill: Any, shape: Any, segments: Any, ids: Any, boxes: Any, before_ids: Any, before: Any
) -> Any:
    planes, height, width, k = shape
    wrong = _leaves(boxes, height, width)
    if wrong >= 0:
        return wrong
    wrong = _leaves(before, height, width)
    if wrong >= 0:
        return len(boxes) + wrong
    for b in range(len(boxes)):
        for a in range(planes):
            plane = a * height * width
            base = (b * planes + a) * height * width
            for turn in range(2):
                y0, x0, y1, x1 = before[b] if turn == 0 else boxes[b]
                id = before_ids[b] if turn == 0 else ids[b]
                for y in range(y0, y1):
                    pixel = y * width + x0
                    to, start = (base + pixel) * k, (plane + pixel) * k
                    if turn == 0:
                        _select(out, to, clean, start, segments, pixel, id, x1 - x0, k)
                    else:
                        _select(out, to, fill, start, segments, pixel, id, x1 - x0, k)
    return -1
