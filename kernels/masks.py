"""Masked copies of a sample: small masks enlarged and multiplied with it in one pass, RISE's masks, coalitions.

    apply          out[b] = clean * m + fill * (1 - m), with m = masks[b] enlarged to the picture
    accumulate     total += sum over b of weights[b] * m, without any m ever being kept
    Rise           the random masks of RISE, each made from its number alone
    coalitions     out[b] = clean on the segments that b keeps, fill on the others

Every array of pictures is one sample seen as (A, H, W, K), C-contiguous, as in `occlusion`: NCHW gives A = C and K = 1,
NHWC gives A = 1 and K = C. Masks are enlarged as `upsample` does it: half-pixel centres, clamped edges.

A mask's rows are spread over the picture's width once, however many rows of the picture look at them; then each row of
the picture is one weighted sum of two of them, in the first-level cache, used for all planes. The kernels run in the
calling thread and release the GIL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .occlusion import check_like, words
from .upsample import check_size, taps

# Bytes from which a batch is written around the caches, which it would not fit into.
_STREAM = 8 << 20

# What the kernel computes with itself; other dtypes are computed in float64 and then cast.
_DIRECT = frozenset("float32 float64 uint8 int8 uint16 int16 int32".split())


def apply(
    out: NDArray[Any],
    clean: NDArray[Any],
    fill: NDArray[Any] | None,
    masks: NDArray[np.float32],
    mode: Literal["nearest", "bilinear"] = "bilinear",
    *,
    enlarged: tuple[int, int] | None = None,
    shifts: NDArray[np.int64] | None = None,
) -> None:
    """out[b] = clean * m + fill * (1 - m), where m is masks[b], enlarged.

    out (B, A, H, W, K); clean, fill (A, H, W, K), all of one dtype; fill None: zeros. masks float32 (B, h, w),
    C-contiguous, usually within 0 ... 1. enlarged: the size that masks are enlarged to, (H, W) if not given; a larger
    one is cropped, for mask b at shifts[b] (y, x), int64 (B, 2).

    Real numbers are computed in their own precision (half precision in double), integers in single precision (of more
    than 16 bits: double) and rounded to the nearest, with wrap-around beyond the dtype's range.

    Raises ValueError where a shape or dtype does not fit, an array is not C-contiguous or a crop leaves the mask.
    """
    _check_pictures(out, clean, fill)
    yi, yw, xi, xw, at = _enlarge(masks, len(out), clean.shape[1:3], mode, enlarged, shifts)
    if clean.dtype.name not in _DIRECT:
        wide = np.empty(out.shape, np.float64)
        other = None if fill is None else fill.astype(np.float64)
        apply(wide, clean.astype(np.float64), other, masks, mode, enlarged=enlarged, shifts=shifts)
        np.copyto(out, wide if out.dtype.kind == "f" else np.rint(wide), casting="unsafe")
        return
    from . import maskrows  # imports Numba

    fills = clean.reshape(-1)[:0] if fill is None else fill.reshape(-1)
    work = maskrows.apply_real if clean.dtype.kind == "f" else maskrows.apply_whole
    if clean.dtype == np.float32 and out.nbytes >= _STREAM and out.ctypes.data % 4 == 0:
        work = maskrows.apply_streamed
    # Products of 32-bit integers do not fit into single precision.
    unit = np.zeros(1, np.float64 if clean.dtype.name in ("float64", "int32") else np.float32)
    work(out.reshape(-1), clean.reshape(-1), fills, clean.shape, masks, yi, yw, xi, xw, at, unit)


def accumulate(
    total: NDArray[np.float64],
    masks: NDArray[np.float32],
    weights: NDArray[np.float64],
    mode: Literal["nearest", "bilinear"] = "bilinear",
    *,
    enlarged: tuple[int, int] | None = None,
    shifts: NDArray[np.int64] | None = None,
) -> None:
    """total[r] += sum over b of weights[r, b] * m_b, with m_b as in `apply`.

    total float64 (R, H, W), C-contiguous; weights float64 (R, B); the rest as in `apply`. Weights of 1 give the sum of
    the masks. Masks that are cropped at the same row are summed while they are small.

    Raises ValueError as `apply`.
    """
    if total.ndim != 3 or total.dtype != np.float64 or not total.flags.c_contiguous or not total.flags.writeable:
        raise ValueError(f"total must be writable C-contiguous float64 (R, H, W), got {total.dtype} {total.shape}")
    if weights.shape != (len(total), len(masks)) or weights.dtype != np.float64:
        raise ValueError(
            f"weights must be float64 {(len(total), len(masks))}, one for every map and mask, "
            f"got {weights.dtype} {weights.shape}"
        )
    yi, yw, xi, xw, at = _enlarge(masks, len(masks), total.shape[1:], mode, enlarged, shifts)
    from . import maskrows  # imports Numba

    order = np.argsort(at[:, 0], kind="stable")
    maskrows.accumulate(total, masks, np.ascontiguousarray(weights.T), yi, yw, xi, xw, at, order)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Rise:
    """The random masks of RISE for pictures of `size` (H, W), mask i from `seed` and i alone.

    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018, section
    3.2: a grid of cells x cells elements, each 1 with `probability`, is enlarged bilinearly by one cell more than the
    picture needs, and cropped at a random place within the first cell. A cell of the picture is ceil(H / cells) by
    ceil(W / cells) pixels, as in the authors' code: with the paper's floor, crops would leave the mask.

    Every pixel of such a mask is `probability` on average. Randomness is counted (SplitMix64: Steele, Lea and Flood,
    "Fast splittable pseudorandom number generators", OOPSLA 2014), so that mask i does not depend on which masks are
    made with it.
    """

    size: tuple[int, int]
    cells: int = 7
    probability: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.cells < 1:
            raise ValueError(f"cells must be at least 1, got {self.cells}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must lie between 0 and 1, got {self.probability}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    @property
    def cell(self) -> tuple[int, int]:
        """Height and width of a cell on the picture, in pixels."""
        return -(-self.size[0] // self.cells), -(-self.size[1] // self.cells)

    @property
    def enlarged(self) -> tuple[int, int]:
        """Height and width of the enlarged grid, which `apply` and `accumulate` take."""
        return (self.cells + 1) * self.cell[0], (self.cells + 1) * self.cell[1]

    def draw(self, first: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Masks first ... first + count - 1: grids (count, cells, cells) of zeros and ones, and shifts (count, 2)."""
        key = _mix(np.array([self.seed % (1 << 64)], np.uint64) + _GOLDEN)
        keys = _mix(key + np.arange(first + 1, first + count + 1, dtype=np.uint64) * _GOLDEN)
        n = self.cells * self.cells
        counters = np.arange(1, n + 3, dtype=np.uint64) * _GOLDEN
        # 53 bits are what a double in [0, 1) holds.
        uniform = (_mix(keys[:, None] + counters) >> np.uint64(11)) * 2.0**-53
        grids = (uniform[:, :n] < self.probability).astype(np.float32).reshape(count, self.cells, self.cells)
        return grids, (uniform[:, n:] * np.array(self.cell)).astype(np.int64)


