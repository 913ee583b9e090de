"""Protocol-buffer text: what configuration files use of it, and where anything else is refused."""

from __future__ import annotations

import pytest

from onnxray.engine.errors import CardError
from onnxray.engine.preprocess.sources.pbtxt import messages, parse, text

CONFIG = r"""
# a comment with { braces }
name: "resnet"   platform: 'onnxruntime_onnx'
max_batch_size: 8
input [
  { name: "data" data_type: TYPE_FP32, format: FORMAT_NCHW; dims: [ 3, 224, -1 ] },
  { name: "mask" dims: 1 dims: 2 }
]
output { name: "prob" label_filename: "two " "words\t.txt" reshape { shape: [ ] } }
instance_group < count: 1 kind: KIND_CPU >
parameters: { key: "x" value: { string_value: "a \"quoted\" \\ text" } }
big: 0x1F neg: -2.5e3 f: 1.5f flag: true
[x]
""".replace("[x]", "")


def test_a_configuration() -> None:
    config = parse(CONFIG)
    assert text(config, "name") == "resnet"
    assert text(config, "platform") == "onnxruntime_onnx"
    assert config["max_batch_size"] == [8]
    data, mask = messages(config, "input")
    assert data == {"name": ["data"], "data_type": ["TYPE_FP32"], "format": ["FORMAT_NCHW"], "dims": [3, 224, -1]}
    assert mask["dims"] == [1, 2]
    (output,) = messages(config, "output")
    assert text(output, "label_filename") == "two words\t.txt"
    assert messages(output, "reshape") == [{"shape": []}]
    assert messages(config, "instance_group") == [{"count": [1], "kind": ["KIND_CPU"]}]
    assert messages(config, "parameters")[0]["value"] == [{"string_value": ['a "quoted" \\ text']}]
    assert (config["big"], config["neg"], config["f"], config["flag"]) == ([31], [-2500.0], [1.5], ["true"])
    assert text(config, "max_batch_size") == ""
    assert messages(config, "name") == []
    assert parse("") == {}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("a: {", "it ends in the middle"),
        ("a: [1, 2", "it ends in the middle"),
        ("a:", "it ends in the middle"),
        ("a", "unexpected 'a' in line 1"),
        ("\n\na }", "unexpected 'a' in line 3"),
        ("}", "unexpected '}' in line 1"),
        ("a: }", "unexpected '}' in line 1"),
        ("a: 'open", "unexpected"),
        ("a: 1 \n € ", "unexpected '€ ' in line 2"),
        ("a { " * 100 + "}" * 100, "nested deeper than 64 levels"),
        ("a: " + "[" * 50, "unexpected"),
    ],
)
def test_what_is_refused(broken: str, message: str) -> None:
    with pytest.raises(CardError, match=message):
        parse(broken)
