"""Volumes: how they fit a model, heat that comes back, spheres that are found, Grad-CAM in three dimensions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.ndimage import zoom

import onnxray
from onnxray.engine.errors import CardError, VolumeError
from onnxray.engine.load import load
from onnxray.engine.volumes.fitting import fitting, normalised, resized, takes_volumes
from onnxray.engine.volumes.given import Volume
from onnxray.engine.volumes.shown import turned


def ball(radius: float, side: int) -> np.ndarray:
    at = np.arange(side) - (side - 1) / 2
    return (at[:, None, None] ** 2 + at[:, None] ** 2 + at**2 <= radius**2).astype(np.float32)


def lesions(size: tuple[int, int, int] | None = (24, 32, 40), seed: int = 0) -> onnx.ModelProto:
    """(N, 1, D, H, W) -> (N, 2): nothing, or a ball of radius 3 somewhere; a matched filter among random ones."""
    draw = np.random.default_rng(seed)
    filters = 0.02 * draw.standard_normal((4, 1, 7, 7, 7))
    mask = ball(3, 7)
    filters[0, 0] = mask / mask.sum() - (1 - mask) / (1 - mask).sum()
    second = 0.05 * draw.standard_normal((4, 4, 3, 3, 3))
    second[0, 0, 1, 1, 1] = 1
    arrays = {
        "w": filters.astype(np.float32), "b": np.array([-0.3, 0, 0, 0], np.float32), "v": second.astype(np.float32),
        "head": np.array([[-2.0, 2.0], [0.1, -0.1], [0.0, 0.1], [0.1, 0.0]], np.float32), "one": np.array([1], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[3] * 6, kernel_shape=[7, 7, 7], name="conv1"),
        helper.make_node("Relu", ["c"], ["r"], name="relu1"),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2, 2], strides=[2, 2, 2], name="pool"),
        helper.make_node("Conv", ["p", "v"], ["d"], pads=[1] * 6, kernel_shape=[3, 3, 3], name="conv2"),
        helper.make_node("Relu", ["d"], ["e"], name="relu2"),
        helper.make_node("ReduceMax", ["e"], ["m"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("MatMul", ["m", "head"], ["y"]),
    ]
    sides = list(size) if size else ["D", "H", "W"]
    graph = helper.make_graph(
        nodes,
        "lesions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, *sides])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def planted(rng: np.random.Generator, size: tuple[int, int, int] = (24, 32, 40)) -> tuple[np.ndarray, tuple[int, ...]]:
    """Noise with a ball of radius 3 in it, and the ball's middle."""
    x = 0.3 * rng.standard_normal(size).astype(np.float32)
    middle = tuple(int(rng.integers(5, side - 5)) for side in size)
    x[tuple(slice(at - 3, at + 4) for at in middle)] += ball(3, 7)
    return x, middle


@pytest.mark.parametrize(
    ("method", "count", "options"),
    [("grad-cam", 20, {}), ("integrated-gradients", 20, {"steps": 16}), ("occlusion", 5, {"patch": 6, "stride": 3})],
)
def test_a_planted_sphere_is_found(method: str, count: int, options: dict[str, int]) -> None:
    """The hottest voxel lies within it (grad-cam: within a cell of its map of it), every time."""
    rng, model = np.random.default_rng(1), load(lesions())
    for _ in range(count):
        x, middle = planted(rng)
        e = onnxray.explain(model, Volume(x, (3.0, 1.0, 1.0)), method, 1, **options)
        assert e.volume.values.shape == x.shape
        off = np.abs(np.array(e.volume.hottest) - middle)
        assert np.linalg.norm(off) <= (3 if method == "integrated-gradients" else 5)


def test_grad_cam_is_the_textbook_s_in_three_dimensions() -> None:
    """Weights are means of the gradient over all places; the weighted sum, rectified, linear between cells' centres."""
    model = load(lesions(seed=3))
    x, _ = planted(np.random.default_rng(2))
    for layer in ("relu1", "relu2"):
        e = onnxray.explain(model, Volume(x), "grad-cam", 1, layer=layer)
        value = {"relu1": "r", "relu2": "e"}[layer]
        maps = onnxray.activations(model, x[None, None], [value])[value][0].astype(np.float64)
        slope = onnxray.explain(model, x[None, None], "gradient", 1, at=value).values.astype(np.float64)
        wanted = np.maximum((slope.mean(axis=(1, 2, 3))[:, None, None, None] * maps).sum(axis=0), 0)
        np.testing.assert_allclose(np.maximum(e.values, 0), wanted, atol=1e-5 * wanted.max())
        cells = e.values.astype(np.float64)
        up = zoom(cells, np.array(x.shape) / cells.shape, order=1, grid_mode=True, mode="nearest")
        np.testing.assert_allclose(e.volume.values, up, atol=1e-5 * np.abs(cells).max())


