"""What all tests share: the model zoo, models written as ONNX text, and a temporary folder to run commands from."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxray.engine.inference.session import Session, sessions
from onnxray.engine.runtime.capabilities import CAPABILITIES, Capability
from onnxray.engine.runtime.providers import CPU

ROOT = Path(__file__).resolve().parent.parent


class _RootIsNoTestPackage:
    """The root holds the package's `__init__.py`; pytest would import it once more, under the folder's name."""

    @pytest.hookimpl
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config: pytest.Config) -> None:
    os.environ["ONNXRAY_LANG"] = "en"  # whatever the locale of the machine is
    os.environ["ONNXRAY_PLANS"] = "off"  # what is tested is searched for
    config.pluginmanager.register(_RootIsNoTestPackage())


@pytest.fixture(scope="session")
def zoo() -> Path:
    """The folder of the model zoo: `frameworks/`, `models/`, `images/`, ... (environment variable ONNXRAY_ZOO)."""
    place = os.environ.get("ONNXRAY_ZOO")
    if not place:
        pytest.skip("the environment variable ONNXRAY_ZOO does not name the folder of the model zoo")
    folder = Path(place)
    if not (folder / "frameworks" / "index.json").is_file():
        pytest.fail(f"ONNXRAY_ZOO={place} is not the model zoo: it has no frameworks/index.json")
    return folder


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`zoo_case`: the folder of each framework case; `zoo_model`: the file of each trained network."""
    place = Path(os.environ.get("ONNXRAY_ZOO") or "-")
    for fixture, paths in (
        ("zoo_case", sorted(p.parent for p in place.glob("frameworks/*/meta.json"))),
        ("zoo_model", sorted(place.glob("models/*.onnx"))),
    ):
        if fixture in metafunc.fixturenames:
            missing = pytest.param(None, marks=pytest.mark.skip(reason="ONNXRAY_ZOO does not name the model zoo"))
            metafunc.parametrize(fixture, paths or [missing], ids=lambda p: p.name if p else "zoo")


@pytest.fixture
def devices_used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The CPU provider has numbered devices; the list gets the number of the device of each run, 0 where none is named.

    The table of capabilities says so, and ONNX Runtime ignores options of the CPU. Every result is one of the CPU's.
    """
    monkeypatch.setitem(CAPABILITIES, CPU, Capability(numbered="device_id"))
    monkeypatch.setattr("onnxray.engine.runtime.providers._refused_options", lambda provider: None)
    monkeypatch.setattr(sessions, "most", sessions.most)  # more are kept for several devices
    used: list[int] = []
    real = Session.run

    def run(self: Session, *given: Any) -> dict[str, np.ndarray]:
        used.append(self.device_number)
        return real(self, *given)

    monkeypatch.setattr(Session, "run", run)
    return used


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, here and in processes started meanwhile.

    What a shell starts in the background ignores it, and so does everything that is started from there.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def parse() -> Callable[..., onnx.ModelProto]:
    """parse(text, opset=17, ir=8, **initializers) -> ModelProto.

    `text` is one graph in ONNX's textual syntax, `name (float[N, 3] x) => (float[N, 2] y) { y = ... }`, or a whole model
    if it begins with `<`; further keywords are arrays that become initializers.
    """

    def make(text: str, opset: int = 17, ir: int = 8, **initializers: np.ndarray) -> onnx.ModelProto:
        text = text.strip()
        if not text.startswith("<"):
            text = f'<ir_version: {ir}, opset_import: ["" : {opset}]>\n{text}'
        model = onnx.parser.parse_model(text)
        model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in initializers.items())
        return model

    return make


@pytest.fixture(scope="session")
def cnn(parse: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """A small image classifier, batch dynamic: Conv, Relu, MaxPool, a residual block, GlobalAveragePool, Gemm (5 classes)."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    return parse(
        """
        cnn (float[N, 3, 16, 16] image) => (float[N, 5] logits)
        {
          stem = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, w1, b1)
          stem_relu = Relu (stem)
          pooled = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (stem_relu)
          inner = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (pooled, w2, b2)
          joined = Add (inner, pooled)
          features = Relu (joined)
          gap = GlobalAveragePool (features)
          flat = Flatten (gap)
          logits = Gemm <transB = 1> (flat, w3, b3)
        }
        """,
        w1=weights(8, 3, 3, 3),
        b1=weights(8),
        w2=weights(8, 8, 3, 3),
        b2=weights(8),
        w3=weights(5, 8),
        b3=weights(5),
    )
