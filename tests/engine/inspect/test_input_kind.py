"""Kinds of inputs: by structure, on small models and on those of other frameworks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.inspect.input_kind import KINDS, input_kinds
from onnxray.engine.inspect.recurrent_state import state_inputs
from onnxray.tests.engine.zoo import cases

Parse = Callable[..., onnx.ModelProto]
# What the zoo calls an input -> the kinds that fit.
MEANT = {
    "image": ("image",),
    "tokens": ("text", "tensor"),
    "mask": ("mask",),
    "audio": ("sound",),
    "volume": ("volume",),
    "sequence": ("series",),
    "tabular": ("table", "series", "tensor", "number"),
}


def kinds(proto: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    return {name: (found.kind, found.axes) for name, found in input_kinds(onnxray.load(proto)).items()}


def test_a_cell_with_its_state_and_a_rate(parse: Parse) -> None:
    """As voice detectors are exported: a frame, the state of both layers, the sampling rate."""
    proto = parse(
        """m (float[N, T] input, float[2, N, 8] state, int64 sr) => (float[N, T] output, float[2, N, 8] stateN) {
             output = Tanh (input)  stateN = Neg (state) }"""
    )
    assert kinds(proto) == {"input": ("sound", "NT"), "state": ("state", ""), "sr": ("number", "")}
    assert list(state_inputs(onnxray.load(proto))) == ["state"]


def test_states_by_shape_and_name_only_together(parse: Parse) -> None:
    """Two images of one shape, or a skip connection, are no states."""
    proto = parse(
        "m (float[N, 3, 8, 8] left, float[N, 3, 8, 8] right) => (float[N, 3, 8, 8] sum) { sum = Add (left, right) }"
    )
    assert not state_inputs(onnxray.load(proto))


@pytest.mark.parametrize(
    ("text", "constants", "due"),
    [
        ("m (int64[N, T] ids) => (float[N, T, 4] y) { y = Gather (w, ids) }", {"w": (9, 4)}, ("text", "NT")),
        ("m (float[N, 7] x) => (float[N, 4] y) { y = MatMul (x, w) }", {"w": (7, 4)}, ("table", "NF")),
        ("m (float[N, 1, 4000] x) => (float[N, 2, K] y) { y = Conv (x, w) }", {"w": (2, 1, 80)}, ("sound", "N1T")),
        ("m (float[N, 6, 50] x) => (float[N, 2, K] y) { y = Conv (x, w) }", {"w": (2, 6, 3)}, ("series", "NCT")),
        ("m (float[N, 50, 6] x) => (float[N, 50, 2] y) { y = MatMul (x, w) }", {"w": (6, 2)}, ("series", "NTF")),
        (
            "m (float[N, 1, 8, 8, 8] x) => (float[N, 2, 6, 6, 6] y) { y = Conv (x, w) }",
            {"w": (2, 1, 3, 3, 3)},
            ("volume", "NCDHW"),
        ),
        (
            "m (float[N, 3, 8, 8] x) => (float[N, 2, 6, 6] y) { y = Conv (x, w) }",
            {"w": (2, 3, 3, 3)},
            ("image", "NCHW"),
        ),
    ],
)
def test_what_structure_says(
    parse: Parse, text: str, constants: dict[str, tuple[int, ...]], due: tuple[str, str]
) -> None:
    arrays = {name: np.ones(shape, np.float32) for name, shape in constants.items()}
    (found,) = kinds(parse(text, **arrays)).values()
    assert found == due
    report = onnxray.inspect(parse(text, **arrays))
    if due[0] != "image":
        (decision,) = [d for d in report.decisions if d.what.startswith("input ")]
        assert decision.value.startswith(due[0])
        assert decision.reason


@pytest.mark.parametrize("name", cases())
def test_models_of_other_frameworks(name: str, zoo: Path) -> None:
    folder = zoo / "frameworks" / name
    meant = {i["name"]: i["kind"].split()[0] for i in json.loads((folder / "meta.json").read_text())["inputs"]}
    for key, found in input_kinds(onnxray.load(folder / "model.onnx")).items():
        assert found.kind in KINDS
        assert found.reason
        if meant.get(key) in MEANT and name != "h_resize_variants_op13":
            assert found.kind in MEANT[meant[key]], (key, found)
