"""The table of candidates against the formulas of each family's own package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import onnxray
from onnxray.engine.detection.emit import LOGITS, SCORES, SIDES
from onnxray.engine.detection.table import table_of
from onnxray.engine.errors import ModelError, TargetError
from onnxray.engine.inference.session import run
from onnxray.engine.preprocess.answers import answer_of

from .families import FAMILIES, SIZE, Family, Net, gathered, yolo5


def photo(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (1, 3, *SIZE)).astype(np.float32)


@pytest.mark.parametrize("make", FAMILIES, ids=lambda f: f.__name__)
def test_every_family_is_decoded_without_an_option(make: Callable[[], Family]) -> None:
    family = make()
    table = table_of(family.model)
    assert table.layout.rule == family.rule
    assert table.plane == SIZE
    got = run(table.model, {"image": photo()})
    boxes, scores = family.decode(got)
    np.testing.assert_allclose(got[SIDES][0], boxes, atol=2e-3, rtol=1e-5)
    np.testing.assert_allclose(got[SCORES][0], scores, atol=1e-5)
    # Logits are in the order of scores; through objectness they are the logarithm of the product.
    logits = got[LOGITS][0].astype(np.float64)
    shown = scores > 0
    if any(part.objectness for part in table.layout.parts):
        power = 2 if table.layout.root else 1
        np.testing.assert_allclose(np.exp(logits[shown]), scores[shown] ** power, rtol=1e-3, atol=1e-6)
    else:
        np.testing.assert_allclose(1 / (1 + np.exp(-logits[shown])), scores[shown], atol=1e-5)
    assert table.reason.startswith(family.rule)


def test_the_card_overrides_what_is_found() -> None:
    family = yolo5()
    model = type(family.model)(
        family.model.proto, overrides={**family.model.overrides, "detector": {"objectness": False}}
    )
    table = table_of(model)
    assert table.layout.parts[0].objectness is None
    got = run(table.model, {"image": photo()})
    np.testing.assert_allclose(got[SCORES][0], got["output0"][0, :, 4:], atol=1e-6)


def _maps_of_centres(face: bool, names: tuple[str, str] = ("scale", "offset")) -> tuple[Net, list[str]]:
    """Sizes whose numbers are smaller than those of the offsets."""
    net = Net(3)
    x = net.op("Relu", net.conv("image", 3, 8, 3, 4))
    net.op("Sigmoid", net.conv(x, 8, 1 if face else 3, 3), name="heat")
    net.op("Sigmoid", net.conv(x, 8, 2, bias=-3.0), name=names[0])
    net.op("Sigmoid", net.conv(x, 8, 2, bias=3.0), name=names[1])
    if face:
        net.op("Identity", net.conv(x, 8, 10), name="points")
    return net, ["heat", names[1], names[0], *(["points"] if face else [])]


def _parts(net: Net, outputs: list[str], **detector: str) -> tuple[str, str, str]:
    """The outputs that are read as scores, sizes and offsets."""
    (part,) = table_of(net.model(outputs, detector=detector)).layout.parts
    assert part.offsets is not None
    return part.scores.value, part.boxes.value, part.offsets.value


@pytest.mark.parametrize("names", [("scale", "offset"), ("wh", "reg"), ("size", "other"), ("other", "offset")])
@pytest.mark.parametrize("face", [True, False])
def test_sizes_of_centres_are_known_by_their_names(face: bool, names: tuple[str, str]) -> None:
    """The numbers alone decided."""
    assert _parts(*_maps_of_centres(face, names)) == ("heat", *names)


@pytest.mark.parametrize("face", [True, False])
def test_what_a_card_says_of_centres_counts(face: bool) -> None:
    """It was read past."""
    net, outputs = _maps_of_centres(face, ("a", "b"))
    assert _parts(net, outputs) == ("heat", "b", "a")
    form = "centerface" if face else "centre"
    assert _parts(net, outputs, boxes="a", scores="heat", box_format=form) == ("heat", "a", "b")
    for wrong in ({"box_format": "xyxy"}, {"boxes": "heat"}, {"scores": "nothing"}, {"boxes": "nothing"}):
        with pytest.raises(ModelError, match="no candidates of a detector"):
            table_of(net.model(outputs, detector=wrong))


def test_scores_of_two_classes_of_centres_are_those_that_are_said() -> None:
    net, outputs = _maps_of_centres(False, ("a", "b"))
    net.op("Slice", "heat", *(net.const([n], np.int64) for n in (0, 2, 1)), name="two")
    outputs = ["two", "a", "b"]
    assert _parts(net, outputs, scores="b", boxes="a") == ("b", "a", "two")


def test_a_classifier_is_no_detector() -> None:
    net = Net()
    net.op("GlobalAveragePool", net.pyramid()[0], name="y")
    with pytest.raises(ModelError, match="no candidates of a detector"):
        table_of(net.model(["y"]))


def test_offsets_of_prior_boxes_are_refused() -> None:
    net = Net()
    maps = net.pyramid()
    net.op("Concat", *(net.rows(net.conv(x, 8, 4), 4) for x in maps), axis=1, name="boxes")
    net.op("Sigmoid", net.op("Concat", *(net.rows(net.conv(x, 8, 3), 3) for x in maps), axis=1), name="scores")
    with pytest.raises(ModelError, match="prior boxes"):
        table_of(net.model(["boxes", "scores"]))


GATHERED = (
    {},
    {"classes": 3},
    {"classes": 3, "labels": True},
    {"certain_first": True},
    {"batched": True, "labels": True},
)


@pytest.mark.parametrize("options", GATHERED, ids=str)
def test_gathered_rows_are_boxes(options: dict[str, Any]) -> None:
    """(n,) scores and (n, 4) sides were read as one number a sample and four classes, and ended in a Reshape error."""
    model = gathered(**options)
    found = answer_of(model)
    assert (found.output, found.kind) == ("det_scores", "boxes")
    assert ("the graph selects" if options.get("batched") else "NonMaxSuppression") in found.reason
    picture = (photo()[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    tensor = picture.transpose(2, 0, 1)[None].astype(np.float32) / 255
    ours, theirs = onnxray.detect(model, picture), run(model, {"image": tensor})
    assert len(ours) == theirs["det_scores"].size > 3
    np.testing.assert_allclose(ours.scores, np.sort(theirs["det_scores"].ravel())[::-1], atol=1e-5)
    for method in ("gradient", "occlusion"):
        shown = onnxray.explain(model, picture, method=method)
        assert len(shown) == 3
        assert shown[0].map.any()
        np.testing.assert_allclose(1 / (1 + np.exp(-shown[0].score)), theirs["det_scores"].max(), atol=1e-5)


def test_the_class_of_a_box_is_asked_for_with_box() -> None:
    """The map of class 4 was zero without a word."""
    with pytest.raises(TargetError, match="has no classes .* explain a box with box, box:class=NUMBER"):
        onnxray.explain(gathered(), np.zeros((*SIZE, 3), np.uint8), "occlusion", 4)


def test_a_selection_of_samples_is_no_box(parse: Callable[..., onnx.ModelProto]) -> None:
    """Rows of an axis of samples stay samples, be it that NonZero stands behind them."""
    text = """g (float[n, 3, 8, 8] x) => (float[m, 5] y) <float[3, 5] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}>
    { g = GlobalAveragePool (x) f = Flatten (g) i = NonZero (f) j = Transpose (i) r = GatherND (f, j) m = Size (r)
      h = Relu (f) y = MatMul (h, w) }"""
    assert answer_of(onnxray.load(parse(text))).kind == "classes"


@pytest.mark.parametrize("plugin", ["EfficientNMS_TRT", "BatchedNMS_TRT"])
def test_plugins_of_tensorrt_are_refused_with_the_values_to_cut_at(plugin: str) -> None:
    net = Net()
    maps = net.pyramid()
    boxes = net.op("Concat", *(net.rows(net.conv(x, 8, 4), 4) for x in maps), axis=1, name="all_boxes")
    scores = net.op(
        "Sigmoid", net.op("Concat", *(net.rows(net.conv(x, 8, 3), 3) for x in maps), axis=1), name="by_class"
    )
    net.op(plugin, boxes, scores, outputs=4, name="num_dets", domain="TRT")
    net.op("Identity", "by_class", name="y")
    with pytest.raises(
        ModelError, match=f"{plugin}, a plugin of TensorRT .* or cut it off before 'all_boxes', 'by_class'"
    ):
        table_of(net.model(["num_dets"], {"num_dets": TensorProto.INT32}))


def test_levels_may_come_coarsest_first_with_anchors_outside() -> None:
    net, tables = Net(), []
    for i, x in reversed(list(enumerate(net.pyramid(2)))):
        h, w = SIZE[0] >> 3 + i, SIZE[1] >> 3 + i
        raw = net.op("Reshape", net.conv(x, 8, 21), net.const([1, 3, 7, h, w], np.int64))
        table = net.op("Sigmoid", net.op("Transpose", raw, perm=[0, 1, 3, 4, 2]))
        tables.append(net.op("Reshape", table, net.const([1, -1, 7], np.int64)))
    net.op("Concat", *tables, axis=1, name="output0")
    table = table_of(net.model(["output0"]))
    assert [grid.stride for grid in table.grids] == [16, 8]
    places = (SIZE[0] // 16) * (SIZE[1] // 16)
    assert table.place(places + 7) == (0, (1, 1))  # the second anchor
    assert table.place(3 * places + 13) == (1, (1, 1))
