"""The compiled part of `masks`.

Only `masks` imports this module, on the first call that needs it, for unlike most kernels these need Numba at import:
one step is written as LLVM vector code, a store that goes around the caches (non-temporal). A batch that is larger than
the caches is written that way: an ordinary store first reads the memory that it is about to overwrite, which takes as
long as all the rest. On 64 pictures of 3 x 224 x 224 it makes the kernel twice as fast. Smaller batches stay in the
caches, where the network finds them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import kernel

# Elements of a picture's rows that are made at once: they stay in the first-level cache, and loops are long.
BLOCK = 2048

# Elements per streamed vector, the bytes of a cache line: half a line would be written in two goes.
_STEP = 16


def _vectors(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """A function that gives a pointer to the vector at an index, for array argument i and index argument i + 1."""
    vector = ir.VectorType(ir.FloatType(), _STEP)

    def at(i: int) -> Any:
        array = context.make_array(signature.args[i])(context, builder, arguments[i])
        return builder.bitcast(builder.gep(array.data, [arguments[i + 1]]), vector.as_pointer())

    return at


def _stream(context: Any, builder: Any, vector: Any, pointer: Any) -> Any:
    store = builder.store(vector, pointer, align=4 * _STEP)
    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
    return context.get_dummy_value()


@intrinsic
def _stream_product(typing: Any, out: Any, to: Any, clean: Any, here: Any, lines: Any, x: Any) -> Any:
    """out[to:] = clean[here:] * lines[x:], `_STEP` float32 elements; out + to lies on a cache line."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = _vectors(context, builder, signature, arguments)
        product = builder.fmul(builder.load(at(2), align=4), builder.load(at(4), align=4))
        return _stream(context, builder, product, at(0))

    return types.void(out, to, clean, here, lines, x), generate


@intrinsic
def _stream_blend(typing: Any, out: Any, to: Any, clean: Any, here: Any, fill: Any, there: Any, m: Any, x: Any) -> Any:
    """out[to:] = clean[here:] * m[x:] + fill[there:] * (1 - m[x:]), likewise."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = _vectors(context, builder, signature, arguments)
        mask = builder.load(at(6), align=4)
        rest = builder.fsub(ir.Constant(mask.type, [1.0] * _STEP), mask)
        seen = builder.fmul(builder.load(at(2), align=4), mask)
        return _stream(context, builder, builder.fadd(seen, builder.fmul(builder.load(at(4), align=4), rest)), at(0))

    return types.void(out, to, clean, here, fill, there, m, x), generate


@intrinsic
def _settle(typing: Any) -> Any:
    """Streamed stores are seen by other threads before whatever is stored after this."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@kernel
