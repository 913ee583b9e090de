"""Drift: its numbers are those of the formulas, written out in NumPy; what changes raises it, what does not, does not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import MethodError, OutputError, ShapeError, UnknownName
from onnxray.engine.pipeline.drift import Distance, Gathering, Look, Looking, Reference, Window, load_reference
from onnxray.models.surface import render

LAYER = "stage1/relu"


@pytest.fixture(scope="module")
def model() -> onnxray.Model:
    return onnxray.load("builtin")


@pytest.fixture(scope="module")
def looking(model: onnxray.Model) -> Looking:
    return Looking(model)


def parts(texture: str, seeds: range) -> list[np.ndarray]:
    return [render(seed, texture=texture).image for seed in seeds]


@pytest.fixture(scope="module")
def reference(looking: Looking) -> Reference:
    gathering = Gathering(LAYER, looking.sha256)
    for image in parts("brushed", range(60)):
        gathering.add(looking.look(image))
    return gathering.reference()


def values_of(model: onnxray.Model, images: list[np.ndarray]) -> np.ndarray:
    """(images, units, places) of the layer, by the public verb."""
    return np.stack([onnxray.activations(model, image, LAYER)[LAYER][0].reshape(24, -1) for image in images])


def test_the_first_activation_is_looked_at(looking: Looking) -> None:
    assert looking.layer.name == LAYER


def test_numbers_are_those_of_the_formulas(model: onnxray.Model, looking: Looking) -> None:
    before, after = parts("brushed", range(8)), parts("leather", range(50, 55))
    gathering = Gathering(LAYER, looking.sha256)
    for image in before:
        gathering.add(looking.look(image))
    window = Window(gathering.reference(), window=3)
    found = [window.add(looking.look(image)) for image in after]

    known, seen = values_of(model, before).astype(np.float64), values_of(model, after).astype(np.float64)
    mean, deviation = known.mean(axis=(0, 2)), known.std(axis=(0, 2))
    np.testing.assert_allclose(window.reference.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(window.reference.deviation, deviation, rtol=1e-4, atol=1e-7)
    live = deviation > 0
    wanted = (np.abs(seen.mean(axis=2) - mean)[:, live] / deviation[live]).mean(axis=1)
    np.testing.assert_allclose([d.smd for d in found], wanted, rtol=1e-4)
    assert [d.psi is None for d in found] == [True, True, False, False, False]
    for last in (2, 3, 4):
        wanted_psi = np.mean([index(known[:, unit], seen[last - 2 : last + 1, unit]) for unit in range(24)])
        np.testing.assert_allclose(found[last].psi, wanted_psi, rtol=1e-6)


def index(known: np.ndarray, seen: np.ndarray) -> float:
    """The population stability index in NumPy's own histograms: four bins to each doubling from 2^-16 to 2^16."""
    upper = np.concatenate([2.0**e * np.array([1, 1.25, 1.5, 1.75]) for e in range(-16, 16)])
    edges = np.concatenate([[-np.inf], -upper[:0:-1], [-upper[0], upper[0]], upper[1:], [np.inf]])
    p, q = (np.histogram(v, edges)[0].astype(float) for v in (known.ravel(), seen.ravel()))
    middle = (np.cumsum(p) - p / 2) / p.sum()
    group = np.minimum(np.floor(10 * middle), 9)
    shares = [
        np.maximum(np.array([counts[group == g].sum() for g in range(10)]) / counts.sum(), 1e-4) for counts in (p, q)
    ]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 2)


def brighter(image: np.ndarray) -> np.ndarray:
    return np.clip(image * 1.25, 0, 255).astype(np.uint8)


def darker(image: np.ndarray) -> np.ndarray:
    return (image * 0.7).astype(np.uint8)


@pytest.mark.parametrize("change", [brighter, darker, blurred])
def test_a_changed_camera_raises_it(looking: Looking, reference: Reference, change) -> None:
    same, other = Window(reference, 15), Window(reference, 15)
    for image in parts("brushed", range(1000, 1015)):
        plain, changed = same.add(looking.look(image)), other.add(looking.look(change(image)))
    assert plain.psi < 0.03 < 0.06 < changed.psi


def test_another_material_raises_both(looking: Looking, reference: Reference) -> None:
    same, other = Window(reference, 15), Window(reference, 15)
    plain = [same.add(looking.look(image)) for image in parts("brushed", range(1000, 1015))]
    changed = [other.add(looking.look(image)) for image in parts("leather", range(1000, 1015))]
    assert plain[-1].psi < 0.03 < 0.1 < changed[-1].psi
    assert 1.5 * np.median([d.smd for d in plain]) < np.median([d.smd for d in changed])


def test_units_that_are_constant_in_the_reference(looking: Looking, reference: Reference) -> None:
    """They have no standardised difference; that they wake up is in the index."""
    still = Reference("x", "x", 1, np.zeros(2), np.zeros(2), np.array([[0] * 128 + [50] + [0] * 128] * 2))
    counts = still.histogram.copy()
    assert Window(still, 1).add(Look(np.zeros(2), np.zeros(2), counts)) == Distance(0.0, 0.0)
    awake = np.roll(counts, 40, axis=1)
    found = Window(still, 1).add(Look(np.ones(2), np.ones(2), awake))
    assert (found.smd, found.psi > 5) == (0.0, True)


def test_saved_and_of_health(tmp_path: Path, model: onnxray.Model, looking: Looking) -> None:
    images = parts("cast", range(6))
    gathering = Gathering(LAYER, looking.sha256)
    for image in images:
        gathering.add(looking.look(image))
    mine = gathering.reference()
    mine.save(tmp_path / "mine")
    onnxray.health(model, images, [LAYER, "stage2/relu1"]).save(tmp_path / "health")
    for found in (load_reference(tmp_path / "mine"), load_reference(tmp_path / "health")):
        assert (found.layer, found.sha256, found.count) == (LAYER, looking.sha256, 6)
        np.testing.assert_allclose(found.mean, mine.mean, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.deviation, mine.deviation, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(found.histogram, mine.histogram)
        looking.fits(found)
    assert load_reference(tmp_path / "health", "stage2/relu1").layer == "stage2/relu1"
    with pytest.raises(UnknownName, match="stage3"):
        load_reference(tmp_path / "health", "stage3/relu1")
    with pytest.raises(MethodError, match="is of the layer 'stage1/relu', not of 'x'"):
        load_reference(tmp_path / "mine", "x")
    with pytest.raises(OutputError, match="holds no result of onnxray reference"):
        load_reference(tmp_path)


def test_what_does_not_fit_is_refused(looking: Looking, reference: Reference) -> None:
    with pytest.raises(MethodError, match="of another model"):
        looking.fits(Reference(LAYER, "0", 1, reference.mean, reference.deviation, reference.histogram))
    with pytest.raises(ShapeError, match="window of 0 images"):
        Window(reference, 0)
    with pytest.raises(ShapeError, match="at least one"):
        Gathering(LAYER, "").reference()
    with pytest.raises(UnknownName):
        Looking(looking.model, "no-such-layer")
