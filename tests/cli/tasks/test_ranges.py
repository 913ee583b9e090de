"""The values at the ends of the colours of a run's maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.cli.tasks.ranges import Ranges

PHOTO = np.random.default_rng(3).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.fixture
def strong(cnn: onnx.ModelProto) -> onnxray.Explanation:
    found = onnxray.explain(cnn, PHOTO, size=16, mean=127.5, std=127.5, resize="stretch")
    assert isinstance(found, onnxray.Explanation)
    return found


def scaled(e: onnxray.Explanation, factor: float) -> onnxray.Explanation:
    assert e.map is not None
    return replace(e, map=e.map * np.float32(factor))


def test_ranges_far_apart_are_said(strong: onnxray.Explanation) -> None:
    near, far = Ranges("each"), Ranges("each")
    for ranges, factor in ((near, 0.5), (far, 0.1)):
        ranges.note(Path("broken.png"), strong)
        ranges.note(Path("clean.png"), scaled(strong, factor))
    assert near.differ() == ""
    assert "in clean.png" in far.differ()
    assert "--range shared" in far.differ()


def test_maps_of_the_first_look_are_not_made_again(strong: onnxray.Explanation, tmp_path: Path) -> None:
    from onnxray.cli.files.images import write

    paths = [write(tmp_path / f"{name}.png", PHOTO) for name in ("a", "b")]
    made = iter([strong, scaled(strong, 0.1)])
    ranges = Ranges("shared")
    ranges.look_at(paths, lambda pixels, left_out, path: [next(made)])
    kept = ranges.kept(paths[1], PHOTO)
    assert kept is not None
    (weak,) = kept
    assert ranges.of(weak) == strong.range
    assert np.array_equal(weak.image, PHOTO)
    assert ranges.kept(paths[1], PHOTO) is None
    assert ranges.differ() == ""


def test_images_of_an_earlier_run_with_other_ends_are_drawn_anew(strong: onnxray.Explanation, tmp_path: Path) -> None:
    from onnxray.cli.files.images import write

    ranges = Ranges("shared")
    ranges.look_at([write(tmp_path / "a.png", PHOTO)], lambda pixels, left_out, path: [strong])
    entry = {"method": strong.method, "target": {"asked": strong.asked}}
    low, high = strong.range
    ranges.check({**entry, "display": {"lowest": low, "highest": high}})
    with pytest.raises(ValueError, match="other colours"):
        ranges.check({**entry, "display": {"lowest": low, "highest": high / 2}})
