"""Which layers have units of their own: chains, sums, gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import UnknownName
from onnxray.engine.inspect.own_units import chain_of, chosen, own_units


@pytest.fixture
def residual(parse: Any) -> onnxray.Model:
    return onnxray.load(
        parse(
            """
            m (float[N, 3, 8, 8] x) => (float[N, 2] y)
            {
              a = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (a) b = Conv <pads = [1, 1, 1, 1]> (r, v) s = Sigmoid (b) g = Mul (b, s)
              t = Add (r, g) u = Relu (t) p = GlobalAveragePool (u) f = Flatten (p) y = Gemm (f, h)
            }
            """,
            w=np.ones((4, 3, 3, 3), np.float32),
            v=np.ones((4, 4, 3, 3), np.float32),
            h=np.ones((4, 2), np.float32),
        )
    )


def test_what_shares_units_is_one_entry(residual: onnxray.Model) -> None:
    chains = [[layer.output for layer in entry.chain] for entry in own_units(residual)]
    assert chains == [["a", "r"], ["b", "g"], ["t", "u"], ["y"]]


def test_a_layer_is_found_by_any_of_its_chain(residual: onnxray.Model) -> None:
    assert chain_of(residual, "a").last.output == "r"
    assert [layer.output for layer in chain_of(residual, "p").chain] == ["p"]
    with pytest.raises(UnknownName):
        chain_of(residual, "z")


def test_chosen_layers_come_once_and_in_order(residual: onnxray.Model) -> None:
    assert [entry.last.output for entry in chosen(residual, ("t", "a", "r"))] == ["r", "u"]
    assert chosen(residual, ()) == own_units(residual)
