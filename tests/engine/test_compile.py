"""Compiled models: every method gives in a graph what `explain` gives in Python."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import onnxray
from onnxray.engine.compile import METADATA, OUTPUT
from onnxray.engine.errors import GradientError, MethodError, ModelError, TargetError, UnknownName
from onnxray.engine.methods.registry import methods
from onnxray.kernels.upsample import upsample
from onnxray.tests.rounding import HALF, ROUNDING, apart

COMPILABLE = [name for name, cls in methods().items() if cls.can_be_compiled()]
FEW: dict[str, dict[str, Any]] = {
    "integrated-gradients": {"steps": 6},
    **{key: {"samples": 3} for key in ("smoothgrad", "smoothgrad-squared", "vargrad")},
}


def session(model: onnxray.Model) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def outputs(model: onnxray.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    ready = session(model)
    names = [o.name for o in ready.get_outputs()]
    return dict(zip(names, ready.run(names, feeds), strict=True))


def valid(compiled: onnxray.Model, source: onnxray.Model) -> None:
    onnx.checker.check_model(compiled.proto, full_check=True)
    before = {node.domain for node in source.graph.node}
    assert {node.domain for node in compiled.graph.node} <= before | {""}
    assert [v.name for v in compiled.outputs] == [v.name for v in source.outputs] + [OUTPUT]


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = ROUNDING) -> None:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    most = float(np.abs(expected).max())
    assert float(np.abs(found - expected).max()) <= tolerance * most, (most, np.abs(found - expected).max())


def expected_maps(model: onnxray.Model, x: np.ndarray, method: str, **options: Any) -> np.ndarray:
    """(N, C or 1, h, w) of `explain`."""
    found = onnxray.explain(model, x, method, **options)
    maps = [e.values for e in (found if len(x) > 1 else [found])]
    return np.stack([m[None] if m.ndim == 2 else m for m in maps])


@functools.cache
def loaded(path: Path) -> onnxray.Model:
    return onnxray.load(path)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("method", COMPILABLE)
def test_equals_explain(cnn: onnx.ModelProto, x: np.ndarray, method: str) -> None:
    model, options = onnxray.load(cnn), FEW.get(method, {})
    compiled = onnxray.compile(model, method, upsample="none", **options)
    valid(compiled, model)
    got = outputs(compiled, {"image": x})
    assert apart(got["logits"], outputs(model, {"image": x})["logits"]) <= ROUNDING
    close(got[OUTPUT], expected_maps(model, x, method, **options))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet_v1_1", "mobilenet_v2_100_224", "resnet20_cifar10"])
@pytest.mark.parametrize("method", COMPILABLE)
def test_equals_explain_on_real_networks(zoo: Path, name: str, method: str) -> None:
    model, options = loaded(zoo / "models" / f"{name}.onnx"), FEW.get(method, {})
    (value,) = model.inputs
    shape = [2, *[d for d in value.shape or () if isinstance(d, int)][-3:]]
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    compiled = onnxray.compile(model, method, upsample="none", **options)
    valid(compiled, model)
    got, plain = outputs(compiled, {value.name: x}), outputs(model, {value.name: x})
    for output in plain:
        # Values that a method reads are not fused away by the runtime: roundings differ.
        assert apart(got[output], plain[output]) <= ROUNDING
    close(got[OUTPUT], expected_maps(model, x, method, **options))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grad-cam", "recipro-cam", "gradient"])
def test_transformer_and_integer_input(zoo: Path, method: str) -> None:
    for name in ("vit_mnist", "mobilenet_v2_int8_qdq_nhwc"):
        model = loaded(zoo / "models" / f"{name}.onnx")
        (value,) = model.inputs
        rng, rest = np.random.default_rng(3), [d for d in value.shape or () if isinstance(d, int)][-3:]
        x = rng.standard_normal([1, *rest]).astype(np.float32)
        x = x if value.dtype == np.float32 else rng.integers(0, 256, [1, *rest], np.uint8)
        compiled = onnxray.compile(model, method, upsample="none")
        assert compiled.value(value.name).dtype == value.dtype
        found, expected = outputs(compiled, {value.name: x})[OUTPUT], expected_maps(model, x, method)
        if expected.shape[-1] == 3:  # NHWC: the map has its channels first
            expected = np.moveaxis(expected, -1, 1)
        close(found, expected)


@pytest.mark.parametrize("baseline", ["zero", "mean", "blur", "noise", 0.3])
def test_baselines(cnn: onnx.ModelProto, x: np.ndarray, baseline: Any) -> None:
    options = {"steps": 5, "baseline": baseline, "rule": "riemann-trapezoid"}
    compiled = onnxray.compile(cnn, "integrated-gradients", **options)
    expected = expected_maps(onnxray.load(cnn), x, "integrated-gradients", **options)
    close(outputs(compiled, {"image": x})[OUTPUT], expected, 2e-5)


def test_a_baseline_of_ones_own(cnn: onnx.ModelProto, x: np.ndarray) -> None:
    compiled = onnxray.compile(cnn, "integrated-gradients", steps=4, baseline=x[0])
    expected = expected_maps(onnxray.load(cnn), x[1:], "integrated-gradients", steps=4, baseline=x[0])
    close(outputs(compiled, {"image": x[1:]})[OUTPUT], expected)


@pytest.mark.parametrize("target", ["predicted", "rank:2", 3, "contrast:1,4", "prob:2", "logit:0", "unit:inner:5"])
def test_targets(cnn: onnx.ModelProto, x: np.ndarray, target: Any) -> None:
    compiled = onnxray.compile(cnn, "grad-cam", "pooled", target, upsample="none")
    expected = expected_maps(onnxray.load(cnn), x, "grad-cam", target=target, layer="pooled")
    close(outputs(compiled, {"image": x})[OUTPUT], expected)
    assert json.loads(compiled.metadata[METADATA])["target"] == str(target)


def test_the_class_may_be_chosen_at_run_time(cnn: onnx.ModelProto, x: np.ndarray) -> None:
    model = onnxray.load(cnn)
    compiled = onnxray.compile(model, "grad-cam", target="runtime", upsample="none")
    onnx.checker.check_model(compiled.proto, full_check=True)
    ready = session(compiled)
    assert [i.name for i in ready.get_inputs()] == ["image"]
    assert [i.name for i in ready.get_overridable_initializers()] == ["target_class"]
    predicted = expected_maps(model, x, "grad-cam")
    close(ready.run([OUTPUT], {"image": x})[0], predicted)
    (all_four,) = ready.run([OUTPUT], {"image": x, "target_class": np.array([4])})
    close(all_four, expected_maps(model, x, "grad-cam", target=4))
    (each,) = ready.run([OUTPUT], {"image": x, "target_class": np.array([4, -1, 0])})
    close(each[0], expected_maps(model, x[:1], "grad-cam", target=4)[0])
    close(each[1], predicted[1])
    close(each[2], expected_maps(model, x[2:], "grad-cam", target=0)[0])


def test_a_required_class_input(cnn: onnx.ModelProto, x: np.ndarray) -> None:
    compiled = onnxray.compile(cnn, "gradient", target="runtime", default_target=False)
    assert [v.name for v in compiled.inputs] == ["image", "target_class"]
    found = outputs(compiled, {"image": x, "target_class": np.array([-1])})[OUTPUT]
    close(found, expected_maps(onnxray.load(cnn), x, "gradient"))


def test_a_class_that_does_not_exist_gives_an_empty_map(cnn: onnx.ModelProto, x: np.ndarray) -> None:
    compiled = onnxray.compile(cnn, "grad-cam", target="runtime")
    assert not outputs(compiled, {"image": x, "target_class": np.array([5])})[OUTPUT].any()


def test_upsampling_is_that_of_the_kernels(cnn: onnx.ModelProto, x: np.ndarray) -> None:
    small = outputs(onnxray.compile(cnn, upsample="none"), {"image": x})[OUTPUT]
    large = outputs(onnxray.compile(cnn), {"image": x})[OUTPUT]
    assert small.shape == (3, 1, 8, 8)
    close(large[:, 0], upsample(small[:, 0], (16, 16)))


def test_ranges(cnn: onnx.ModelProto, x: np.ndarray) -> None:
    raw = outputs(onnxray.compile(cnn, upsample="none"), {"image": x})[OUTPUT]
    positive = np.maximum(raw, 0)
    scaled = positive / positive.max(axis=(1, 2, 3), keepdims=True)
    close(outputs(onnxray.compile(cnn, upsample="none", normalize="minmax"), {"image": x})[OUTPUT], scaled)
    bytes_ = outputs(onnxray.compile(cnn, upsample="none", normalize="uint8"), {"image": x})[OUTPUT]
    assert bytes_.dtype == np.uint8
    assert np.abs(bytes_ - 255 * scaled).max() <= 0.5 + 255 * ROUNDING
    gradient = outputs(onnxray.compile(cnn, "gradient"), {"image": x})[OUTPUT]
    strongest = np.take_along_axis(gradient, np.abs(gradient).argmax(axis=1)[:, None], axis=1)
    signed = strongest / (2 * np.abs(strongest).max(axis=(1, 2, 3), keepdims=True)) + 0.5
    close(outputs(onnxray.compile(cnn, "gradient", normalize="minmax"), {"image": x})[OUTPUT], signed)


def test_a_map_of_zeros_stays_one(parse: Callable[..., onnx.ModelProto]) -> None:
    model = parse(
        "g (float[N, 3, 8, 8] image) => (float[N, 4] y) {"
        " a = Conv <kernel_shape = [3, 3]> (image, w)  b = Relu (a)  p = GlobalAveragePool (b)  y = Flatten (p) }",
        w=np.zeros((4, 3, 3, 3), np.float32),
    )
    for normalize, value in (("none", 0), ("minmax", 0), ("uint8", 0)):
        found = outputs(onnxray.compile(model, normalize=normalize), {"image": np.ones((2, 3, 8, 8), np.float32)})
        assert (found[OUTPUT] == value).all()


def test_several_layers(cnn: onnx.ModelProto, x: np.ndarray) -> None:
    layers = ["stem_relu", "features"]
    compiled = onnxray.compile(cnn, "layer-cam", layers, upsample="none")
    close(outputs(compiled, {"image": x})[OUTPUT], expected_maps(onnxray.load(cnn), x, "layer-cam", layer=layers))


def test_channels_last(parse: Callable[..., onnx.ModelProto]) -> None:
    rng = np.random.default_rng(4)
    model = parse(
        """
        g (float[N, 12, 12, 3] image) => (float[N, 4] y) {
          t = Transpose <perm = [0, 3, 1, 2]> (image)
          a = Conv <kernel_shape = [3, 3], strides = [2, 2]> (t, w)
          b = Relu (a)
          p = GlobalAveragePool (b)
          y = Flatten (p)
        }
        """,
        w=rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
    )
    x = rng.standard_normal((2, 12, 12, 3)).astype(np.float32)
    expected = np.moveaxis(expected_maps(onnxray.load(model), x, "gradient"), -1, 1)
    close(outputs(onnxray.compile(model, "gradient"), {"image": x})[OUTPUT], expected)
    guided = np.moveaxis(expected_maps(onnxray.load(model), x, "guided-grad-cam"), -1, 1)
    close(outputs(onnxray.compile(model, "guided-grad-cam"), {"image": x})[OUTPUT], guided)


def test_a_fixed_batch(cnn: onnx.ModelProto, x: np.ndarray) -> None:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(cnn)
    for value in (fixed.graph.input[0], fixed.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for method in ("grad-cam", "integrated-gradients", "recipro-cam"):
        options = FEW.get(method, {})
        compiled = onnxray.compile(fixed, method, upsample="none", **options)
        assert compiled.value(OUTPUT).shape[0] == 1
        close(outputs(compiled, {"image": x[:1]})[OUTPUT], expected_maps(onnxray.load(fixed), x[:1], method, **options))


def test_a_dynamic_batch_and_size_stay_so(parse: Callable[..., onnx.ModelProto]) -> None:
    rng = np.random.default_rng(5)
    model = parse(
        """
        g (float[N, 3, H, W] image) => (float[N, 4] y) {
          a = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (image, w)
          b = Relu (a)
          p = GlobalAveragePool (b)
          y = Flatten (p)
        }
        """,
        w=rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
    )
    compiled = onnxray.compile(model)
    assert compiled.value(OUTPUT).shape[0] == "N"
    for shape in ((1, 3, 20, 24), (2, 3, 33, 17)):
        x = rng.standard_normal(shape).astype(np.float32)
        expected = expected_maps(onnxray.load(model), x, "grad-cam")[:, 0]
        close(outputs(compiled, {"image": x})[OUTPUT][:, 0], upsample(expected, shape[2:]))


def test_the_metadata_says_what_was_added(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    note = json.loads(onnxray.compile(model, "smoothgrad", samples=2, target=1).metadata[METADATA])
    assert note["method"] == "smoothgrad"
    assert note["options"] == {"samples": 2, "noise": 0.15, "seed": 0}
    assert (note["target"], note["layer"], note["source_sha256"]) == ("1", None, model.sha256)
    assert note["versions"]["onnxray"] == onnxray.__version__


def test_the_file_is_the_same_every_time(cnn: onnx.ModelProto) -> None:
    first = onnxray.compile(cnn, "smoothgrad", samples=2, seed=7).proto.SerializeToString(deterministic=True)
    assert first == onnxray.compile(cnn, "smoothgrad", samples=2, seed=7).proto.SerializeToString(deterministic=True)
    other = onnxray.compile(cnn, "smoothgrad", samples=2, seed=8).proto.SerializeToString(deterministic=True)
    assert first != other


def test_the_forward_pass_is_there_once(cnn: onnx.ModelProto) -> None:
    compiled = onnxray.compile(cnn, "grad-cam")
    assert sum(node.op_type == "Conv" for node in compiled.graph.node) == 2


def test_half_precision(cnn: onnx.ModelProto, x: np.ndarray) -> None:
    half = onnx.ModelProto()
    half.CopyFrom(cnn)
    for value in (half.graph.input[0], half.graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for tensor in half.graph.initializer:
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        )
    compiled = onnxray.compile(half, "grad-cam", upsample="none")
    found = outputs(compiled, {"image": x.astype(np.float16)})[OUTPUT]
    # `explain` differentiates a float32 copy, the compiled model in float16.
    assert apart(found, expected_maps(onnxray.load(half), x.astype(np.float16), "grad-cam")) <= HALF


@pytest.mark.parametrize(
    ("error", "words", "arguments"),
    [
        (MethodError, "cannot be compiled", {"method": "score-cam"}),
        (UnknownName, "grad-cam", {"method": "grad-camm"}),
        (MethodError, "steps", {"method": "integrated-gradients", "tolerance": 0.1}),
        (MethodError, "no layer", {"method": "gradient", "layer": "features"}),
        (UnknownName, "features", {"layer": "featurs"}),
        (MethodError, "upsample", {"upsample": "yes"}),
        (MethodError, "normalize", {"normalize": "uint9"}),
        (MethodError, "preprocess", {"preprocess": "CHW"}),
        (TargetError, "one target at a time", {"target": "top:2"}),
        (TargetError, "0 to 4", {"target": 5}),
        (TargetError, "channels 0 to", {"target": "unit:inner:99"}),
    ],
)
def test_what_is_refused(cnn: onnx.ModelProto, error: type[Exception], words: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(error, match=words):
        onnxray.compile(cnn, **arguments)


def test_a_compiled_model_is_not_compiled_again(cnn: onnx.ModelProto) -> None:
    with pytest.raises(ModelError, match="saliency_map"):
        onnxray.compile(onnxray.compile(cnn))


def test_a_model_that_mixes_its_batch_is_refused(parse: Callable[..., onnx.ModelProto]) -> None:
    model = parse(
        "g (float[1, 3, 8, 8] image) => (float[1, 3] y) {"
        " m = ReduceMean <axes = [0], keepdims = 1> (image)  p = GlobalAveragePool (m)  y = Flatten (p) }"
    )
    with pytest.raises(MethodError, match="several inputs at once"):
        onnxray.compile(model, "smoothgrad", samples=2, output="y")


def test_no_gradient(parse: Callable[..., onnx.ModelProto]) -> None:
    model = parse(
        "g (float[N, 3, 8, 8] image) => (float[N, 3] y) {"
        " p = GlobalAveragePool (image)  f = Flatten (p)  z = Sign (f)  y = Identity (z) }"
    )
    with pytest.raises(GradientError, match="without a derivative"):
        onnxray.compile(model, "gradient", output="y", scores="logits")
