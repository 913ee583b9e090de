"""Every case of the zoo loads, and every value inside that its framework recorded comes out the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx

import onnxray


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max() / (np.abs(theirs).max() + 1e-12)) if ours.size else 0.0


def test_outputs_and_values_inside_match_the_frameworks(zoo: Path) -> None:
    wrong, counted = [], 0
    for folder in sorted((zoo / "frameworks").iterdir()):
        if not (folder / "meta.json").is_file():
            continue
        meta = json.loads((folder / "meta.json").read_text())
        with np.load(folder / "io.npz") as stored:
            arrays = {name: stored[name] for name in stored.files}
        feeds = {name[3:]: value for name, value in arrays.items() if name.startswith("in:")}
        expected = {
            name[4:]: value
            for name, value in arrays.items()
            if name[:4] in ("out:", "mid:") and value.dtype.kind == "f"
        }
        if meta.get("approximate"):  # a quantised file: its own output counts, not the float model's
            expected = {name[8:]: value for name, value in arrays.items() if name.startswith("ort_out:")}
        model = onnxray.load(folder / "model.onnx")
        known = {name: value for name, value in expected.items() if value is not None}
        got = onnxray.activations(model, feeds, list(known))
        for name, value in known.items():
            counted += 1
            error = relative(got[name], value)
            if not error <= 4 * meta["tolerance"]["forward_rel"]:
                wrong.append(f"{folder.name}: {name}: {error:.1e}")
    assert counted > 300
    assert not wrong, "\n".join(wrong)


def test_the_file_itself_is_not_changed(zoo: Path) -> None:
    path = zoo / "frameworks" / "t_resnet_basic_op17" / "model.onnx"
    proto = onnx.load(path)
    before = proto.SerializeToString()
    onnxray.vjp(onnxray.load(proto), of="output", wrt="pixel_values")
    assert proto.SerializeToString() == before
