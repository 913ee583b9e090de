"""Files and properties of other tools that hold numbers of any size: left aside with a note, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import onnxray
from onnxray.engine.errors import CardError
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.preprocess.sources import pbtxt

DIGITS = "1" + "0" * 400
HEX = "0x" + "f" * 5000
TIMM = '{"architecture": "r", "pretrained_cfg": {"input_size": [3, 8, 8], %s}}'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.pbtxt", 'input { name: "x" format: FORMAT_NCHW dims: [ 3, 1e999, 8 ] }'),
        ("config.pbtxt", f'input {{ name: "x" format: FORMAT_NCHW dims: [ 3, {HEX}, 8 ] }}'),
        ("config.json", TIMM % '"crop_pct": 0.01, "input_size": [3, 1e308, 1e308]'),
        ("config.json", TIMM % f'"crop_pct": {DIGITS}'),
        ("config.json", TIMM % '"mean": [1e308, 1e308, 1e308], "std": [1, 1, 1], "crop_mode": "border"'),
        ("config.json", f'{{"id2label": {{"{"9" * 5000}": "a"}}}}'),
        (
            "preprocessor_config.json",
            f'{{"do_resize": true, "size": 8, "rescale_factor": {DIGITS}, "image_mean": [0], "image_std": [1]}}',
        ),
        ("preprocessor_config.json", f'{{"do_resize": true, "size": {{"shortest_edge": {DIGITS}}}, "crop_pct": 0.5}}'),
    ],
)
def test_sidecars(parse: Callable[..., onnx.ModelProto], tmp_path: Path, name: str, text: str) -> None:
    onnx.save(classifier(parse), tmp_path / "m.onnx")
    (tmp_path / name).write_text(text)
    card = find_card(onnxray.load(tmp_path / "m.onnx"))
    assert card.size == (8, 8)


@pytest.mark.parametrize("names", ["{0: " + HEX + "}", "{" + HEX + ": 'a'}"])
def test_properties(parse: Callable[..., onnx.ModelProto], names: str) -> None:
    for properties in ({"names": names, "task": "classify"}, {"names": "{0: 'a'}", "imgsz": f"[{HEX}, 8]"}):
        proto = classifier(parse)
        for key, value in properties.items():
            proto.metadata_props.add(key=key, value=value)
        card = find_card(onnxray.load(proto))
        assert any("ignored" in text for text in card.warnings)


@pytest.mark.parametrize("text", ["x: " + "1" * 300_000 + "_", "x: " + "1" * 300_000, 'x: "' + "\\a" * 200_000])
def test_long_tokens_take_linear_time(text: str) -> None:
    # A pattern that backtracks over pairs of digits would take hours.
    with pytest.raises(CardError):
        pbtxt.parse(text)


def classifier(parse: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return parse("g (float[1, 3, 8, 8] x) => (float[1, 3] y) { p = GlobalAveragePool(x)  y = Flatten(p) }")
