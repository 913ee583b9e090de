"""Other tools' files: real configurations of public models, and files that make no sense."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxray.engine.load import load
from onnxray.engine.preprocess.card import Card
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.preprocess.geometry import place

Find = Callable[..., Card]

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def find(parse: Callable[..., onnx.ModelProto], tmp_path: Path) -> Find:
    """find({file name: content}, metadata={...}, sides="224, 224", ...) -> the card of a model beside these files."""

    def make(
        files: dict[str, Any] | None = None,
        *,
        metadata: dict[str, str] | None = None,
        sides: str = "H, W",
        classes: int = 3,
        folder: str = "model",
        channels: int = 3,
    ) -> Card:
        weight = np.ones((classes, channels, 1, 1), np.float32)
        model = parse(
            f"g (float[N, {channels}, {sides}] pixels) => (float[N, {classes}] y)"
            "{ c = Conv <kernel_shape = [1, 1]> (pixels, w) p = GlobalAveragePool (c) y = Flatten (p) }",
            w=weight,
        )
        for key, value in (metadata or {}).items():
            model.metadata_props.add(key=key, value=value)
        path = tmp_path / folder / "net.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)
        for name, content in (files or {}).items():
            file = path.parent / name
            file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return find_card(load(path))

    return make


# Hugging Face: the configurations of google/vit-base-patch16-224, facebook/convnext-tiny-224, microsoft/resnet-50, ...

VIT = {
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "size": 224,
}
MOBILENET_V2 = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "MobileNetV2ImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 256},
}
CONVNEXT = {
    "crop_pct": 0.875,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "ConvNextFeatureExtractor",
    "image_mean": IMAGENET_MEAN,
    "image_std": IMAGENET_STD,
    "resample": 3,
    "size": 224,
}
MOBILEVIT = {
    "crop_size": 256,
    "do_center_crop": True,
    "do_flip_channels": True,
    "do_resize": True,
    "feature_extractor_type": "MobileViTFeatureExtractor",
    "resample": 2,
    "size": 288,
}
BEIT = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "BeitFeatureExtractor",
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "size": {"height": 256, "width": 256},
}
DETR = {
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "DetrFeatureExtractor",
    "image_mean": IMAGENET_MEAN,
    "image_std": IMAGENET_STD,
    "size": {"shortest_edge": 800, "longest_edge": 1333},
}


@pytest.mark.parametrize(
    ("config", "size", "fields", "resized"),
    [
        (VIT, (224, 224), {"resize": "stretch", "mean": (127.5,) * 3, "std": (127.5,) * 3}, (224, 224)),
        (MOBILENET_V2, (224, 224), {"mean": (127.5,) * 3, "interpolation": "bilinear"}, (256, 341)),
        (CONVNEXT, (224, 224), {"resize": "crop", "interpolation": "bicubic", "order": "RGB"}, (256, 341)),
        (CONVNEXT | {"size": {"shortest_edge": 384}}, (384, 384), {"resize": "stretch"}, (384, 384)),
        (MOBILEVIT, (256, 256), {"order": "BGR", "mean": (0.0,) * 3, "std": (255.0,) * 3}, (288, 384)),
        (BEIT, (224, 224), {"resize": "crop", "stretch_to": (256, 256)}, (256, 256)),
    ],
)
def test_hugging_face(find: Find, config: dict[str, Any], size: Any, fields: dict[str, Any], resized: Any) -> None:
    card = find({"preprocessor_config.json": config})
    assert card.size == size
    for name, value in fields.items():
        assert getattr(card, name) == pytest.approx(value), name
    assert place(card, (375, 500)).resized == resized
    assert card.warnings == ()
    assert "from preprocessor_config.json" in card.source


def test_hugging_face_normalisation_is_undone_to_0_to_255(find: Find) -> None:
    card = find({"preprocessor_config.json": CONVNEXT})
    pixel = np.array([10.0, 100.0, 250.0])
    np.testing.assert_allclose(
        (pixel - card.mean) / np.array(card.std), (pixel / 255 - IMAGENET_MEAN) / np.array(IMAGENET_STD)
    )
    for change, expected in (
        ({"do_rescale": False}, (pixel - IMAGENET_MEAN) / np.array(IMAGENET_STD)),
        ({"do_normalize": False}, pixel / 255),
        ({"do_normalize": False, "do_rescale": False}, pixel),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False}, pixel / 127.5 - 1),
    ):
        card = find({"preprocessor_config.json": CONVNEXT | change})
        np.testing.assert_allclose((pixel - card.mean) / np.array(card.std), expected, atol=1e-9)


def test_hugging_face_sizes_of_their_own_are_fitted(find: Find) -> None:
    card = find({"preprocessor_config.json": DETR}, sides="640, 640")
    assert (card.resize, card.size) == ("letterbox", (640, 640))
    assert any("keeps each image's proportions" in w for w in card.warnings)


def test_hugging_face_labels(find: Find) -> None:
    config = {"model_type": "vit", "id2label": {"0": "cat", "1": "dog", "2": "bird"}}
    card = find({"config.json": config, "preprocessor_config.json": VIT})
    assert card.labels == ("cat", "dog", "bird")
    assert "labels from config.json" in card.source
    unnamed = {"id2label": {str(i): f"LABEL_{i}" for i in range(3)}}
    assert find({"config.json": unnamed}).labels is None
    two = find({"config.json": config}, classes=2)
    assert two.labels is None
    assert any("config.json: 3 labels for an output of 2 classes" in w for w in two.warnings)


def test_hugging_face_files_around_the_folder_onnx(find: Find, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))
    assert find(folder="onnx").mean == (127.5,) * 3
    assert find(folder="other").mean != (127.5,) * 3


def test_a_size_that_the_model_contradicts_is_left_aside(find: Find) -> None:
    card = find({"preprocessor_config.json": MOBILENET_V2}, sides="160, 160")
    assert card.size == (160, 160)
    assert card.shortest_edge == 183
    assert any("size is 224x224 but the model's input is fixed at 160x160; ignored" in w for w in card.warnings)


# timm: config.json as on the Hugging Face hub, resnet50.a1_in1k and others

TIMM = {
    "architecture": "resnet50",
    "num_classes": 3,
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "crop_pct": 0.95,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    },
}


def timm(**changes: Any) -> dict[str, Any]:
    return TIMM | {"pretrained_cfg": TIMM["pretrained_cfg"] | changes}  # type: ignore[operator]


def test_timm(find: Find) -> None:
    card = find({"config.json": TIMM})
    assert (card.size, card.resize, card.shortest_edge) == ((224, 224), "crop", 235)
    assert (card.interpolation, card.rounding, card.order) == ("bicubic", "torchvision", "RGB")
    assert card.mean == pytest.approx([123.675, 116.28, 103.53])
    assert card.std == pytest.approx([58.395, 57.12, 57.375])
    assert card.warnings == ()


def test_timm_ways_of_cropping(find: Find) -> None:
    squash = find({"config.json": timm(crop_mode="squash", crop_pct=0.875)})
    assert (squash.resize, squash.stretch_to) == ("crop", (256, 256))
    border = find({"config.json": timm(crop_mode="border", crop_pct=1.0)})
    assert (border.resize, border.pad_value, border.warnings) == ("letterbox", 114, ())
    assert any("crop_pct" in w for w in find({"config.json": timm(crop_mode="border", crop_pct=0.9)}).warnings)
    wide = find({"config.json": timm(input_size=[3, 256, 320], crop_pct=1.0)})
    assert (wide.size, wide.crop_fraction) == ((256, 320), 1.0)
    assert place(wide, (600, 600)).resized == (320, 320)


def test_timm_of_older_exports(find: Find) -> None:
    flat = {"architecture": "resnet18", **TIMM["pretrained_cfg"]}  # type: ignore[dict-item]
    assert find({"config.json": flat}).shortest_edge == 235
    assert find({"config.json": {"architecture": "x", "default_cfg": TIMM["pretrained_cfg"]}}).shortest_edge == 235


def test_timm_labels(find: Find) -> None:
    config = timm() | {
        "label_names": ["n1", "n2", "n3"],
        "label_descriptions": {"n1": "tench, Tinca tinca", "n3": "shark"},
    }
    assert find({"config.json": config}).labels == ("n1 tench, Tinca tinca", "n2", "n3 shark")


# OpenVINO

XML = """<?xml version="1.0"?>
<net name="m" version="11">
  <layers><layer id="0" name="x" type="Parameter"/></layers>
  <rt_info>
    <model_info>
      <labels value="cat big_dog bird" />
      <mean_values value="123.675 116.28 103.53" />
      <scale_values value="58.395 57.12 57.375" />
      <reverse_input_channels value="True" />
      <resize_type value="{kind}" />
      <pad_value value="114" />
      <model_type value="Classification" />
    </model_info>
  </rt_info>
