"""Where a card is found: each source alone, their order, and what happens when they contradict the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxray.engine.errors import CardError, ModelError, UnknownName
from onnxray.engine.graph.model import Model
from onnxray.engine.load import load
from onnxray.engine.preprocess.card import Card
from onnxray.engine.preprocess.find import IMAGENET_MEAN, IMAGENET_STD, find_card, known_cards

Build = Callable[..., Path]


@pytest.fixture
def build(parse: Callable[..., onnx.ModelProto], tmp_path: Path) -> Build:
    """build("N, 3, 32, 32", classes=10, ...) -> the path of a model file with that image input."""

    def make(
        shape: str = "N, 3, 32, 32",
        classes: int = 10,
        dtype: str = "float",
        name: str = "m.onnx",
        metadata: dict[str, str] | None = None,
    ) -> Path:
        dims = [d.strip() for d in shape.split(",")]
        rank = len(dims)
        nhwc = rank == 4 and dims[3] in ("1", "3", "4") and dims[1] not in ("1", "3", "4")
        channels = int(dims[3] if nhwc else dims[-3] if dims[-3].isdigit() else 3)
        steps = ["x = Cast <to = 1> (pixels)"]
        if nhwc:
            steps.append("n = Transpose <perm = [0, 3, 1, 2]> (x)")
        elif rank == 3:
            steps += ["axis = Constant <value = int64[1] {0}> ()", "n = Unsqueeze (x, axis)"]
        else:
            steps.append("n = Identity (x)")
        steps += [
            "c = Conv <kernel_shape = [1, 1]> (n, w)",
            "p = GlobalAveragePool (c)",
            "y = Flatten (p)",
        ]
        batch = dims[0] if rank == 4 else "1"
        body = "\n".join(steps)
        weight = np.ones((classes, channels, 1, 1), np.float32)
        model = parse(f"g ({dtype}[{shape}] pixels) => (float[{batch}, {classes}] y) {{\n{body}\n}}", w=weight)
        for key, value in (metadata or {}).items():
            model.metadata_props.add(key=key, value=value)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)
        return path

    return make


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


# The model itself


def test_the_model_fixes_input_size_layout_and_type(build: Build) -> None:
    card = find_card(load(build("N, 24, 40, 3", dtype="uint8")))
    assert (card.input, card.size, card.layout, card.dtype, card.order) == ("pixels", (24, 40), "NHWC", "uint8", "RGB")
    assert (card.mean, card.std) == ((0.0,) * 3, (1.0,) * 3)
    assert card.warnings == ()
    assert "input, size, layout, dtype from the model's input" in card.source


def test_without_anything_the_default_is_stated(build: Build) -> None:
    card = find_card(load(build()))
    assert card.mean == pytest.approx(IMAGENET_MEAN)
    assert card.std == pytest.approx(IMAGENET_STD)
    assert card.resize == "stretch"
    (warning,) = card.warnings
    assert warning.startswith("no preprocessing found: assuming RGB, normalised by ImageNet's mean")
    assert "mean, std, order, resize from the default" in card.source
    swapped = find_card(load(build(), order="BGR"))
    assert swapped.mean == pytest.approx(IMAGENET_MEAN[::-1])


def test_defaults_of_other_inputs(build: Build) -> None:
    gray = find_card(load(build("1, 1, 28, 28")))
    assert (gray.order, gray.mean, gray.std) == ("GRAY", (0.0,), (255.0,))
    assert "pixels scaled to 0..1" in gray.warnings[0]
    signed = find_card(load(build("N, 3, 8, 8", dtype="int8")))
    assert (signed.mean, signed.std, signed.dtype) == ((128.0,) * 3, (1.0,) * 3, "int8")
    assert "pixels minus 128" in signed.warnings[0]
    half = find_card(load(build("N, 3, 8, 8", dtype="float16"), mean=0, std=255))
    assert half.dtype == "float16"
    assert half.warnings == ()


def test_any_size_needs_a_size(build: Build) -> None:
    path = build("N, 3, H, W")
    card = find_card(load(path, mean=0, std=1))
    assert card.size == (224, 224)
    assert card.warnings == ("the model takes images of any size and none is given: using 224x224 (size=)",)
    given = find_card(load(path, mean=0, std=1), size="96x128")
    assert given.size == (96, 128)
    assert given.warnings == ()
    half_fixed = find_card(load(build("N, 3, 64, W"), mean=0, std=1))
    assert half_fixed.size == (64, 64)
    with pytest.raises(CardError, match="size is 96x128 but the model's input is fixed at 64xany"):
        find_card(load(build("N, 3, 64, W")), size="96x128")


def test_inputs_without_a_batch(build: Build) -> None:
    card = find_card(load(build("3, 8, 8"), mean=0, std=1, layout="CHW"))
    assert card.layout == "CHW"
    assert not card.batched


def test_a_model_without_an_image_input(parse: Callable[..., onnx.ModelProto]) -> None:
    text = load(parse("g (int64[N, T] ids) => (float[N, T] y) { y = Cast <to = 1> (ids) }"))
    with pytest.raises(ModelError, match="no image input"):
        find_card(text)
    with pytest.raises(UnknownName, match="no model input named 'id'; nearest: 'ids'"):
        find_card(text, input="id")


def test_other_numbers_of_channels_are_bands(build: Build) -> None:
    card = find_card(load(build("N, 4, 8, 8")))
    assert card.order == (0, 1, 2, 3)
    assert (card.mean, card.std) == ((0.0,) * 4, (255.0,) * 4)
    assert any("the model takes 4 bands: they are a picture's first 4 (order=)" in text for text in card.warnings)
    named = find_card(
        load(build("N, 4, 8, 8")), bands=list("rgbni"), order=list("nrgi"), display=[0, 1, 2], window="none"
    )
    assert (named.order, named.mean, named.std) == ((3, 0, 1, 4), (0.0,) * 4, (1.0,) * 4)
    with pytest.raises(CardError, match="order is 3 bands but the model's input has 4 channels"):
        find_card(load(build("N, 4, 8, 8")), order=[0, 1, 2])
    with pytest.raises(CardError, match="order is RGB but the model's input has 4 channels"):
        find_card(load(build("N, 4, 8, 8")), order="RGB")


def test_bits_and_window_the_stronger_source_counts(build: Build) -> None:
    path = build("N, 1, 8, 8")
    path.with_suffix(".card.json").write_text('{"bits": 12}')
    assert find_card(load(path)).bits == 12
    card = find_card(load(path, window=(0, 1000)))
    assert (card.bits, card.window) == (None, (0.0, 1000.0))


# The user's options


def test_options_come_first_and_last_ones_win(build: Build) -> None:
    path = build()
    write(path.with_name("m.card.json"), {"mean": 1, "std": 2, "order": "RGB", "resize": "crop"})
    model = load(path, mean=5, order="BGR")
    card = find_card(model, mean=7, resize=None)
    assert (card.mean, card.std, card.order, card.resize) == ((7.0,) * 3, (2.0,) * 3, "BGR", "crop")
    assert "mean, order from the options given" in card.source
    assert f"std, resize from the card file {str(path.with_name('m.card.json'))!r}" in card.source


def test_options_that_make_no_sense(build: Build) -> None:
    model = load(build())
    for wrong, message in (
        ({"men": 1}, "unknown option 'men'; nearest: 'mean'"),
        ({"size": 31}, "the options given: size is 31x31 but the model's input is fixed at 32x32"),
        ({"order": "GRAY"}, "the options given: order is GRAY but the model's input has 3 channels"),
        ({"layout": "NHWC"}, "the options given: input 'pixels' read as NHWC has 32 channels"),
        ({"layout": "CHW"}, "the options given: layout 'CHW' does not fit the input"),
        ({"dtype": "uint8"}, "the options given: dtype is uint8 but the model's input holds float32"),
        ({"labels": ["a", "b"]}, "the options given: 2 labels for an output of 10 classes"),
        ({"labels": "nowhere.txt"}, "the label file 'nowhere.txt' cannot be read"),
    ):
        with pytest.raises(CardError) as caught:
            find_card(model, **wrong)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_labels_of_the_wrong_number_get_a_hint(build: Build) -> None:
    model = load(build(classes=11))
    with pytest.raises(
        CardError, match="10 labels for an output of 11 classes: class 0 is probably the background, put a line"
    ):
        find_card(model, labels=[str(i) for i in range(10)])
    with pytest.raises(
        CardError, match="12 labels for an output of 11 classes: the first label is probably the background"
    ):
        find_card(model, labels=[str(i) for i in range(12)])
    assert len(find_card(model, labels=[str(i) for i in range(11)]).labels or ()) == 11


def test_values_meant_for_0_to_1_are_noticed(build: Build) -> None:
    card = find_card(load(build()), mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    assert any("multiply them by 255" in w for w in card.warnings)


def test_one_of_mean_and_std_is_enough(build: Build) -> None:
    card = find_card(load(build()), std=255)
    assert (card.mean, card.warnings) == ((0.0,) * 3, ())
    assert find_card(load(build()), mean=127).std == (1.0,) * 3


# Card files


@pytest.mark.parametrize("name", ["m.onnx.card.json", "m.card.json", "m.json", "card.json"])
def test_card_files(build: Build, name: str) -> None:
    path = build()
    write(path.with_name("names.txt"), "\n".join("abcdefghij"))
    write(path.with_name(name), {"mean": 0, "std": 255, "labels": "names.txt", "about": {"title": "t"}, "source": "me"})
    card = find_card(load(path))
    assert card.std == (255.0,) * 3
    assert card.labels == tuple("abcdefghij")
    assert card.about == {"title": "t"}
    assert card.source != "me"
    assert card.warnings == ()


def test_the_nearer_card_file_precedes(build: Build) -> None:
    path = build()
    write(path.with_name("card.json"), {"mean": 1, "std": 1, "pad_value": 9})
    write(path.with_name("m.card.json"), {"mean": 2, "std": 2})
    card = find_card(load(path))
    assert (card.mean[0], card.pad_value) == (2.0, 9)


def test_somebody_elses_json_of_the_same_name(build: Build) -> None:
    path = build()
    write(path.with_name("m.json"), {"mean": 3, "whatever": 1})
    assert find_card(load(path)).mean == pytest.approx(IMAGENET_MEAN)
    write(path.with_name("m.json"), "[1, 2]")
    assert find_card(load(path)).mean == pytest.approx(IMAGENET_MEAN)


def test_card_files_that_make_no_sense(build: Build) -> None:
    path = build()
    for content, message in (
        ({"mena": 3}, "unknown field 'mena'; nearest: 'mean'"),
        ("{", "is not JSON"),
        ("[]", "is not a set of named fields"),
        ({"size": 33}, "size is 33x33 but the model's input is fixed at 32x32"),
        ({"labels": "../x.txt"}, "it must lie in the folder of the card"),
        ({"labels": ["a"]}, "1 labels for an output of 10 classes"),
        ({"mean": [1, 2, 3], "order": "GRAY"}, "order is GRAY but the model's input has 3 channels"),
    ):
        write(path.with_name("m.card.json"), content)
        with pytest.raises(CardError, match=r"m\.card\.json") as caught:
            find_card(load(path))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_labels_beside_the_model(build: Build) -> None:
    path = build()
    write(path.with_name("labels.txt"), "\n".join("0123456789"))
    assert find_card(load(path)).labels == tuple("0123456789")
    write(path.with_name("m.labels.txt"), "\n".join("abcdefghij"))
    assert find_card(load(path)).labels == tuple("abcdefghij")
    write(path.with_name("m.labels.txt"), "a\nb")
    card = find_card(load(path))
    assert card.labels is None
    assert "m.labels.txt: 2 labels for an output of 10 classes; ignored" in card.warnings


def test_a_link_to_a_model_has_its_card_beside_the_link(build: Build, tmp_path: Path) -> None:
    path = build(name="store/m.onnx")
    (tmp_path / "linked").mkdir()
    link = tmp_path / "linked" / "net.onnx"
    link.symlink_to(path)
    write(link.with_name("net.card.json"), {"mean": 0, "std": 255})
    assert find_card(load(link)).std == (255.0,) * 3


# How fields of several sources go together


def test_mean_and_std_stay_with_their_channels(build: Build) -> None:
    path = build()
    write(path.with_name("m.card.json"), {"mean": [1, 2, 3], "std": [4, 5, 6], "order": "RGB"})
    card = find_card(load(path), order="BGR")
    assert (card.mean, card.std) == ((3.0, 2.0, 1.0), (6.0, 5.0, 4.0))
    write(path.with_name("m.card.json"), {"mean": [1, 2, 3], "std": [4, 5, 6]})
    assert find_card(load(path), order="BGR").mean == (1.0, 2.0, 3.0)


def test_the_edge_before_the_crop_follows_the_size(build: Build) -> None:
    path = build("N, 3, H, W")
    write(path.with_name("m.card.json"), {"size": 224, "resize": "crop", "shortest_edge": 256, "mean": 0, "std": 1})
    assert find_card(load(path)).shortest_edge == 256
    assert find_card(load(path), size=448).shortest_edge == 512
    write(path.with_name("m.card.json"), {"size": 224, "resize": "crop", "stretch_to": [256, 280], "mean": 0, "std": 1})
    assert find_card(load(path), size=448).stretch_to == (512, 560)


def test_an_equal_mean_of_three_fits_one_channel(build: Build) -> None:
    path = build("N, 1, 8, 8")
    write(path.with_name("m.card.json"), {"mean": [127.5] * 3, "std": [127.5] * 3})
    assert find_card(load(path)).mean == (127.5,)
    write(path.with_name("m.card.json"), {"mean": [1, 2, 3], "std": 1})
    with pytest.raises(CardError, match="mean has 3 values but an image of order GRAY has 1 channels"):
        find_card(load(path))


def test_a_card_from_the_sources_is_a_card(build: Build) -> None:
    card = find_card(load(build()))
    assert Card.from_mapping(json.loads(json.dumps(card.to_mapping()))) == card


# ONNX metadata


def test_our_own_property(build: Build) -> None:
    own = {"mean": 0, "std": 255, "resize": "letterbox", "labels": list("abcdefghij")}
    card = find_card(load(build(metadata={"onnxray.card": json.dumps(own)})))
    assert (card.std, card.resize, card.labels) == ((255.0,) * 3, "letterbox", tuple("abcdefghij"))
    for broken in ("{", json.dumps({"labels": "labels.txt"}), json.dumps({"size": 99})):
        with pytest.raises(CardError, match=r"onnxray\.card"):
            find_card(load(build(metadata={"onnxray.card": broken})))


@pytest.mark.parametrize(
    ("metadata", "order", "mean", "std"),
    [
        ({"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"}, "BGR", 0, 1),
        ({"IMAGE.bitmappixelformat": "rgb8", "image.nominalpixelrange": "NORMALIZED_0_1"}, "RGB", 0, 255),
        ({"Image.NominalPixelRange": "Normalized_1_1"}, "RGB", 127.5, 127.5),
    ],
)
def test_image_properties(build: Build, metadata: dict[str, str], order: str, mean: float, std: float) -> None:
    card = find_card(load(build(metadata=metadata)))
    assert (card.order, card.mean, card.std, card.warnings) == (order, (mean,) * 3, (std,) * 3, ())


def test_studio_range_and_what_is_not_known(build: Build) -> None:
    card = find_card(load(build(metadata={"Image.NominalPixelRange": "NominalRange_16_235"})))
    pixels = np.array([0.0, 255.0])
    np.testing.assert_allclose((pixels - card.mean[0]) / card.std[0], [16, 235], atol=1e-9)
    odd = {"Image.BitmapPixelFormat": "Rgba8", "Image.ColorSpaceGamma": "Linear", "Image.NominalPixelRange": "x"}
    warnings = " ".join(find_card(load(build(metadata=odd))).warnings)
    for part in ("pixel format 'rgba8' is not known", "pixel range 'x' is not known", "wants linear colour values"):
        assert part in warnings
    gray = find_card(load(build(metadata={"Image.BitmapPixelFormat": "Gray8"})))
    assert gray.order == "RGB"
    assert any("order is GRAY but the model's input has 3 channels; ignored" in w for w in gray.warnings)


# Built-in cards


def test_a_known_model_is_known_by_its_content(zoo: Path, tmp_path: Path) -> None:
    link = tmp_path / "whatever.onnx"
    link.symlink_to(zoo / "models" / "mnist_cntk.onnx")
    card = find_card(load(link))
    assert (card.order, card.mean, card.std, card.size) == ("GRAY", (0.0,), (255.0,), (28, 28))
    assert card.labels == tuple("0123456789")
    assert card.warnings == ()
    assert "the built-in card mnist" in card.source
    face = find_card(load(zoo / "models" / "ultraface_rfb_320.onnx"))
    assert (face.mean, face.std, face.size) == ((127.0,) * 3, (128.0,) * 3, (240, 320))


def test_a_known_name_is_believed_with_a_warning(build: Build) -> None:
    card = find_card(load(build("N, 3, 224, 224", classes=1000, name="ResNet50-v2-7.onnx")))
    assert (card.resize, card.shortest_edge, card.mean) == ("crop", 256, IMAGENET_MEAN)
    assert card.warnings == ("the built-in card resnet-v2: the model was taken for resnet-v2 by its file name only",)
    assert find_card(load(build("N, 3, 224, 224", name="my-resnet50-v2-7.onnx"))).resize == "stretch"


def test_labels_that_a_built_in_card_names_are_looked_up_beside_the_model(build: Build) -> None:
    path = build("N, 3, 224, 224", classes=3, name="mobilenetv2-7.onnx")
    write(path.with_name("synset.txt"), "n1 a\nn2 b\nn3 c\n")
    assert find_card(load(path)).labels == ("n1 a", "n2 b", "n3 c")


def test_a_weak_source_does_not_override_the_model(build: Build) -> None:
    card = find_card(load(build("N, 3, 160, 160", classes=1000, name="mobilenetv2-7.onnx")))
    assert card.size == (160, 160)
    assert card.shortest_edge == round(256 * 160 / 224)
    assert any("size is 224x224 but the model's input is fixed at 160x160; ignored" in w for w in card.warnings)


def test_every_built_in_card_is_a_card() -> None:
    assert len(known_cards()) > 10
    for family, content in known_cards().items():
        card = Card.from_mapping(content)
        about = card.about
        assert {"title", "origin", "licence", "facts", "names", "files"} <= set(about), family
        for name, entry in about["files"].items():
            assert name.endswith(".onnx")
            assert set(entry) == {"sha256", "bytes", "url"}
            assert len(entry["sha256"]) == 64
            assert entry["url"].startswith("https://")
            assert entry["url"].endswith("/" + name)


def test_finding_a_card_changes_nothing(build: Build) -> None:
    model: Model = load(build(), size=32)
    before = model.proto.SerializeToString()
    assert find_card(model) == find_card(model)
    assert model.proto.SerializeToString() == before