def test_resizing_is_scipy_s_and_goes_back() -> None:
    x = np.random.default_rng(0).standard_normal((10, 12, 14)).astype(np.float32)
    wanted = zoom(x, (2, 2, 2), order=1, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(resized(x, (20, 24, 28)), wanted, atol=1e-6)
    assert resized(x, x.shape) is x
    smooth = zoom(np.random.default_rng(1).standard_normal((4, 4, 4)), 8, order=1, grid_mode=True, mode="nearest")
    model = load(lesions((16, 16, 16)))
    given = fitting(model, Volume(smooth))
    assert given.tensor(Volume(smooth)).shape == (1, 1, 16, 16, 16)
    back = given.back(resized(smooth.astype(np.float32), (16, 16, 16)))
    assert np.abs(back - smooth).mean() < 0.05
    assert any("resized to 16x16x16" in note for note in given.notes)


def test_order_spacing_and_patch() -> None:
    x = np.arange(4 * 6 * 8, dtype=np.float32).reshape(4, 6, 8)
    dynamic = load(lesions(None), volume={"order": "xyz"})
    made = fitting(dynamic, Volume(x, (2.0, 1.0, 1.0)))
    np.testing.assert_array_equal(made.tensor(Volume(x))[0, 0], x.transpose(2, 1, 0))
    np.testing.assert_array_equal(made.back(x.transpose(2, 1, 0)), x)
    spaced = fitting(load(lesions(None), volume="spacing=1x1x2"), Volume(x, (2.0, 1.0, 1.0)))
    assert spaced.size == (8, 6, 4)
    patch = fitting(load(lesions((3, 3, 3)), volume={"patch": [2, 1, 6]}), Volume(x))
    tensor = patch.tensor(Volume(x))[0, 0]
    np.testing.assert_array_equal(tensor[:2, :, :2], x[2:, 1:4, 6:])
    assert tensor[2].max() == 0
    back = patch.back(np.ones((3, 3, 3), np.float32))
    assert back.sum() == 2 * 3 * 2
    assert back[2:, 1:4, 6:].all()
    with pytest.raises(VolumeError, match="begins outside"):
        fitting(load(lesions((3, 3, 3)), volume={"patch": [4, 0, 0]}), Volume(x))
    with pytest.raises(VolumeError, match="give one of them"):
        fitting(load(lesions((3, 3, 3)), volume={"patch": [0, 0, 0], "spacing": [1, 1, 1]}), Volume(x))


def test_normalisation() -> None:
    x = np.random.default_rng(0).normal(5, 2, (1, 6, 6, 6)).astype(np.float32)
    x[0, 0] = x.min()
    z = normalised(x, "z-score")
    assert abs(float(z.mean())) < 1e-5
    assert float(z.std()) == pytest.approx(1, abs=1e-5)
    body = x > x.min()
    assert abs(float(normalised(x, "foreground")[body].mean())) < 1e-5
    unit = normalised(x, "unit")
    assert (float(unit.min()), float(unit.max())) == (0, 1)
    assert normalised(x, "none") is x
    assert not np.isnan(normalised(np.ones_like(x), "z-score")).any()


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (np.zeros((4, 4)), {}, r"give \(D, H, W\)"),
        (np.zeros((0, 4, 4)), {}, "no voxels"),
        (np.full((2, 2, 2), np.nan), {}, "8 of 8 voxels are NaN"),
        (np.zeros((2, 2, 2), complex), {}, "complex128"),
        (np.zeros((2, 2, 2)), {"spacing": (1, 0, 1)}, "three lengths"),
        (np.zeros((2, 2, 2)), {"spacing": (1, 1)}, "three lengths"),
        (np.zeros((2, 2, 2)), {"affine": np.zeros((4, 4))}, "invertible"),
        (np.zeros((2, 2, 2)), {"affine": np.eye(4), "spacing": (2, 2, 2)}, "not that of the affine"),
    ],
)
def test_what_is_no_volume(values: np.ndarray, options: dict[str, object], words: str) -> None:
    with pytest.raises(VolumeError, match=words):
        Volume(values, **options)


def test_models_that_take_no_volume() -> None:
    with pytest.raises(VolumeError, match="no three axes of space"):
        onnxray.explain("builtin", Volume(np.zeros((4, 4, 4))))
    with pytest.raises(VolumeError, match="takes 1 channels and the volume has 2"):
        onnxray.explain(lesions(), Volume(np.zeros((2, 4, 4, 4))))
    assert takes_volumes(load(lesions()))
    assert not takes_volumes(load("builtin"))
    for volume in ({"normalise": "min"}, {"spacing": [1, 1]}, {"patch": [1.5, 0, 0]}, "orde=xyz", 3):
        with pytest.raises(CardError, match="volume in the options must be"):
            load(lesions(), volume=volume)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_volumes_are_turned_as_radiologists_look_at_them(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    """A voxel at the patient's right, front and top comes to the first column, the first row, the last slice."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs)[:, order].astype(float)
    shape = (4, 5, 6)
    turn = turned(affine)
    corners = np.array([[x, y, z, 1] for z in (0, 3) for y in (0, 4) for x in (0, 5)])
    world = (affine @ corners.T)[:3]
    best = corners[np.argmax((world * np.array([1, 1, 1])[:, None]).sum(axis=0))]  # the most right, front and top
    values = np.zeros(shape, np.float32)
    values[best[2], best[1], best[0]] = 1
    seen = turn.of(values)
    assert seen[-1, 0, 0] == 1
    voxel = (int(best[2]), int(best[1]), int(best[0]))
    assert seen[turn.place(voxel, shape)] == 1
    assert turn.original(turn.place(voxel, shape)[0], 0, shape) == voxel[turn.axes[0]]
