"""Maps of layers on photos of any size."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.cli.figures import layers
from onnxray.cli.figures.figure import Scale
from onnxray.engine.preprocess.geometry import Geometry
from onnxray.kernels import colormap
from onnxray.kernels.render import render


def test_a_map_is_laid_on_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows at once took 15 bytes a pixel of the photo."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (61, 83, 3), np.uint8)
    geometry = Geometry(original=(61, 83), size=(16, 16), resized=(16, 22), offset=(0, 3))
    values = rng.standard_normal((4, 4)).astype(np.float32)
    scale = Scale("lagoon", -1.0, 1.0)
    photo = layers.Photo("p", pixels, geometry)
    whole = geometry.to_image(values, fill=float("nan"))
    want = render(whole, pixels, colormap.table(scale.table), scale.lo, scale.hi, 0.6)
    asked: list[int] = []
    to_image = Geometry.to_image

    def counted(self: Geometry, *given: object, rows: tuple[int, int], **more: object) -> np.ndarray:
        asked.append((rows[1] - rows[0]) * self.original[1])
        return to_image(self, *given, rows=rows, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Geometry, "to_image", counted)
    monkeypatch.setattr(layers, "_AT_ONCE", 500)
    np.testing.assert_array_equal(layers.overlay(values, photo, scale), want)
    assert len(asked) > 5
    assert max(asked) <= 500
