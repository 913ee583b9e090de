"""The mask kernels against NumPy, OpenCV and the paper; what they refuse; and that no mask depends on the others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxray.kernels import masks
from onnxray.kernels.masks import Rise, accumulate, apply, coalitions
from onnxray.kernels.upsample import upsample

RNG = np.random.default_rng(0)


def picture(shape, dtype):
    if np.dtype(dtype).kind == "f":
        return RNG.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(max(limits.min, -(1 << 40)), min(limits.max, 1 << 40), shape, dtype=dtype, endpoint=True)


def blended(clean, fill, masks):
    """The definition, in float64: masks (B, H, W), already enlarged."""
    m = masks.astype(np.float64)[:, None, :, :, None]
    exact = clean.astype(np.float64) * m + (0 if fill is None else fill.astype(np.float64)) * (1 - m)
    return exact if clean.dtype.kind == "f" else np.rint(exact)


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"),
    [
        ("float32", 3e-6, 1e-6),
        ("float64", 3e-6, 1e-6),
        ("float16", 2e-3, 1e-3),
        ("uint8", 0, 1),
        ("int8", 0, 1),
        ("uint16", 0, 1),
        ("int16", 0, 1),
        ("int32", 3e-7, 300),
        ("int64", 3e-7, 1e6),
    ],
)
@pytest.mark.parametrize("shape", [(3, 20, 31, 1), (1, 20, 31, 3), (2, 1, 1, 2), (1, 3, 2500, 1)])
@pytest.mark.parametrize("filled", [False, True])
def test_apply(dtype, rtol, atol, shape, filled):
    """Half a unit of rounding may fall to the other side in single precision: one grey level at most."""
    clean, fill = picture(shape, dtype), picture(shape, dtype) if filled else None
    masks = RNG.random((4, 5, 3)).astype(np.float32)
    out = np.empty((4, *shape), dtype)
    apply(out, clean, fill, masks)
    expected = blended(clean, fill, upsample(masks, shape[1:3]))
    np.testing.assert_allclose(out.astype(np.float64), expected, rtol=rtol, atol=atol)
    if np.dtype(dtype).itemsize == 1:
        assert (out == expected).mean() > 0.99


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8", "int32", "int64"])
def test_a_mask_of_ones_or_zeros_changes_nothing(dtype):
    clean, fill = picture((3, 11, 9, 1), dtype), picture((3, 11, 9, 1), dtype)
    out = np.empty((2, *clean.shape), dtype)
    apply(out, clean, fill, np.stack([np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)]))
    np.testing.assert_array_equal(out[0], clean)
    np.testing.assert_array_equal(out[1], fill)


@pytest.mark.parametrize("start", range(17))
@pytest.mark.parametrize("filled", [False, True])
def test_streamed_batches_are_the_same(monkeypatch, start, filled):
    """Stores that go around the caches, wherever the array begins on a cache line: the same bits, nothing beside."""
    shape = (3, 13, 37, 1)
    clean, fill = picture(shape, "float32"), picture(shape, "float32") if filled else None
    grids = RNG.random((5, 3, 3)).astype(np.float32)
    expected = np.empty((5, *shape), np.float32)
    apply(expected, clean, fill, grids)
    around = np.full(expected.size + 40, 7, np.float32)
    out = around[start : start + expected.size].reshape(expected.shape)
    monkeypatch.setattr(masks, "_STREAM", 0)
    apply(out, clean, fill, grids)
    np.testing.assert_array_equal(out, expected)
    assert (around[:start] == 7).all()
    assert (around[start + expected.size :] == 7).all()


def test_nearest_takes_a_mask_of_the_picture_s_size_as_it_is():
    clean, mask = picture((3, 8, 9, 1), "float32"), RNG.random((2, 8, 9)).astype(np.float32)
    out = np.empty((2, *clean.shape), np.float32)
    apply(out, clean, None, mask, "nearest")
    np.testing.assert_array_equal(out, clean * mask[:, None, :, :, None])
    apply(out, clean, None, np.array([[[0, 1]], [[1, 0]]], np.float32), "nearest")
    assert not out[0, :, :, :4].any()
    assert not out[1, :, :, 5:].any()
    np.testing.assert_array_equal(out[0, :, :, 5:], clean[:, :, 5:])


def papers_masks(rise, first, count):
    """Section 3.2 with OpenCV: resize the grid, crop."""
    grids, shifts = rise.draw(first, count)
    height, width = rise.size
    size = ((rise.cells + 1) * -(-width // rise.cells), (rise.cells + 1) * -(-height // rise.cells))
    large = (cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR) for grid in grids)
    return np.stack([m[y : y + height, x : x + width] for m, (y, x) in zip(large, shifts, strict=True)])


@pytest.mark.parametrize(("size", "cells"), [((224, 224), 7), ((33, 57), 7), ((5, 4), 7), ((40, 30), 1), ((9, 9), 3)])
def test_rise_masks_are_the_paper_s(size, cells):
    rise = Rise(size, cells, 0.4, seed=3)
    grids, shifts = rise.draw(10, 20)
    expected = papers_masks(rise, 10, 20)
    out = np.empty((20, 1, *size, 1), np.float32)
    apply(out, np.ones((1, *size, 1), np.float32), None, grids, enlarged=rise.enlarged, shifts=shifts)
    np.testing.assert_allclose(out[:, 0, :, :, 0], expected, atol=2e-6)
    weights, total = RNG.standard_normal((3, 20)), np.zeros((3, *size))
    accumulate(total, grids, weights, enlarged=rise.enlarged, shifts=shifts)
    np.testing.assert_allclose(total, np.tensordot(weights, expected, 1), atol=5e-5)
    accumulate(total, grids, -weights, enlarged=rise.enlarged, shifts=shifts)
    np.testing.assert_allclose(total, 0, atol=1e-12)


def test_rise_draws():
    """Bernoulli elements, shifts over the whole first cell, other masks for another seed; the expectation everywhere."""
    rise = Rise((64, 80), 8, 0.3, seed=1)
    grids, shifts = rise.draw(0, 20_000)
    assert set(np.unique(grids)) == {0, 1}
    assert np.abs(grids.mean(axis=0) - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 20_000)
    assert rise.cell == (8, 10)
    assert shifts.min() == 0
    assert shifts.max(axis=0).tolist() == [7, 9]
    counts = np.bincount(shifts[:, 1], minlength=10)
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)
    flat = grids.reshape(len(grids), -1)
    correlation = np.corrcoef(np.concatenate([flat, shifts], 1), rowvar=False) - np.eye(66)
    assert np.abs(correlation).max() < 5 / np.sqrt(20_000)
    assert (Rise((64, 80), 8, 0.3, seed=2).draw(0, 20_000)[0] == grids).mean() == pytest.approx(0.58, abs=0.01)
    total = np.zeros((1, 64, 80))
    accumulate(total, grids, np.full((1, 20_000), 1 / 20_000), enlarged=rise.enlarged, shifts=shifts)
    assert np.abs(total - 0.3).max() < 0.02
    for probability in (0, 1):
        assert (Rise((8, 8), 2, probability).draw(0, 100)[0] == probability).all()


@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**70))
@settings(deadline=None)
def test_a_rise_mask_depends_on_its_number_alone(first, cuts, seed):
    rise = Rise((30, 40), seed=seed)
    grids, shifts = rise.draw(first, sum(cuts))
    starts = np.cumsum([0, *cuts[:-1]]) + first
    pieces = [rise.draw(int(start), cut) for start, cut in zip(starts, cuts, strict=True)]
    np.testing.assert_array_equal(np.concatenate([g for g, _ in pieces]), grids)
    np.testing.assert_array_equal(np.concatenate([s for _, s in pieces]), shifts)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64", "bool"])
@pytest.mark.parametrize("shape", [(3, 12, 17, 1), (1, 12, 17, 3)])
def test_coalitions(dtype, shape):
    clean, fill = (RNG.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype) for _ in range(2))
    segments = RNG.integers(0, 6, shape[1:3]).astype(np.int32)
    keep = RNG.random((5, 6)) < 0.5
    out = np.empty((5, *shape), dtype)
    coalitions(out, clean, fill, segments, keep)
    np.testing.assert_array_equal(out, np.where(keep[:, segments][:, None, :, :, None], clean, fill))


CLEAN = np.ones((3, 8, 9, 1), np.float32)
OUT = np.ones((2, 3, 8, 9, 1), np.float32)
MASKS = np.ones((2, 4, 4), np.float32)
SEGMENTS = np.zeros((8, 9), np.int32)
KEEP = np.ones((2, 3), bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: apply(OUT, CLEAN[:, ::2], None, MASKS), "clean must be a C-contiguous"),
        (lambda: apply(OUT[:, :2].copy(), CLEAN, None, MASKS), "out must be float32"),
        (lambda: apply(OUT, CLEAN, CLEAN.astype(np.float64), MASKS), "fill must be float32"),
        (lambda: apply(OUT > 0, CLEAN > 0, None, MASKS), "got dtype bool"),
        (lambda: apply(OUT, CLEAN, None, MASKS[:1]), r"masks must be .* \(2, h, w\)"),
        (lambda: apply(OUT, CLEAN, None, MASKS.astype(np.float64)), "masks must be .* got float64"),
        (lambda: apply(OUT, CLEAN, None, MASKS[:, :0]), "must not be empty"),
        (lambda: apply(OUT, CLEAN, None, MASKS, "bicubic"), "mode must be nearest or bilinear"),  # type: ignore[arg-type]
        (lambda: apply(OUT, CLEAN, None, MASKS, enlarged=(7, 9)), "leaves the masks of"),
        (lambda: apply(OUT, CLEAN, None, MASKS, enlarged=(0, 9)), "two positive integers"),
        (
            lambda: apply(OUT, CLEAN, None, MASKS, enlarged=(9, 9), shifts=np.array([[0, 0], [2, 0]])),
            "leaves the masks of",
        ),
        (
            lambda: apply(OUT, CLEAN, None, MASKS, enlarged=(9, 9), shifts=np.array([[0, -1], [0, 0]])),
            "leaves the masks of",
        ),
        (lambda: apply(OUT, CLEAN, None, MASKS, shifts=np.zeros((1, 2), np.int64)), "shifts must be"),
        (lambda: accumulate(np.zeros((1, 8, 9), np.float32), MASKS, np.ones((1, 2))), "total must be"),
        (lambda: accumulate(np.zeros((1, 8, 9)), MASKS, np.ones((2, 2))), r"weights must be float64 \(1, 2\)"),
        (lambda: Rise((0, 5)), "two positive integers"),
        (lambda: Rise((5, 5), 0), "cells must be at least 1"),
        (lambda: Rise((5, 5), 7, 1.5), "probability must lie between"),
        (lambda: Rise((5, 5), seed=-1), "seed must not be negative"),
        (lambda: coalitions(OUT, CLEAN, CLEAN, SEGMENTS[1:], KEEP), r"segments must be .* \(8, 9\)"),
        (lambda: coalitions(OUT, CLEAN, CLEAN, SEGMENTS, KEEP[:1]), r"keep must be .* \(2, S\)"),
        (
            lambda: coalitions(OUT, CLEAN, CLEAN, SEGMENTS + np.int32(3), KEEP),
            r"3 \.\.\. 3, and keep tells of 0 \.\.\. 2",
        ),
        (lambda: coalitions(OUT, CLEAN, CLEAN, SEGMENTS - np.int32(1), KEEP), r"holds -1"),
        (lambda: coalitions(OUT, CLEAN, CLEAN[:1], SEGMENTS, KEEP), "fill must be"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
