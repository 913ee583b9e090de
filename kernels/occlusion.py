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
        wrong = _compiled().occlude(whole, out.shape, picture, other, clean.shape, None, boxes)
    else:
        _places(before, len(out), 4, "before")
        wrong = _compiled().repaint(whole, picture, other, clean.shape, boxes, before)
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
        wrong = _compiled().occlude_segments(whole, out.shape, picture, other, clean.shape, flat, ids, None, boxes)
    else:
        _segmented(segments, before[0], clean.shape, len(out))
        _places(before[1], len(out), 4, "before")
        wrong = _compiled().repaint_segments(whole, picture, other, clean.shape, flat, ids, boxes, before[0], before[1])
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
        wrong = _compiled().crop(whole, out.shape, picture, clean.shape, at, picture, 0, clean.shape, None, None)
    else:
        patch = words(changed, 5, "changed")
        size = (len(out), clean.shape[0], *changed.shape[2:4], clean.shape[3])
        check_like(changed, size, "changed", clean.dtype)
        _places(changed_at, len(out), 2, "changed_at")
        if changed_box is not None:
            _places(changed_box, len(out), 4, "changed_box")
        step = changed[0].size if len(changed) else 0
        wrong = _compiled().crop(
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
    wrong = _compiled().occlude(whole, out.shape, picture, other, clean.shape, at, boxes)
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
    wrong = _compiled().occlude_segments(whole, out.shape, picture, other, clean.shape, flat, ids, at, boxes)
    if wrong >= 0:
        _refuse_part(at, wrong, out.shape, clean.shape)


def _compiled() -> Any:
    from . import moves  # imports Numba

    return moves


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
