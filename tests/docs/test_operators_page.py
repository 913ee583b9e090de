"""docs/operators.md is what the registry says."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxray.docs.make_operators import page
from onnxray.engine.gradients import coverage as table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operators.md"


def test_the_page_is_up_to_date():
    """If not: python docs/make_operators.py. The standard grows with onnx; the page names the version it is of."""
    text = PAGE.read_text(encoding="utf-8")
    if f"those of onnx {'.'.join(onnx.__version__.split('.')[:2])}." not in text:
        pytest.skip("the page was made with another version of onnx")
    assert text == page()


def test_every_operator_has_one_row():
    rows = list(table.rows())
    assert len({(row.domain, row.name) for row in rows}) == len(rows)
    assert {s.name for s in onnx.defs.get_all_schemas() if s.domain in ("", "ai.onnx.ml")} <= {row.name for row in rows}


def test_what_is_not_differentiable_says_why():
    for row in table.rows():
        assert row.state in ("yes", "no", "missing")
        assert row.note or row.state != "no", row.name


def test_known_states():
    states = {row.name: row.state for row in table.rows() if not row.domain}
    assert {states[name] for name in ("Conv", "Relu", "LayerNormalization", "Upsample", "LSTM", "Mish")} == {"yes"}
    assert {states[name] for name in ("Shape", "ArgMax", "ConvInteger", "SequenceAt", "Floor")} == {"no"}
