"""The table of candidates against the formulas of each family's own package."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxray.engine.detection.emit import LOGITS, SCORES, SIDES
from onnxray.engine.detection.table import table_of
from onnxray.engine.errors import ModelError
from onnxray.engine.inference.session import run

from .families import FAMILIES, SIZE, Family, Net, yolo5


def photo(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (1, 3, *SIZE)).astype(np.float32)


@pytest.mark.parametrize("make", FAMILIES, ids=lambda f: f.__name__)
def test_every_family_is_decoded_without_an_option(make: Callable[[], Family]) -> None:
    family = make()
    table = table_of(family.model)
    assert table.layout.rule == family.rule
    assert table.plane == SIZE
    got = run(table.model, {"image": photo()})
    boxes, scores = family.decode(got)
    np.testing.assert_allclose(got[SIDES][0], boxes, atol=2e-3, rtol=1e-5)
    np.testing.assert_allclose(got[SCORES][0], scores, atol=1e-5)
    # Logits are in the order of scores; through objectness they are the logarithm of the product.
    logits = got[LOGITS][0].astype(np.float64)
    shown = scores > 0
    if any(part.objectness for part in table.layout.parts):
        power = 2 if table.layout.root else 1
        np.testing.assert_allclose(np.exp(logits[shown]), scores[shown] ** power, rtol=1e-3, atol=1e-6)
    else:
        np.testing.assert_allclose(1 / (1 + np.exp(-logits[shown])), scores[shown], atol=1e-5)
    assert table.reason.startswith(family.rule)


def test_the_card_overrides_what_is_found() -> None:
    family = yolo5()
    model = type(family.model)(
        family.model.proto, overrides={**family.model.overrides, "detector": {"objectness": False}}
    )
    table = table_of(model)
    assert table.layout.parts[0].objectness is None
    got = run(table.model, {"image": photo()})
    np.testing.assert_allclose(got[SCORES][0], got["output0"][0, :, 4:], atol=1e-6)


def test_a_classifier_is_no_detector() -> None:
    net = Net()
    net.op("GlobalAveragePool", net.pyramid()[0], name="y")
    with pytest.raises(ModelError, match="no candidates of a detector"):
        table_of(net.model(["y"]))


def test_offsets_of_prior_boxes_are_refused() -> None:
    net = Net()
    maps = net.pyramid()
    net.op("Concat", *(net.rows(net.conv(x, 8, 4), 4) for x in maps), axis=1, name="boxes")
    net.op("Sigmoid", net.op("Concat", *(net.rows(net.conv(x, 8, 3), 3) for x in maps), axis=1), name="scores")
    with pytest.raises(ModelError, match="prior boxes"):
        table_of(net.model(["boxes", "scores"]))
