"""Stage graphs on crops against the whole graph: with a window hidden, the same numbers, and nothing changed elsewhere."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import onnxray
from onnxray.engine.graph.split import expose
from onnxray.engine.incremental.crop_geometry import Unfit, _grouped, along, section, snapped
from onnxray.engine.incremental.crop_graph import CROP, build
from onnxray.engine.incremental.locality import Locality, changed, locality
from onnxray.engine.incremental.windows import Windows
from onnxray.engine.inference.session import Session
from onnxray.engine.inspect.concrete_shapes import concrete_shapes
from onnxray.tests.engine.incremental.test_locality import GRAPHS, ready


@dataclass(frozen=True)
class Network:
    """A local graph from x to y, run whole: `whole` computes all values."""

    model: onnxray.Model
    known: Locality
    whole: Session

    def values(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {"x": x, **self.whole.run({"x": x})}


def network(proto: onnx.ModelProto) -> Network:
    """A float model x (N, C, H, W) -> y."""
    model = onnxray.load(proto)
    whole = Session(expose(model, [output for node in model.graph.node for output in node.output if output]), threads=1)
    sizes = concrete_shapes(model)
    shape = sizes["x"]
    assert shape is not None
    real = whole.run({"x": np.zeros((2, *shape[1:]), np.float32)})
    sizes.update({"x": (2, *shape[1:]), **{name: array.shape for name, array in real.items()}})
    return Network(model, locality(model, "x", (2, 3), sizes), whole)


def check(
    net: Network,
    x: np.ndarray,
    boxes: np.ndarray,
    entry: tuple[str, ...],
    exit: tuple[str, ...],
    groups: int = 2,
    tolerance: float = 1e-5,
) -> int:
    """Compare for every window of x (N, ...). Returns the number of graphs that the windows needed. Raises Unfit."""
    model, known = net.model, net.known
    windows = Windows(boxes)
    parts = [changed(model, known, windows.spans(axis), axis) for axis in (0, 1)]
    part = section(model, known, entry, exit)
    sides = [along(known, part, parts[axis], axis, groups) for axis in (0, 1)]
    clean = net.values(x)
    fill = np.random.default_rng(9).uniform(-3, 3, x.shape).astype(np.float32)

    @functools.cache
    def session(row: int, column: int) -> Session:
        return Session(build(model, known, part, sides[0], row, sides[1], column), threads=1)

    for number, box in enumerate(boxes):
        occluded = x.copy()
        hole = where(x.ndim, known.axes["x"], (box[0], box[2]), (box[1], box[3]))
        occluded[hole] = fill[hole]
        values = net.values(occluded)
        at = windows.of(0)[number], windows.of(1)[number]
        kinds = [int(side.kinds[a]) for side, a in zip(sides, at, strict=True)]
        feeds = {}
        for name in entry:
            begin = [int(side.start[name][a]) for side, a in zip(sides, at, strict=True)]
            size = [side.length[kind][name] for side, kind in zip(sides, kinds, strict=True)]
            crop = where(values[name].ndim, known.axes[name], *((b, b + n) for b, n in zip(begin, size, strict=True)))
            feeds[name] = values[name][crop]
        got = session(kinds[0], kinds[1]).run(feeds)
        assert set(got) == {name + CROP for name in exit}
        for name in exit:
            begin = [int(side.given[name][a]) for side, a in zip(sides, at, strict=True)]
            size = [side.handed[kind][name][1] for side, kind in zip(sides, kinds, strict=True)]
            place = where(values[name].ndim, known.axes[name], *((b, b + n) for b, n in zip(begin, size, strict=True)))
            pasted = clean[name].copy()
            assert pasted[place].shape == got[name + CROP].shape, (name, box)
            pasted[place] = got[name + CROP]
            spread = np.nan_to_num(np.abs(values[name].astype(np.float64))).max(initial=1)
            np.testing.assert_allclose(pasted, values[name], rtol=0, atol=tolerance * spread, err_msg=f"{name} {box}")
    return session.cache_info().currsize


def where(rank: int, axes: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> tuple[slice, ...]:
    parts = [slice(None)] * rank
    parts[axes[0]], parts[axes[1]] = slice(*rows), slice(*columns)
    return tuple(parts)


def boxes_of(height: int, width: int) -> np.ndarray:
    """Windows in corners, at borders, in the middle; of one pixel, of uneven sides, whole rows and columns, everything."""
    found = set()
    for h, w in ((1, 1), (2, 3), (3, 2), (height, 1), (1, width), (height - 1, width - 1), (height, width)):
        for y in {0, (height - h) // 2, height - h}:
            for x in {0, 1 if width - w > 1 else 0, width - w}:
                found.add((y, x, y + h, x + w))
    return np.array(sorted(found), np.int64)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_operator_on_crops(name: str) -> None:
    r = ready(name)
    check(Network(r.model, r.known, r.session), r.graph.sample(), boxes_of(*r.graph.size), ("x",), ("y",))


CHAIN = """
    g (float[N, 3, 21, 26] x) => (float[N, a, b, c] y)
    {
      c1 = Conv <pads = [1, 1, 1, 1]> (x, w1)
      r1 = Relu (c1)
      p1 = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (r1)
      c2 = Conv <pads = [1, 1, 1, 1]> (p1, w2)
      r2 = Relu (c2)
      c3 = Conv <pads = [1, 1, 1, 1]> (r2, w3)
      s = Add (c3, p1)
      r3 = Relu (s)
      c4 = Conv <pads = [2, 0, 1, 3], strides = [2, 1]> (r3, w4)
      y = LeakyRelu (c4)
    }
