"""`--half` on the command line: what is said of it, and that its results are not mixed with those of float32."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from click.testing import Result

from onnxray.cli.files.images import write

Run = Callable[..., Result]
SLOW = "--half: the CPU provider converts"


def test_a_run_is_not_continued_with_another_precision(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    for first, second, said in (((), ("--half",), "float32 (without --half)"), (("--half",), (), "float16 (--half)")):
        out = tmp_path / said
        asked = ("explain", model, photo, "-m", "grad-cam", "--provider", "cpu", "-o", out)
        assert run(*asked, *first).exit_code == 0
        done = run(*asked, *second, "--resume")
        assert done.exit_code == 1
        assert f"holds a run with {said}, which cannot be continued" in done.stderr
        assert run(*asked, *first, "--resume").exit_code == 0


def test_that_it_is_slow_is_said_once(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    asked = ("explain", model, photo, "-m", "grad-cam", "--provider", "cpu", "--half")
    for more in (("-o", tmp_path / "out"), ("--to", f"jsonl:{tmp_path / 'found.jsonl'}")):
        done = run(*asked, *more)
        assert done.exit_code == 0, done.stderr
        assert done.stderr.count(SLOW) == 1
    quiet = run(*asked, "--to", f"jsonl:{tmp_path / 'quiet.jsonl'}", "-q")
    assert SLOW not in quiet.stderr


def test_novelty(run: Run, model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(8):
        write(tmp_path / "good" / f"{number}.png", rng.integers(0, 256, (40, 56, 3), np.uint8))
    scores = []
    for name, more in (("half", ("--half",)), ("single", ())):
        memory = tmp_path / f"{name}.npz"
        done = run("novelty", "fit", model, tmp_path / "good", "--method", "knn", "--json", "-o", memory, *more)
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["model"]["sha256"].endswith("+half") == bool(more)
        out = tmp_path / name
        assert run("novelty", "score", model, tmp_path / "good", "--memory", memory, "-o", out).exit_code == 0
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        assert ("half" in manifest["model"]) == bool(more)
        scores.append([entry["score"] for entry in manifest["images"]])
    np.testing.assert_allclose(scores[0], scores[1], rtol=0.1, atol=1e-2)
    assert scores[0] != scores[1]
