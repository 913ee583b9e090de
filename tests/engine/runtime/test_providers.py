"""Execution providers: usable or not is said in one line; options go with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
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


def test_the_cpu_always_works(cnn: onnx.ModelProto) -> None:
    assert providers.providers()[-1] == "CPUExecutionProvider"
    assert providers.unusable_reason("CPUExecutionProvider") is None
    assert providers.resolve_providers(["cpu"]) == ("CPUExecutionProvider",)
    assert providers.resolve_providers("CPUExecutionProvider") == ("CPUExecutionProvider",)
    assert providers.resolve_providers([]) == ("CPUExecutionProvider",)
    assert providers.resolve_providers(None) == providers.providers()
    assert Session(onnxray.load(cnn), providers="cpu").device == "cpu"


ASK = """
import sys
import onnx, onnxray
from onnxray.engine.inference import session
from onnxray.engine.runtime import providers
proto = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] y) {{ y = Neg (x) }}')
usable = "CUDAExecutionProvider" in providers.providers()
print("usable" if usable else "not usable")
try:
    session.session(onnxray.load(proto), providers={asked!r})
    print("made")
except onnxray.OnnxrayError as error:
    print(type(error).__name__)
    print(error)
"""


@pytest.mark.parametrize("asked", ["cuda", "CUDAExecutionProvider", ["tensorrt", "cpu"]])
def test_asking_for_a_gpu_that_is_not_there_is_one_line(asked: object, tmp_path: Path) -> None:
    """The loader of ONNX Runtime writes to stderr by itself, so a process of its own is watched."""
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(asked=asked)], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    if lines[0] == "usable" and "tensorrt" not in str(asked):
        assert lines[1:] == ["made"]
        return
    assert lines[1] == "RuntimeUnavailable"
    assert len(lines) == 3
    name = asked if isinstance(asked, str) else "tensorrt"
    assert lines[2].startswith(f"execution provider {name!r} cannot be used: ")
    assert "usable here: " in lines[2]


def test_asking_for_nothing_is_quiet(tmp_path: Path, cnn: onnx.ModelProto) -> None:
    onnx.save(cnn, tmp_path / "m.onnx")
    script = (
        "import numpy as np, onnxray\n"
        "x = np.zeros((1, 3, 16, 16), np.float32)\n"
        "onnxray.activations('m.onnx', x, 'logits')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_closed_stdout_does_not_matter(tmp_path: Path) -> None:
    script = "import os, sys; os.close(1); os.close(2); sys.stdout = sys.stderr = None\nfrom onnxray.engine.runtime import providers; providers.unusable_reason.cache_clear(); providers.providers(); open('done', 'w').close()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "done").exists()


def test_native_noise_is_caught(capfd: pytest.CaptureFixture[str]) -> None:
    with providers._quiet() as said:
        os.write(1, b"to stdout")
        os.write(2, b" to stderr")
    os.write(1, b"after")
    assert said == ["to stdout to stderr"]
    assert capfd.readouterr() == ("after", "")


def test_no_provider_is_replaced_by_another(cnn: onnx.ModelProto) -> None:
    """ONNX Runtime's Python layer goes on without a provider that fails, and prints that: never asked for."""
    assert Session(onnxray.load(cnn))._ort._enable_fallback is False


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
    with pytest.raises(OnnxrayError, match=r"is not an execution provider: give a list of names and pairs") as raised:
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
