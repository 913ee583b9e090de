"""Small work is done without Numba: until there is too much of it, and by no other numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from onnxray.kernels import colormap, little
from onnxray.kernels.render import render

TABLES = [colormap.table("lagoon"), np.random.default_rng(9).integers(0, 256, (256, 3), dtype=np.uint8)]


def values(dtype: type, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    found = (rng.standard_normal(shape) * rng.lognormal(0, 2, shape)).astype(dtype)
    found.flat[:6] = np.nan, np.inf, -np.inf, 0.25, -0.5, -0.0
    return found


def both(monkeypatch: pytest.MonkeyPatch, module: str, make) -> list[bytes]:
    found = []
    for answer in (True, False):
        monkeypatch.setattr(f"onnxray.kernels.{module}.is_little", lambda work, answer=answer: answer)
        found.append(make().tobytes())
    return found


RANGES = [(-0.5, 0.25), (0.0, 0.0), (0.25, 0.25), (0.0, 5e-324), (-1.7e308, 1.7e308), (-3.0, 1e-300)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("lo", "hi"), RANGES)
@pytest.mark.parametrize("colours", TABLES, ids=["smooth", "jumping"])
def test_colours_are_the_same(dtype, lo, hi, colours, monkeypatch):
    heat = values(dtype, 57, 91)
    first, second = both(monkeypatch, "colormap", lambda: colormap.apply(heat, colours, lo, hi))
    assert first == second


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("lo", "hi"), RANGES)
@pytest.mark.parametrize("colours", TABLES, ids=["smooth", "jumping"])
@pytest.mark.parametrize("by_value", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("whole", [False, True], ids=["values missing", "none missing"])
def test_overlays_are_the_same(dtype, lo, hi, colours, by_value, alpha, whole, monkeypatch):
    heat = values(dtype, 300, 257)
    heat = np.nan_to_num(heat, nan=0.1, posinf=3, neginf=-3) if whole else heat
    image = np.random.default_rng(0).integers(0, 256, (*heat.shape, 3), dtype=np.uint8)
    first, second = both(
        monkeypatch,
        "render",
        lambda: render(heat, image, colours, lo, hi, alpha, "nearest", alpha_by_value=by_value),
    )
    assert first == second


def test_an_overlay_may_be_written_over_its_image(monkeypatch):
    heat, image = values(np.float32, 90, 70), np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    monkeypatch.setattr("onnxray.kernels.render.is_little", lambda work: True)
    expected = render(heat, image, TABLES[0], -1, 1, mode="nearest")
    render(heat, image, TABLES[0], -1, 1, mode="nearest", out=image)
    np.testing.assert_array_equal(image, expected)


def test_much_work_is_not_little(monkeypatch):
    monkeypatch.setattr(little, "_spent", 0)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    assert little.is_little(little._MOST // 2)
    assert not little.is_little(little._MOST)
    assert little.is_little(little._MOST // 2)
    assert not little.is_little(1)


def test_whoever_has_numba_uses_it(monkeypatch):
    monkeypatch.setattr(little, "_spent", 0)
    monkeypatch.setitem(sys.modules, "numba", np)
    assert not little.is_little(1)


def test_one_explanation_needs_no_numba():
    code = """
import sys
import numpy as np
import onnxray
found = onnxray.explain("builtin", np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
found.overlay(), found.heatmap
print("numba" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.split() == ["False"]
