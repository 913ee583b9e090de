"""docs/localisation.md names the fill that methods use by default."""

from __future__ import annotations

import re
from pathlib import Path

import onnxray
from onnxray.engine.attribution.baselines import usual_fill
from onnxray.engine.explain import problem_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "localisation.md"


def test_the_default_fill_is_the_one_that_the_page_names() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"`fill=(\w+)` \(default\)", text) == [usual_fill(problem_of("builtin", _image()))]


def _image() -> object:
    import numpy as np

    return np.zeros((onnxray.load("builtin").inputs[0].shape[2], 160, 3), np.uint8)
