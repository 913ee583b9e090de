"""The occlusion kernels against plain NumPy, for any geometry; and what they refuse."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxray.kernels import occlusion

DTYPES = ["float32", "float16", "float64", "uint8", "int8", "int32", "int64", "uint16", "bool"]


def sample(rng, shape, dtype="float32"):
    return rng.integers(0, 2 if dtype == "bool" else 120, shape).astype(dtype)


def hidden(clean, fill, boxes):
    """The definition of `copies`."""
    result = np.repeat(clean[None], len(boxes), 0)
    for copy, (y0, x0, y1, x1) in zip(result, boxes, strict=True):
        copy[:, y0:y1, x0:x1] = fill[:, y0:y1, x0:x1]
    return result


def hidden_segments(clean, fill, segments, ids, boxes):
    """The definition of `copies_of_segments`."""
    result = np.repeat(clean[None], len(boxes), 0)
    for copy, number, (y0, x0, y1, x1) in zip(result, ids, boxes, strict=True):
        inside = np.zeros(segments.shape, bool)
        inside[y0:y1, x0:x1] = segments[y0:y1, x0:x1] == number
        copy[:, inside] = fill[:, inside]
    return result


def pasted(clean, at, size, changed, changed_at, changed_box=None):
    """The definition of `crops`: paste on a frame so wide that nothing is cut, then cut."""
    margin = 60
    parts = []
    for b, (y, x) in enumerate(at):
        frame = np.pad(clean, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        (top, left), (hc, wc) = changed_at[b], changed.shape[2:4]
        for i in range(hc):
            for j in range(wc):
                row, column = top + i, left + j
                if changed_box is not None:
                    y0, x0, y1, x1 = changed_box[b]
                    if not (y0 <= row < y1 and x0 <= column < x1):
                        continue
                frame[:, row + margin, column + margin] = changed[b, :, i, j]
        parts.append(frame[:, y + margin : y + margin + size[0], x + margin : x + margin + size[1]])
    return np.stack(parts)


@st.composite
def geometries(draw):
    """(A, H, W, K), boxes inside (B, 4), size of a part, its places (B, 2), a seed."""
    a, height, width, k = (draw(st.integers(1, n)) for n in (3, 12, 12, 3))
    count = draw(st.integers(1, 4))

    def edges(length):
        return sorted((draw(st.integers(0, length)), draw(st.integers(0, length))))

    def boxes():
        found = []
        for _ in range(count):
            (y0, y1), (x0, x1) = edges(height), edges(width)
            found.append((y0, x0, y1, x1))
        return np.array(found, np.int64)

    h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
    at = np.array([(draw(st.integers(0, height - h)), draw(st.integers(0, width - w))) for _ in range(count)], np.int64)
    return (a, height, width, k), boxes(), boxes(), (h, w), at, draw(st.integers(0, 1000))


@settings(deadline=None)
@given(geometries(), st.sampled_from(DTYPES))
def test_copies(geometry, dtype):
    shape, boxes, before, _, _, seed = geometry
    rng = np.random.default_rng(seed)
    clean, fill = sample(rng, shape, dtype), sample(rng, shape, dtype)
    out = sample(rng, (len(boxes), *shape), dtype)
    occlusion.copies(out, clean, fill, before)
    np.testing.assert_array_equal(out, hidden(clean, fill, before))
    occlusion.copies(out, clean, fill, boxes, before)
    np.testing.assert_array_equal(out, hidden(clean, fill, boxes))


@settings(deadline=None)
@given(geometries(), st.sampled_from(DTYPES))
def test_copies_of_segments(geometry, dtype):
    shape, boxes, before, _, _, seed = geometry
    rng = np.random.default_rng(seed)
    clean, fill = sample(rng, shape, dtype), sample(rng, shape, dtype)
    segments = sample(rng, shape[1:3], "int32") % 3
    ids, earlier = (rng.integers(0, 4, len(boxes)).astype(np.int32) for _ in range(2))
    out = sample(rng, (len(boxes), *shape), dtype)
    occlusion.copies_of_segments(out, clean, fill, segments, earlier, before)
    np.testing.assert_array_equal(out, hidden_segments(clean, fill, segments, earlier, before))
    occlusion.copies_of_segments(out, clean, fill, segments, ids, boxes, (earlier, before))
    np.testing.assert_array_equal(out, hidden_segments(clean, fill, segments, ids, boxes))


@given(geometries(), st.data())
@settings(max_examples=200, deadline=None)
def test_crops(geometry, data):
    """Patches anywhere: cut by the part, larger than it, beside it, out of the map; with a box of their own."""
    shape, boxes, _, size, at, seed = geometry
    rng = np.random.default_rng(seed)
    clean = sample(rng, shape)
    patch = (data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20)))
    place = st.tuples(st.integers(-25, 25), st.integers(-25, 25))
    changed_at = np.array([data.draw(place) for _ in at], np.int64)
    changed = sample(rng, (len(at), shape[0], *patch, shape[3]))
    out = sample(rng, (len(at), shape[0], *size, shape[3]))
    occlusion.crops(out, clean, at, changed, changed_at)
    np.testing.assert_array_equal(out, pasted(clean, at, size, changed, changed_at))
    occlusion.crops(out, clean, at, changed, changed_at, boxes)
    np.testing.assert_array_equal(out, pasted(clean, at, size, changed, changed_at, boxes))
    occlusion.crops(out, clean, at)
    np.testing.assert_array_equal(out, pasted(clean, at, size, changed[:, :, :0, :0], changed_at))


@settings(deadline=None)
@given(geometries(), st.sampled_from(DTYPES), st.integers(-30, 30), st.integers(-30, 30))
def test_crops_occluded(geometry, dtype, dy, dx):
    shape, boxes, _, (h, w), at, seed = geometry
    rng = np.random.default_rng(seed)
    clean, fill = sample(rng, shape, dtype), sample(rng, shape, dtype)
    segments = sample(rng, shape[1:3], "int32") % 3
    ids = rng.integers(0, 4, len(boxes)).astype(np.int32)
    boxes = boxes + np.array([dy, dx, dy, dx])  # they may leave the map
    inside = boxes.clip(0, [shape[1], shape[2]] * 2)
    out = sample(rng, (len(at), shape[0], h, w, shape[3]), dtype)

    def parts(copies):
        return np.stack([copy[:, y : y + h, x : x + w] for copy, (y, x) in zip(copies, at, strict=True)])

    occlusion.crops_occluded(out, clean, fill, at, boxes)
    np.testing.assert_array_equal(out, parts(hidden(clean, fill, inside)))
    occlusion.crops_of_segments(out, clean, fill, segments, ids, at, boxes)
    np.testing.assert_array_equal(out, parts(hidden_segments(clean, fill, segments, ids, inside)))


def test_bits_are_moved_not_values():
    """NaN payloads, negative zero and half-precision subnormals arrive as they were."""
    bits = np.random.default_rng(0).integers(0, 1 << 16, (1, 9, 9, 1)).astype(np.uint16)
    clean, fill = bits.view(np.float16), np.full((1, 9, 9, 1), np.float16("-0.0"))
    out, boxes = np.empty((1, 1, 9, 9, 1), np.float16), np.array([[2, 3, 5, 9]])
    occlusion.copies(out, clean, fill, boxes)
    np.testing.assert_array_equal(out.view(np.uint16), hidden(bits, fill.view(np.uint16), boxes))


def test_large_and_read_only():
    """Rows longer than any vector, and inputs that must not be written."""
    rng = np.random.default_rng(0)
    clean, fill = sample(rng, (3, 70, 301, 1)), sample(rng, (3, 70, 301, 1))
    boxes = np.array([[0, 0, 70, 301], [0, 0, 0, 0], [69, 300, 70, 301], [10, 1, 60, 300]])
    for array in (clean, fill, boxes):
        array.setflags(write=False)
    out = np.empty((4, *clean.shape), np.float32)
    occlusion.copies(out, clean, fill, boxes)
    np.testing.assert_array_equal(out, hidden(clean, fill, boxes))


def test_workers_side_by_side():
    rng = np.random.default_rng(0)
    clean, fill = sample(rng, (3, 64, 64, 1)), sample(rng, (3, 64, 64, 1))
    boxes = np.sort(rng.integers(0, 65, (400, 2, 2)), axis=1).reshape(400, 4)

    def work(start):
        out = np.empty((50, *clean.shape), np.float32)
        occlusion.copies(out, clean, fill, boxes[:50])
        occlusion.copies(out, clean, fill, boxes[start : start + 50], boxes[:50])
        return out

    with ThreadPoolExecutor(8) as pool:
        found = np.concatenate(list(pool.map(work, range(0, 400, 50))))
    np.testing.assert_array_equal(found, hidden(clean, fill, boxes))


def test_empty_batch():
    clean = np.ones((3, 8, 8, 1), np.float32)
    occlusion.copies(np.empty((0, 3, 8, 8, 1), np.float32), clean, clean, np.empty((0, 4), np.int64))
    none = np.empty((0, 2), np.int64)
    occlusion.crops(np.empty((0, 3, 4, 4, 1), np.float32), clean, none, np.empty((0, 3, 2, 2, 1), np.float32), none)
    assert (clean == 1).all()


CLEAN = np.zeros((3, 8, 9, 1), np.float32)
BOXES = np.array([[0, 0, 4, 4], [1, 1, 8, 9]])
AT = np.array([[0, 0], [4, 4]])
IDS = np.zeros(2, np.int32)
SEGMENTS = np.zeros((8, 9), np.int32)


def batch(h=8, w=9, dtype=np.float32):
    return np.full((2, 3, h, w, 1), 7, dtype)


def with_row(array, row):
    return np.concatenate([array[:1], [row]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: occlusion.copies(o, CLEAN, CLEAN, with_row(BOXES, [0, 0, 9, 9])), r"boxes\[1\] is \[0, 0, 9, 9\]"),
        (lambda o: occlusion.copies(o, CLEAN, CLEAN, with_row(BOXES, [-1, 0, 4, 4])), r"boxes\[1\] is \[-1"),
        (lambda o: occlusion.copies(o, CLEAN, CLEAN, with_row(BOXES, [5, 0, 4, 4])), r"boxes\[1\].*y0 <= y1"),
        (lambda o: occlusion.copies(o, CLEAN, CLEAN, BOXES, with_row(BOXES, [0, 0, 1, 10])), r"before\[1\].*x1 <= 9"),
        (lambda o: occlusion.copies(o, CLEAN, CLEAN, BOXES[:1]), r"boxes must be .*\(2, 4\), got int64 \(1, 4\)"),
        (lambda o: occlusion.copies(o, CLEAN, CLEAN, BOXES.astype(np.int32)), "boxes must be .* got int32"),
        (lambda o: occlusion.copies(o, CLEAN, CLEAN, np.asfortranarray(BOXES)), "boxes must be C-contiguous"),
        (lambda o: occlusion.copies(o, CLEAN, CLEAN[:1], BOXES), r"fill must be float32 \(3, 8, 9, 1\)"),
        (lambda o: occlusion.copies(o, CLEAN, CLEAN.astype(np.float64), BOXES), "fill must be float32 .* got float64"),
        (lambda o: occlusion.copies(o[:, :, :4], CLEAN, CLEAN, BOXES), "out must be a C-contiguous"),
        (lambda o: occlusion.copies(o, CLEAN[0], CLEAN, BOXES), r"clean must be .*\(A, H, W, K\)"),
        (lambda o: occlusion.copies(o, CLEAN[:, ::-1], CLEAN, BOXES), "clean must be a C-contiguous"),
        (lambda o: occlusion.copies(o[:, :2].copy(), CLEAN, CLEAN, BOXES), "out must be float32"),
        (
            lambda o: occlusion.copies(o.astype("c16"), CLEAN.astype("c16"), CLEAN.astype("c16"), BOXES),
            "1, 2, 4 or 8 bytes, got dtype complex128",
        ),
        (
            lambda o: occlusion.copies(o.astype(object), CLEAN.astype(object), CLEAN.astype(object), BOXES),
            "got dtype object",
        ),
        (
            lambda o: occlusion.copies_of_segments(o, CLEAN, CLEAN, SEGMENTS[:7], IDS, BOXES),
            r"segments must be .*\(8, 9\)",
        ),
        (
            lambda o: occlusion.copies_of_segments(o, CLEAN, CLEAN, SEGMENTS.astype(np.int64), IDS, BOXES),
            "segments must be .* got int64",
        ),
        (
            lambda o: occlusion.copies_of_segments(o, CLEAN, CLEAN, SEGMENTS, IDS[:1], BOXES),
            r"ids must be .*\(2,\), got int32 \(1,\)",
        ),
        (
            lambda o: occlusion.copies_of_segments(o, CLEAN, CLEAN, SEGMENTS, IDS, with_row(BOXES, [0, 0, 9, 9])),
            r"boxes\[1\]",
        ),
        (
            lambda o: occlusion.copies_of_segments(
                o, CLEAN, CLEAN, SEGMENTS, IDS, BOXES, (IDS, with_row(BOXES, [0, 0, 9, 9]))
            ),
            r"before\[1\]",
        ),
        (lambda o: occlusion.crops(batch(4, 6), CLEAN, AT), r"\(4, 6\) at\[1\] = \[4, 4\] leaves the map of \(8, 9\)"),
        (lambda o: occlusion.crops(batch(4, 4), CLEAN, with_row(AT, [0, -1])), r"at\[1\] = \[0, -1\]"),
        (lambda o: occlusion.crops(batch(10, 4), CLEAN, AT), r"\(10, 4\) at\[0\]"),
        (lambda o: occlusion.crops(batch(4, 4, np.float64), CLEAN, AT), "out must be float32"),
        (lambda o: occlusion.crops(batch(4, 4), CLEAN, AT, batch(2, 2)), "changed and changed_at"),
        (lambda o: occlusion.crops(batch(4, 4), CLEAN, AT, None, AT), "changed and changed_at"),
        (lambda o: occlusion.crops(batch(4, 4), CLEAN, AT, None, None, BOXES), "changed and changed_at"),
        (lambda o: occlusion.crops(batch(4, 4), CLEAN, AT, batch(2, 2)[:1], AT), r"changed must be float32 \(2, 3"),
        (lambda o: occlusion.crops(batch(4, 4), CLEAN, AT, batch(2, 2), AT[:, :1]), "changed_at must be"),
        (lambda o: occlusion.crops(batch(4, 4), CLEAN, AT, batch(2, 2), AT, BOXES[:1]), "changed_box must be"),
        (lambda o: occlusion.crops_occluded(batch(4, 6), CLEAN, CLEAN, AT, BOXES), r"at\[1\] = \[4, 4\] leaves"),
        (
            lambda o: occlusion.crops_of_segments(batch(4, 6), CLEAN, CLEAN, SEGMENTS, IDS, AT, BOXES),
            r"at\[1\] = \[4, 4\] leaves",
        ),
    ],
)
def test_refused(call, message):
    """One line that names the argument; nothing is written."""
    out = batch()
    with pytest.raises(ValueError, match=message):
        call(out)
    assert (out == 7).all()


def test_read_only_out():
    out = batch()
    out.setflags(write=False)
    with pytest.raises(ValueError, match="out must be writable"):
        occlusion.copies(out, CLEAN, CLEAN, BOXES)
