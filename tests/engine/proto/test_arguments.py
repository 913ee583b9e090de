"""Arguments of operators in both their forms: the reading agrees with what ONNX Runtime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from onnxray.engine.errors import ModelError
from onnxray.engine.proto.arguments import (
    Cut,
    Unreadable,
    axes_of,
    numbers_of,
    pads_of,
    permutation_of,
    slice_of,
)


def node_of(op: str, *arrays: Any, **given: Any) -> tuple[NodeProto, Any]:
    """The node with its arguments as inputs (None: left out, "computed": not constant), and what knows them."""
    names = ["" if a is None else f"argument{i}" for i, a in enumerate(arrays)]
    known = {n: np.asarray(a) for n, a in zip(names, arrays, strict=True) if a is not None and a is not COMPUTED}
    return helper.make_node(op, ["x", *names], ["y"], **given), known.get


COMPUTED = object()


@pytest.mark.parametrize(
    "made",
    [
        node_of("Slice", starts=[1, 0], ends=[9, 2], axes=[-1, 0]),
        node_of("Slice", [1, 0], [9, 2], [-1, 0]),
        node_of("Slice", [1, 0], [9, 2], [-1, 0], [1, 1]),
    ],
)
def test_a_slice_in_every_form(made: tuple[NodeProto, Any]) -> None:
    assert slice_of(made[0], 3, made[1]) == [Cut(2, 1, 9, 1), Cut(0, 0, 2, 1)]


def test_a_slice_without_axes_begins_at_the_first() -> None:
    node, constant = node_of("Slice", [1, -2], [4, 5], None, [2, -1])
    assert slice_of(node, 3, constant) == [Cut(0, 1, 4, 2), Cut(1, -2, 5, -1)]


def test_ends_may_be_computed_where_they_do_not_matter() -> None:
    node, constant = node_of("Slice", [1], COMPUTED)
    assert slice_of(node, 2, constant, ends=False) == [Cut(0, 1, 0, 1)]
    with pytest.raises(Unreadable, match="'argument1' is not constant"):
        slice_of(node, 2, constant)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([1, 2], [3]), "do not fit"),
        (([1], [3], COMPUTED), "'argument2' is not constant"),
        (([1], [3], [0], COMPUTED), "'argument3' is not constant"),
        (([1], [3], [0], [0]), "step"),
        (([1],), "'ends' is missing"),
    ],
)
def test_a_slice_that_cannot_be_read(arrays: tuple[Any, ...], message: str) -> None:
    node, constant = node_of("Slice", *arrays)
    with pytest.raises(Unreadable, match=message):
        slice_of(node, 2, constant)


def test_an_axis_that_does_not_exist_damages_the_model() -> None:
    for op, arguments, read in (("Slice", ([0], [1], [2]), slice_of), ("Pad", ([1, 1], None, [2]), pads_of)):
        node, constant = node_of(op, *arguments)
        with pytest.raises(ModelError, match="damaged"):
            read(node, 2, constant)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (node_of("Pad", pads=[0, 1, 2, 3]), [(0, 2), (1, 3)]),
        (node_of("Pad", [0, 1, 2, 3]), [(0, 2), (1, 3)]),
        (node_of("Pad", [1, -3], None, [-1]), [(0, 0), (1, -3)]),
        (node_of("Pad", [1, 2, 3, 4], None, [1, 0]), [(2, 4), (1, 3)]),
    ],
)
def test_pads_in_every_form(made: tuple[NodeProto, Any], expected: list[tuple[int, int]]) -> None:
    assert pads_of(made[0], 2, made[1]) == expected


def test_pads_that_cannot_be_read() -> None:
    for arrays in (([1, 2, 3],), (COMPUTED,), ([1, 2], None, COMPUTED), ()):
        node, constant = node_of("Pad", *arrays)
        with pytest.raises(Unreadable):
            pads_of(node, 2, constant)


@pytest.mark.parametrize("op", ["Squeeze", "Unsqueeze", "ReduceMean"])
def test_axes_in_every_form(op: str) -> None:
    assert axes_of(*node_of(op, axes=[0, -1])) == [0, -1]
    assert axes_of(*node_of(op, [0, -1])) == [0, -1]
    assert axes_of(*node_of(op)) is None
    assert axes_of(*node_of(op, [])) == []
    with pytest.raises(Unreadable):
        axes_of(*node_of(op, COMPUTED))


def test_the_axis_of_argmax() -> None:
    assert axes_of(*node_of("ArgMax", axis=-1)) == [-1]
    assert axes_of(*node_of("ArgMin")) == [0]


def test_a_permutation_reverses_the_axes_unless_given() -> None:
    assert permutation_of(node_of("Transpose")[0], 3) == [2, 1, 0]
    assert permutation_of(node_of("Transpose", perm=[0, 2, 1])[0], 3) == [0, 2, 1]
    for wrong in ([0, 1], [0, 0, 1], [0, 1, 3]):
        with pytest.raises(ModelError, match="damaged"):
            permutation_of(node_of("Transpose", perm=wrong)[0], 3)


def test_an_attribute_comes_before_an_input() -> None:
    node, constant = node_of("Slice", [7], starts=[3])
    assert numbers_of(node, "starts", 1, constant) == [3]
    assert numbers_of(node, None, 1, constant) == [7]
    assert numbers_of(node, None, 2, constant) is None
