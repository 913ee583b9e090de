"""`--devices`: a run that is shared among devices writes the same bytes as one device does.

The table of capabilities says that the CPU provider has numbered devices (`devices_used`); all results are its own.
Numbers are 3 and 4, so that a run on no device, number 0, would be seen.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import write
from onnxray.cli.tasks.explain import Explainer
from onnxray.cli.tasks.line import Work

Run = Callable[..., Result]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def of_each_image(monkeypatch: pytest.MonkeyPatch, devices_used: list[int]) -> list[set[int]]:
    """The devices of the runs for each image, which are worked on one after the other."""
    found, turn = list[set[int]](), threading.Lock()

    def alone(real: Callable[..., Any]) -> Callable[..., Any]:
        def work(*given: Any) -> Any:
            with turn:
                before = len(devices_used)
                done = real(*given)
                found.append(set(devices_used[before:]))
                return done

        return work

    monkeypatch.setattr(Explainer, "one", alone(Explainer.one))
    monkeypatch.setattr(Work, "done", alone(Work.done))
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for number in range(8):
        write(folder / f"{number}.png", rng.integers(0, 256, (40 + 9 * number, 60, 3), np.uint8))
    (folder / "4.png").write_bytes(b"no picture")
    return folder


def test_explain(run: Run, model: Path, photos: Path, tmp_path: Path, devices_used: list[int]) -> None:
    asked = ("explain", model, photos, "--threads", "1", "-m", "grad-cam,gradient", "-o")
    due = run(*asked, tmp_path / "one")
    assert due.exit_code == 1
    devices_used.clear()
    done = run(*asked, tmp_path / "two", "--devices", "3,4")
    assert done.exit_code == 1
    assert set(devices_used) == {3, 4}
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    found = json.loads((tmp_path / "two" / "manifest.json").read_text(encoding="utf-8"))
    assert [Path(entry["path"]).name for entry in found["images"]] == [f"{n}.png" for n in range(8)]
    assert [entry["status"] for entry in found["images"]].index("failed") == 4
    said = [line for line in done.stderr.splitlines() if "in " not in line and "left" not in line]
    assert said.count(next(line for line in said if "4.png" in line)) == 1


def test_a_run_goes_on_with_other_devices(
    run: Run, model: Path, photos: Path, tmp_path: Path, devices_used: list[int]
) -> None:
    (photos / "4.png").unlink()
    asked = ("explain", model, photos, "--threads", "1", "-m", "grad-cam", "-o")
    assert run(*asked, tmp_path / "one").exit_code == 0
    assert run(*asked, tmp_path / "two", "--limit", "3").exit_code == 0
    manifest = tmp_path / "two" / "manifest.json"
    cut = json.loads((tmp_path / "one" / "manifest.json").read_text(encoding="utf-8"))
    kept = [entry for entry in cut["images"] if Path(entry["path"]).name in ("0.png", "1.png", "2.png")]
    manifest.write_text(json.dumps({**cut, "images": kept, "complete": False}, indent=2), encoding="utf-8")
    devices_used.clear()
    assert run(*asked, tmp_path / "two", "--resume", "--devices", "4,3").exit_code == 0
    assert set(devices_used) == {3, 4}
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_activations(run: Run, model: Path, photos: Path, tmp_path: Path, devices_used: list[int]) -> None:
    asked = ("activations", model, photos, "--threads", "1", "-o")
    assert run(*asked, tmp_path / "one").exit_code == 1
    devices_used.clear()
    assert run(*asked, tmp_path / "two", "--devices", "3,4").exit_code == 1
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert set(devices_used) == {3, 4}


@pytest.fixture
def memory(model: Path, photos: Path, tmp_path: Path) -> Path:
    """What the model knows of the readable photos."""
    rng = np.random.default_rng(1)
    good = [rng.integers(0, 256, (40, 60, 3), np.uint8) for _ in range(8)]
    return onnxray.Novelty.fit(model, good, method="knn").save(tmp_path / "good.npz")


def each_on_one(found: list[set[int]]) -> bool:
    """Whether both devices worked, and all runs for an image were on one of them."""
    return set().union(*found) == {3, 4} and all(len(one) == 1 for one in found)


def rows_of(file: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


# Everything that runs the model for an image: rule, memory, checks of trust, drift.
RULE = ("--when", "score > 0 and novelty >= 0", "--memory")


def test_sinks(
    run: Run, model: Path, photos: Path, memory: Path, tmp_path: Path, of_each_image: list[set[int]]
) -> None:
    asked = ("explain", model, photos, "--threads", "1", *RULE, memory, "--reference", "3", "--to")
    assert run(*asked, f"jsonl:{tmp_path / 'one'}").exit_code == 1
    of_each_image.clear()
    assert run(*asked, f"jsonl:{tmp_path / 'two'}", "--devices", "3,4").exit_code == 1
    assert rows_of(tmp_path / "two") == rows_of(tmp_path / "one")
    assert each_on_one(of_each_image)


def test_rules_and_trust(
    run: Run, model: Path, photos: Path, memory: Path, tmp_path: Path, of_each_image: list[set[int]]
) -> None:
    asked = ("explain", model, photos, "--threads", "1", *RULE, memory, "--trust", "-m", "grad-cam", "-o")
    assert run(*asked, tmp_path / "one").exit_code == 1
    of_each_image.clear()
    assert run(*asked, tmp_path / "two", "--devices", "3,4").exit_code == 1
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert each_on_one(of_each_image)


def test_watch(
    run: Run, model: Path, photos: Path, memory: Path, tmp_path: Path, of_each_image: list[set[int]]
) -> None:
    (photos / "4.png").unlink()  # it would be tried again later
    asked = ("watch", photos, "--model", model, "--threads", "1", *RULE, memory, "--reference", "3", "--limit", "7")
    for name, devices in (("one", ()), ("two", ("--devices", "3,4"))):
        of_each_image.clear()
        assert run(*asked, "-o", tmp_path / name, *devices).exit_code == 0
    due, found = (
        [
            {k: v for k, v in row.items() if k not in ("time", "files")}
            for row in rows_of(tmp_path / name / "records.jsonl")
        ]
        for name in ("one", "two")
    )
    assert found == due
    assert each_on_one(of_each_image)


def test_a_refused_device_leaves_the_results_of_an_earlier_run(
    run: Run, model: Path, photo: Path, tmp_path: Path
) -> None:
    for command in ("activations", "explain"):
        asked = (command, model, photo, "-q", "-o", tmp_path / command)
        assert run(*asked).exit_code == 0
        before = contents(tmp_path / command)
        done = run(*asked, "--force", "--provider", "cpu", "--devices", "0,1")
        assert done.exit_code == 1
        assert "no numbered devices" in done.stderr
        assert contents(tmp_path / command) == before


def test_what_is_refused(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    for value, said, code in (("0,1", "no numbered devices", 1), ("0,0", "are no devices", 2), ("a", "no devices", 2)):
        done = run("explain", model, photos, "--provider", "cpu", "--devices", value, "-o", tmp_path / "out")
        assert done.exit_code == code, done.stderr
        assert said in done.stderr
    assert not (tmp_path / "out").exists()
