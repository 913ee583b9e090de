"""`onnxray grad`: the file it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result

from onnxray.cli.main import main

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3] x) => (float[N,2] logits)
<float[3,2] w = {1, 2, 3, 4, 5, 6}>
{ h = Sin(x)  logits = MatMul(h, w) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(MODEL), path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["grad", *map(str, arguments)])


def test_writes_a_model_with_gradients(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.onnx"
    result = run(model, "--of", "logits", "--wrt", "x", "--out", out, "--verify", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert all(row["passed"] for row in told["checks"])
    onnx.checker.check_model(onnx.load(out), full_check=True)
    x = np.array([[0.1, 0.2, 0.3]], np.float32)
    session = ort.InferenceSession(out, providers=["CPUExecutionProvider"])
    (gradient,) = session.run(["grad/x"], {"x": x, "cotangent/logits": np.array([[1, 0]], np.float32)})
    np.testing.assert_allclose(gradient, np.cos(x) * [1, 3, 5], rtol=1e-5)


def test_first_output_and_all_inputs_unless_told(model: Path, tmp_path: Path) -> None:
    result = run(model, "--out", tmp_path / "g.onnx")
    assert result.exit_code == 0
    assert "cotangent/logits" in result.stdout
    assert "grad/x" in result.stdout


def test_does_not_overwrite(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.onnx"
    out.write_bytes(b"mine")
    result = run(model, "--out", out)
    assert result.exit_code == 1
    assert out.read_bytes() == b"mine"
    assert run(model, "--out", out, "--force").exit_code == 0


def test_unknown_value_offers_the_nearest(model: Path, tmp_path: Path) -> None:
    result = run(model, "--of", "logit", "--out", tmp_path / "g.onnx")
    assert result.exit_code == 1
    assert "'logits'" in result.stderr
    assert not (tmp_path / "g.onnx").exists()


def test_feeds_are_used_and_judged(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "feeds.npz", x=np.zeros((4, 3), np.float32))
    result = run(model, "--out", tmp_path / "g.onnx", "--verify", "--feeds", tmp_path / "feeds.npz")
    assert result.exit_code == 0, result.output
    (tmp_path / "broken.npz").write_text("no arrays")
    result = run(model, "--out", tmp_path / "h.onnx", "--verify", "--feeds", tmp_path / "broken.npz")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_verify_has_no_meaning_with_other_rules(model: Path, tmp_path: Path) -> None:
    assert run(model, "--rules", "guided", "--verify", "--out", tmp_path / "g.onnx").exit_code == 2
