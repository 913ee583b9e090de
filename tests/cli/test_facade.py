"""The public Python face takes what users have at hand: paths, Pillow images, lists of them, layers, names of models."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import onnxray
from onnxray.cli.files.images import read
from onnxray.engine.errors import MethodError, ShapeError, UnknownName


def same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    np.testing.assert_array_equal(a.values, b.values)


@pytest.fixture(scope="module")
def model() -> onnxray.Model:
    return onnxray.load("builtin")


@pytest.fixture(scope="module")
def path() -> Path:
    return onnxray.samples()[4]


@pytest.fixture(scope="module")
def pixels(path: Path) -> np.ndarray:
    return read(path)


def test_a_path_a_pillow_image_and_pixels_are_the_same(model: onnxray.Model, path: Path, pixels: np.ndarray) -> None:
    wanted = onnxray.explain(model, pixels, "gradient")
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    for given in (path, str(path), Image.open(path), opaque, Image.fromarray(opaque)):
        same(onnxray.explain(model, given, "gradient"), wanted)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK"])
def test_pillow_images_of_other_modes_are_converted(
    model: onnxray.Model, path: Path, pixels: np.ndarray, mode: str
) -> None:
    given = Image.open(path).convert(mode)
    plain = np.asarray(given.convert("RGB"))
    same(onnxray.explain(model, given, "gradient"), onnxray.explain(model, plain, "gradient"))


def test_lists_of_files_give_one_explanation_each(model: onnxray.Model, pixels: np.ndarray) -> None:
    files = [*onnxray.samples()[:2], str(onnxray.samples()[4])]
    found = onnxray.explain(model, [*files, pixels], "gradient")
    assert isinstance(found, onnxray.Explanations)
    assert [e.source for e in found] == [*map(str, files), None]
    np.testing.assert_array_equal(found[2].values, found[3].values)
    assert isinstance(onnxray.explain(model, files[:1], "gradient"), onnxray.Explanations)
    two = onnxray.explain(model, files, "gradient", target=onnxray.Target.several([1, 2]))
    assert [(e.source, e.label) for e in two][:3] == [
        (str(files[0]), "scratch (1)"),
        (str(files[0]), "crack (2)"),
        (str(files[1]), "scratch (1)"),
    ]
    each = onnxray.explain(model, files, "gradient", target=[1, "crack", "predicted"])
    assert [(e.source, e.label) for e in each][:2] == [(str(files[0]), "scratch (1)"), (str(files[1]), "crack (2)")]
    assert len(each) == 3


def test_a_path_among_named_inputs(model: onnxray.Model, path: Path) -> None:
    same(onnxray.explain(model, {"image": path}, "gradient"), onnxray.explain(model, path, "gradient"))


@pytest.mark.parametrize("kind", ["image", "path", "list"])
def test_activations_of_pictures(model: onnxray.Model, path: Path, pixels: np.ndarray, kind: str) -> None:
    x = onnxray.engine.preprocess.image.prepare(pixels, onnxray.engine.preprocess.find.find_card(model)).tensor
    given = {"image": pixels, "path": str(path), "list": [path]}[kind]
    layer = model.layers[3]
    found = onnxray.activations(model, given, layer)
    np.testing.assert_array_equal(found[layer.name], onnxray.activations(model, x, [layer.name])[layer.name])


def test_a_layer_is_as_good_as_its_name(model: onnxray.Model, path: Path) -> None:
    layer = model.layers["stage2/relu2"]
    same(onnxray.explain(model, path, layer=layer), onnxray.explain(model, path, layer="stage2/relu2"))
    same(onnxray.explain(model, path, layer=[layer]), onnxray.explain(model, path, layer="stage2/relu2"))


@pytest.mark.parametrize("layer", [-1, 5, {"a": 1}, ["relu", 3]])
def test_other_layers_are_refused_in_words(model: onnxray.Model, path: Path, layer: Any) -> None:
    with pytest.raises(MethodError, match=r"layer was given .*: give a layer's name, or one of model.layers"):
        onnxray.explain(model, path, layer=layer)


def test_a_method_s_class_and_instance(model: onnxray.Model, path: Path) -> None:
    cls = onnxray.methods()["lrp"]
    same(onnxray.explain(model, path, cls, composite="epsilon"), onnxray.explain(model, path, cls(composite="epsilon")))


def test_several_methods_are_refused_in_words(model: onnxray.Model, path: Path) -> None:
    with pytest.raises(MethodError, match="2 methods: give the name of one"):
        onnxray.explain(model, path, ["grad-cam", "lrp"])  # type: ignore[call-overload]


def test_misspelled_arguments_get_the_nearest(model: onnxray.Model, path: Path) -> None:
    with pytest.raises(UnknownName, match=r"'mehtod'; nearest: 'method'"):
        onnxray.explain(model, path, mehtod="lrp")  # type: ignore[call-overload]
    with pytest.raises(UnknownName, match="nearest: 'resize'"):
        onnxray.explain(model, path, reszie="crop")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "cannot be made of NoneType"),
        (object(), "cannot be made of object"),
        (np.zeros((8, 8, 3), np.float32), r"\(255 \* image\)"),
        (np.zeros((8, 8, 2), np.uint8), "uint8"),
    ],
)
def test_what_is_no_image_is_refused_in_words(model: onnxray.Model, given: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        onnxray.explain(model, given)


def test_predict(model: onnxray.Model, path: Path, pixels: np.ndarray) -> None:
    one = onnxray.predict(model, path)
    assert isinstance(one, onnxray.Prediction)
    assert (one.label, one.index, one.source, len(one.top)) == ("crack", 2, str(path), 5)
    e = onnxray.explain(model, path, "gradient")
    assert (one.probability, one.top[0].score) == (pytest.approx(e.probability), pytest.approx(e.score))
    several = onnxray.predict("builtin", [*onnxray.samples()], top=1, batch=4)
    assert [p.source for p in several] == [*map(str, onnxray.samples())]
    assert [len(p.top) for p in several] == [1] * 10
    assert repr(onnxray.predict(model, pixels, top=1)) == "<crack > 99.9 %>"
    assert "<td>crack</td>" in one._repr_html_()
    assert sum(guess.probability for guess in onnxray.predict(model, path, top=99).top) == pytest.approx(1)


def test_predict_of_numbers(parse: Any) -> None:
    proto = parse(
        "m (float[N, 3] x) => (float[N, 1] age) { age = ReduceSum <keepdims = 1> (x, axes) }", axes=np.array([1])
    )
    (first, second) = onnxray.predict(proto, np.arange(6, dtype=np.float32).reshape(2, 3))
    assert (first.numbers.tolist(), second.numbers.tolist(), first.label) == ([3.0], [12.0], None)


@pytest.mark.parametrize(
    ("arguments", "words"), [({"tops": 3}, "nearest: 'top'"), ({"top": 0}, "top=0"), ({"batch": 0}, "at least 1")]
)
def test_predict_refuses_in_words(model: onnxray.Model, path: Path, arguments: dict[str, int], words: str) -> None:
    with pytest.raises(onnxray.OnnxrayError, match=words):
        onnxray.predict(model, path, **arguments)


def test_inspect_and_filters(model: onnxray.Model) -> None:
    report = onnxray.inspect("builtin")
    assert report.layers == model.layers
    assert "layer for class activation maps: stage4/relu2" in repr(report)
    first = onnxray.filters(model)
    assert (first.layer.name, first.values.ndim) == ("stage1/conv", 4)
    assert onnxray.filters("builtin", model.layers["stage2/conv1"]).layer.name == "stage2/conv1"
    with pytest.raises(MethodError, match="has no stored weights"):
        onnxray.filters(model, "stage1/relu")


def test_everything_public_can_be_pickled(model: onnxray.Model, path: Path, cnn: onnx.ModelProto) -> None:
    e = onnxray.explain(model, path)
    for made in (pickle.loads(pickle.dumps(e)), copy.deepcopy(e)):
        same(made, e)
        np.testing.assert_array_equal(made.overlay(), e.overlay())
        assert made.manifest() == e.manifest()
        assert made.label == e.label
    assert len(pickle.dumps(e)) < 1 << 20
    several = onnxray.explain(model, [path, path])
    same(pickle.loads(pickle.dumps(several)), several)
    for source in (model, onnxray.load(cnn, mean=3.0)):
        again = pickle.loads(pickle.dumps(source))
        assert (again.path, again.sha256, again.overrides) == (source.path, source.sha256, source.overrides)
        same(onnxray.explain(again, path), onnxray.explain(source, path))
    assert pickle.loads(pickle.dumps(model.layers)) == model.layers
    assert pickle.loads(pickle.dumps(onnxray.predict(model, path))) == onnxray.predict(model, path)


def test_layers_by_name_and_as_tables(model: onnxray.Model) -> None:
    assert model.layers["stage1/conv"] is model.layers[0]
    assert model.layers[:2] == tuple(model.layers)[:2]
    with pytest.raises(UnknownName, match="nearest: 'stage1/conv'"):
        model.layers["stage1/con"]
    assert len(repr(model.layers).splitlines()) == len(model.layers) + 1
    for shown in (model, model.layers, model.layers[0], onnxray.explain(model, onnxray.samples()[0])):
        assert "stage1/conv" in shown._repr_html_() or "grad-cam" in shown._repr_html_()


def test_names_of_a_model_are_no_markup(parse: Any) -> None:
    proto = parse("m (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }")
    proto.graph.node[0].name = "<b>"
    proto.graph.output[0].name = proto.graph.node[0].output[0] = "<i>"
    model = onnxray.load(proto)
    for shown in (model._repr_html_(), model.layers[0]._repr_html_()):
        assert "<b>" not in shown
        assert "<i>" not in shown
