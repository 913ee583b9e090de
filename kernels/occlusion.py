"""Occluded copies of a sample, and crops of changed maps: values are only moved, never computed with.

Every array is one sample seen as (A, H, W, K), C-contiguous: NCHW gives A = C and K = 1, NHWC gives A = 1 and K = C. A
batch (B, ...) has one axis more in front. Any dtype of 1, 2, 4 or 8 bytes will do (float16 and bool too), the same for
all arrays of a call.

Boxes are int64 (B, 4): y0, x0, y1, x1 in pixels, the end excluded; y0 == y1 or x0 == x1 is an empty box. Places are
int64 (B, 2): y, x of the top left corner.

    copies               the sample with a box (or, `copies_of_segments`, a segment) of it painted from another picture
    crops                parts of a map with a changed patch pasted in
    crops_occluded       parts of what `copies` makes, without making the whole (or `crops_of_segments`)

`copies` can build a batch from the batch before it: only what the earlier boxes hid and the new ones show, or the other
way round, is touched: a few percent of the picture.

The kernels run in the calling thread and release the GIL, so that several workers make their batches side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import kernel

Boxes = NDArray[np.int64]
_WORDS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def copies(
    out: NDArray[Any], clean: NDArray[Any], fill: NDArray[Any], boxes: Boxes, before: Boxes | None = None
) -> None:
    """out[b] = clean, with box b painted from the same place of `fill`.

    out (B, A, H, W, K); clean, fill (A, H, W, K); boxes (B, 4), inside the picture. before (B, 4): `out` holds what
    this function made of the same `clean` and `fill` for these boxes; only the difference is written. None: all of
    `out` is written, whatever it holds.

    Raises ValueError, before anything is written, where a shape or dtype does not fit, an array is not C-contiguous or
    a box leaves the picture.
    """
    whole, picture, other = words(out, 5, "out"), words(clean, 4, "clean"), words(fill, 4, "fill")
    check_like(out, (len(out), *clean.shape), "out", clean.dtype)
    check_like(fill, clean.shape, "fill", clean.dtype)
    _places(boxes, len(out), 4, "boxes")
    if before is None:
        wrong = _occlude(whole, out.shape, picture, other, clean.shape, None, boxes)
    else:
        _places(before, len(out), 4, "before")
        wrong = _repaint(whole, picture, other, clean.shape, boxes, before)
        if wrong >= len(out):
            _refuse_box(before, wrong - len(out), "before", clean.shape)
    if wrong >= 0:
        _refuse_box(boxes, wrong, "boxes", clean.shape)


def copies_of_segments(
    out: NDArray[Any],
    clean: NDArray[Any],
    fill: NDArray[Any],
    segments: NDArray[np.int32],
    ids: NDArray[np.int32],
    boxes: Boxes,
    before: tuple[NDArray[np.int32], Boxes] | None = None,
) -> None:
    """out[b] = clean, with those pixels of box b painted from `fill` whose segment is ids[b].

    segments (H, W); ids (B,), both int32; the rest, and ValueError, as in `copies`. before: (ids, boxes) of what `out`
    holds.
    """
    whole, picture, other = words(out, 5, "out"), words(clean, 4, "clean"), words(fill, 4, "fill")
    check_like(out, (len(out), *clean.shape), "out", clean.dtype)
    check_like(fill, clean.shape, "fill", clean.dtype)
    _segmented(segments, ids, clean.shape, len(out))
    _places(boxes, len(out), 4, "boxes")
    flat = segments.reshape(-1)
    if before is None:
        wrong = _occlude_segments(whole, out.shape, picture, other, clean.shape, flat, ids, None, boxes)
    else:
        _segmented(segments, before[0], clean.shape, len(out))
        _places(before[1], len(out), 4, "before")
        wrong = _repaint_segments(whole, picture, other, clean.shape, flat, ids, boxes, before[0], before[1])
        if wrong >= len(out):
            _refuse_box(before[1], wrong - len(out), "before", clean.shape)
    if wrong >= 0:
        _refuse_box(boxes, wrong, "boxes", clean.shape)


def crops(
    out: NDArray[Any],
    clean: NDArray[Any],
    at: Boxes,
    changed: NDArray[Any] | None = None,
    changed_at: Boxes | None = None,
    changed_box: Boxes | None = None,
) -> None:
    """out[b] = the part of `clean` at at[b], with changed[b] pasted in where it lies.

    out (B, A, h, w, K): h, w is the size of the part; clean (A, H, W, K); at (B, 2), so that every part lies inside the
    map. changed (B, A, hc, wc, K) of any size: its corner is at changed_at[b], in the map's coordinates; what of it
    falls outside the part is cut. changed_box (B, 4), in the map's coordinates: only what lies in it is pasted.

    Raises ValueError, before anything is written, where a shape or dtype does not fit, an array is not C-contiguous, a
    part leaves the map, or one of `changed` and `changed_at` is missing.
    """
    whole, picture = words(out, 5, "out"), words(clean, 4, "clean")
    _cropped(out, clean)
    _places(at, len(out), 2, "at")
    if changed is None or changed_at is None:
        if changed is not None or changed_at is not None or changed_box is not None:
            raise ValueError("what has changed must be given with its place: changed and changed_at")
        wrong = _crop(whole, out.shape, picture, clean.shape, at, picture, 0, clean.shape, None, None)
    else:
        patch = words(changed, 5, "changed")
        size = (len(out), clean.shape[0], *changed.shape[2:4], clean.shape[3])
        check_like(changed, size, "changed", clean.dtype)
        _places(changed_at, len(out), 2, "changed_at")
        if changed_box is not None:
            _places(changed_box, len(out), 4, "changed_box")
        step = changed[0].size if len(changed) else 0
        wrong = _crop(
            whole, out.shape, picture, clean.shape, at, patch, step, changed.shape[1:], changed_at, changed_box
        )
    if wrong >= 0:
        _refuse_part(at, wrong, out.shape, clean.shape)


def crops_occluded(out: NDArray[Any], clean: NDArray[Any], fill: NDArray[Any], at: Boxes, boxes: Boxes) -> None:
    """out[b] = the part at at[b] of the copy that `copies` makes for boxes[b]; boxes lie anywhere, parts in the map.

    out (B, A, h, w, K); clean, fill (A, H, W, K); at (B, 2); boxes (B, 4). Raises ValueError as `crops`.
    """
    whole, picture, other = words(out, 5, "out"), words(clean, 4, "clean"), words(fill, 4, "fill")
    _cropped(out, clean)
    check_like(fill, clean.shape, "fill", clean.dtype)
    _places(at, len(out), 2, "at")
    _places(boxes, len(out), 4, "boxes")
    wrong = _occlude(whole, out.shape, picture, other, clean.shape, at, boxes)
    if wrong >= 0:
        _refuse_part(at, wrong, out.shape, clean.shape)


def crops_of_segments(
    out: NDArray[Any],
    clean: NDArray[Any],
    fill: NDArray[Any],
    segments: NDArray[np.int32],
    ids: NDArray[np.int32],
    at: Boxes,
    boxes: Boxes,
) -> None:
    """out[b] = the part at at[b] of the copy that `copies_of_segments` makes; arguments and errors as there and in
    `crops_occluded`."""
    whole, picture, other = words(out, 5, "out"), words(clean, 4, "clean"), words(fill, 4, "fill")
    _cropped(out, clean)
    check_like(fill, clean.shape, "fill", clean.dtype)
    _segmented(segments, ids, clean.shape, len(out))
    _places(at, len(out), 2, "at")
    _places(boxes, len(out), 4, "boxes")
    flat = segments.reshape(-1)
    wrong = _occlude_segments(whole, out.shape, picture, other, clean.shape, flat, ids, at, boxes)
    if wrong >= 0:
        _refuse_part(at, wrong, out.shape, clean.shape)


# --- checks ---


def words(array: NDArray[Any], rank: int, name: str) -> NDArray[Any]:
    """The elements, flat, as unsigned integers of their size: one compiled kernel serves all dtypes of that size."""
    if array.ndim != rank or not array.flags.c_contiguous:
        axes = "(B, A, H, W, K)" if rank == 5 else "(A, H, W, K)"
        raise ValueError(
            f"{name} must be a C-contiguous array {axes}, got shape {array.shape}, strides {array.strides}"
        )
    word = _WORDS.get(array.dtype.itemsize)
    if word is None or array.dtype.hasobject:
        raise ValueError(f"{name} must have elements of 1, 2, 4 or 8 bytes, got dtype {array.dtype}")
    if name == "out" and not array.flags.writeable:
        raise ValueError("out must be writable")
    return array.reshape(-1).view(word)


def check_like(array: NDArray[Any], shape: tuple[int, ...], name: str, dtype: np.dtype[Any]) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {dtype} {shape} as clean asks for, got {array.dtype} {array.shape}")


def _cropped(out: NDArray[Any], clean: NDArray[Any]) -> None:
    if out.shape[1] != clean.shape[0] or out.shape[4] != clean.shape[3] or out.dtype != clean.dtype:
        size = f"({len(out)}, {clean.shape[0]}, h, w, {clean.shape[3]})"
        raise ValueError(f"out must be {clean.dtype} {size} as clean asks for, got {out.dtype} {out.shape}")


def _places(array: NDArray[Any], count: int, width: int, name: str) -> None:
    if array.shape != (count, width) or array.dtype != np.int64 or not array.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous int64 {(count, width)}, got {array.dtype} {array.shape}")


def _segmented(segments: NDArray[Any], ids: NDArray[Any], shape: tuple[int, ...], count: int) -> None:
    if segments.shape != shape[1:3] or segments.dtype != np.int32 or not segments.flags.c_contiguous:
        raise ValueError(f"segments must be C-contiguous int32 {shape[1:3]}, got {segments.dtype} {segments.shape}")
    if ids.shape != (count,) or ids.dtype != np.int32 or not ids.flags.c_contiguous:
        raise ValueError(f"ids must be C-contiguous int32 {(count,)}, got {ids.dtype} {ids.shape}")


def _refuse_box(boxes: Boxes, index: int, name: str, shape: tuple[int, ...]) -> None:
    inside = f"0 <= y0 <= y1 <= {shape[1]}, 0 <= x0 <= x1 <= {shape[2]}"
    raise ValueError(f"{name}[{index}] is {boxes[index].tolist()}: it must be {inside}")


def _refuse_part(at: Boxes, index: int, size: tuple[int, ...], shape: tuple[int, ...]) -> None:
    place = at[index].tolist()
    raise ValueError(f"a part of {size[2:4]} at[{index}] = {place} leaves the map of {shape[1:3]}")


# --- kernels: they return the number of the first place that does not fit, or -1 ---


@kernel
def _move(out: Any, to: int, out_pitch: int, source: Any, start: int, pitch: int, rows: int, width: int) -> None:
    """A rectangle of `rows` lines of `width` words; lines that follow one another in both are moved as one."""
    if width <= 0:
        return
    if out_pitch == width and pitch == width:
        width *= rows
        rows = min(rows, 1)
    for row in range(rows):
        # Unsigned: a signed index may mean one from the end, which costs a comparison each and the vector code.
        there, here = np.uint64(to + row * out_pitch), np.uint64(start + row * pitch)
        for i in range(np.uint64(width)):
            out[there + i] = source[here + i]


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
def _crop(
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
def _occlude(out: Any, size: Any, clean: Any, fill: Any, shape: Any, at: Any, boxes: Any) -> Any:
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
def _repaint(out: Any, clean: Any, fill: Any, shape: Any, boxes: Any, before: Any) -> Any:
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
def _occlude_segments(
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
def _repaint_segments(
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
