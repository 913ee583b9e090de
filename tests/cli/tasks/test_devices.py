"""`--devices`: a run that is shared among devices writes the same bytes as one device does.

A table of devices says that there are two; both are the CPU provider, and all results are its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from onnxray.cli.files.images import write
from onnxray.cli.tasks.explain import Explainer
from onnxray.engine.inference import devices
from onnxray.engine.runtime.providers import CPU

Run = Callable[..., Result]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices of the images in the order of their beginning."""
    names, seen = ["cpu", CPU], list[str]()
    monkeypatch.setattr(devices, "providers_on", lambda providers, numbers: tuple(names[n] for n in numbers))
    real = Explainer.one

    def one(self: Explainer, path: Path, pixels: Any, folder: str) -> Any:
        assert self.runtime is not None
        seen.append(str(self.runtime["providers"]))
        return real(self, path, pixels, folder)

    monkeypatch.setattr(Explainer, "one", one)
    return seen


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for number in range(8):
        write(folder / f"{number}.png", rng.integers(0, 256, (40 + 9 * number, 60, 3), np.uint8))
    (folder / "4.png").write_bytes(b"no picture")
    return folder


def test_explain(run: Run, model: Path, photos: Path, tmp_path: Path, used: list[str]) -> None:
    asked = ("explain", model, photos, "--threads", "1", "-m", "grad-cam,gradient", "-o")
    due = run(*asked, tmp_path / "one")
    assert due.exit_code == 1
    used.clear()
    done = run(*asked, tmp_path / "two", "--devices", "0,1")
    assert done.exit_code == 1
    assert set(used) == {"cpu", CPU}
    assert len(used) == 7
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    found = json.loads((tmp_path / "two" / "manifest.json").read_text(encoding="utf-8"))
    assert [Path(entry["path"]).name for entry in found["images"]] == [f"{n}.png" for n in range(8)]
    assert [entry["status"] for entry in found["images"]].index("failed") == 4
    said = [line for line in done.stderr.splitlines() if "in " not in line and "left" not in line]
    assert said.count(next(line for line in said if "4.png" in line)) == 1


def test_a_run_goes_on_with_other_devices(run: Run, model: Path, photos: Path, tmp_path: Path, used: list[str]) -> None:
    (photos / "4.png").unlink()
    asked = ("explain", model, photos, "--threads", "1", "-m", "grad-cam", "-o")
    assert run(*asked, tmp_path / "one").exit_code == 0
    assert run(*asked, tmp_path / "two", "--limit", "3").exit_code == 0
    manifest = tmp_path / "two" / "manifest.json"
    cut = json.loads((tmp_path / "one" / "manifest.json").read_text(encoding="utf-8"))
    kept = [entry for entry in cut["images"] if Path(entry["path"]).name in ("0.png", "1.png", "2.png")]
    manifest.write_text(json.dumps({**cut, "images": kept, "complete": False}, indent=2), encoding="utf-8")
    used.clear()
    assert run(*asked, tmp_path / "two", "--resume", "--devices", "1,0").exit_code == 0
    assert len(used) == 4
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_activations(run: Run, model: Path, photos: Path, tmp_path: Path, used: list[str]) -> None:
    asked = ("activations", model, photos, "--threads", "1", "-o")
    assert run(*asked, tmp_path / "one").exit_code == 1
    assert run(*asked, tmp_path / "two", "--devices", "0,1").exit_code == 1
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert not used


def test_sinks(run: Run, model: Path, photos: Path, tmp_path: Path, used: list[str]) -> None:
    lines = []
    for name, more in (("one", ()), ("two", ("--devices", "0,1"))):
        file = tmp_path / f"{name}.jsonl"
        assert run("explain", model, photos, "--threads", "1", "--to", f"jsonl:{file}", *more).exit_code == 1
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        lines.append([{key: value for key, value in row.items() if key != "time"} for row in rows])
    assert lines[0] == lines[1]


def test_what_is_refused(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    for value, said, code in (("0,1", "no numbered devices", 1), ("0,0", "are no devices", 2), ("a", "no devices", 2)):
        done = run("explain", model, photos, "--provider", "cpu", "--devices", value, "-o", tmp_path / "out")
        assert done.exit_code == code, done.stderr
        assert said in done.stderr
    assert not (tmp_path / "out").exists()
