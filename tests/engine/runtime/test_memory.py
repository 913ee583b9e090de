"""One arena of the process, two kinds of sessions that use it: each keeps its own limit, whichever was made last."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOM = """
import resource, sys
import numpy as np, onnx
import onnxray
from onnxray.engine.errors import ModelError
from onnxray.engine.inference.session import Session
from onnxray.engine.runtime import trial

def model(text):
    return onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>' + text)

# A value of n float32 squared, behind a sum that needs all of it.
def large(n):
    return model(f'''g (float[a] x) => (float[] y) <int64[2] size = {{{n}, {n}}}> {{
        big = ConstantOfShape <value = float[1] {{1}}> (size)
        all = ReduceSum <keepdims = 0> (big)
        first = ReduceSum <keepdims = 0> (x)
        y = Add (all, first)
    }}''')

def try_out(n):
    trial.trial_run(large(n), None, {"x": np.ones(1, np.float32)})

def pooled(n):
    return Session(onnxray.load(large(n)), threads=1, optimize="none", pooled=True)

def run(session):
    (y,) = session.run({"x": np.ones(1, np.float32)}).values()
    return float(y)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
"""


def printed(script: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", ROOM + script], capture_output=True, text=True, timeout=300, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is POSIX")
def test_a_trial_run_keeps_its_limit_after_pooled_sessions(tmp_path: Path) -> None:
    """A pooled session registers an arena without a limit; a model that wants 2.6 GB is still refused, not run."""
    script = """
assert abs(run(pooled(64)) - 64**2) < 8
before = peak()
try:
    try_out(25_000)
except ModelError as error:
    print("refused")
print(int(peak() - before))
"""
    said, grown = printed(script, tmp_path)
    assert said == "refused"
    assert int(grown) < 500  # MB


def test_pooled_sessions_have_no_limit_after_a_trial_run(tmp_path: Path) -> None:
    """With a trial's limit of 32 MB a pooled session still computes a value of 100 MB."""
    script = """
trial.TRIAL_BYTES = 32 << 20
try:
    try_out(5_000)
except ModelError:
    print("refused")
print(run(pooled(5_000)))
"""
    said, total = printed(script, tmp_path)
    assert said == "refused"
    assert float(total) == pytest.approx(25e6, rel=1e-3)


def test_a_session_keeps_the_arena_it_was_made_with(tmp_path: Path) -> None:
    script = """
trial.TRIAL_BYTES = 32 << 20
free = pooled(5_000)
tight = trial.trial_runner(large(5_000), None)
print(run(free))
try:
    tight({"x": np.ones(1, np.float32)})
except ModelError:
    print("refused")
"""
    total, said = printed(script, tmp_path)
    assert float(total) == pytest.approx(25e6, rel=1e-3)
    assert said == "refused"
