"""Ten steps against a second implementation in float64: dense matrices, written here, and no line of ours."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.optimize.canvas import canvas_of
from onnxray.engine.optimize.loop import Painted, Recipe, Start, optimise
from onnxray.engine.optimize.network import Network
from onnxray.engine.optimize.objectives.channel import Channel
from onnxray.engine.optimize.regularisers.penalties import TotalVariation
from onnxray.engine.optimize.transforms.noise import Noise

SIDE, STEPS, CHANNEL = 12, 10, 2
# 37 is a prime above 31: the upper left part of a picture of 38 pixels.
PAINTED = {SIDE: SIDE, 37: 38}
MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)


def network_of(
    parse: Callable[..., onnx.ModelProto], rows: int = 1, side: int = SIDE
) -> tuple[Network, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    w1, w2 = (rng.standard_normal(s) / 5 for s in ((6, 3, 3, 3), (4, 6, 3, 3)))
    text = f"""g (float[N,3,{side},{side}] x) => (float[N,4,{side - 4},{side - 4}] y) {{
      a = Conv (x, w1) t = Tanh (a) b = Conv (t, w2) y = Relu (b) }}"""
    proto = parse(text, w1=w1.astype(np.float32), w2=w2.astype(np.float32))
    model = onnxray.load(proto, mean=MEAN, std=STD, size=side, order="BGR")
    return Network(model, canvas_of(model), [Channel("y", CHANNEL)] * rows), w1, w2


def correlated(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(I, H, W), (O, I, 3, 3) -> (O, H - 2, W - 2)."""
    out = np.zeros((len(w), x.shape[1] - 2, x.shape[2] - 2))
    for i in range(3):
        for j in range(3):
            out += np.einsum("oi,ihw->ohw", w[:, :, i, j], x[:, i : i + out.shape[1], j : j + out.shape[2]])
    return out


