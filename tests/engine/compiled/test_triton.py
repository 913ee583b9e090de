"""The model repository for Triton."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import onnxray
from onnxray.engine.compiled.triton import config, write
from onnxray.engine.errors import ModelError, OutputError
from onnxray.engine.preprocess.sources.pbtxt import parse as parse_pbtxt


def test_requests_are_batched_where_the_model_can(cnn: onnx.ModelProto) -> None:
    message = parse_pbtxt(config(onnxray.compile(cnn, target="runtime", default_target=False), "small"))
    assert message["name"] == ["small"]
    assert message["backend"] == ["onnxruntime"]
    assert message["max_batch_size"][0] > 0
    assert "dynamic_batching" in message
    image, target = message["input"]
    assert (image["name"], image["data_type"], image["dims"]) == (["image"], ["TYPE_FP32"], [3, 16, 16])
    assert (target["name"], target["data_type"], target["dims"]) == (["target_class"], ["TYPE_INT64"], [1])
    assert target["reshape"] == [{"shape": []}]
    logits, saliency = message["output"]
    assert (logits["dims"], saliency["name"], saliency["dims"]) == ([5], ["saliency_map"], [1, 16, 16])


def test_a_single_image_of_any_size(cnn: onnx.ModelProto) -> None:
    message = parse_pbtxt(config(onnxray.compile(cnn, preprocess=True, normalize="uint8"), "small"))
    assert message["max_batch_size"] == [0]
    assert "dynamic_batching" not in message
    assert message["input"][0]["dims"] == [-1, -1, 3]
    assert message["output"][1]["dims"] == [1, 1, -1, -1]
    assert message["output"][1]["data_type"] == ["TYPE_UINT8"]


def test_the_repository(cnn: onnx.ModelProto, tmp_path: Path) -> None:
    compiled = onnxray.compile(cnn)
    folder = write(compiled, tmp_path / "repository", "small")
    assert folder == tmp_path / "repository" / "small"
    assert (folder / "config.pbtxt").read_text() == config(compiled, "small")
    assert onnx.load(folder / "1" / "model.onnx").graph.output[1].name == "saliency_map"
    with pytest.raises(OutputError, match="--force"):
        write(compiled, tmp_path / "repository", "small")
    write(compiled, tmp_path / "repository", "small", force=True)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_names_that_leave_the_repository(cnn: onnx.ModelProto, tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="not a name"):
        write(onnxray.load(cnn), tmp_path / "repository", name)
    assert not (tmp_path / "repository").exists()


def test_names_of_values_are_quoted(parse: Callable[..., onnx.ModelProto]) -> None:
    model = parse("g (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }")
    odd = 'q"\\é\n'
    model.graph.input[0].name = model.graph.node[0].input[0] = odd
    text = config(onnxray.load(model), "odd")
    assert r'name: "q\042\134\303\251\012"' in text


def test_a_type_that_the_server_does_not_know(parse: Callable[..., onnx.ModelProto]) -> None:
    model = parse("g (complex64[N, 3] x) => (complex64[N, 3] y) { y = Identity (x) }")
    with pytest.raises(ModelError, match="Triton"):
        config(onnxray.load(model), "odd")


def test_axis_free_numbers(parse: Callable[..., onnx.ModelProto]) -> None:
    model = parse("g (float[N] x) => (float[N] y) { y = Relu (x) }")
    assert "reshape: { shape: [ ] }" in config(onnxray.load(model), "flat")
