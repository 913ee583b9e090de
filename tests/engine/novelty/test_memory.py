"""Novelty: distances are those of float64 brute force, what is saved is what is loaded, few images are said to be few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import MethodError, ModelError, OutputError, ShapeError, TargetError, UnknownName
from onnxray.engine.novelty.features import Features
from onnxray.engine.novelty.fit import fit
from onnxray.engine.novelty.memory import Novelty, NoveltyScore
from onnxray.engine.novelty.scorers.registry import scorers

SIDE = 96
METHODS = ("knn", "mahalanobis", "padim", "patchcore", "whitened")


def surface(seed: int, defect: bool = False) -> np.ndarray:
    """A grey surface with noise; with a dark square at rows 24 to 40, columns 56 to 72."""
    rng = np.random.default_rng(seed)
    image = 128 + 12 * rng.standard_normal((SIDE, SIDE, 3))
    if defect:
        image[24:40, 56:72] -= 90
    return np.clip(image, 0, 255).astype(np.uint8)


GOOD = [surface(seed) for seed in range(15)]


@pytest.fixture(scope="module")
def memories() -> dict[str, Novelty]:
    return {name: fit("builtin", GOOD, method=name, rows=60) for name in METHODS}


def brute(features: Features, image: np.ndarray) -> np.ndarray:
    """The features (h * w, C) in float64, by loops over places and bilinear weights of their own."""
    from onnxray.engine.attribution.inputs import input_of

    model = onnxray.load("builtin")
    given = input_of(model, image)
    found = onnxray.activations(model, given.x, [layer.name for layer in features.layers])
    height, width = features.grid
    parts = []
    for maps in found.values():
        exact = maps[0].astype(np.float64)
        h, w = exact.shape[1:]
        smooth = np.empty_like(exact)
        for y in range(h):
            for x in range(w):
                smooth[:, y, x] = exact[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean(axis=(1, 2))
        ys, xs = (np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1) for n, m in ((height, h), (width, w)))
        rows = np.stack([np.stack([np.interp(ys, np.arange(h), column) for column in c.T], 1) for c in smooth])
        parts.append(np.stack([np.stack([np.interp(xs, np.arange(w), row) for row in c]) for c in rows]))
    return np.concatenate(parts).reshape(-1, height * width).T


def test_there_are_the_methods_that_are_documented() -> None:
    assert tuple(scorers()) == METHODS


def test_distances_are_those_of_brute_force(memories: dict[str, Novelty]) -> None:
    memory = memories["patchcore"]
    image = surface(99, defect=True)
    found = memory.score(image)
    rows = memory.fitted.arrays()["rows"].astype(np.float64)
    exact = brute(memory.features, image)
    table = np.sqrt(((exact[:, None] - rows[None]) ** 2).sum(axis=2))
    near = table.min(axis=1).reshape(found.grid.shape)
    assert np.abs(found.grid - near).max() <= 3e-7 * np.abs(exact).max() * exact.shape[1] ** 0.5
    assert found.score == found.grid.max()
    assert found.row == table[found.grid.argmax()].argmin()


def test_gaussians_are_those_of_numpy(memories: dict[str, Novelty]) -> None:
    memory = memories["padim"]
    kept = [image for number, image in enumerate(GOOD) if number % 5 != 4]
    assert memory.features.projection is not None
    exact = np.stack([brute(memory.features, image) @ memory.features.projection.astype(np.float64) for image in kept])
    asked = brute(memory.features, surface(99, defect=True)) @ memory.features.projection.astype(np.float64)
    found = memory.score(surface(99, defect=True))
    for place in (0, 700, 1599):
        spread = np.cov(exact[:, place], rowvar=False, bias=False)
        count = len(kept)
        spread += 0.01 * np.trace(spread) * (count - 1) / count / len(spread) * np.eye(len(spread))
        step = asked[place] - exact[:, place].mean(axis=0)
        assert found.grid.ravel()[place] == pytest.approx(np.sqrt(step @ np.linalg.solve(spread, step)), rel=2e-3)


def test_units_are_the_spread_of_all_patches(memories: dict[str, Novelty]) -> None:
    """Mahalanobis distances to the nearest row, over the root of the dimensions, by NumPy's covariance."""
    memory = memories["whitened"]
    maps = {str(n): brute(memory.features, image) for n, image in enumerate(GOOD) if n % 5 != 4}
    spread = np.cov(np.concatenate(list(maps.values())), rowvar=False, bias=True)
    size = len(spread)
    spread += 0.01 * np.trace(spread) / size * np.eye(size)
    rows = []
    for row in range(60):
        name, (y, x) = memory.source_of(row)
        rows.append(maps[name][y * memory.features.grid[1] + x])
    asked = brute(memory.features, surface(99, defect=True))
    found = memory.score(surface(99, defect=True))
    for place in (0, 700, found.grid.argmax()):
        steps = asked[place] - np.array(rows)
        wanted = np.sqrt((steps * np.linalg.solve(spread, steps.T).T).sum(axis=1) / size)
        assert found.grid.ravel()[place] == pytest.approx(wanted.min(), rel=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_defect_is_novel_and_a_good_part_is_not(memories: dict[str, Novelty], method: str) -> None:
    memory = memories[method]
    bad, good = memory.score([surface(99, defect=True), surface(98)])
    assert bad.score > 1.3 * good.score
    assert bad.novel
    assert bad.answer is not None
    assert bad.answer.label is not None
    if method in ("patchcore", "padim", "whitened"):
        assert bad.box is not None
        assert bad.map is not None
        assert bad.mask is not None
        y0, x0, y1, x1 = bad.box
        assert 20 <= (y0 + y1) / 2 <= 44
        assert 52 <= (x0 + x1) / 2 <= 76
        assert bad.map.shape == (SIDE, SIDE)
        assert bad.map.dtype == np.float32
        assert bad.mask[30, 64]
    else:
        assert bad.map is bad.mask is bad.place is bad.box is None


@pytest.mark.parametrize("method", METHODS)
def test_what_is_saved_is_what_is_loaded(memories: dict[str, Novelty], method: str, tmp_path: Path) -> None:
    path = memories[method].save(tmp_path / "memory.npz")
    again = fit("builtin", GOOD, method=method, rows=60).save(tmp_path / "again.npz")
    assert path.read_bytes() == again.read_bytes()
    loaded = Novelty.load(path, "builtin")
    image = surface(99, defect=True)
    assert loaded.score(image).score == memories[method].score(image).score
    assert loaded.head() == memories[method].head()
    assert str(tmp_path).encode() not in path.read_bytes()


def test_rows_say_where_they_come_from(memories: dict[str, Novelty]) -> None:
    memory = memories["patchcore"]
    assert memory.crops is not None
    assert memory.crops.shape == (60, 48, 48, 3)
    name, (y, x) = memory.source_of(0)
    row = memory.fitted.arrays()["rows"][0]
    found = brute(memory.features, GOOD[int(name)]).reshape(*memory.features.grid, -1)
    assert np.allclose(found[y, x], row, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["patchcore", "whitened"])
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Patches are thinned out on the way; the memory still covers the good images."""
    from onnxray.engine.novelty.scorers import patchcore

    whole = fit("builtin", GOOD, rows=60, method=method)
    monkeypatch.setattr(patchcore, "_MOST", 104 * 1700)
    bounded = fit("builtin", GOOD, rows=60, method=method)
    assert len(bounded.fitted.arrays()["rows"]) == 60
    assert bounded.calibration.threshold < 1.5 * whole.calibration.threshold
    image = surface(99, defect=True)
    assert bounded.score(image).box == whole.score(image).box


def test_wide_features_are_projected() -> None:
    memory = fit("builtin", GOOD, rows=60, dimensions=40)
    assert memory.features.width == 40
    assert memory.score(surface(99, defect=True)).novel
    other = fit("builtin", GOOD, rows=60, dimensions=40, seed=1)
    assert (memory.features.projection != other.features.projection).any()


def test_layers_can_be_named() -> None:
    memory = fit("builtin", GOOD, layers="stage2/relu2", rows=20)
    assert [layer.name for layer in memory.features.layers] == ["stage2/relu2"]
    assert memory.features.reason == "as given"
    with pytest.raises(UnknownName, match="stage2/relu2"):
        fit("builtin", GOOD, layers="stage2/relu9")
    with pytest.raises((MethodError, TargetError), match="map"):
        fit("builtin", GOOD, layers="classes")


def test_an_image_of_another_size_is_doubted(memories: dict[str, Novelty]) -> None:
    found: NoveltyScore = memories["patchcore"].score(np.zeros((40, 80, 3), np.uint8))
    assert len(found.warnings) == 1
    assert "80x40 pixels, all good ones had 96x96" in found.warnings[0]
    assert not memories["patchcore"].score(GOOD[0]).warnings


def test_a_memory_of_another_model_is_refused(memories: dict[str, Novelty], tmp_path: Path) -> None:
    path = memories["patchcore"].save(tmp_path / "memory.npz")
    model = onnxray.load("builtin")
    other = onnxray.vjp(model, of=[model.outputs[0].name], wrt=[model.inputs[0].name])
    with pytest.raises(ModelError, match="is a memory of another model, surface.onnx"):
        Novelty.load(path, other)


def test_what_is_no_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no memory"):
        Novelty.load(tmp_path / "none.npz", "builtin")
    for name, content in (("text.npz", b"nothing"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OutputError, match="is no memory of `onnxray novelty fit`"):
            Novelty.load(tmp_path / name, "builtin")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(OutputError, match="is no memory"):
        Novelty.load(tmp_path / "other.npz", "builtin")


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_images_are_refused(count: int) -> None:
    with pytest.raises(ShapeError, match=f"5 good images at least, and there are {count}"):
        fit("builtin", GOOD[:count])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"rows": 0}, "rows=0"),
        ({"dimensions": 0}, "dimensions=0"),
        ({"false_alarms": 0}, "false_alarms=0"),
        ({"false_alarms": 1.5}, "false_alarms=1.5"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], error: str) -> None:
    with pytest.raises(MethodError, match=error):
        fit("builtin", GOOD, **options)  # type: ignore[arg-type]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="patchcore"):
        fit("builtin", GOOD, method="patchcor")
    with pytest.raises(UnknownName, match="option of novelty"):
        fit("builtin", GOOD, colour=3)


def test_images_that_are_none_are_refused(memories: dict[str, Novelty]) -> None:
    with pytest.raises(ShapeError, match="there is no image"):
        memories["patchcore"].score([])
    with pytest.raises(ShapeError, match="must be uint8"):
        memories["patchcore"].score(np.zeros((4, 4, 3)))
