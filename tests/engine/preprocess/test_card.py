"""The card itself: what it accepts, what it refuses, and that nothing is lost on the way through JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxray.engine.errors import CardError
from onnxray.engine.preprocess.card import FIELDS, Card, check
from onnxray.engine.preprocess.labels import read_labels

FULL: dict[str, Any] = {
    "input": "pixels",
    "size": [240, 320],
    "kind": "image",
    "axes": "NHWC",
    "tokenizer": {"kind": "words", "vocab": "vocab.txt", "lower": True},
    "decoder": "decoder_model.onnx",
    "volume": {"normalise": "z-score", "order": "xyz"},
    "sound": {"rate": 16000, "frame": 512, "context": 64},
    "mean": [104.0, 117.0, 123.0],
    "std": [1.0, 2.0, 3.0],
    "order": "BGR",
    "layout": "NHWC",
    "resize": "crop",
    "shortest_edge": 256,
    "stretch_to": [300, 400],
    "crop_fraction": 0.9,
    "rounding": "torchvision",
    "interpolation": "bicubic",
    "antialias": False,
    "pad_value": 114,
    "bits": 12,
    "bands": ["B02", "B03", "B04", "B08"],
    "display": [2, 1, 0],
    "align": "top-left",
    "dtype": "float16",
    "labels": ["cat", "dög", "n01440764 tench, Tinca tinca"],
    "output": "logits",
    "answer": "labels",
    "scores": "logits",
    "decision_threshold": 0.25,
    "detector": {"boxes": "b", "threshold": 0.5},
    "source": "by hand",
    "warnings": ["none really"],
    "about": {"title": "a test", "deep": {"er": [1, 2]}},
}


def test_every_field_survives_json() -> None:
    assert {*FULL, "window"} == set(FIELDS)
    card = Card.from_mapping(FULL)
    again = json.loads(json.dumps(card.to_mapping()))
    assert again == FULL
    assert Card.from_mapping(again) == card
    assert Card.from_mapping(Card().to_mapping()) == Card()
    for window in ([-160.0, 240.0], "none"):
        other = Card.from_mapping({"window": window})
        assert Card.from_mapping(json.loads(json.dumps(other.to_mapping()))) == other


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ({"size": 224}, {"size": (224, 224)}),
        ({"size": "240x320"}, {"size": (240, 320)}),
        ({"size": " 240 × 320 "}, {"size": (240, 320)}),
        ({"size": "96"}, {"size": (96, 96)}),
        ({"size": np.array([3, 4])}, {"size": (3, 4)}),
        ({"size": 224.0}, {"size": (224, 224)}),
        ({"mean": 127.5}, {"mean": (127.5, 127.5, 127.5)}),
        ({"mean": np.float32(2)}, {"mean": (2.0, 2.0, 2.0)}),
        ({"std": [2, 2, 2], "order": "GRAY"}, {"std": (2.0,)}),
        ({"order": "bgr"}, {"order": "BGR"}),
        ({"order": "grey"}, {"order": "GRAY"}),
        ({"order": "L"}, {"order": "GRAY"}),
        ({"order": [3, 0]}, {"order": (3, 0), "mean": (0.0, 0.0), "channels": 2}),
        ({"order": ["nir", "r", 1], "bands": ["r", "g", "b", "nir"]}, {"order": (3, 0, 1)}),
        ({"display": ["b"], "bands": ["r", "g", "b"]}, {"display": (2,)}),
        ({"window": "NONE"}, {"window": "none"}),
        ({"window": (0, 4095)}, {"window": (0.0, 4095.0)}),
        ({"layout": "nhwc"}, {"layout": "NHWC"}),
        ({"resize": "Letterbox"}, {"resize": "letterbox"}),
        ({"interpolation": "linear"}, {"interpolation": "bilinear"}),
        ({"align": "centre"}, {"align": "center"}),
        ({"mean": None, "labels": None}, {"mean": (0.0, 0.0, 0.0), "labels": None}),
        ({"labels": {"1": "b", "0": "a"}}, {"labels": ("a", "b")}),
        ({"labels": {1: "b", 0: "a"}}, {"labels": ("a", "b")}),
        ({"labels": ("a", 7, "  c \n")}, {"labels": ("a", "7", "c")}),
        ({"labels": ["a\nb", "", "x\x1b[31m"]}, {"labels": ("a b", "class 1", "x [31m")}),
    ],
)
def test_what_is_accepted(given: dict[str, Any], normal: dict[str, Any]) -> None:
    card = Card.from_mapping(given)
    for name, value in normal.items():
        assert getattr(card, name) == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sise": 3}, "the card has an unknown field 'sise'; nearest: 'size'"),
        ({"normalize": 1}, "unknown field 'normalize'"),
        ({7: 3}, "unknown field '7'"),
        ({"size": 0}, "size in the card must be a number of pixels"),
        ({"size": True}, "size in the card must be"),
        ({"size": [1, 2, 3]}, "size in the card must be"),
        ({"size": "224*224"}, "size in the card must be"),
        ({"size": "²x3"}, "size in the card must be"),
        ({"size": 1e9}, "size in the card must be"),
        ({"size": [16384, 16384]}, "must be at most 67108864 pixels"),
        ({"size": float("nan")}, "size in the card must be"),
        ({"mean": [1, 2]}, "mean has 2 values but an image of order RGB has 3 channels"),
        ({"mean": []}, "mean in the card must be one number, or one for each channel"),
        ({"mean": [1, 2], "order": [0, 1, 2]}, "mean has 2 values but the model's input has 3 channels"),
        ({"bits": 17}, "bits in the card must be a number of bits from 8 to 16"),
        ({"window": [3, 3]}, r"window in the card must be \(low, high\)"),
        ({"window": [0, 1], "bits": 12}, "bits and window both say what a picture's values mean"),
        ({"order": ["nirr"], "bands": ["r", "nir"]}, "order names the band 'nirr', .*nearest: 'nir'"),
        ({"order": ["r"]}, "order names the band 'r', which is not in bands: name the picture's bands"),
        ({"display": [4], "bands": ["r"]}, "display names band 4, counted from 0, but bands has 1 names"),
        ({"display": [0, 1]}, "display names 2 bands: give three"),
        ({"bands": ["a", "a"]}, "bands in the card must be a list of different names"),
        ({"order": []}, "order in the card must be a list of 1 to 512 bands"),
        ({"mean": [1, 2, "3"]}, "mean in the card must be"),
        ({"mean": float("inf")}, "mean in the card must be"),
        ({"mean": "127"}, "mean in the card must be"),
        ({"mean": [1, 2, 3], "order": "GRAY"}, "mean has 3 values but an image of order GRAY has 1 channels"),
        ({"std": 0}, "std in the card must be one positive number"),
        ({"std": [1, -1, 1]}, "std in the card must be"),
        ({"order": "rgba"}, r"order in the card must be one of RGB, BGR, GRAY \(nearest: 'RGB'\), got 'rgba'"),
        ({"order": 3}, "order in the card must be one of"),
        ({"layout": "NCWH"}, r"layout in the card must be one of .*\(nearest: 'NCHW'\)"),
        ({"layout": "HW"}, "layout HW has no channel axis but the order is RGB"),
        ({"resize": "crp"}, r"resize in the card must be one of stretch, crop, letterbox \(nearest: 'crop'\)"),
        ({"crop_fraction": 1.5}, "crop_fraction in the card must be a number from 0.01 to 1"),
        ({"shortest_edge": 0.5}, "shortest_edge in the card must be"),
        ({"pad_value": 256}, "pad_value in the card must be a whole number from 0 to 255"),
        ({"antialias": 1}, "antialias in the card must be true or false"),
        ({"dtype": "bfloat16"}, r"dtype in the card must be one of .*\(nearest: 'float16'\)"),
        ({"input": 3}, "input in the card must be a text"),
        ({"about": "me"}, "about in the card must be an object"),
        ({"warnings": "one"}, "warnings in the card must be a list of texts"),
        ({"labels": []}, "there is no label in it"),
        ({"labels": {"0": "a", "2": "b"}}, "the 2 keys must be the class numbers from 0 to 1, each once"),
        ({"labels": {"zero": "a"}}, "the keys must be class numbers"),
        ({"labels": [["a"]]}, "every label must be a text"),
        ({"labels": [None]}, "every label must be a text"),
        ({"labels": 5}, "must be a list of names, an object from class number to name, or the path of a file"),
        ([], "the card is not a set of named fields"),
    ],
)
def test_what_is_refused(given: Any, message: str) -> None:
    with pytest.raises(CardError, match=message) as caught:
        Card.from_mapping(given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_construction_is_checked_as_well() -> None:
    assert Card(size=8, mean=1).mean == (1.0, 1.0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(CardError, match="std in the card"):
        Card(std=(0.0,))


def test_every_field_is_documented_and_the_example_is_a_card(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "cards.md").read_text(encoding="utf-8")
    named = set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `")))
    )
    assert named | {"source", "warnings"} == set(FIELDS)
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    assert Card.from_mapping(json.loads(example), folder=tmp_path).labels == ("a", "b")
    defaults = dict(re.findall(r"^\| `(\w+)` \|.*?\| `?(\w[\w.-]*)`? \|", page, re.MULTILINE))
    for name in ("resize", "crop_fraction", "rounding", "interpolation", "antialias", "pad_value", "align"):
        assert defaults[name] == str(getattr(Card(), name)).lower()


def test_messages_say_whose_card_it_is() -> None:
    with pytest.raises(CardError, match=r"mean in 'm\.card\.json' must be"):
        check({"mean": "x"}, "'m.card.json'")


def test_label_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("n01440764 tench, Tinca tinca\ngoldfish\n\nlast\n\n\n", encoding="utf-8")
    want = ("n01440764 tench, Tinca tinca", "goldfish", "class 2", "last")
    assert read_labels(tmp_path / "a.txt", "here") == want
    assert read_labels(str(tmp_path / "a.txt"), "here") == want
    (tmp_path / "bom.txt").write_bytes("\ufeffgrün\r\nblau\r\n".encode())
    assert read_labels("bom.txt", "here", tmp_path) == ("grün", "blau")
    (tmp_path / "a.json").write_text('{"0": "x", "1": "y"}')
    assert read_labels(tmp_path / "a.json", "here") == ("x", "y")
    (tmp_path / "map.txt").write_text('["x", "y"]')
    assert read_labels(tmp_path / "map.txt", "here") == ("x", "y")


def test_label_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("grün".encode("latin-1"))
    (tmp_path / "broken.json").write_text('["a", ')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "empty.txt").write_text("\n\n")
    for name, message in {
        "none.txt": "the label file .* cannot be read: No such file",
        "latin.txt": "is not UTF-8 text",
        "broken.json": "is not JSON: Expecting value in line 1, column 7",
        "deep.json": "is not (usable )?JSON",
        "empty.txt": "there is no label in it",
        "a\0b": "cannot be read",
    }.items():
        with pytest.raises(CardError, match=message) as caught:
            read_labels(name, "here", tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["../secret.txt", "/etc/hostname", "a/../../secret.txt", "..\\secret.txt", "C:\\x.txt", "\\\\host\\x"]
)
def test_a_card_file_reads_labels_from_its_own_folder_only(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(CardError, match="it must lie in the folder of the card"):
        Card.from_mapping({"labels": path}, folder=folder)


def test_labels_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(Card.from_mapping({"labels": ["x" * 100_000]}).labels[0]) == 1000  # type: ignore[index]
    monkeypatch.setattr("onnxray.engine.preprocess.labels.MAX_LABELS", 3)
    with pytest.raises(CardError, match="4 labels are more than 3"):
        Card.from_mapping({"labels": ["x"] * 4})
    (tmp_path / "long.txt").write_text("x" * 2000)
    monkeypatch.setattr("onnxray.engine.preprocess.labels.MAX_FILE_BYTES", 1000)
    from onnxray.engine.preprocess.labels import read_text

    with pytest.raises(CardError, match="is larger than"):
        read_text(tmp_path / "long.txt", "the file", 1000)
