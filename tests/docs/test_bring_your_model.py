"""Every snippet of docs/bring-your-model.md is run, where its framework is installed, and its file looked into."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray.engine.inspection import inspect
from onnxray.engine.preprocess.answers import answer_of

PAGE = Path(__file__).parents[2] / "docs" / "bring-your-model.md"
FENCES = re.compile(r"^```python framework=(\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SNIPPETS = FENCES.findall(PAGE.read_text(encoding="utf-8"))


def test_every_framework_has_a_snippet() -> None:
    assert {names.split(",")[0] for names, _ in SNIPPETS} == {"torch", "tensorflow", "jax", "sklearn", "paddle"}


@pytest.mark.parametrize(("frameworks", "code"), SNIPPETS, ids=[f"{i}-{n}" for i, (n, _) in enumerate(SNIPPETS)])
def test_snippet_writes_a_good_model(frameworks: str, code: str, tmp_path: Path) -> None:
    missing = [name for name in frameworks.split(",") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    model = onnxray.load(tmp_path / "model.onnx")
    report = inspect(model)
    assert report.batch == "dynamic"
    assert answer_of(model).scores == "logits" or frameworks.startswith("sklearn")
    (value,) = model.inputs
    feed = np.random.default_rng(0).standard_normal([3, *value.shape[1:]]).astype(np.float32)
    output = answer_of(model)
    got = onnxray.activations(model, feed, [output.value])[output.value]
    assert got.shape == (3, output.classes)
    assert np.isfinite(got).all()