"""


@functools.cache
def chain() -> Network:
    rng = np.random.default_rng(1)
    model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>' + CHAIN)
    for name, shape in (("w1", (4, 3, 3, 3)), ("w2", (4, 4, 3, 3)), ("w3", (4, 4, 3, 3)), ("w4", (2, 4, 4, 4))):
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        )
    return network(model)


CUTS = [("x",), ("r1",), ("p1",), ("p1", "r2"), ("p1", "c3"), ("r3",), ("y",)]


@pytest.mark.parametrize(("entry", "exit"), [(a, b) for i, a in enumerate(CUTS) for b in CUTS[i + 1 :]])
def test_any_two_cuts(entry: tuple[str, ...], exit: tuple[str, ...]) -> None:
    """One value and two live values on both sides, the branches of a residual block between them."""
    x = np.random.default_rng(2).standard_normal((1, 3, 21, 26)).astype(np.float32)
    check(chain(), x, boxes_of(21, 26), entry, exit)


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_fewer_geometries_by_larger_crops(groups: int) -> None:
    x = np.random.default_rng(2).standard_normal((1, 3, 21, 26)).astype(np.float32)
    at = [(y, c) for y in range(0, 18, 2) for c in range(0, 23, 3)]
    boxes = np.array([(y, c, y + 3, c + 4) for y, c in at], np.int64)
    boxes[:, 2:] = np.minimum(boxes[:, 2:], (21, 26))
    count = check(chain(), x, boxes, ("x",), ("r3",), groups)
    most = {1: 3, 2: 5, 5: 11}[groups] * 2  # on each border `groups` lengths, and those within; even and odd starts
    assert count <= most**2
    assert count < len(boxes)


def test_windows_within_share_one_graph(parse: object) -> None:
    """Far from the borders all windows of a size look alike, whatever their place in the stride's grid."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "g (float[N, 1, 64, 64] x) => (float[N, a, b, c] y)"
        "{ c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w) y = Conv <pads = [1, 1, 1, 1]> (c, w) }"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "w"))
    at = [(y, x) for y in range(16, 40, 3) for x in range(16, 40, 5)]
    boxes = np.array([(y, x, y + 4, x + 4) for y, x in at], np.int64)
    x = np.random.default_rng(0).standard_normal((1, 1, 64, 64)).astype(np.float32)
    assert check(network(model), x, boxes, ("x",), ("y",)) == 1


# --- random networks ---