def coalitions(
    out: NDArray[Any],
    clean: NDArray[Any],
    fill: NDArray[Any],
    segments: NDArray[np.int32],
    keep: NDArray[np.bool_],
) -> None:
    """out[b] = clean where keep[b, segment of the pixel], else fill.

    out (B, A, H, W, K); clean, fill (A, H, W, K), all of one dtype; segments int32 (H, W), numbers below S; keep bool
    (B, S); all C-contiguous. Raises ValueError where something does not fit, or segments holds another number.
    """
    whole, picture, other = words(out, 5, "out"), words(clean, 4, "clean"), words(fill, 4, "fill")
    check_like(out, (len(out), *clean.shape), "out", clean.dtype)
    check_like(fill, clean.shape, "fill", clean.dtype)
    if segments.shape != clean.shape[1:3] or segments.dtype != np.int32 or not segments.flags.c_contiguous:
        raise ValueError(
            f"segments must be C-contiguous int32 {clean.shape[1:3]}, got {segments.dtype} {segments.shape}"
        )
    if keep.ndim != 2 or len(keep) != len(out) or keep.dtype != np.bool_ or not keep.flags.c_contiguous:
        raise ValueError(f"keep must be C-contiguous bool ({len(out)}, S), got {keep.dtype} {keep.shape}")
    if segments.size and (segments.min() < 0 or segments.max() >= keep.shape[1]):
        raise ValueError(
            f"segments holds {segments.min()} ... {segments.max()}, and keep tells of 0 ... {keep.shape[1] - 1}"
        )
    from . import maskrows  # imports Numba

    maskrows.coalitions(whole, picture, other, clean.shape, segments.reshape(-1), keep)


# --- checks ---


def _check_pictures(out: NDArray[Any], clean: NDArray[Any], fill: NDArray[Any] | None) -> None:
    if clean.dtype.kind not in "fiu" or clean.dtype.itemsize > 8:
        raise ValueError(f"clean must hold real numbers or integers, got dtype {clean.dtype}")
    for array, rank, name in ((out, 5, "out"), (clean, 4, "clean"), (fill, 4, "fill")):
        if array is not None:
            words(array, rank, name)
    check_like(out, (len(out), *clean.shape), "out", clean.dtype)
    if fill is not None:
        check_like(fill, clean.shape, "fill", clean.dtype)


def _enlarge(
    masks: NDArray[np.float32],
    count: int,
    size: tuple[int, ...],
    mode: Literal["nearest", "bilinear"],
    enlarged: tuple[int, int] | None,
    shifts: NDArray[np.int64] | None,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Taps of both axes, always two of them, and the crops' corners; the arguments checked."""
    if masks.ndim != 3 or len(masks) != count or masks.dtype != np.float32 or not masks.flags.c_contiguous:
        raise ValueError(f"masks must be C-contiguous float32 ({count}, h, w), got {masks.dtype} {masks.shape}")
    if 0 in masks.shape[1:]:
        raise ValueError(f"masks must not be empty, got {masks.shape}")
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"mode must be nearest or bilinear, got {mode!r}")
    height, width = check_size(enlarged) if enlarged is not None else (size[0], size[1])
    at = np.zeros((count, 2), np.int64) if shifts is None else shifts
    if at.shape != (count, 2) or at.dtype != np.int64 or not at.flags.c_contiguous:
        raise ValueError(f"shifts must be C-contiguous int64 {(count, 2)}, got {at.dtype} {at.shape}")
    room = (height - size[0], width - size[1])
    if min(room) < 0 or (count and (at.min() < 0 or (at.max(axis=0) > room).any())):
        raise ValueError(f"a crop of {tuple(size)} leaves the masks of {(height, width)}")
    yi, yw = taps(masks.shape[1], height, mode)
    xi, xw = taps(masks.shape[2], width, mode)
    if mode == "nearest":
        (yi, yw), (xi, xw) = ((np.repeat(i, 2, 1), w * np.array([1, 0], np.float32)) for i, w in ((yi, yw), (xi, xw)))
    return yi, yw, xi, xw, at


# --- SplitMix64 ---


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64: every bit of the result depends on every bit of z."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
