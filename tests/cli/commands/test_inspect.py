"""`onnxray inspect`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import Result

from onnxray.engine.load import load


def test_json_holds_everything(run: Callable[..., Result], model: Path) -> None:
    done = run("inspect", model, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert set(found) == {
        *("path", "sha256", "opset", "opsets", "ir_version", "producer", "metadata", "inputs", "outputs", "batch"),
        *("nodes", "params", "macs", "decisions", "layers"),
    }
    assert found["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["N", 3, 16, 16]}]
    assert found["outputs"] == [{"name": "logits", "dtype": "float32", "shape": ["N", 5]}]
    assert (found["opset"], found["batch"], found["nodes"]) == (17, "dynamic", 9)
    assert found["sha256"] == load(model).sha256
    # by hand: 8*3*9+8, 8*8*9+8, 5*8+5 parameters; 16*16*8*27, 8*8*8*72, 40 multiplications
    by_name = {layer["name"]: layer for layer in found["layers"]}
    assert [by_name[n]["params"] for n in ("stem", "inner", "logits")] == [224, 584, 45]
    assert [by_name[n]["macs"] for n in ("stem", "inner", "logits")] == [55296, 36864, 40]
    assert found["params"] == 224 + 584 + 45
    assert by_name["features"]["receptive_field"] == {"size": [8, 8], "stride": [2, 2], "offset": [0.5, 0.5]}
    assert by_name["logits"]["receptive_field"] is None
    assert by_name["features"]["cam"] is True
    assert by_name["logits"]["cam"] is False
    assert by_name["logits"]["cam_reason"]
    decisions = {d["what"]: d for d in found["decisions"]}
    assert set(decisions) == {"image input", "answer", "layer for class activation maps"}
    assert decisions["layer for class activation maps"]["value"] == "features"
    assert all(d["reason"] and d["override"].startswith("--") for d in found["decisions"])


def test_every_override_that_a_decision_names_is_an_option(run: Callable[..., Result], model: Path) -> None:
    decisions = json.loads(run("inspect", model, "--json").stdout)["decisions"]
    offered = run("activations", "--help").output
    for decision in decisions:
        for word in decision["override"].replace(",", " ").split():
            if word.startswith("--"):
                assert word in offered


def test_overrides_change_decisions(run: Callable[..., Result], model: Path) -> None:
    found = json.loads(run("inspect", model, "--json", "--scores", "probabilities").stdout)
    values = {d["what"]: d["value"] for d in found["decisions"]}
    assert values["answer"] == "logits (5 classes, probabilities)"
    done = run("inspect", model, "--layout", "NHWC")
    assert "image input: image (NHWC" in done.stdout


def test_the_table_is_aligned_and_names_every_layer(run: Callable[..., Result], model: Path) -> None:
    lines = run("inspect", model).stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("layer  "))
    names = [line.split()[0] for line in lines[start + 2 :]]
    assert names == [layer.output for layer in load(model).layers]
    assert lines[start].index("operator") == lines[start + 2].index("Conv")


@pytest.mark.parametrize("width", [66, 80, 120])
def test_the_table_fits_the_terminal(
    run: Callable[..., Result], zoo: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    done = run("inspect", zoo / "models" / "resnet20_cifar10.onnx")
    lines = done.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("layer  "))
    assert max(len(line) for line in lines[start:]) <= width
    assert len(lines[start:]) > 50
    assert ("(the terminal is too narrow for: output" in lines[-1]) == (width < 100)


def test_verbose_says_why(run: Callable[..., Result], model: Path) -> None:
    done = run("inspect", model, "--verbose")
    assert "it has no" in done.stdout  # and as much of "height and width of the image any more" as the terminal is wide


def test_control_characters_of_a_model_do_not_reach_the_terminal(
    run: Callable[..., Result], tmp_path: Path, parse: Callable[..., object]
) -> None:
    proto = parse("g (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) { y = Relu (x) }")
    proto.producer_name = "evil\x1b[31m\nfake: line"  # type: ignore[attr-defined]
    path = tmp_path / "evil.onnx"
    path.write_bytes(proto.SerializeToString())  # type: ignore[attr-defined]
    done = run("inspect", path)
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    assert not any(line.startswith("fake: line") for line in done.stdout.splitlines())


@pytest.mark.parametrize("columns", [None, "100"])
def test_long_names_are_cut_in_the_middle_in_files_as_well(
    run: Callable[..., Result],
    tmp_path: Path,
    cnn: onnx.ModelProto,
    monkeypatch: pytest.MonkeyPatch,
    columns: str | None,
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    proto = onnx.ModelProto()
    proto.CopyFrom(cnn)
    for number, node in enumerate(proto.graph.node):
        node.name = f"StatefulPartitionedCall/model/{'block/' * 300}{number}"
    onnx.save(proto, tmp_path / "m.onnx")
    done = run("inspect", tmp_path / "m.onnx")
    table = done.stdout[done.stdout.index("layer  ") :].splitlines()
    assert max(map(len, table)) <= int(columns or 160)
    assert len([line for line in table if line.startswith("Stateful") and "…" in line]) == 9
    whole = json.loads(run("inspect", tmp_path / "m.onnx", "--json").stdout)
    assert [layer["name"] for layer in whole["layers"]] == [node.name for node in proto.graph.node]
