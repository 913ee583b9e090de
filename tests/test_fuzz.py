"""A short run of `bench/fuzz.py` on fixed seeds: no raw error, crash or hang."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[1] / "bench" / "fuzz.py"
# Mutants of each kind; models are differentiated in `bench/fuzz.py` alone, which has minutes.
COUNTS = {"card": 60, "image": 120, "model": 80, "options": 40}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="waits for a child with select")
def test_mutants_end_right_or_in_one_line() -> None:
    spec = importlib.util.spec_from_file_location("onnxray_bench_fuzz", FILE)
    fuzz = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = fuzz
    spec.loader.exec_module(fuzz)
    outcomes = list(fuzz.run(((kind, seed) for kind, count in COUNTS.items() for seed in range(count)), workers=2))
    assert Counter(outcome.kind for outcome in outcomes) == COUNTS
    assert [outcome for outcome in outcomes if outcome.is_fault] == []
    assert {outcome.what for outcome in outcomes} == {"right", "refused"}
