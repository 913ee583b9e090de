"""What providers can do."""

from __future__ import annotations

from onnxray.engine.runtime.capabilities import CAPABILITIES, HOST, Capability, capability
from onnxray.engine.runtime.providers import CPU, CUDA


def test_cuda_has_memory_of_its_own_and_the_processor_has_not() -> None:
    assert capability(CUDA) == Capability("cuda", own_memory=True, numbered="device_id")
    assert capability(CPU) == HOST
    assert not HOST.own_memory


def test_a_provider_that_nothing_is_known_of_is_fed_by_the_host() -> None:
    assert capability("CoreMLExecutionProvider") == HOST
    tensorrt = capability("TensorrtExecutionProvider")
    assert not tensorrt.own_memory, "it would build an engine for every small graph"
    assert tensorrt.numbered == "device_id"


def test_openvino_mistakes_shared_weights() -> None:
    assert HOST.shared_weights
    assert not capability("OpenVINOExecutionProvider").shared_weights


def test_the_table_can_be_another_one() -> None:
    table = {"FakeExecutionProvider": Capability("fake", own_memory=True)}
    assert capability("FakeExecutionProvider", table).memory == "fake"
    assert capability(CUDA, table) == HOST
    assert "FakeExecutionProvider" not in CAPABILITIES
