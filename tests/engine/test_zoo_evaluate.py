"""RISE's published protocol on trained networks of the zoo, against a direct implementation of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import onnxray
from onnxray.cli.files.images import read
from onnxray.engine.evaluate.case import Case
from onnxray.engine.evaluate.registry import make
from onnxray.engine.explain import problem_of, solve
from onnxray.engine.methods.registry import find
from onnxray.tests.engine.zoo import manifest_of, opened

pytestmark = pytest.mark.slow
# Rows of the image changed in one step: the paper has 1.
ROWS = 8


def blurred(planes: np.ndarray) -> np.ndarray:
    """The notebook's `blur` of planes (C, H, W): an 11 x 11 Gaussian of sigma 5, its sides mirrored, the border 0."""
    # SciPy's filter of an impulse mirrors what falls off the 11 x 11 window, to a reach of four sigma.
    reach = np.arange(-20, 21)
    taps = np.exp(-(reach**2) / 50)
    taps /= taps.sum()
    line = np.zeros(11)
    for offset, weight in zip(reach, taps, strict=True):
        place = (5 + offset) % 22
        line[place if place < 11 else 21 - place] += weight
    kernel = np.outer(line, line)
    padded = np.pad(planes.astype(np.float64), ((0, 0), (5, 5), (5, 5)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (11, 11), axis=(1, 2))
    return np.einsum("chwij,ij->chw", windows, kernel).astype(np.float32)


def single_run(ask, x: np.ndarray, map: np.ndarray, mode: str, fill: np.ndarray, target: int) -> np.ndarray:
    """`CausalMetric.single_run`, on x (C, H, W): one image a run."""
    area, step = map.size, ROWS * map.shape[1]
    steps = -(-area // step)
    start, finish = (x.copy(), fill) if mode == "deletion" else (fill.copy(), x)
    order = np.argsort(-map.ravel(), kind="stable")
    scores = np.empty(steps + 1)
    for i in range(steps + 1):
        scores[i] = ask(start)[target]
        coords = order[step * i : step * (i + 1)]
        start.reshape(len(x), area)[:, coords] = finish.reshape(len(x), area)[:, coords]
    return scores


@pytest.mark.parametrize("name", ["squeezenet_v1_1", "mobilenet_v2_100_224"])
@pytest.mark.parametrize("mode", ["insertion", "deletion"])
def test_the_protocol_of_rise(zoo: Path, name: str, mode: str) -> None:
    entry = manifest_of(zoo)[f"models/{name}.onnx"]
    problem = problem_of(opened(zoo, name), read(zoo / "images/photos/cat.bmp"))
    explanation = solve(problem, find("grad-cam")())
    assert isinstance(explanation, onnxray.Explanation)
    case = Case(problem, explanation)
    session = onnxruntime.InferenceSession(str(zoo / entry["file"]), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    last = entry["layout"] == "NHWC"

    def ask(planes: np.ndarray) -> np.ndarray:
        x = planes.transpose(1, 2, 0) if last else planes
        y = session.run(None, {given.name: np.ascontiguousarray(x[None])})[0].reshape(-1).astype(np.float64)
        if abs(y.sum() - 1) < 1e-3 and y.min() >= 0:
            return y
        e = np.exp(y - y.max())
        return e / e.sum()

    x = case.sample.transpose(2, 0, 1).copy() if last else case.sample
    fill = blurred(x) if mode == "insertion" else np.zeros_like(x)
    target = problem.targets[0].class_index
    wanted = single_run(ask, x, case.relevance, mode, fill, target)
    found = make(mode, {"step": ROWS * case.plane[1]})(case)
    assert found.curve is not None
    np.testing.assert_allclose(found.curve.y, wanted, atol=1e-4)
    auc = (wanted.sum() - wanted[0] / 2 - wanted[-1] / 2) / (len(wanted) - 1)
    assert found.value == pytest.approx(auc, abs=1e-4)
