"""Trial runs: they end, and give what a run gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import ModelError, ShapeError
from onnxray.engine.inference.session import run
from onnxray.engine.runtime import trial
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]

ENDLESS = """
g (float[1] x) => (float[k] y)
{ y = Loop (many, yes, x) <body = b (int64 i, bool c, float[m] v) => (bool d, float[n] w) { d = Identity (c) w = STEP }> }
"""


@pytest.mark.parametrize("step", ["Neg (v)", "Concat <axis = 0> (v, v)"])
def test_a_loop_without_end_is_stopped(parse: Parse, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setattr(trial, "_LOOP_SECONDS", 0.2)
    model = onnxray.load(parse(ENDLESS.replace("STEP", step), many=np.array(1 << 62), yes=np.array(True)))
    with pytest.raises(ModelError, match="terminate|allocate|memory"):
        trial.trial_run(model.proto, model.folder, {"x": np.ones(1, np.float32)})
    assert model.layers[0].op == "Loop"


def test_a_trial_run_gives_what_a_run_gives(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    x = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    assert (
        apart(trial.trial_run(model.proto, model.folder, {"image": x})["logits"], run(model, {"image": x})["logits"])
        <= ROUNDING
    )
    with pytest.raises(ShapeError, match="also needs"):
        trial.trial_run(model.proto, model.folder, {})
