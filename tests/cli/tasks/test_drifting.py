"""Drift of what `onnxray watch` sees: in its records, as alarms, over restarts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import write
from onnxray.models.surface import render

pytest.importorskip("watchdog")

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def arrive(folder: Path, prefix: str, seeds: range, change: Callable[[Any], Any] = lambda image: image) -> None:
    for seed in seeds:
        write(folder / f"{prefix}-{seed:02d}.png", change(render(seed, texture="brushed").image))


def drifts(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["drift"] for line in (out / "records.jsonl").read_text().splitlines()]


def test_an_alarm_over_a_restart(run: Run, folder: Path, tmp_path: Path) -> None:
    out, moved = tmp_path / "out", tmp_path / "moved"
    asked = ("watch", folder, "--model", "builtin", "-o", out, "--move-to", moved, "--to", tmp_path / "all.jsonl")
    asked += ("--reference", 20, "--drift-window", 6, "--alarm", "0.4")
    arrive(folder, "a", range(28))
    done = run(*asked, "--limit", 28)
    assert done.exit_code == 0, done.stderr
    assert "the first 20 images are the reference" in done.stderr
    found = drifts(out)
    assert [d.get("reference") for d in found] == [*range(1, 21), *[None] * 8]
    assert [d["psi"] is None for d in found[20:]] == [True] * 5 + [False] * 3
    assert all(d["alarm"] == [] and d["layer"] == "stage1/relu" for d in found[20:])
    # The next start reads the reference, and says once that the light has failed.
    arrive(folder, "b", range(40, 48), lambda image: (image * 0.3).astype(np.uint8))
    done = run(*asked, "--limit", 8)
    assert done.exit_code == 3, done.stderr
    assert "the first 20 images" not in done.stderr
    assert done.stderr.count("alarm: drift: psi") == 1
    assert [d["alarm"] for d in drifts(out)[28:]] == [[]] * 5 + [["psi"]] * 3
    # The numbers are those of Python.
    drift = onnxray.Drift("builtin", out / "reference", window=6)
    for record in [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()][28:]:
        one = drift.add(moved / Path(record["path"]).name)
        np.testing.assert_allclose(record["drift"]["smd"], one.smd, rtol=1e-6)
        assert (one.psi is None) == (record["drift"]["psi"] is None)
    assert record["drift"]["psi"] == pytest.approx(one.psi, rel=1e-6)


def test_alarms_of_one_image_reach_the_sinks_that_take_them(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxray.cli.sinks.jsonl import JsonLines

    told: list[tuple[str, Any]] = []
    monkeypatch.setattr(JsonLines, "alarm", lambda self, key, fields: told.append((key, fields)), raising=False)
    onnxray.health("builtin", [render(seed, texture="brushed").image for seed in range(12)]).save(tmp_path / "health")
    arrive(folder, "a", range(20, 22))
    arrive(folder, "b", range(22, 23), lambda image: np.full_like(image, 255))
    arrive(folder, "c", range(23, 24))
    asked = ("--reference", tmp_path / "health", "--drift-layer", "stage1/relu", "--alarm", "smd:2", "--threads", 1)
    done = run(
        "watch", folder, "--model", "builtin", "-o", tmp_path / "o", "--limit", 4, "--to", tmp_path / "x.jsonl", *asked
    )
    assert done.exit_code == 3, done.stderr
    assert [(Path(f["path"]).name, f["drift"]["alarm"]) for _, f in told] == [("b-22.png", ["smd"]), ("c-23.png", [])]
    assert "drift: smd is below 2 again" in done.stderr


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (("--alarm", "0.1"), 2, "--drift-layer, --drift-window and --alarm are about --reference"),
        (("--reference", 3, "--alarm", "ks:1"), 2, "'ks:1' is not LIMIT, psi:LIMIT or smd:LIMIT"),
        (("--reference", 3, "--alarm", "-1"), 2, "'-1' is not LIMIT"),
        (("--reference", 0), 1, "names no image"),
        (("--reference", "nowhere"), 1, "holds no result of onnxray reference"),
        (("--reference", 3, "--drift-layer", "stage9"), 1, "no layer"),
    ],
)
def test_wrong_usage_is_one_line(
    run: Run, folder: Path, tmp_path: Path, more: tuple[Any, ...], code: int, says: str
) -> None:
    done = run("watch", folder, "--model", "builtin", "-o", tmp_path / "o", *more)
    assert (done.exit_code, says in done.stderr) == (code, True), done.stderr


def test_a_reference_of_another_number_is_not_taken(run: Run, folder: Path, tmp_path: Path) -> None:
    arrive(folder, "a", range(3))
    asked = ("watch", folder, "--model", "builtin", "-o", tmp_path / "o", "--limit", 3, "--reference")
    assert run(*asked, 2).exit_code == 0
    done = run(*asked, 3)
    assert (done.exit_code, "is of 2 images, not of 3" in done.stderr) == (1, True)
