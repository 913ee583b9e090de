"""What is asked for becomes objectives and pictures: strips, diversity, images to begin with and to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import MethodError, OnnxrayError, ShapeError
from onnxray.engine.optimize.loop import CLASS_TRANSFORMS, DEFAULT_TRANSFORMS
from onnxray.engine.optimize.request import Request, job_of
from onnxray.engine.optimize.transforms.moves import Jitter

SURFACE = Path(onnxray.__file__).parent / "models" / "surface.onnx"
LAYER = "stage2/relu2"


@pytest.fixture(scope="module")
def surface() -> onnxray.Model:
    return onnxray.load(SURFACE)


def photo() -> np.ndarray:
    y, x = np.mgrid[0:80, 0:120]
    planes = [127 + 100 * np.sin(y / 7), 127 + 100 * np.cos(x / 9), 60 + x]
    return np.stack(planes, axis=2).astype(np.uint8)


def test_a_strip_goes_from_one_to_the_other(surface: onnxray.Model) -> None:
    v = onnxray.visualize(surface, LAYER, [1, 2], steps=2, strip=3)
    assert len(v) == 3
    alone = onnxray.visualize(surface, LAYER, [1, 2], steps=2)
    assert np.abs(v.pictures[[0, 2]] - alone.pictures).max() < 1e-3
    with pytest.raises(MethodError, match="give two objectives"):
        onnxray.visualize(surface, LAYER, 1, steps=1, strip=3)


def test_diverse_pictures_differ_more(surface: onnxray.Model) -> None:
    plain, diverse = (
        onnxray.visualize(surface, "stage3/relu2", 6, steps=30, count=3, diversity=w) for w in (0.0, 20.0)
    )
    assert likeness(surface, diverse) < likeness(surface, plain)
    with pytest.raises(MethodError, match="ask for two or more with count="):
        onnxray.visualize(surface, LAYER, 6, steps=1, diversity=1.0)


def likeness(model: onnxray.Model, v: onnxray.Visualization) -> float:
    """The mean cosine similarity of the pictures' Gram matrices, written here."""
    flat = []
    for image in v.images:
        x = np.zeros((1, 3, 160, 160), np.float32)
        part = (image.transpose(2, 0, 1) * (4.3965517 / 255) - 1.9655172)[:, :160, :160]
        x[0, :, : part.shape[1], : part.shape[2]] = part
        maps = onnxray.activations(model, x, ["stage3/relu2"])["stage3/relu2"][0]
        maps = maps[:, : part.shape[1] // 8, : part.shape[2] // 8].reshape(len(maps), -1)
        flat.append((maps @ maps.T).ravel())
    unit = np.array([f / np.linalg.norm(f) for f in flat])
    return float((unit @ unit.T)[~np.eye(len(unit), dtype=bool)].mean())


def test_it_begins_with_an_image_and_stays_near(surface: onnxray.Model) -> None:
    image = photo()
    still = onnxray.visualize(surface, LAYER, 3, steps=0, image=image, size=(80, 120))
    assert np.abs(still.images[0].astype(int) - image).max() <= 4
    free, near = (onnxray.visualize(surface, LAYER, 3, steps=12, image=image, size=(80, 120), keep=k) for k in (0, 50))
    assert np.abs(near.pictures - still.pictures).mean() < np.abs(free.pictures - still.pictures).mean()
    assert free.before[0] > still.before[0]
    mask = np.zeros((80, 120), bool)
    mask[20:40] = True
    held = onnxray.visualize(surface, LAYER, 3, steps=3, image=image, mask=mask, size=(80, 120))
    assert (held.images[0, 45:] == image[45:]).all()


@pytest.mark.parametrize("objective", ["features", "gram"])
def test_an_images_own_features(objective: str, surface: onnxray.Model) -> None:
    v = onnxray.visualize(surface, objective=f"{objective}:{LAYER}", steps=40, size=80, reference=photo())
    assert v.history[0][0] < -0.5
    assert v.activations[0] > 0.7 * v.history[0][0]


def test_snapshots(surface: onnxray.Model) -> None:
    v = onnxray.visualize(surface, LAYER, [1, 2], steps=8, snapshots=4)
    assert [s.shape[0] for s in v.snapshots] == [3, 3]
    assert (v.snapshots[1][-1] == v.images[1]).all()


def test_progress_names_the_value(surface: onnxray.Model) -> None:
    calls: list[tuple[int, int, float]] = []
    onnxray.visualize(surface, LAYER, [1, 2], steps=4, progress=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(i, 8) for i in range(1, 9)]


def test_maco_shows_where(surface: onnxray.Model) -> None:
    v = onnxray.visualize(surface, target="pit", steps=8, spectrum=[photo()])
    assert v.images.shape == (1, 224, 224, 3)
    assert v.transparency.shape == (1, 224, 224)
    assert v.transparency.max() > 0
    assert onnxray.visualize(surface, target="pit", steps=2, spectrum=[photo()], size=100).images.shape[1] == 100


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"mask": np.ones((4, 4))}, MethodError, "needs the image to begin with"),
        ({"objective": f"features:{LAYER}"}, MethodError, "give one with reference="),
        ({"parametrisation": "fourier", "spectrum": [photo()]}, MethodError, "fourier takes no spectrum"),
        ({"image": np.zeros((2, 8, 8))}, ShapeError, "does not fit a picture of 3 channels"),
        ({"image": photo(), "mask": np.ones((2, 2, 2, 2))}, ShapeError, "a mask is .H, W."),
        ({"snapshots": 0, "steps": 1}, None, ""),
    ],
)
def test_bad_input(given: dict[str, Any], error: type[OnnxrayError] | None, words: str, surface: onnxray.Model) -> None:
    if error is None:
        assert onnxray.visualize(surface, LAYER, 0, **given).snapshots == ()
        return
    with pytest.raises(error, match=words):
        onnxray.visualize(surface, LAYER, 0, **{"steps": 1, **given})


def test_a_job_is_made_of_a_request(surface: onnxray.Model) -> None:
    job = job_of(surface, Request(layer=LAYER, channel="0-2", count=2))
    assert [(str(o), variant) for o, variant in job.wanted][:3] == [
        (f"channel:{LAYER}:0", 0),
        (f"channel:{LAYER}:0", 1),
        (f"channel:{LAYER}:1", 0),
    ]


def test_classes_of_large_pictures_are_seen_through_stronger_transforms(surface: onnxray.Model) -> None:
    def chosen(**asked: Any) -> tuple[Any, ...]:
        return job_of(surface, Request(**asked)).recipe.transforms

    assert chosen(target="crack") == CLASS_TRANSFORMS
    assert chosen(target="crack", size=96) == DEFAULT_TRANSFORMS
    assert chosen(layer=LAYER, channel=1) == DEFAULT_TRANSFORMS
    assert chosen(target="crack", transforms=()) == ()


@pytest.mark.parametrize(("side", "pixels"), [(96, 8), (48, 4), (28, 2), (5, 1)])
def test_small_pictures_are_moved_less(side: int, pixels: float, surface: onnxray.Model) -> None:
    for asked in ({"target": "crack"}, {"layer": LAYER, "channel": 1}):
        jitter, *others = job_of(surface, Request(size=(side, 120), **asked)).recipe.transforms  # type: ignore[arg-type]
        assert jitter == Jitter(pixels)
        assert tuple(others) == DEFAULT_TRANSFORMS[1:]