def spread(mask: Any, xi: Any, xw: Any, left: int, k: int, rows: Any) -> None:
    """rows[j, x * k ...] = row j of the mask at pixel x of the crop."""
    for j in range(len(mask)):
        for x in range(rows.shape[1] // k):
            at = x + left
            value = mask[j, xi[at, 0]] * xw[at, 0] + mask[j, xi[at, 1]] * xw[at, 1]
            for i in range(k):
                rows[j, x * k + i] = value


@kernel
def lines_of(rows: Any, yi: Any, yw: Any, first: int, count: int, lines: Any) -> None:
    """`count` rows of the enlarged mask, from row `first` on, one after the other."""
    width = rows.shape[1]
    for y in range(count):
        up, down = np.uint64(yi[first + y, 0]), np.uint64(yi[first + y, 1])
        wa, wb = yw[first + y, 0], yw[first + y, 1]
        to = np.uint64(y * width)
        for x in range(np.uint64(width)):
            lines[to + x] = rows[up, x] * wa + rows[down, x] * wb


@kernel
def apply_real(
    out: Any, clean: Any, fill: Any, shape: Any, masks: Any, yi: Any, yw: Any, xi: Any, xw: Any, at: Any, unit: Any
) -> None:
    planes, height, width, k = shape
    pitch = width * k
    block = max(1, BLOCK // pitch)
    rows = np.empty((masks.shape[1], pitch), np.float32)
    lines = np.empty(block * pitch, np.float32)
    one = np.float32(1)
    for b in range(len(masks)):
        spread(masks[b], xi, xw, at[b, 1], k, rows)
        for y in range(0, height, block):
            count = min(block, height - y)
            lines_of(rows, yi, yw, y + at[b, 0], count, lines)
            for a in range(planes):
                # Unsigned: a signed index may mean one from the end, which costs the vector code.
                here = np.uint64((a * height + y) * pitch)
                to = np.uint64(b * planes * height * pitch) + here
                if len(fill):
                    for x in range(np.uint64(count * pitch)):
                        out[to + x] = clean[here + x] * lines[x] + fill[here + x] * (one - lines[x])
                else:
                    for x in range(np.uint64(count * pitch)):
                        out[to + x] = clean[here + x] * lines[x]


@kernel
def apply_streamed(
    out: Any, clean: Any, fill: Any, shape: Any, masks: Any, yi: Any, yw: Any, xi: Any, xw: Any, at: Any, unit: Any
) -> None:
    """`apply_real` of float32, with stores that go around the caches."""
    planes, height, width, k = shape
    pitch = width * k
    block = max(1, BLOCK // pitch)
    rows = np.empty((masks.shape[1], pitch), np.float32)
    lines = np.empty(block * pitch, np.float32)
    one = np.float32(1)
    # Elements from the array's start to its first whole cache line.
    first = (-out.ctypes.data // 4) % _STEP
    for b in range(len(masks)):
        spread(masks[b], xi, xw, at[b, 1], k, rows)
        for y in range(0, height, block):
            count = min(block, height - y)
            lines_of(rows, yi, yw, y + at[b, 0], count, lines)
            for a in range(planes):
                here = (a * height + y) * pitch
                to = b * planes * height * pitch + here
                size = count * pitch
                head = min((first - to) % _STEP, size)
                stop = head + (size - head) // _STEP * _STEP
                if len(fill):
                    for x in range(head):
                        out[to + x] = clean[here + x] * lines[x] + fill[here + x] * (one - lines[x])
                    for x in range(head, stop, _STEP):
                        _stream_blend(out, to + x, clean, here + x, fill, here + x, lines, x)
                    for x in range(stop, size):
                        out[to + x] = clean[here + x] * lines[x] + fill[here + x] * (one - lines[x])
                else:
                    for x in range(head):
                        out[to + x] = clean[here + x] * lines[x]
                    for x in range(head, stop, _STEP):
                        _stream_product(out, to + x, clean, here + x, lines, x)
                    for x in range(stop, size):
                        out[to + x] = clean[here + x] * lines[x]
    _settle()


@kernel
def apply_whole(
    out: Any, clean: Any, fill: Any, shape: Any, masks: Any, yi: Any, yw: Any, xi: Any, xw: Any, at: Any, unit: Any
) -> None:
    """Of integers: computed in the dtype of `unit`, rounded to the nearest."""
    planes, height, width, k = shape
    pitch = width * k
    block = max(1, BLOCK // pitch)
    rows = np.empty((masks.shape[1], pitch), np.float32)
    lines = np.empty(block * pitch, np.float32)
    real = np.zeros(block * pitch, unit.dtype)
    one, half = np.float32(1), np.float32(0.5)
    for b in range(len(masks)):
        spread(masks[b], xi, xw, at[b, 1], k, rows)
        for y in range(0, height, block):
            count = min(block, height - y)
            lines_of(rows, yi, yw, y + at[b, 0], count, lines)
            for a in range(planes):
                here = np.uint64((a * height + y) * pitch)
                to = np.uint64(b * planes * height * pitch) + here
                for x in range(np.uint64(count * pitch)):
                    real[x] = clean[here + x]
                for x in range(np.uint64(count * pitch)):
                    real[x] *= lines[x]
                if len(fill):
                    for x in range(np.uint64(count * pitch)):
                        real[x] += unit.dtype.type(fill[here + x]) * (one - lines[x])
                for x in range(np.uint64(count * pitch)):
                    out[to + x] = np.int64(np.floor(real[x] + half))


@kernel
def accumulate(total: Any, masks: Any, weights: Any, yi: Any, yw: Any, xi: Any, xw: Any, at: Any, order: Any) -> None:
    """order: the masks sorted by the row they are cropped at; weights (B, R)."""
    maps, height, width = total.shape
    wide = np.empty((masks.shape[1], width), np.float32)
    rows = np.zeros((maps, masks.shape[1], width), np.float64)
    for place in range(len(order)):
        b = order[place]
        spread(masks[b], xi, xw, at[b, 1], 1, wide)
        for r in range(maps):
            for j in range(len(wide)):
                into, outof, weight = rows[r, j], wide[j], weights[b, r]
                for x in range(width):
                    into[x] += weight * outof[x]
        if place + 1 < len(order) and at[order[place + 1], 0] == at[b, 0]:
            continue
        for r in range(maps):
            for y in range(height):
                up, down = rows[r, yi[y + at[b, 0], 0]], rows[r, yi[y + at[b, 0], 1]]
                wa, wb = yw[y + at[b, 0], 0], yw[y + at[b, 0], 1]
                into = total[r, y]
                for x in range(width):
                    into[x] += up[x] * wa + down[x] * wb
        rows[:] = 0


@kernel
def coalitions(out: Any, clean: Any, fill: Any, shape: Any, segments: Any, keep: Any) -> None:
    planes, height, width, k = shape
    kept = np.empty(width * k, out.dtype)  # all bits of what is kept
    pitch = np.uint64(width * k)
    for b in range(len(keep)):
        chosen = keep[b]
        for y in range(height):
            for x in range(width):
                found = -np.int64(chosen[segments[y * width + x]])
                for i in range(k):
                    kept[x * k + i] = found
            for a in range(planes):
                here = np.uint64((a * height + y) * width * k)
                to = np.uint64(b * planes * height * width * k) + here
                for x in range(pitch):
                    out[to + x] = fill[here + x] ^ ((clean[here + x] ^ fill[here + x]) & kept[x])
