"""Rules of inspection: what they know, and that a wrong one is known before the first image."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("simpleeval")

from onnxray.engine.errors import RuleError, UnknownName
from onnxray.engine.pipeline.rules import names_of, parse

LABELS = ["clean", "crack", "dent"]
NAMES = names_of(np.array([0.25, 0.5, 0.25]), LABELS, "line2/part-7.png")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("label != 'clean' and score > 0.4", True),
        ("label == 'clean'", False),
        ("label in ('crack', 'dent')", True),
        ("scores['dent'] > 0.2 or index == 0", True),
        ("scores[0] == 0.25 and len(scores) == 3", True),
        ("margin == 0.25 and entropy == 1.5", True),
        ("'line2' in path", True),
        ("max(scores[0], scores[1]) < 0.3", False),
    ],
)
def test_expressions(text: str, holds: bool) -> None:
    assert parse(text, LABELS).holds(NAMES) is holds


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("score >", RuleError, "is no expression"),
        ("", RuleError, "is no expression"),
        ("scor > 1", UnknownName, "nearest: 'score'"),
        ("label == clean", UnknownName, "texts stand in quotes"),
        ("label == 'craack'", UnknownName, "nearest: 'crack'"),
        ("label in ['crack', 'dnt']", UnknownName, "nearest: 'dent'"),
        ("scores['clen'] > 1", UnknownName, "nearest: 'clean'"),
        ("label > 3", RuleError, "not supported between"),
        ("scores[7] > 1", RuleError, "cannot be evaluated"),
        ("__import__('os').system('true')", UnknownName, "no name of a rule"),
        ("path.__class__", RuleError, "cannot be evaluated"),
        ("9 ** 9 ** 9 > score", RuleError, "cannot be evaluated"),
    ],
)
def test_wrong_ones_are_one_line(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=r"(?s)^[^\n]*$") as caught:
        parse(text, LABELS)
    assert says in str(caught.value)


def test_numbers_in_the_place_of_classes() -> None:
    names = names_of(np.array([-3.0]), None, "a.png", classes=False)
    assert (names["score"], names["label"], names["entropy"]) == (-3.0, "0", 0.0)
    assert parse("score < 0", count=1).holds(names)