@st.composite
def layers(draw: st.DrawFn) -> tuple[list[str], dict[str, np.ndarray]]:
    """Nodes of a random chain of windows, enlargements, paddings and residual blocks; every value has 2 channels."""
    nodes: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    last = "x"
    for number in range(draw(st.integers(1, 5))):
        out, behind_pad = f"v{number}", "Pad" in "".join(nodes[-1:])
        kind = draw(
            st.sampled_from(["conv", "conv", "max", "average", "residual", "pad", "resize", "branches", "slice"])
        )
        kernel = [draw(st.integers(1, 4)), draw(st.integers(1, 4))]
        strides = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
        pads = [draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4)]
        given = f"kernel_shape = {kernel}, strides = {strides}"
        if draw(st.booleans()):
            given += f", pads = {pads}"
        else:
            given += f', auto_pad = "{draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))}"'
        rng = np.random.default_rng(number)
        # ONNX Runtime fuses a Pad with the pooling behind it: zeros become -inf in a MaxPool, which are other numbers,
        # and a small window refuses what was padded.
        if kind == "conv" or (kind in ("max", "average", "branches") and behind_pad):
            group = draw(st.sampled_from([1, 2]))
            dilations = [draw(st.integers(1, 2)), draw(st.integers(1, 2))]
            if "auto_pad" in given:
                dilations = [1, 1]
            arrays[f"w{number}"] = rng.standard_normal((2, 2 // group, *kernel)).astype(np.float32)
            nodes.append(f"{out} = Conv <{given}, group = {group}, dilations = {dilations}> ({last}, w{number})")
        elif kind in ("max", "average"):
            more = ", ceil_mode = 1" if draw(st.booleans()) and "auto_pad" not in given else ""
            if kind == "average" and not more and draw(st.booleans()):
                more = ", count_include_pad = 1"
            nodes.append(f"{out} = {'MaxPool' if kind == 'max' else 'AveragePool'} <{given}{more}> ({last})")
        elif kind == "residual":
            arrays[f"w{number}"] = rng.standard_normal((2, 2, 3, 3)).astype(np.float32)
            nodes.append(f"{out}a = Conv <pads = [1, 1, 1, 1]> ({last}, w{number})")
            nodes.append(f"{out}b = Relu ({out}a) {out} = Add ({last}, {out}b)")
        elif kind == "branches":
            arrays[f"w{number}"] = rng.standard_normal((1, 2, 1, 5)).astype(np.float32)
            nodes.append(f"{out}a = Conv <pads = [0, 2, 0, 2]> ({last}, w{number})")
            nodes.append(f"{out}b = MaxPool <kernel_shape = [3, 1], pads = [1, 0, 1, 0]> ({last})")
            nodes.append(f"{out}c = ReduceMean <axes = [1]> ({out}b) {out} = Concat <axis = 1> ({out}a, {out}c)")
        elif kind == "pad":
            arrays[f"p{number}"] = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
            nodes.append(f"{out} = Pad ({last}, p{number})")
        elif kind == "slice":
            for key, value in (
                ("s", [draw(st.integers(0, 2)), draw(st.integers(0, 2))]),
                ("e", [90, 90]),
                ("a", [2, 3]),
            ):
                arrays[f"{key}{number}"] = np.array(value, np.int64)
            arrays[f"t{number}"] = np.array(strides, np.int64)
            nodes.append(f"{out} = Slice ({last}, s{number}, e{number}, a{number}, t{number})")
        else:
            arrays[f"k{number}"] = np.array([1, 1, draw(st.integers(1, 3)), 2], np.float32)
            mode = draw(st.sampled_from(["nearest", "linear"]))
            way = draw(st.sampled_from(["half_pixel", "asymmetric"]))
            nodes.append(
                f'{out} = Resize <mode = "{mode}", coordinate_transformation_mode = "{way}"> ({last}, , k{number})'
            )
        last = out
    nodes.append(f"y = Relu ({last})")
    return nodes, arrays


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    made=layers(),
    size=st.tuples(st.integers(8, 24), st.integers(8, 24)),
    patch=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    groups=st.integers(1, 3),
    data=st.data(),
)
def test_random_networks(
    made: tuple[list[str], dict[str, np.ndarray]],
    size: tuple[int, int],
    patch: tuple[int, int],
    groups: int,
    data: st.DataObject,
) -> None:
    nodes, arrays = made
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"g (float[N, 2, {size[0]}, {size[1]}] x) => (float[N, a, b, c] y) {{ {' '.join(nodes)} }}"
    )
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in arrays.items())
    try:
        net = network(model)
    except onnxray.OnnxrayError:
        assume(False)  # a map became smaller than a window
    assume(all(0 not in (net.known.sizes[name] or ()) for name in net.whole.outputs))
    assert "y" in net.known.axes
    height, width = (min(p, s) for p, s in zip(patch, size, strict=True))
    corners = {(0, 0), (size[0] - height, size[1] - width)}
    places = st.tuples(st.integers(0, size[0] - height), st.integers(0, size[1] - width))
    corners |= set(data.draw(st.lists(places, max_size=6)))
    boxes = np.array([(y, x, y + height, x + width) for y, x in sorted(corners)], np.int64)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 2, *size)).astype(np.float32)
    try:
        check(net, x, boxes, ("x",), ("y",), groups)
    except Unfit:
        # Only where part of what is wanted has nothing but padding to be computed from.
        assert "pads" in " ".join(nodes) or "Pad" in " ".join(nodes) or "auto_pad" in " ".join(nodes)


