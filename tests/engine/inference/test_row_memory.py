"""Rows at once by free memory: the plan, the estimate, and that the numbers stay; memory is a table's, runs are real."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.inference import row_memory
from onnxray.engine.inference.batches import RunOptions, rows_at_once, run_batches
from onnxray.engine.inference.row_memory import row_bytes, rows_planned
from onnxray.engine.inference.session import Session
from onnxray.engine.runtime.capabilities import CAPABILITIES, Capability
from onnxray.engine.runtime.device_memory import free_bytes
from onnxray.engine.runtime.providers import CPU, Provider

TEXT = """m (float[N, 3, 224, 224] x) => (float[N, 8] y) {
  c = Conv <kernel_shape = [1, 1]> (x, w)  r = Relu (c)  g = GlobalAveragePool (r)  y = Flatten (g) }"""
# Per row: two maps of 8 x 224 x 224, twice 8 numbers; float32.
EACH = (2 * 8 * 224 * 224 + 2 * 8) * 4


@pytest.fixture
def model() -> onnxray.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {TEXT}')
    weights = np.random.default_rng(0).standard_normal((8, 3, 1, 1)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return onnxray.load(proto)


@pytest.mark.parametrize(
    ("usual", "count", "fits", "due"),
    [
        (8, 100, None, 8),
        (8, 100, 1000, 64),
        (8, 100, 40, 32),
        (8, 20, 1000, 16),
        (8, 9, 1000, 8),
        (8, 1, 1000, 8),
        (8, 100, 5, 4),
        (8, 100, 1, 1),
        (64, 5000, 10**6, 64),
        (1, 100, 3, 2),
    ],
)
def test_the_plan(usual: int, count: int, fits: int | None, due: int) -> None:
    assert rows_planned(usual, count, fits) == due


def test_the_estimate(model: onnxray.Model) -> None:
    assert row_bytes(model) == EACH
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for side in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.Clear()
        side.dim_param = "side"
    assert row_bytes(onnxray.load(proto)) is None, "maps of any size"
    gradient = row_bytes(onnxray.vjp(model, "y", "x"))
    assert gradient is not None
    assert gradient > 1.5 * EACH


def test_memory_is_known_of_cuda_alone() -> None:
    assert free_bytes(Provider(CPU)) is None
    assert free_bytes(Provider("OpenVINOExecutionProvider")) is None


@pytest.mark.parametrize(("free", "due"), [(None, 8), (10**12, 32), (2 * 16 * EACH, 16), (2 * 3 * EACH, 2), (10, 1)])
def test_rows_at_once(model: onnxray.Model, monkeypatch: pytest.MonkeyPatch, free: int | None, due: int) -> None:
    x = np.random.default_rng(1).standard_normal((40, 3, 224, 224)).astype(np.float32)
    before = run_batches(model, {"x": x}, ["y"])["y"]
    monkeypatch.setitem(CAPABILITIES, CPU, Capability(own_memory=True))
    asked = []

    def told(provider: Provider) -> int | None:
        asked.append(provider.name)
        return free

    monkeypatch.setattr(row_memory, "free_bytes", told)
    sizes = []
    real = Session.run

    def run(self: Session, feeds: Any, outputs: Any = None) -> Any:
        sizes.append(len(feeds["x"]))
        return real(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", run)
    runtime = RunOptions(providers="cpu")
    np.testing.assert_allclose(run_batches(model, {"x": x}, ["y"], runtime=runtime)["y"], before, rtol=1e-5, atol=1e-6)
    assert max(sizes) == due
    assert sum(sizes) == 40
    run_batches(model, {"x": x}, ["y"], runtime=runtime)
    assert asked == [CPU], "asked once: another size is planned anew"
    assert rows_at_once(model, {"x": x}, RunOptions(providers="cpu", batch=5), 40) == 5


def test_on_processors_nothing_is_asked(model: onnxray.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_memory, "free_bytes", lambda provider: 10**15)
    x = np.zeros((40, 3, 224, 224), np.float32)
    assert rows_at_once(model, {"x": x}, RunOptions(providers="cpu"), 40) == 8