</net>"""


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("standard", {"resize": "stretch"}),
        ("crop", {"resize": "crop", "crop_fraction": 1.0}),
        ("fit_to_window", {"resize": "letterbox", "align": "top-left", "pad_value": 114}),
        ("fit_to_window_letterbox", {"resize": "letterbox", "align": "center", "pad_value": 114}),
    ],
)
def test_openvino_beside_the_model(find: Find, kind: str, fields: dict[str, Any]) -> None:
    card = find({"net.xml": XML.format(kind=kind)}, sides="64, 64")
    for name, value in fields.items():
        assert getattr(card, name) == value
    assert card.mean == (123.675, 116.28, 103.53)
    assert card.std == (58.395, 57.12, 57.375)
    assert (card.order, card.antialias, card.labels) == ("RGB", False, ("cat", "big dog", "bird"))
    assert card.warnings == ()


def test_openvino_in_the_metadata(find: Find) -> None:
    metadata = {
        "model_info scale_values": "[255.0]",
        "model_info reverse_input_channels": "NO",
        "model_info resize_type": "fit_to_window_letterbox",
        "model_info labels": "a b c",
    }
    card = find(metadata=metadata)
    assert (card.mean, card.std, card.order, card.resize) == ((0.0,) * 3, (255.0,) * 3, "BGR", "letterbox")
    assert card.labels == ("a", "b", "c")


def test_openvino_files_that_are_no_such_thing(find: Find) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><net><rt_info/></net>'
    for content, told in (
        (bomb, "it declares a document type"),
        ("<net>", "it is not XML"),
        (XML.format(kind="zoom"), "resize_type is 'zoom'"),
        (XML.format(kind="crop").replace("123.675", "many"), "'many' is not a number"),
    ):
        card = find({"net.xml": content})
        assert any(told in w and "was ignored" in w for w in card.warnings), card.warnings
    assert find({"net.xml": "<annotation><size/></annotation>"}).resize == "stretch"


# Ultralytics

YOLO = {
    "description": "Ultralytics YOLOv8n model",
    "author": "Ultralytics",
    "stride": "32",
    "task": "detect",
    "batch": "1",
    "imgsz": "[480, 640]",
    "names": "{0: 'person', 1: \"bird's nest\", 2: 'car'}",
}


def test_ultralytics(find: Find) -> None:
    card = find(metadata=YOLO)
    assert (card.size, card.resize, card.pad_value, card.align) == ((480, 640), "letterbox", 114, "center")
    assert (card.mean, card.std, card.order, card.antialias) == ((0.0,) * 3, (255.0,) * 3, "RGB", False)
    assert card.labels == ("person", "bird's nest", "car")
    assert card.warnings == ()


def test_ultralytics_classification(find: Find) -> None:
    card = find(metadata=YOLO | {"task": "classify", "imgsz": "[224, 224]"})
    assert (card.resize, card.crop_fraction, card.antialias) == ("crop", 1.0, True)
    assert place(card, (375, 500)).resized == (224, 298)


def test_yolov5_metadata(find: Find) -> None:
    """YOLOv5 states no task: one score for each name is a classifier, anything else a detector."""
    yolov5 = {"stride": "32", "names": "['a', 'b', 'c']"}
    card = find(metadata=yolov5, sides="640, 640", classes=8)
    assert (card.labels, card.size, card.resize, card.std) == (None, (640, 640), "letterbox", (255.0,) * 3)
    card = find(metadata=yolov5, sides="640, 640")
    assert (card.labels, card.size, card.resize) == (("a", "b", "c"), (640, 640), "crop")
    assert np.allclose(np.divide((*card.mean, *card.std), 255), IMAGENET_MEAN + IMAGENET_STD)
    assert any("taken for a classifier" in text for text in card.warnings)


def test_metadata_is_never_evaluated(find: Find, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    for names in (
        f"__import__('pathlib').Path({str(victim)!r}).touch()",
        "[" * 5000,
        "{0: 'a'" * 3,
        "1" * 2_000_000,
        "\0",
    ):
        card = find(metadata=YOLO | {"names": names})
        assert any("the Ultralytics metadata was ignored" in w for w in card.warnings)
        assert card.labels is None
    assert not victim.exists()


# Triton

PBTXT = """
name: "m"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "pixels" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 96, 128 ] } ]
output [ { name: "y" dims: [ 3 ] label_filename: "names.txt" } ]
"""


def test_triton_around_a_numbered_folder(find: Find, tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(PBTXT)
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    card = find(folder="1")
    assert (card.size, card.layout, card.labels) == ((96, 128), "NCHW", ("a", "b", "c"))
    assert "size" in card.source
    assert find(folder="other").labels is None


def test_triton_with_the_batch_among_the_dims(find: Find) -> None:
    card = find({"config.pbtxt": PBTXT.replace("[ 3, 96, 128 ]", "[ -1, 3, 64, 48 ]").replace("label_filename", "x")})
    assert card.size == (64, 48)


def test_triton_that_does_not_fit(find: Find, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a\nb\nc\n")
    outside = find({"config.pbtxt": PBTXT.replace("names.txt", "../secret.txt")})
    assert outside.labels is None
    assert any("it must lie in the folder of the card" in w for w in outside.warnings)
    wrong = find(
        {"config.pbtxt": PBTXT.replace("FORMAT_NCHW", "FORMAT_NHWC").replace("label_filename", "x")}, sides="96, 128"
    )
    assert wrong.layout == "NCHW"
    assert any("ignored" in w for w in wrong.warnings)
    other = find({"config.pbtxt": PBTXT.replace('"pixels"', '"image"').replace("label_filename", "x")}, sides="8, 8")
    assert other.size == (8, 8)
    broken = find({"config.pbtxt": "input ["}, sides="8, 8")
    assert any("it ends in the middle" in w for w in broken.warnings)


# Order, and whatever else may lie there


def test_the_order_of_the_sources(find: Find) -> None:
    files = {"preprocessor_config.json": VIT, "net.xml": XML.format(kind="standard"), "config.pbtxt": PBTXT}
    card = find(files | {"names.txt": "x\ny\nz"}, metadata=YOLO | {"Image.NominalPixelRange": "Normalized_0_1"})
    assert card.mean == (127.5,) * 3  # Hugging Face before OpenVINO, Ultralytics and ONNX
    assert card.resize == "stretch"
    assert card.size == (224, 224)
    assert card.labels == ("cat", "big dog", "bird")  # Hugging Face has none here
    assert card.pad_value == 114


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "3",
        "[]",
        '"text"',
        "{}",
        '{"image_mean": "x", "image_std": 1}',
        '{"size": {"shortest_edge": "big"}}',
        '{"do_resize": true, "size": [], "do_center_crop": 1, "crop_size": "x"}',
        '{"image_mean": [0.5], "image_std": [0]}',
        '{"crop_pct": 0, "size": 224, "do_resize": true}',
        '{"rescale_factor": 0, "image_mean": [1], "image_std": [1]}',
        '{"image_mean": [1e400, 0, 0], "image_std": [1, 1, 1]}',
        '{"pretrained_cfg": {"input_size": [3, "a", null]}}',
        '{"pretrained_cfg": {"mean": {}, "std": []}}',
        '{"architecture": "x", "input_size": [3, 0, 0]}',
        '{"id2label": {"a": "b"}}',
        '{"id2label": {"0": []}}',
        '{"id2label": 3}',
        '{"size": NaN, "do_resize": true}',
        '{"pretrained_cfg": {"input_size": [3, 9, 9], "crop_pct": "x"}}',
        '{"label_names": [1, 2], "pretrained_cfg": {}}',
        '{"architecture": "x", "input_size": [3, 1e9, 1e9]}',
        '{"resample": true, "do_resize": true}',
    ],
)
def test_configurations_that_make_no_sense_are_left_aside(find: Find, text: str) -> None:
    for name in ("preprocessor_config.json", "config.json"):
        card = find({name: text}, sides="32, 32")
        assert card.size == (32, 32)
        assert card.resize in ("stretch", "crop", "letterbox")


def test_binary_rubbish_is_left_aside(find: Find, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    find(sides="32, 32")
    for name in ("preprocessor_config.json", "config.json", "net.xml", "config.pbtxt"):
        (tmp_path / "model" / name).write_bytes(rng.integers(0, 256, 1000, np.uint8).tobytes())
    card = find(sides="32, 32")
    assert sum("was ignored" in w for w in card.warnings) >= 4