def transposed(g: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The transpose of `correlated`."""
    x = np.zeros((w.shape[1], g.shape[1] + 2, g.shape[2] + 2))
    for i in range(3):
        for j in range(3):
            x[:, i : i + g.shape[1], j : j + g.shape[2]] += np.einsum("oi,ohw->ihw", w[:, :, i, j], g)
    return x


def plane_matrix(side: int) -> np.ndarray:
    """From real and imaginary parts of the scaled half spectrum to the pixels of a plane, by unit vectors."""
    n = PAINTED[side]
    half = n // 2 + 1
    f = np.array([[math.hypot(min(y, n - y) / n, x / n) for x in range(half)] for y in range(n)])
    scale = 1 / np.maximum(f, 1 / n) / 4
    columns = []
    for unit in np.eye(n * half * 2).reshape(-1, n, half, 2):
        whole = np.fft.irfft2((unit[..., 0] + 1j * unit[..., 1]) * scale, s=(n, n), norm="ortho")
        columns.append(whole[:side, :side].ravel())
    return np.array(columns).T


def warp_matrix(a: np.ndarray, side: int) -> np.ndarray:
    """(pixels seen, pixels of the picture and, last, the gray around it)."""
    matrix = np.zeros((side * side, side * side + 1))
    for y in range(side):
        for x in range(side):
            v, u = a @ (y, x, 1.0)
            for i in (math.floor(v), math.floor(v) + 1):
                for j in (math.floor(u), math.floor(u) + 1):
                    at = i * side + j if 0 <= i < side and 0 <= j < side else side * side
                    matrix[y * side + x, at] += (1 - abs(v - i)) * (1 - abs(u - j))
    return matrix


def drawn(rng: np.random.Generator, side: int) -> np.ndarray:
    """Jitter of 8 pixels, scale 0.9 to 1.1, 10 degrees, in this order."""
    dy, dx = rng.integers(-8, 9, 2)
    zoom = rng.uniform(0.9, 1.1)
    angle = math.radians(rng.uniform(-10, 10))
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / zoom
    middle = (side - 1) / 2
    shift = np.array([dy, dx]) + middle - turn @ (middle, middle)
    return np.column_stack([turn, shift])


def again(w1: np.ndarray, w2: np.ndarray, steps: int, side: int) -> tuple[np.ndarray, list[float]]:
    """The picture (3, side, side) after `steps`, and the objective of each."""
    rng = np.random.default_rng([0, 0])
    values = (rng.standard_normal((3, PAINTED[side], PAINTED[side] // 2 + 1, 2)) * 0.01).reshape(3, -1)
    to_plane = plane_matrix(side)
    root = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    colour = root / max(math.sqrt(sum(root[i, j] ** 2 for i in range(3))) for j in range(3))
    m, v, scores = np.zeros_like(values), np.zeros_like(values), []

    def shown() -> np.ndarray:
        return 1 / (1 + np.exp(-colour @ (values @ to_plane.T)))

    for step in range(1, steps + 1):
        picture = shown()
        seeing = warp_matrix(drawn(rng, side), side)
        seen = np.column_stack([picture, np.full(3, 0.5)]) @ seeing.T
        tensor = (seen[::-1] * 255 - np.reshape(MEAN, (3, 1))) / np.reshape(STD, (3, 1))
        hidden = np.tanh(correlated(tensor.reshape(3, side, side), w1))
        linear = correlated(hidden, w2)
        scores.append(linear[CHANNEL].mean())
        g = np.zeros_like(linear)
        g[CHANNEL] = 1 / g[CHANNEL].size
        g = transposed(transposed(g, w2) * (1 - hidden**2), w1).reshape(3, -1)
        g = ((g * 255 / np.reshape(STD, (3, 1)))[::-1] @ seeing)[:, :-1]
        g = (colour.T @ (g * picture * (1 - picture))) @ to_plane
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        values = values + 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return shown().reshape(3, side, side), scores


@pytest.mark.parametrize("side", PAINTED)
def test_equals_a_second_implementation(side: int, parse: Callable[..., onnx.ModelProto]) -> None:
    network, w1, w2 = network_of(parse, side=side)
    painted = optimise(network, Recipe(steps=STEPS, settle=False))
    picture, scores = again(w1, w2, STEPS, side)
    assert np.abs(painted.history[:, 0] - scores).max() < 1e-4
    # A coefficient whose gradient is near 0 may step the other way in float32: 1e-3 of the picture's range.
    assert np.abs(painted.pictures[0] - picture).max() < 1e-3
    assert np.abs(picture - 0.5).max() > 0.1


def test_rows_do_not_see_each_other(parse: Callable[..., onnx.ModelProto]) -> None:
    single, _, _ = network_of(parse)
    double, _, _ = network_of(parse, rows=2)
    recipe = Recipe(steps=5, settle=False, transforms=(*Recipe().transforms, Noise(0.1)), views=2)
    alone = [optimise(single, recipe, variants=[variant]).pictures[0] for variant in (0, 1)]
    both = optimise(double, recipe, variants=[0, 1]).pictures
    assert np.abs(both - alone).max() < 1e-4
    assert np.abs(both[0] - both[1]).max() > 0.01


def test_the_same_seed_gives_the_same_bytes(parse: Callable[..., onnx.ModelProto]) -> None:
    network, _, _ = network_of(parse)

    def made(seed: int) -> Painted:
        return optimise(network, Recipe(steps=4, seed=seed), threads=1)

    assert (made(3).pictures == made(3).pictures).all()
    assert (made(3).pictures != made(4).pictures).any()


def test_no_step_is_the_start(parse: Callable[..., onnx.ModelProto]) -> None:
    network, _, _ = network_of(parse)
    photo = np.random.default_rng(0).random((3, SIDE, SIDE)).astype(np.float32)
    painted = optimise(network, Recipe(steps=0), start=Start(photo))
    assert np.abs(painted.pictures[0] - photo).max() < 0.01
    assert painted.history.shape == (0, 1)


def test_outside_the_mask_nothing_changes(parse: Callable[..., onnx.ModelProto]) -> None:
    network, _, _ = network_of(parse)
    photo = np.random.default_rng(0).random((3, SIDE, SIDE)).astype(np.float32)
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[:, :5] = 1
    painted = optimise(network, Recipe(steps=3), start=Start(photo, mask)).pictures[0]
    assert (painted[:, :, 5:] == photo[:, :, 5:]).all()
    assert np.abs(painted - photo)[:, :, :5].max() > 0.01


def test_a_regulariser_holds_back(parse: Callable[..., onnx.ModelProto]) -> None:
    network, _, _ = network_of(parse)
    free, held = (
        optimise(network, Recipe(steps=20, regularisers=parts)).pictures for parts in ((), (TotalVariation(100.0),))
    )
    assert np.abs(np.diff(held)).mean() < 0.7 * np.abs(np.diff(free)).mean()


def test_it_ends_when_all_has_settled(parse: Callable[..., onnx.ModelProto]) -> None:
    network, _, _ = network_of(parse)
    calls: list[int] = []
    painted = optimise(network, Recipe(steps=500), on_step=lambda step, *_: calls.append(step))
    assert len(painted.history) == len(calls) < 500


@pytest.mark.parametrize("rows", [1, 2])
def test_a_unit_without_slope_is_given_up(rows: int, parse: Callable[..., onnx.ModelProto]) -> None:
    text = f"g (float[N,3,{SIDE},{SIDE}] x) => (y) {{ a = Conv (x, w) y = Relu (a) }}"
    model = onnxray.load(parse(text, w=np.zeros((4, 3, 3, 3), np.float32)))
    network = Network(model, canvas_of(model).with_size((SIDE, SIDE)), [Channel("y", 1)] * rows)
    painted = optimise(network, Recipe(steps=100))
    assert painted.silent.all()
    assert len(painted.history) < 20