# --- the parts ---


def inside(size: int) -> object:
    """`over` for a value that reads two positions to each side."""
    return lambda spans: np.stack([spans[:, 0] < 2, spans[:, 1] > size - 2], 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(6, 30),
    st.lists(st.tuples(st.integers(0, 29), st.integers(1, 12)), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_snapped_intervals_hold_what_changes(size: int, drawn: list[tuple[int, int]], groups: int) -> None:
    spans = np.array([(min(a, size - 1), min(a + n, size)) for a, n in drawn], np.int64)
    over = inside(size)
    got = snapped(spans, size, over, groups)  # type: ignore[arg-type]
    assert ((got[:, 0] <= spans[:, 0]) & (got[:, 1] >= spans[:, 1])).all()
    assert ((got[:, 0] >= 0) & (got[:, 1] <= size)).all()
    outside = over(got)  # type: ignore[operator]
    # What goes over a border is drawn out to it: it is the same geometry for all of one length.
    assert (got[outside[:, 0], 0] == 0).all()
    assert (got[outside[:, 1], 1] == size).all()
    free = got[~outside.any(axis=1)]
    assert len({tuple(r) for r in np.diff(free, axis=1).tolist()}) <= 1
    low = got[outside[:, 0] & ~outside[:, 1], 1]
    assert len(set(low.tolist())) <= groups


def test_an_empty_change_still_has_a_place() -> None:
    got = snapped(np.array([[5, 5], [9, 9], [0, 0]], np.int64), 9, inside(9), 2)  # type: ignore[arg-type]
    assert (got[:, 0] < got[:, 1]).all()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 4))
def test_lengths_in_groups(lengths: list[int], groups: int) -> None:
    """Each no shorter than it was, at most `groups` of them, and the least sum of all ways to do that."""
    import itertools

    given = np.array(lengths, np.int64)
    got = _grouped(given, groups)
    assert (got >= given).all()
    assert len(set(got.tolist())) <= groups
    values = sorted(set(lengths))
    best = min(
        sum(min(limit for limit in chosen if limit >= length) for length in lengths)
        for count in range(1, groups + 1)
        for chosen in itertools.combinations(values, min(count, len(values)))
        if max(chosen) == values[-1]
    )
    assert got.sum() == best


def test_a_section_holds_what_lies_between() -> None:
    net = chain()
    part = section(net.model, net.known, ("p1", "c3"), ("r3",))
    assert [node.output[0] for node in part.nodes] == ["s", "r3"]
    whole = section(net.model, net.known, ("x",), ("y",))
    assert [node.output[0] for node in whole.nodes] == ["c1", "r1", "p1", "c2", "r2", "c3", "s", "r3", "c4", "y"]
    assert section(net.model, net.known, ("p1",), ("p1",)).nodes == ()


def test_what_mixes_positions_does_not_fit() -> None:
    r = ready("squeeze and excitation")
    part = section(r.model, r.known, ("x",), ("y",))
    spans = np.array([[0, 1]], np.int64)
    with pytest.raises(Unfit):
        along(r.known, part, {"x": spans, "y": spans}, 0)
