"""Execution providers that are asked for with options."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import OnnxrayError, RuntimeUnavailable, UnknownName
from onnxray.engine.inference import session
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.inference.session import Session
from onnxray.engine.runtime import ort, providers
from onnxray.engine.runtime.providers import CPU, CUDA, Provider, asked_providers, resolve, resolve_providers


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """As if CUDA worked: sessions are made on the CPU, the list holds the providers that ONNX Runtime was given."""
    given: list[Any] = []
    made = ort.ort.InferenceSession

    class Recorded(made):  # type: ignore[misc, valid-type]
        def __init__(self, model: Any, options: Any = None, providers: Any = None, **more: Any) -> None:
            given.append(list(providers))
            for name, values in (entry for entry in providers if not isinstance(entry, str)):
                if "use_tf23" in values:
                    raise RuntimeError(
                        f'[ONNXRuntimeError] : 1 : FAIL : {name}:\n Unknown provider option: "use_tf23".'
                    )
            super().__init__(model, options, providers=[CPU], **more)

        def get_providers(self) -> list[str]:
            return [CUDA, CPU]

    providers._refused_options.cache_clear()
    monkeypatch.setattr(providers, "unusable_reason", lambda _: None)
    monkeypatch.setattr(ort.ort, "InferenceSession", Recorded)
    yield given
    providers._refused_options.cache_clear()


def test_options_become_text_in_one_order() -> None:
    expected = (Provider("cuda", (("device_id", "1"), ("flag", "1"), ("use_tf32", "0"))), Provider("cpu"))
    for options in ({"use_tf32": 0, "device_id": "1", "flag": True}, {"flag": "1", "device_id": 1, "use_tf32": "0"}):
        found = asked_providers([("cuda", options), "cpu"])
        assert found == expected
        assert hash(found) == hash(expected)
        assert asked_providers(found) == expected
        assert RunOptions(providers=[("cuda", options), "cpu"]) == RunOptions(providers=expected)
    assert asked_providers(None) is None
    assert asked_providers("cuda") == asked_providers(["cuda"]) == (Provider("cuda"),)


@pytest.mark.parametrize(
    "asked",
    [
        ("cuda", {"use_tf32": 0}),  # a pair, not a list of pairs
        {"cuda": {"use_tf32": 0}},
        [("cuda",)],
        [("cuda", "use_tf32=0")],
        [("cuda", {"use_tf32": [0]})],
        [("cuda", {"use_tf32": None})],
        [("cuda", {"": 0})],
        [({"use_tf32": 0}, "cuda")],
    ],
)
def test_what_is_no_list_of_providers(cnn: onnx.ModelProto, asked: Any) -> None:
    with pytest.raises(OnnxrayError, match=r"is no execution provider: give a list of names and pairs") as raised:
        onnxray.explain(cnn, np.zeros((1, 3, 16, 16), np.float32), providers=asked)
    assert "\n" not in str(raised.value)


def test_options_that_cannot_be() -> None:
    with pytest.raises(UnknownName, match="no execution provider named 'cudda'; nearest: 'cuda'"):
        resolve([("cudda", {"use_tf32": 0})])
    with pytest.raises(RuntimeUnavailable, match="'cpu' cannot be used with a=1,b=2: the CPU takes no options"):
        resolve([("cpu", {"b": 2, "a": 1})])
    assert resolve_providers([("cpu", {})]) == (CPU,)


def test_what_onnx_runtime_says_about_options_is_one_line(cnn: onnx.ModelProto, cuda: list[Any]) -> None:
    asked = [("cuda", {"use_tf23": 0})]
    with pytest.raises(RuntimeUnavailable) as raised:
        Session(onnxray.load(cnn), providers=asked)
    expected = (
        f"execution provider 'cuda' cannot be used with use_tf23=0: {CUDA}: Unknown provider option: \"use_tf23\"."
    )
    assert str(raised.value) == expected


def test_sessions_have_the_options_and_are_kept_by_them(cnn: onnx.ModelProto, cuda: list[Any]) -> None:
    model, asked = onnxray.load(cnn), [("cuda", {"use_tf32": 0, "device_id": 1})]
    first = session.session(model, threads=1, providers=asked)
    assert cuda[-1] == [(CUDA, {"device_id": "1", "use_tf32": "0"}), CPU]
    assert first.providers == (CUDA, CPU)
    same = [("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"})]
    assert session.session(model, threads=1, providers=same) is first
    others = ("cuda", [("cuda", {"use_tf32": 0})], [("cuda", {"use_tf32": 1, "device_id": 1})])
    assert len({id(session.session(model, threads=1, providers=other)) for other in others} | {id(first)}) == 4
    session.sessions.clear()


def test_a_session_of_a_larger_batch_has_the_options_too(cuda: list[Any]) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1, 3] x) => (float[1, 3] y) { y = Neg (x) }'
    made = Session(onnxray.load(onnx.parser.parse_model(text)), providers=[("cuda", {"use_tf32": 0})])
    made.run({"x": np.zeros((4, 3), np.float32)})
    assert [entry for entry in cuda if entry[0] == (CUDA, {"use_tf32": "0"})] == cuda
    assert len(cuda) == 3
