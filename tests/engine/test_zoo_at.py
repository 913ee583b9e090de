"""Explanations from a value inside: the gradients that the frameworks themselves give there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray import Target
from onnxray.tests.engine.zoo import cases, feeds_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", cases(lambda case: case["status"] == "differentiable"))
def test_gradients_at_values_inside_are_those_of_the_framework(name: str, zoo: Path) -> None:
    folder = zoo / "frameworks" / name
    meta = json.loads((folder / "meta.json").read_text())
    with np.load(folder / "io.npz") as arrays:
        io = {key: arrays[key] for key in arrays.files}
    cotangents = {key[4:]: a for key, a in io.items() if key.startswith("cot:")}
    inside = [key[8:] for key in io if key.startswith("gradmid:")]
    if len(cotangents) != 1 or not inside:
        pytest.skip("the references are of several outputs at once, or there are none inside")
    ((output, cotangent),) = cotangents.items()
    ties = {value["name"] for value in meta["intermediates"] if value.get("tie_risk")}
    model = onnxray.load(folder / "model.onnx")
    for value in inside:
        due = io.get(f"gradmid64:{value}", io[f"gradmid:{value}"]).astype(np.float64)
        found = onnxray.explain(model, feeds_of(folder), "gradient", Target.cotangent(output, cotangent), at=value)
        parts = [found] if isinstance(found, onnxray.Explanation) else list(found)
        assert parts[0].details["at"] == value
        got = np.stack([e.values for e in parts]).astype(np.float64)
        if value in ties:  # a rectifier's output into a maximum: any of equal zeros may be chosen
            keep = io[f"mid:{value}"] != 0
            got, due = got.reshape(due.shape)[keep], due[keep]
        got = got.reshape(due.shape)
        if meta.get("approximate"):
            cosine = (got * due).sum() / (np.linalg.norm(got) * np.linalg.norm(due) or 1)
            assert cosine >= meta["tolerance"].get("grad_cos_min", 0.8), value
        else:
            assert np.abs(got - due).max() <= meta["tolerance"]["grad_rel"] * np.abs(due).max() + 1e-12, value
