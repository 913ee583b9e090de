"""Which inputs take tokens, and which masks, positions and segments go with which of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.text.reading import read
from onnxray.engine.text.roles import roles_of
from onnxray.tests.engine.text import small

Parse = Callable[..., onnx.ModelProto]
TABLE = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
BODY = (
    "{{ e = Gather (t, {a})  f = Gather (t, {b})  m = Cast <to = 1> ({ma})  n = Cast <to = 1> ({mb})  "
    "u = Unsqueeze (m, two)  v = Unsqueeze (n, two)  g = Mul (e, u)  h = Mul (f, v)  "
    "a1 = ReduceSum <keepdims = 0> (g, one)  b1 = ReduceSum <keepdims = 0> (h, one)  d = Mul (a1, b1)  "
    "y = ReduceSum (d, one) }}"
)


def pair(parse: Parse, a: str, b: str, ma: str, mb: str, order: str, length: str = "T") -> onnxray.Model:
    """The product of the sums of the embeddings of two texts, each with its mask."""
    inputs = ", ".join(f"int64[N, {length}] {name}" for name in order.split())
    body = BODY.format(a=a, b=b, ma=ma, mb=mb)
    one, two = np.int64([1]), np.int64([2])
    return onnxray.load(parse(f"m ({inputs}) => (float[N, 1] y) {body}", t=TABLE, one=one, two=two), answer="number")


@pytest.mark.parametrize(
    ("a", "b", "ma", "mb", "order"),
    [
        ("ids_a", "ids_b", "mask_b", "mask_a", "ids_a mask_a ids_b mask_b"),
        ("input_ids_1", "input_ids_2", "attention_mask_2", "attention_mask_1", "input_ids_1 input_ids_2 attention_mask_1 attention_mask_2"),
        ("query_ids", "passage_ids", "passage_mask", "query_mask", "query_ids passage_ids passage_mask query_mask"),
        ("p_ids", "q_ids", "mask_y", "mask_x", "p_ids q_ids mask_x mask_y"),
    ],
)  # fmt: skip
def test_each_of_two_texts_has_its_mask(parse: Parse, a: str, b: str, ma: str, mb: str, order: str) -> None:
    roles = roles_of(pair(parse, a, b, mb, ma, order))
    assert roles is not None
    assert dict(zip(roles.ids, roles.masks, strict=True)) == {a: mb, b: ma}
    assert set(roles.made) == {ma, mb}


def test_the_masks_of_a_pair_are_fed(parse: Parse, tmp_path: Path) -> None:
    model = pair(parse, "ids_a", "ids_b", "mask_a", "mask_b", "ids_a mask_a ids_b mask_b", "6")
    small.wordpiece().save(str(tmp_path / "tokenizer.json"))
    model = onnxray.load(model, tokenizer=str(tmp_path / "tokenizer.json"))
    text = onnxray.Text("the film", "a good story")
    feeds = read(model, text).feeds(model)
    assert feeds["mask_a"].tolist() == [[1, 1, 1, 1, 0, 0]]
    assert feeds["mask_b"].tolist() == [[1, 1, 1, 1, 1, 0]]
    e = onnxray.explain(model, text, "input-x-gradient", "value")
    sums = [(TABLE[feeds[f"ids_{k}"][0]] * feeds[f"mask_{k}"][0][:, None]).sum(axis=0) for k in "ab"]
    assert e.score == pytest.approx(float(sums[0] @ sums[1]), rel=1e-5)
    assert sum(t.value for t in e.tokens) == pytest.approx(2 * e.score, rel=1e-4)
