"""What the card says of an input: it overrides structure, is checked against the model, and is used by maps and windows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution.place_axes import is_table, place_axes
from onnxray.engine.errors import CardError, ModelError
from onnxray.engine.inspect.concrete_shapes import spatial_input
from onnxray.engine.inspect.input_kind import input_kinds
from onnxray.engine.preprocess.find import find_card

Parse = Callable[..., onnx.ModelProto]


M = np.arange(24, dtype=np.float32).reshape(1, 6, 4) - 7
W = np.random.default_rng(0).normal(size=(24, 2)).astype(np.float32)


def answer(x: np.ndarray[Any, Any]) -> float:
    """The first number that `plain` answers."""
    return float(np.maximum(x * M, 0).reshape(-1) @ W[:, 0])


@pytest.fixture
def plain(parse: Parse) -> onnx.ModelProto:
    """Nothing in it says what its two axes are: every element has its weight."""
    return parse(
        "m (float[N, 6, 4] x) => (float[N, 2] y) { a = Mul (x, m)  b = Relu (a)  f = Flatten (b)  y = MatMul (f, w) }",
        m=M,
        w=W,
    )


@pytest.fixture
def planes(parse: Parse) -> onnx.ModelProto:
    return parse(
        """m (float[N, 3, 8, 8] x) => (float[N, 2] y) {
             c = Conv (x, k)  p = GlobalAveragePool (c)  f = Flatten (p)  y = MatMul (f, w) }""",
        k=np.ones((4, 3, 3, 3), np.float32),
        w=np.ones((4, 2), np.float32),
    )


@pytest.mark.parametrize(("axes", "places"), [("NTF", (1,)), ("NFT", (2,)), ("NCT", (2,)), ("NTC", (1,))])
def test_axes_of_a_series_decide_what_windows_slide_along(
    plain: onnx.ModelProto, axes: str, places: tuple[int, ...]
) -> None:
    assert place_axes(onnxray.load(plain), "x", (6, 4)) == ()
    model = onnxray.load(plain, axes=axes)
    (found,) = input_kinds(model).values()
    assert (found.kind, found.axes, found.reason) == ("series", axes, "the card says so")
    assert spatial_input(model) == ("x", places)
    x = np.random.default_rng(1).normal(size=(1, 6, 4)).astype(np.float32)
    e = onnxray.explain(model, x, "occlusion", target="element:y:0", patch=1)
    assert e.values.shape == ((6, 4)[places[0] - 1],)
    assert e.extent == e.values.shape
    by_hand = []
    for place in range(len(e.values)):
        hidden = x.copy()
        hidden.swapaxes(1, places[0])[:, place] = 0
        by_hand.append(answer(x) - answer(hidden))
    np.testing.assert_allclose(e.values, by_hand, rtol=1e-4, atol=1e-4)


def test_a_grid_lies_along_the_axis_that_the_card_says(plain: onnx.ModelProto) -> None:
    x = np.ones((1, 6, 4), np.float32)
    e = onnxray.explain(onnxray.load(plain, axes="NFT"), x, "ablation", target=0, segments="grid", grid=2)
    assert e.values.shape == e.extent == (4,)
    assert e.values[0] == e.values[1] != e.values[2] == e.values[3]


def test_a_table_has_no_neighbours(plain: onnx.ModelProto, parse: Parse) -> None:
    proto = parse(
        "m (float[N, 1000] x) => (float[N, 2] y) { a = Neg (x)  y = MatMul (a, w) }", w=np.ones((1000, 2), np.float32)
    )
    assert input_kinds(onnxray.load(proto))["x"].kind != "table"
    model = onnxray.load(proto, kind="table")
    assert (input_kinds(model)["x"].kind, input_kinds(model)["x"].axes) == ("table", "NF")
    assert is_table(model, "x")


def test_an_image_may_be_no_image_and_the_other_way_round(planes: onnx.ModelProto, parse: Parse) -> None:
    model = onnxray.load(planes, kind="series", axes="NCFT")
    assert input_kinds(model)["x"].kind == "series"
    assert spatial_input(model) == ("x", (3,))
    with pytest.raises(ModelError, match="no image input .*: series to the card"):
        find_card(model)
    turned = onnxray.load(planes, axes="NCHW")
    assert find_card(turned).layout == "NCHW"
    (image,) = [d for d in onnxray.inspect(turned).decisions if d.what == "image input"]
    assert image.reason == "the card says so"


@pytest.mark.parametrize("kind", ["series", "sound"])
def test_inspect_says_who_says_so(plain: onnx.ModelProto, kind: str) -> None:
    report = onnxray.inspect(plain, kind=kind, axes="NTF")
    (decision,) = [d for d in report.decisions if d.what == "input x"]
    assert (decision.value, decision.reason) == (f"{kind} (NTF)", "the card says so")


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"axes": "NT"}, "the card's axes NT are 2, but the input .* has 3"),
        ({"axes": "N1T"}, "axis of size 1 where the input .* has 6"),
        ({"kind": "volume"}, "the card's kind is volume, but the input .* has 3 axes, not 4 to 5"),
        ({"kind": "table"}, "the card's kind is table, but the input .* has 3 axes, not 1 to 2"),
        ({"kind": "series", "axes": "NCF"}, "its kind is series: give the axis T"),
        ({"kind": "image", "axes": "NTF"}, "its kind is image: give the axes H, W"),
        ({"axes": "TNF"}, "N, samples, comes first"),
        ({"kind": "text"}, "the card's kind is text, but the input .* has 3 axes"),
        ({"axes": "NTT"}, "axes in the options must be a letter for each axis"),
        ({"kind": "picture"}, "kind in the options must be one of image, text"),
    ],
)
def test_contradictions_are_one_line(plain: onnx.ModelProto, card: dict[str, Any], message: str) -> None:
    with pytest.raises(CardError, match=message) as caught:
        onnxray.explain(onnxray.load(plain, **card), np.zeros((1, 6, 4), np.float32), "gradient", target=0)
    assert "\n" not in str(caught.value)


def test_of_several_inputs_one_is_named(parse: Parse) -> None:
    proto = parse("m (float[N, 6, 4] a, float[N, 6, 4] b) => (float[N, 6, 4] y) { y = Add (a, b) }")
    with pytest.raises(CardError, match="describe one input, the model has a, b: name it with input="):
        input_kinds(onnxray.load(proto, axes="NTF"))
    found = input_kinds(onnxray.load(proto, axes="NTF", input="b"))
    assert (found["a"].axes, found["b"].axes) == ("", "NTF")


def test_a_card_beside_the_model_and_in_its_metadata(plain: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(plain, tmp_path / "net.onnx")
    (tmp_path / "net.card.json").write_text(json.dumps({"kind": "series", "axes": "nft"}))
    (found,) = input_kinds(onnxray.load(tmp_path / "net.onnx")).values()
    assert (found.kind, found.axes, found.reason) == ("series", "NFT", "the card says so")
    (found,) = input_kinds(onnxray.load(tmp_path / "net.onnx", axes="NTF")).values()
    assert found.axes == "NTF"
    inside = onnx.ModelProto()
    inside.CopyFrom(plain)
    inside.metadata_props.add(key="onnxray.card", value='{"axes": "NTF"}')
    assert input_kinds(onnxray.load(inside))["x"].axes == "NTF"


def test_a_card_file_is_named_as_the_source(planes: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(planes, tmp_path / "net.onnx")
    (tmp_path / "net.card.json").write_text(json.dumps({"kind": "image", "axes": "NCHW"}))
    source = find_card(onnxray.load(tmp_path / "net.onnx")).source
    assert "kind, axes from the card file" in source


def test_grad_cam_along_the_time_that_the_card_says(parse: Parse) -> None:
    """A matrix mixes the features at every time: only the card says that the rows are times."""
    proto = parse(
        "m (float[N, 6, 4] x) => (float[N, 2] y) { a = MatMul (x, v)  b = Relu (a)  f = Flatten (b)  y = MatMul (f, w) }",
        v=np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32),
        w=np.random.default_rng(1).normal(size=(30, 2)).astype(np.float32),
    )
    x = np.random.default_rng(2).normal(size=(1, 6, 4)).astype(np.float32)
    model = onnxray.load(proto, axes="NTF")
    assert model.layers["b"].map_axes == (1,)
    e = onnxray.explain(model, x, "occlusion", target=0, patch=1)
    assert e.extent == (6,)
