"""Plans on disk: read, they are the plans that would be found; what is damaged or foreign is not used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.incremental import kept_plans, plan
from onnxray.engine.incremental.network import Network
from onnxray.engine.incremental.windows import Windows

NetworkOf = Callable[[onnxray.Model], Network]

pytestmark = pytest.mark.usefixtures("cut_wherever_it_can")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONNXRAY_PLANS", str(tmp_path / "plans"))
    return tmp_path / "plans"


def windows(stride: int = 6) -> Windows:
    at = [(y, x) for y in range(0, 61, stride) for x in range(0, 61, stride)]
    return Windows(np.array([(y, x, y + 4, x + 4) for y, x in at], np.int64))


def count_estimates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    called: list[int] = []
    true = plan.estimate
    monkeypatch.setattr(plan, "estimate", lambda *args: called.append(1) or true(*args))
    return called


def test_the_second_search_reads(
    folder: Path, network_of: NetworkOf, residual: onnxray.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = count_estimates(monkeypatch)
    first = plan.search(network_of(residual), windows())
    assert called
    assert first.stages
    (file,) = folder.glob("*.json")
    assert file.stat().st_size < 1000
    called.clear()
    second = plan.search(network_of(residual), windows())
    assert not called
    assert second.seconds == first.seconds
    assert second.reason == first.reason
    assert [s.part.exit for s in second.stages] == [s.part.exit for s in first.stages]
    for ours, theirs in zip(second.stages, first.stages, strict=True):
        np.testing.assert_array_equal(ours.limits, theirs.limits)
        np.testing.assert_array_equal(ours.rows.kinds, theirs.rows.kinds)


def test_that_no_cut_pays_is_kept_too(
    folder: Path, network_of: NetworkOf, residual: onnxray.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Windows(np.array([[0, 0, 64, 64]], np.int64))
    first = plan.search(network_of(residual), whole)
    assert "no cut pays" in first.reason
    called = count_estimates(monkeypatch)
    assert plan.search(network_of(residual), whole) == first
    assert not called


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"cuts": 7}', '{"cuts": 9, "steps": [[3, 1, 1]], "seconds": 1}'])
def test_damaged_files_are_searched_for_anew(
    folder: Path, network_of: NetworkOf, residual: onnxray.Model, damage: str
) -> None:
    first = plan.search(network_of(residual), windows())
    (file,) = folder.glob("*.json")
    kept = file.read_text()
    file.write_text(damage)
    assert plan.search(network_of(residual), windows()).seconds == first.seconds
    assert file.read_text() == kept


def test_a_chain_that_does_not_fit_is_searched_for_anew(
    folder: Path, network_of: NetworkOf, residual: onnxray.Model
) -> None:
    first = plan.search(network_of(residual), windows())
    (file,) = folder.glob("*.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "cuts": content["cuts"] + 1}))
    again = plan.search(network_of(residual), windows())
    assert [s.part.exit for s in again.stages] == [s.part.exit for s in first.stages]
    assert json.loads(file.read_text()) == content


def test_what_is_searched_for_is_in_the_name(folder: Path, network_of: NetworkOf, residual: onnxray.Model) -> None:
    def place(model: onnxray.Model, wanted: Windows, cap: float | None = None) -> Path | None:
        return kept_plans.place_of(network_of(model), wanted, cap)

    with residual.edited() as edit:
        next(n for n in edit.graph.node if n.op_type == "MaxPool").attribute[0].ints[:] = [2, 1]
    changed = edit.model
    heavier = onnx.ModelProto()
    heavier.CopyFrom(residual.proto)
    for tensor in heavier.graph.initializer:
        if tensor.name == "w1":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ones((16, 3, 3, 3), np.float32), "w1"))
    same = place(residual, windows())
    assert same == place(residual, windows())
    places = [same, place(residual, windows(8)), place(residual, windows(), 0.5), place(changed, windows())]
    places.append(place(residual, Windows(windows().boxes, 0.5)))
    places.append(place(onnxray.load(heavier), windows()))  # small constants may be sizes: they count
    assert len({*places}) == len(places)


def test_where_nothing_can_be_written(
    tmp_path: Path, network_of: NetworkOf, residual: onnxray.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ONNXRAY_PLANS", str(tmp_path / "file" / "plans"))
    assert plan.search(network_of(residual), windows()).stages
    monkeypatch.setenv("ONNXRAY_PLANS", "off")
    assert kept_plans.place_of(network_of(residual), windows(), None) is None
    assert plan.search(network_of(residual), windows()).stages
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_oldest_are_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_plans, "MOST_PLANS", 3)
    for number in range(5):
        kept_plans.keep(folder / f"{number}.json", 4, [kept_plans.Step(0, 2, 1)], 1.0)
        os.utime(folder / f"{number}.json", (number, number))
    assert sorted(p.stem for p in folder.iterdir()) == ["2", "3", "4"]
    assert kept_plans.read(folder / "4.json") == kept_plans.Chain(4, (kept_plans.Step(0, 2, 1),), 1.0)
