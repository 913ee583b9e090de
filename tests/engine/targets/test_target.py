"""Which scalar is explained: texts, labels, and the cotangent on a value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import TargetError, UnknownName
from onnxray.engine.preprocess.geometry import Geometry
from onnxray.engine.targets.classes import class_index, label_of
from onnxray.engine.targets.kinds.classes import Class, Contrast, Predicted, Several
from onnxray.engine.targets.kinds.region import Region
from onnxray.engine.targets.kinds.unit import Unit
from onnxray.engine.targets.resolved import Place, score
from onnxray.engine.targets.settled import settled
from onnxray.engine.targets.target import Target

LABELS = ("n01440764 tench, Tinca tinca", "goldfish", "crane", "Crane", "tabby, tabby cat")


@pytest.mark.parametrize(
    "text",
    [
        "predicted",
        "rank:3",
        "top:3",
        "5",
        "tabby",
        "tabby, tabby cat",
        "class:5",
        "class:top:3",
        "classes:5,tabby",
        "classes:tabby, tabby cat;5",
        "contrast:5,7",
        "contrast:predicted,rank:2",
        "prob:5",
        "prob:predicted",
        "logit:top:2",
        "unit:conv1:7",
        "unit:conv1:7,2,3",
        "unit:conv1:strongest",
        "unit:conv1:strongest,strongest",
        "unit:Stateful:0:3,strongest",
        "unit:tokens:3,17",
        "element:boxes:9,1",
        "element:scores:0:max,1",
        "element:map:2,mean,mean",
        "region:cat",
        "region:3",
        "region:cat:10,20,30.5,40",
    ],
)
def test_a_text_says_what_it_was_read_as(text: str) -> None:
    target = Target.parse(text)
    assert str(target) == text
    assert Target.parse(str(target)) == target
    assert Target.of(target) is target


def test_what_python_takes() -> None:
    assert Target.of(None) == Predicted()
    assert Target.of(5) == Target.of(np.int64(5)) == Class(5) == Target.parse("5")
    assert Target.of("tabby") == Class("tabby") == Target.class_("tabby")
    assert Target.of([1, "tabby"]) == Several((Class(1), Class("tabby"))) == Target.several([1, "tabby"])
    assert Target.top(2) == Several((Predicted(1), Predicted(2)))
    assert Target.contrast(1, None) == Contrast(Class(1), Predicted())
    assert Target.unit("conv", 3, (1, 2)) == Unit("conv", 3, (1, 2))
    assert Target.region("cat", (0, 0, 4, 5)) == Region("cat", (0, 0, 4, 5))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Target.of(1.5), "a class index"),
        (lambda: Target.of(True), "a class index"),
        (lambda: Target.of([]), "a class index"),
        (lambda: Target.parse(""), "empty"),
        (lambda: Target.parse("top:x"), "write top:NUMBER"),
        (lambda: Target.parse("top:0"), "at least one"),
        (lambda: Target.parse("rank:0"), "rank 1"),
        (lambda: Target.parse("contrast:5"), "write contrast:A,B"),
        (lambda: Target.parse("unit:7"), "write unit:LAYER"),
        (lambda: Target.parse("unit:a:b"), "write unit:LAYER"),
        (lambda: Target.parse("element:a:b"), "write element:VALUE"),
        (lambda: Target.parse("region:cat:4,0,2,9"), "y0 < y1"),
        (lambda: Target.parse("cotangent:v:/nowhere.npy"), "cannot be read"),
        (lambda: Target.several([Target.unit("a")]), "cannot be one of several"),
        (lambda: Target.contrast(Target.top(2), 1), "between two classes"),
        (lambda: Target.probability(Target.unit("a")), "of a class"),
        (lambda: Target.unit("a", "best"), "neither a number nor"),
        (lambda: Target.element("a", ["low"]), "neither a number nor"),
        (lambda: Target.region(1, (0, 0, 1, 1), np.ones((2, 2))), "a box or a mask"),
    ],
)
def test_what_is_no_target_is_refused(make: Callable[[], Target], words: str) -> None:
    with pytest.raises(TargetError, match=words):
        make()


def test_labels_are_looked_up_whole_then_by_synonym() -> None:
    assert class_index("n01440764 tench, Tinca tinca", LABELS, 5) == 0
    assert class_index("TENCH, tinca tinca", LABELS, 5) == 0
    assert class_index("tinca  tinca", LABELS, 5) == 0
    assert class_index("N01440764", LABELS, 5) == 0
    assert class_index("Crane", LABELS, 5) == 3
    assert class_index("tabby_cat", LABELS, 5) == 4
    assert label_of(0, LABELS) == "tench, Tinca tinca"
    assert label_of(9, LABELS) is label_of(0, None) is None


@pytest.mark.parametrize(
    ("which", "labels", "count", "words"),
    [
        (7, LABELS, 5, r"class 7 does not exist: the model has classes 0 to 4 \('n01440764 tench"),
        (-1, None, None, r"class -1 does not exist"),
        ("tabby", None, 5, r"no labels"),
        ("CRANE", LABELS, 5, r"several classes: 2 \(crane\), 3 \(Crane\)"),
        ("tabby", LABELS, 3, r"is class 4, the model has classes 0 to 2"),
    ],
)
def test_classes_that_do_not_exist(
    which: int | str, labels: tuple[str, ...] | None, count: int | None, words: str
) -> None:
    with pytest.raises(TargetError, match=words):
        class_index(which, labels, count)


def test_an_unknown_label_gets_the_nearest_ones() -> None:
    with pytest.raises(UnknownName, match=r"no label named 'goldfsh'; nearest: 'goldfish'"):
        class_index("goldfsh", LABELS, 5)


def test_labels_that_hold_the_word_come_before_those_spelled_alike() -> None:
    labels = ["crate", "coast", "vat", "cattle truck", "n02123045 tabby, tabby cat", "n02123394 Persian cat"]
    with pytest.raises(UnknownName) as caught:
        class_index("cat", labels, 6)
    assert caught.value.nearest == ["tabby cat", "Persian cat", "tabby, tabby cat"]


Y = np.array([[0.5, 3.0, -1.0, 2.0, 0.0], [4.0, 0.0, 1.0, 1.0, 5.0]], np.float32)


@pytest.mark.parametrize(
    ("target", "rows"),
    [
        (None, [(0, {1: 1}), (1, {4: 1})]),
        ("rank:2", [(0, {3: 1}), (1, {0: 1})]),
        (2, [(0, {2: 1}), (1, {2: 1})]),
        ("top:2", [(0, {1: 1}), (0, {3: 1}), (1, {4: 1}), (1, {0: 1})]),
        ([3, 0], [(0, {3: 1}), (0, {0: 1}), (1, {3: 1}), (1, {0: 1})]),
        ("contrast:predicted,3", [(0, {1: 1, 3: -1}), (1, {4: 1, 3: -1})]),
        ("classes:tabby", [(0, {4: 1}), (1, {4: 1})]),
    ],
)
def test_classes_become_cotangents(
    cnn: onnx.ModelProto, target: object, rows: list[tuple[int, dict[int, int]]]
) -> None:
    resolved = Target.of(target).resolve(Place(onnxray.load(cnn), LABELS))  # type: ignore[arg-type]
    expected = np.zeros((len(rows), 5), np.float32)
    for row, (_, weights) in zip(expected, rows, strict=True):
        row[list(weights)] = list(weights.values())
    found = resolved.cotangents(Y)
    assert resolved.of == "logits"
    assert resolved.count * 2 == len(rows)
    assert np.array_equal(found, expected)
    samples = np.array([s for s, _ in rows])
    assert np.allclose(score(Y[samples], found), (Y[samples] * expected).sum(axis=1))
    names = [t.title for t in settled(resolved, Y, LABELS)]
    assert len(names) == len(rows)
    if target is None:
        assert names == ["goldfish (1)", "tabby, tabby cat (4)"]
        assert settled(resolved, Y, None)[0] == Class(1)


def test_titles_name_the_label_and_its_index() -> None:
    assert Class(3, "cat").title == "cat (3)"
    assert Class(3, "3").title == Class(3).title == "class 3"  # digits
    assert Class(4, "3").title == "3 (4)"


def test_a_tie_goes_to_the_first_class(cnn: onnx.ModelProto) -> None:
    resolved = Target.of("top:3").resolve(Place(onnxray.load(cnn)))
    assert resolved.chosen(np.array([[1.0, 2, 2, 2, 0]])).ravel().tolist() == [1, 2, 3]


def test_scores_leave_out_what_does_not_count() -> None:
    y = np.array([[np.inf, 2.0, np.nan], [1.0, 1e8, 1.0]], np.float32)
    cotangents = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, -1.0]], np.float32)
    assert score(y, cotangents).tolist() == [2.0, 1e8]
    assert score(y, cotangents, np.array([0, 0])).tolist() == [2.0, 1e8]


@pytest.mark.parametrize("kind", ["prob", "logit"])
def test_probabilities_and_logits(parse: Callable[..., onnx.ModelProto], kind: str) -> None:
    after = "y = Softmax (z)" if kind == "logit" else "y = Identity (z)"
    model = onnxray.load(parse(f"m (float[N, 3] x) => (float[N, 3] y) {{ z = Neg (x) {after} }}"))
    resolved = Target.parse(f"{kind}:1").resolve(Place(model))
    x = np.array([[1.0, 2.0, -3.0]], np.float32)
    value = onnxray.activations(resolved.model, x, resolved.of)[resolved.of]
    soft = np.exp(-x) / np.exp(-x).sum()
    assert np.allclose(value, soft if kind == "prob" else -x, rtol=1e-6)
    assert score(value, resolved.cotangents(value)) == pytest.approx(
        float((soft if kind == "prob" else -x)[0, 1]), rel=1e-6
    )
    plain = Target.parse("1").resolve(Place(model))
    assert plain.of == "y"


def test_there_is_no_logit_before_what_is_no_softmax(parse: Callable[..., onnx.ModelProto]) -> None:
    model = onnxray.load(parse("m (float[N, 3] x) => (float[N, 3] y) { y = Abs (x) }"), scores="probabilities")
    with pytest.raises(TargetError, match="cannot be found"):
        Target.parse("logit:1").resolve(Place(model))


def test_a_unit_is_one_place_of_one_channel(cnn: onnx.ModelProto) -> None:
    place = Place(onnxray.load(cnn))
    y = np.random.default_rng(0).standard_normal((2, 8, 8, 8)).astype(np.float32)
    one = Target.unit("features", 3, (2, 5)).resolve(place).cotangents(y)
    assert one.sum() == 2
    assert score(y, one).tolist() == y[:, 3, 2, 5].tolist()
    mean = Target.unit("features", 3).resolve(place).cotangents(y)
    assert score(y, mean) == pytest.approx(y[:, 3].mean(axis=(1, 2), dtype=np.float64), rel=1e-5)
    best = Target.unit("features", "strongest", "strongest").resolve(place)
    assert not best.constant
    assert score(y, best.cotangents(y)).tolist() == y.max(axis=(1, 2, 3)).tolist()
    found = settled(best, y, None)
    assert [y[i, u.channel][u.at] for i, u in enumerate(found)] == y.max(axis=(1, 2, 3)).tolist()  # type: ignore[attr-defined]
    along = Target.unit("features", 2, "strongest").resolve(place).cotangents(y)
    assert score(y, along).tolist() == y[:, 2].max(axis=(1, 2)).tolist()
    dense = Target.unit("logits", 3).resolve(place).cotangents(Y)
    assert score(Y, dense).tolist() == Y[:, 3].tolist()
    for wrong in (Target.unit("features", 8), Target.unit("features", 0, (8, 0)), Target.unit("features", 0, (1,))):
        with pytest.raises(TargetError, match="the layer 'features'"):
            wrong.resolve(place).cotangents(y)
    with pytest.raises(UnknownName, match="features"):
        Target.unit("featurs", 0).resolve(place)


def test_an_element_is_a_number_a_greatest_one_or_a_mean() -> None:
    y = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    y[0, 1, 0, 2] = 100
    model = onnxray.load(
        onnx.helper.make_model(
            onnx.helper.make_graph(
                [onnx.helper.make_node("Identity", ["x"], ["y"])],
                "g",
                [onnx.helper.make_tensor_value_info("x", 1, [1, 2, 3, 4])],
                [onnx.helper.make_tensor_value_info("y", 1, [1, 2, 3, 4])],
            ),
            opset_imports=[onnx.helper.make_opsetid("", 17)],
            ir_version=8,
        )
    )
    place = Place(model)
    for index, value in [
        ((1, 2, 3), 23.0),
        ((-1, -1, -1), 23.0),
        (("max", 0, 2), 100.0),
        (("max", "max", "max"), 100.0),
        ((0, "max", "mean"), y[0, 0].mean(axis=1).max()),
        ((1, "mean", "mean"), y[0, 1].mean()),
    ]:
        cotangent = Target.element("y", index).resolve(place).cotangents(y)
        assert score(y, cotangent) == pytest.approx([value], rel=1e-6)
    for wrong, words in [(((0, 0), "2 axes"), "names 2 axes"), (((2, 0, 0), ""), "out of range")]:
        with pytest.raises(TargetError, match=words):
            Target.element("y", wrong[0]).resolve(place).cotangents(y)


@pytest.fixture
def dense(parse: Callable[..., onnx.ModelProto]) -> onnxray.Model:
    text = "m (float[N, 3, 8, 8] image) => (float[N, 2, 4, 4] scores) { scores = Conv <strides = [2, 2]> (image, w) }"
    return onnxray.load(parse(text, w=np.ones((2, 3, 2, 2), np.float32)))


def test_a_region_is_the_mean_of_a_class_over_a_box_a_mask_or_its_own_places(dense: onnxray.Model) -> None:
    y = np.zeros((1, 2, 4, 4), np.float32)
    y[0, 1, 1:3, 2:] = [[1, 2], [3, 4]]
    place = Place(dense, plane=(8, 8))
    for target, value in [
        (Target.region(1), 2.5),
        (Target.region(1, (2, 4, 4, 8)), 1.5),
        (Target.region(1, mask=np.tri(4, dtype=bool)), y[0, 1][np.tri(4, dtype=bool)].mean()),
        (Target.region(1, mask=np.pad(np.ones((1, 1), bool), ((5, 2), (7, 0)))), 4.0),
    ]:
        assert score(y, target.resolve(place).cotangents(y)) == pytest.approx([value])
    # The image was scaled to half its size: the box is in its pixels.
    half = Place(dense, geometries=(Geometry((16, 16), (8, 8), (8, 8), (0, 0)),), plane=(8, 8))
    assert score(y, Target.region(1, (4, 8, 8, 16)).resolve(half).cotangents(y)) == pytest.approx([1.5])
    for target, words in [
        (Target.region(0, (7.2, 0, 7.4, 8)), "the box 7.2,0,7.4,8 covers no cell"),
        (Target.region(0, mask=np.ones((5, 5))), "fits neither"),
        (Target.region(2), "class 2 does not exist"),
    ]:
        with pytest.raises(TargetError, match=words):
            target.resolve(place).cotangents(y)
    with pytest.raises(TargetError, match="wins nowhere"):
        Target.region(1).resolve(place).cotangents(np.zeros_like(y))


def test_a_map_is_explained_by_its_largest_region(dense: onnxray.Model) -> None:
    """Class 0 is taken for the background where it covers most."""
    resolved = Target.predicted().resolve(Place(dense))
    y = np.zeros((1, *[int(d) for d in (dense.outputs[0].shape or ())[1:]]), np.float32)
    y[0, 0] = 1
    y[0, 1, 0, 0] = 2
    (target,) = settled(resolved, y, None)
    assert target == Target.region(1)
    assert score(y, resolved.cotangents(y)) == pytest.approx([2])
    with pytest.raises(TargetError, match=r"explain region:CLASS"):
        Target.contrast(0, 1).resolve(Place(dense))


def test_classes_have_no_region(cnn: onnx.ModelProto) -> None:
    with pytest.raises(TargetError, match="no output has a score for every class and place"):
        Target.region(1).resolve(Place(onnxray.load(cnn)))


def test_a_cotangent_is_taken_as_it_is(cnn: onnx.ModelProto, tmp_path: object) -> None:
    place = Place(onnxray.load(cnn))
    array = np.arange(5, dtype=np.float64)
    for given in (array, np.stack([array, array])):
        found = Target.cotangent("logits", given).resolve(place).cotangents(Y)
        assert score(Y, found) == pytest.approx(Y @ array)
    with pytest.raises(TargetError, match="does not fit"):
        Target.cotangent("logits", array[:4]).resolve(place).cotangents(Y)
    np.save(f"{tmp_path}/c.npy", array)
    read = Target.parse(f"cotangent:logits:{tmp_path}/c.npy")
    assert score(Y, read.resolve(place).cotangents(Y)) == pytest.approx(Y @ array)
