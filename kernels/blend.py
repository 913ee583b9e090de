"""The compiled part of `render`: rows of table entries become blended pixels.

Only `render` imports this module, on its first call, for unlike the other kernels this one needs Numba at import: its
innermost step is written as LLVM vector code. That step replaces table entries by their colours and blends, sixteen
pixels at once. A compiler does not find it by itself: the look-ups are plain loads (a SIMD gather is slower), but the
colours then stay in vector registers, four 16-bit lanes a pixel, are squeezed to three lanes by one shuffle, and meet
the image's bytes there. The code is made of LLVM's portable vector operations, nothing in it belongs to one processor.
In plain Numba (look up, store packed, load again, blend) the whole of `render` takes about 1.4 times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .jit import kernel

# Pixels per vector step: 16 pixels of 3 x 16 bits are one and a half AVX-512 registers, three AVX2, six NEON registers.
_STEP = 16

# Rows are gathered until there are this many pixels, for every start of a loop costs: their entries must stay in the
# first-level cache, next to the tables.
_GATHER = 2048

# How many bytes ahead image and output are fetched. Large images are streamed from memory, and with five streams of
# addresses in one loop the hardware's own prefetching gives up (3840 x 2160: 5.7 ms without, 2.9 ms with).
_AHEAD = 3072

_U8, _U16, _U64 = np.uint8, np.uint16, np.uint64
_ZERO = np.float32(0)

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


@intrinsic
def _blend_step(
    typing: Any, entry: Any, at: Any, lut: Any, weights: Any, common: Any, image: Any, out: Any, byte: Any
) -> Any:
    """Blend `_STEP` pixels, entries entry[at:], image and out from flat index `byte` on, as `_blend_pixel` does one.

    common: the image's weight where it is the same for all pixels, that is, where weights is a uint16 array.
    """
    by_entry = weights.dtype == types.uint64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(argument: int, offset: Any) -> Any:
            array = context.make_array(signature.args[argument])(context, builder, arguments[argument])
            return builder.gep(array.data, [offset])

        def look_up(table: Any) -> Any:
            """The four 16-bit lanes of each pixel, squeezed to three."""
            quads = ir.Constant(ir.VectorType(_I64, _STEP), ir.Undefined)
            for i, place in enumerate(places):
                quads = builder.insert_element(quads, builder.load(builder.gep(table, [place])), _I32(i))
            lanes = builder.bitcast(quads, ir.VectorType(_I16, 4 * _STEP))
            three = [4 * (i // 3) + i % 3 for i in range(3 * _STEP)]
            return builder.shuffle_vector(
                lanes, ir.Constant(lanes.type, ir.Undefined), ir.Constant(ir.VectorType(_I32, 3 * _STEP), three)
            )

        def splat(value: Any) -> Any:
            undefined = ir.Constant(wide, ir.Undefined)
            first = builder.insert_element(undefined, value, _I32(0))
            return builder.shuffle_vector(
                first, undefined, ir.Constant(ir.VectorType(_I32, 3 * _STEP), [0] * (3 * _STEP))
            )

        narrow, wide = ir.VectorType(_I8, 3 * _STEP), ir.VectorType(_I16, 3 * _STEP)
        deep = ir.VectorType(_I32, 3 * _STEP)
        eight = ir.Constant(wide, [8] * (3 * _STEP))
        entries = pointer(0, arguments[1])
        places = [builder.zext(builder.load(builder.gep(entries, [_I64(i)])), _I64) for i in range(_STEP)]
        weight = look_up(pointer(3, _I64(0))) if by_entry else splat(arguments[4])
        loaded = builder.load(builder.bitcast(pointer(5, arguments[7]), narrow.as_pointer()), align=1)
        pixels = builder.zext(loaded, wide)
        # The upper half of a 16-bit product, written as LLVM knows it: one instruction on most processors.
        product = builder.mul(builder.zext(builder.shl(pixels, eight), deep), builder.zext(weight, deep))
        share = builder.trunc(builder.lshr(product, ir.Constant(deep, [16] * (3 * _STEP))), wide)
        total = builder.add(share, look_up(pointer(2, _I64(0))))
        result = builder.trunc(builder.lshr(total, eight), narrow)
        builder.store(result, builder.bitcast(pointer(6, arguments[7]), narrow.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(entry, at, lut, weights, common, image, out, byte), generate


@intrinsic(prefer_literal=True)
def _prefetch(typing: Any, array: Any, at: Any, write: Any) -> Any:
    """Ask for the cache line of array[at], which may lie beyond the array. write: 1 where it will be stored to."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), _I8.as_pointer())
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [address.type, _I32, _I32, _I32]), "llvm.prefetch.p0"
        )
        builder.call(function, [address, _I32(write.literal_value), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(array, at, write), generate


@kernel
def to_entries(values: Any, lo: float, hi: float, last: int, out: Any) -> bool:
    """Map values (h, w) in units of table entries, 0..last for lo..hi, plus 1/2 so that truncation rounds.

    float32 `out`. Returns whether there is a NaN. lo == hi is a step, with lo itself in the middle.
    """
    missing = False
    span = hi * 0.5 - lo * 0.5  # halves keep it finite for ranges as wide as the type
    rows, columns = values.shape
    for r in range(rows):
        for c in range(columns):
            value = values[r, c]
            if value != value:
                missing = True
                share = value
            elif span > 0 and not np.isinf(value):
                share = (value * 0.5 - lo * 0.5) / span
            elif value == lo:
                share = 0.5
            else:
                share = 0.0 if value < lo else 1.0
            # float32 must not overflow: infinity times a weight of 0 would be NaN.
            out[r, c] = min(max(share, -1e30), 1e30) * last + 0.5 if share == share else share
    return missing


@kernel(fastmath={"contract"})
def blend_rows(
    map: Any,
    xi: Any,
    xw: Any,
    yi: Any,
    yw: Any,
    lut: Any,
    weights: Any,
    image: Any,
    out: Any,
    start: int,
    stop: int,
) -> None:
    """Rows start..stop of `out`. map: of `to_entries`; xi, xw, yi, yw: of `upsample.taps`; image, out: flat bytes.

    lut: alpha * colour of every entry, then one for NaN. weights: the image's weights likewise, or uint16 (1,) for all.
    """
    width, taps = xi.shape
    # Loops over whole blocks of 64 have no remainder, which would be scalar; what they write too much is written over
    # by the next row.
    pitch = (width + 63) // 64 * 64
    padded = _U64(pitch)
    group = max(1, _GATHER // width)
    spread = np.zeros(4 * pitch, np.float32)
    holds = np.full(4, -1, np.int64)
    entry = np.empty(group * width + 64, np.uint16)
    nothing = np.int32(len(lut) - 1)
    last = np.float32(len(lut) - 2)
    for first in range(start, stop, group):
        end = min(first + group, stop)
        for y in range(first, end):
            for k in range(taps):
                r = yi[y, k]
                slot = r & 3  # an output row looks at up to four neighbouring rows: no two share a slot
                if holds[slot] != r:
                    holds[slot] = r
                    _spread(map, r, xi, xw, spread, _U64(slot * pitch))
            at = _U64((y - first) * width)
            a, wa = _U64((yi[y, 0] & 3) * pitch), yw[y, 0]
            if taps == 1:
                _entries_1(spread, a, last, nothing, entry, at, padded)
            elif taps == 2:
                b, wb = _U64((yi[y, 1] & 3) * pitch), yw[y, 1]
                _entries_2(spread, a, b, wa, wb, last, nothing, entry, at, padded)
            else:
                b, wb = _U64((yi[y, 1] & 3) * pitch), yw[y, 1]
                c, wc = _U64((yi[y, 2] & 3) * pitch), yw[y, 2]
                d, wd = _U64((yi[y, 3] & 3) * pitch), yw[y, 3]
                _entries_4(spread, a, b, c, d, wa, wb, wc, wd, last, nothing, entry, at, padded)
        _blend_run(entry, lut, weights, image, out, _U64(3 * first * width), _U64((end - first) * width))


@kernel(fastmath={"contract"})
def _spread(map: Any, r: int, index: Any, weight: Any, out: Any, at: Any) -> None:
    width, taps = index.shape
    for x in range(width):
        total = map[r, index[x, 0]] * weight[x, 0]
        for k in range(1, taps):
            total += map[r, index[x, k]] * weight[x, k]
        out[at + _U64(x)] = total


# The loops below are nothing but vectors of floats; NaN fails the last comparison and takes the last entry.


@kernel(fastmath={"contract"})
def _entries_1(rows: Any, a: Any, last: Any, nothing: Any, entry: Any, at: Any, n: Any) -> None:
    for x in range(n):
        v = rows[a + x]
        entry[at + x] = np.int32(min(max(v, _ZERO), last)) if v == v else nothing


@kernel(fastmath={"contract"})
def _entries_2(
    rows: Any, a: Any, b: Any, wa: Any, wb: Any, last: Any, nothing: Any, entry: Any, at: Any, n: Any
) -> None:
    for x in range(n):
        v = rows[a + x] * wa + rows[b + x] * wb
        entry[at + x] = np.int32(min(max(v, _ZERO), last)) if v == v else nothing


@kernel(fastmath={"contract"})
def _entries_4(
    rows: Any,
    a: Any,
    b: Any,
    c: Any,
    d: Any,
    wa: Any,
    wb: Any,
    wc: Any,
    wd: Any,
    last: Any,
    nothing: Any,
    entry: Any,
    at: Any,
    n: Any,
) -> None:
    for x in range(n):
        v = rows[a + x] * wa + rows[b + x] * wb + rows[c + x] * wc + rows[d + x] * wd
        entry[at + x] = np.int32(min(max(v, _ZERO), last)) if v == v else nothing


@kernel
def _blend_run(entry: Any, lut: Any, weights: Any, image: Any, out: Any, byte: Any, n: Any) -> None:
    steps = n // _U64(_STEP)
    common = _U16(weights[0])
    for i in range(steps):
        at = byte + i * _U64(3 * _STEP)
        _prefetch(image, at + _U64(_AHEAD), 0)
        _prefetch(out, at + _U64(_AHEAD), 1)
        _blend_step(entry, i * _U64(_STEP), lut, weights, common, image, out, at)
    for i in range(steps * _U64(_STEP), n):
        _blend_pixel(entry[i], lut, weights, image, out, byte + _U64(3) * i)


@kernel
def _blend_pixel(entry: Any, lut: Any, weights: Any, image: Any, out: Any, byte: Any) -> None:
    """out = (image * w + c) >> 8, where image has 8 bits, the weight w 0.16 and the colour's share c 8.8, rounded up.

    No sum exceeds 16 bits: the two shares are at most 255 together, and one half.
    """
    colour, weight = lut[entry], _U16(weights[min(_U64(entry), _U64(len(weights) - 1))])
    for c in range(_U64(3)):
        share = _U16(np.uint32(image[byte + c]) * np.uint32(weight) >> _U64(8))
        out[byte + c] = _U8(_U16(share + _U16(colour >> (_U64(16) * c))) >> np.uint16(8))
