"""Region algebra against brute force: change a part of the input, and see what becomes of every value of the graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.graph.split import expose, extract, value_infos
from onnxray.engine.incremental.locality import Locality, changed, locality
from onnxray.engine.inference.session import Session
from onnxray.engine.inspect.concrete_shapes import concrete_shapes
from onnxray.engine.inspect.locality.rules import RULES
from onnxray.tests.rounding import ROUNDING

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(0)
C, H, W = 4, 9, 12


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Graph:
    """From x to y, in ONNX's textual syntax. tight: what changes reaches both ends of what `changed` says (a dilated
    window leaves places out, an enlargement is taken to read one neighbour more).

    spread: values of x lie between -spread and spread. layout: of x. y: in its shape, which is (N, C, H, W) if not said.
    """

    text: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    opset: int = 17
    tight: bool = True
    spread: float = 3.0
    layout: str = "NCHW"
    y: str = ""
    microsoft: bool = False
    size: tuple[int, int] = (H, W)

    @property
    def axes(self) -> tuple[int, int]:
        return self.layout.index("H"), self.layout.index("W")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of two samples."""
        sides = {"N": 2, "C": C, "H": self.size[0], "W": self.size[1]}
        return tuple(sides[letter] for letter in self.layout)

    def proto(self) -> onnx.ModelProto:
        imports = f'"" : {self.opset}' + (', "com.microsoft" : 1' if self.microsoft else "")
        sides = ", ".join(str(side) for side in self.shape[1:])
        text = f"""<ir_version: 8, opset_import: [{imports}]>
            g (float[N, {sides}] x) => ({self.y or "float[N, a, b, c]"} y) {{ {self.text} }}"""
        model = onnx.parser.parse_model(text)
        model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in self.arrays.items())
        return model

    def sample(self, seed: int = 0, count: int = 2) -> np.ndarray:
        drawn = np.random.default_rng(seed).uniform(-self.spread, self.spread, (count, *self.shape[1:]))
        return drawn.astype(np.float32)


def unary(op: str, given: str = "", **options: object) -> Graph:
    return Graph(f"y = {op} {given} (x)", **options)  # type: ignore[arg-type]


def conv(given: str, kernel: tuple[int, int] = (3, 3), group: int = 1, **options: object) -> Graph:
    weight = floats(4, C // group, *kernel)
    return Graph(f"y = Conv <group = {group}, {given}> (x, w)", {"w": weight}, **options)  # type: ignore[arg-type]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


SCALE, ZERO = np.float32(0.05), np.uint8(128)
TO_BYTES = {"s": SCALE, "z": ZERO}
BYTES = "b = QuantizeLinear (x, s, z)"
# x and what a convolution makes of it: two maps of one size.
PAIR = "v = Conv <pads = [1, 1, 1, 1]> (x, w)"
PAIR_ARRAYS = {"w": floats(C, C, 3, 3)}
TRUE = "a = Greater (x, zero) b = Greater (v, zero)"


def pair(text: str, arrays: dict[str, np.ndarray] | None = None, **options: object) -> Graph:
    return Graph(f"{PAIR} {text}", {**PAIR_ARRAYS, "zero": np.float32(0), **(arrays or {})}, **options)  # type: ignore[arg-type]


GRAPHS: dict[str, Graph] = {
    # windows
    "conv 3x3": conv("pads = [1, 1, 1, 1]"),
    "conv 3x2, no padding": conv("pads = [0, 0, 0, 0]", (3, 2)),
    "conv 5x3, uneven padding": conv("pads = [3, 0, 1, 2]", (5, 3)),
    "conv stride 2": conv("pads = [1, 1, 1, 1], strides = [2, 2]"),
    "conv stride 2x3, even size": conv("pads = [0, 1, 1, 0], strides = [2, 3]", (4, 2)),
    "conv stride beyond kernel": conv("strides = [3, 4]", (1, 2)),
    "conv dilated": conv("pads = [2, 4, 2, 4], dilations = [2, 4]", tight=False),
    "conv dilated, stride 2": conv("pads = [1, 3, 2, 0], dilations = [2, 3], strides = [2, 2]", tight=False),
    "conv in groups": conv("pads = [1, 1, 1, 1]", group=2),
    "conv depthwise": conv("pads = [1, 1, 1, 1], strides = [1, 2]", group=4),
    "conv same upper": conv('auto_pad = "SAME_UPPER", strides = [2, 3]', (4, 3)),
    "conv same lower": conv('auto_pad = "SAME_LOWER", strides = [2, 3]', (4, 3)),
    "conv valid": conv('auto_pad = "VALID", strides = [2, 1]'),
    "conv large padding": conv("pads = [4, 5, 4, 5]"),
    "max pool": unary("MaxPool", "<kernel_shape = [3, 2], strides = [2, 2]>"),
    "max pool, padded": unary("MaxPool", "<kernel_shape = [3, 3], strides = [2, 1], pads = [1, 2, 0, 1]>"),
    "max pool, ceil": unary("MaxPool", "<kernel_shape = [2, 3], strides = [2, 2], ceil_mode = 1>"),
    "max pool, dilated": unary(
        "MaxPool", "<kernel_shape = [3, 2], dilations = [2, 3], pads = [1, 1, 1, 1]>", tight=False
    ),
    "max pool, same": unary("MaxPool", '<kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_UPPER">'),
    "average pool": unary("AveragePool", "<kernel_shape = [3, 2], strides = [1, 2]>"),
    "average pool, padded": unary("AveragePool", "<kernel_shape = [3, 3], pads = [1, 2, 1, 0], strides = [2, 2]>"),
    "average pool, padding counts": unary(
        "AveragePool", "<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>"
    ),
    "average pool, ceil": unary("AveragePool", "<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>"),
    "average pool, same": unary("AveragePool", '<kernel_shape = [2, 2], auto_pad = "SAME_LOWER">'),
    "lp pool": unary("LpPool", "<kernel_shape = [2, 3], strides = [2, 1], p = 2>", opset=18),
    "quantised conv": Graph(
        f"{BYTES} q = QLinearConv <pads = [1, 1, 0, 0], strides = [2, 1]> (b, s, z, wq, ws, wz, s8, z) "
        "y = DequantizeLinear (q, s8, z)",
        {
            **TO_BYTES,
            "wq": RNG.integers(-127, 127, (4, C, 3, 3)).astype(np.int8),
            "ws": np.float32(0.02),
            "wz": np.int8(0),
            "s8": np.float32(0.4),
        },
    ),
    "integer conv": Graph(
        f"{BYTES} i = ConvInteger <pads = [1, 1, 1, 1]> (b, wq, z) y = Cast <to = 1> (i)",
        {**TO_BYTES, "wq": RNG.integers(0, 255, (4, C, 3, 3)).astype(np.uint8)},
    ),
    "fused conv": Graph(
        'y = com.microsoft.FusedConv <pads = [1, 1, 1, 1], activation = "LeakyRelu", activation_params = [0.1]> (x, w, c)',
        {"w": floats(4, C, 3, 3), "c": floats(4)},
        microsoft=True,
    ),
    "fused conv that adds": Graph(
        'r = Neg (x) y = com.microsoft.FusedConv <pads = [1, 1, 1, 1], activation = "Relu"> (x, w, c, r)',
        {"w": floats(4, C, 3, 3), "c": floats(4)},
        microsoft=True,
    ),
    "quantised average pool": Graph(
        f"{BYTES} q = com.microsoft.QLinearAveragePool <kernel_shape = [3, 3], pads = [1, 0, 1, 0]> (b, s, z, s, z) "
        "y = DequantizeLinear (q, s, z)",
        TO_BYTES,
        microsoft=True,
    ),
    # padding, cutting, enlarging
    "pad": Graph("y = Pad (x, p)", {"p": ints(0, 0, 2, 3, 0, 0, 1, 0)}),
    "pad, channels too": Graph("y = Pad (x, p, v)", {"p": ints(0, 1, 0, 3, 0, 2, 1, 0), "v": np.float32(2.5)}),
    "pad that cuts": Graph("y = Pad (x, p)", {"p": ints(0, 0, -2, 3, 0, 0, 1, -4)}),
    "pad of named axes": Graph("y = Pad (x, p, , a)", {"p": ints(2, 1, 0, 3), "a": ints(-1, 2)}, opset=18),
    "old pad": Graph("y = Pad <pads = [0, 0, 2, 0, 0, 0, 0, 1], value = 1.5> (x)", opset=10),
    "slice": Graph("y = Slice (x, s, e, a)", {"s": ints(2, 3), "e": ints(8, 100), "a": ints(2, 3)}),
    "slice in steps": Graph(
        "y = Slice (x, s, e, a, t)",
        {"s": ints(1, -11, 1), "e": ints(9, 11, 4), "a": ints(-2, 3, 1), "t": ints(2, 3, 2)},
    ),
    "slice of channels": Graph("y = Slice (x, s, e, a)", {"s": ints(1), "e": ints(3), "a": ints(1)}),
    "old slice": Graph("y = Slice <starts = [1, -5], ends = [7, -1], axes = [2, 3]> (x)", opset=9),
    "resize nearest": Graph(
        'y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, , k)',
        {"k": np.array([1, 1, 2, 3], np.float32)},
        tight=False,
    ),
    "resize nearest, half pixel": Graph(
        'y = Resize <mode = "nearest", coordinate_transformation_mode = "half_pixel"> (x, , k)',
        {"k": np.array([1, 1, 2, 3], np.float32)},
        tight=False,
    ),
    "resize linear": Graph(
        'y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, , k)',
        {"k": np.array([1, 1, 2, 4], np.float32)},
        tight=False,
    ),
    "resize linear to a size": Graph(
        'y = Resize <mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"> (x, , , k)',
        {"k": ints(2, C, 3 * H, W)},
        tight=False,
        y=f"float[2, {C}, {3 * H}, {W}]",
    ),
    "resize linear, asymmetric": Graph(
        'y = Resize <mode = "linear", coordinate_transformation_mode = "asymmetric"> (x, , k)',
        {"k": np.array([1, 1, 3, 2], np.float32)},
        tight=False,
    ),
    "old resize": Graph(
        'y = Resize <mode = "nearest"> (x, k)', {"k": np.array([1, 1, 2, 2], np.float32)}, opset=10, tight=False
    ),
    "upsample": Graph(
        'y = Upsample <mode = "linear"> (x, k)', {"k": np.array([1, 1, 2, 3], np.float32)}, opset=9, tight=False
    ),
    "old upsample": Graph('y = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]> (x)', opset=8, tight=False),
    "half the size": Graph(
        'y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, , k)',
        {"k": np.array([1, 1, 0.5, 0.5], np.float32)},
        size=(10, 12),
    ),
    "a quarter of the size": Graph(
        'y = Resize <mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"> (x, , , k)',
        {"k": ints(2, C, 3, 24)},
        tight=False,
        y=f"float[2, {C}, 3, 24]",
        size=(12, 12),
    ),
    "half the size, nearest": Graph(
        'y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, , k)',
        {"k": np.array([1, 1, 1, 0.5], np.float32)},
        tight=False,
    ),
    "space to depth": unary("SpaceToDepth", "<blocksize = 3>", size=(9, 12)),
    # joining
    "residual": pair("y = Add (x, v)"),
    "residual, other first": pair("r = Relu (v) y = Sum (r, x, v)"),
    "concat": pair("y = Concat <axis = 1> (v, x, v)"),
    "concat, -3": pair("y = Concat <axis = -3> (x, v)"),
    "quantised concat": pair(
        "b = QuantizeLinear (x, s, z) d = QuantizeLinear (v, s, z) "
        "q = com.microsoft.QLinearConcat <axis = 1> (s, z, b, s, z, d, s, z) y = DequantizeLinear (q, s, z)",
        {"s": np.float32(0.1), "z": ZERO},
        microsoft=True,
    ),
    **{op: pair(f"y = {op} (x, v)") for op in ("Sub", "Mul", "Div", "Max", "Min", "Mean", "Pow")},
    "CastLike": pair("y = CastLike (x, v)", opset=19, tight=False),
    "Mod": pair("y = Mod <fmod = 1> (x, v)"),
    **{op: pair(f"{TRUE} c = {op} (a, b) y = Cast <to = 1> (c)") for op in ("And", "Or", "Xor")},
    **{
        op: pair(f"c = {op} (x, v) y = Cast <to = 1> (c)", tight=op != "Equal")
        for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
    "Not": pair("a = Greater (x, zero) b = Not (a) y = Cast <to = 1> (b)"),
    "Where": pair("a = Greater (x, zero) y = Where (a, v, x)"),
    **{
        f"Bitwise{op}": Graph(
            f"{BYTES} c = Bitwise{op} (b, one) y = Cast <to = 1> (c)", {**TO_BYTES, "one": np.uint8(9)}, opset=18
        )
        for op in ("And", "Or", "Xor")
    },
    "BitwiseNot": Graph(f"{BYTES} c = BitwiseNot (b) y = Cast <to = 1> (c)", TO_BYTES, opset=18),
    "BitShift": Graph(
        f'{BYTES} c = BitShift <direction = "RIGHT"> (b, one) y = Cast <to = 1> (c)',
        {**TO_BYTES, "one": np.uint8(1)},
    ),
    "QLinearAdd": pair(
        "b = QuantizeLinear (x, s, z) d = QuantizeLinear (v, s, z) "
        "q = com.microsoft.QLinearAdd (b, s, z, d, s, z, s, z) y = DequantizeLinear (q, s, z)",
        {"s": np.float32(0.1), "z": ZERO},
        microsoft=True,
    ),
    "QLinearMul": pair(
        "b = QuantizeLinear (x, s, z) d = QuantizeLinear (v, s, z) "
        "q = com.microsoft.QLinearMul (b, s, z, d, s, z, s, z) y = DequantizeLinear (q, s, z)",
        {"s": np.float32(0.1), "z": ZERO},
        microsoft=True,
    ),
    **{
        op: Graph(
            f"{BYTES} q = com.microsoft.{op} {given} (b, s, z, s2, z) y = DequantizeLinear (q, s2, z)",
            {**TO_BYTES, "s2": np.float32(0.02)},
            microsoft=True,
        )
        for op, given in (("QLinearLeakyRelu", "<alpha = 0.1>"), ("QLinearSigmoid", ""))
    },
    "biased by channel": Graph("y = Add (x, c)", {"c": floats(1, C, 1, 1)}),
    "PRelu": Graph("y = PRelu (x, c)", {"c": floats(C, 1, 1)}),
    "BatchNormalization": Graph(
        "y = BatchNormalization (x, g, c, m, v)", {n: np.abs(floats(C)) + 0.5 for n in ("g", "c", "m", "v")}
    ),
    "quantised by channel": Graph(
        "q = QuantizeLinear <axis = 1> (x, s4, z4) y = DequantizeLinear <axis = 1> (q, s4, z4)",
        {"s4": np.full(C, 0.05, np.float32), "z4": np.full(C, 3, np.int8)},
    ),
    # one value after the other
    **{
        op: unary(op)
        for op in """Abs Acosh Asinh Atan Ceil Celu Cos Cosh Dropout Elu Erf Exp Floor HardSigmoid HardSwish Identity
        LeakyRelu Log Neg Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh""".split()
    },
    **{op: unary(op, spread=0.9) for op in ("Acos", "Asin", "Atanh")},
    **{op: unary(op, opset=opset) for op, opset in (("Mish", 18), ("Gelu", 20), ("Swish", 24))},
    "Shrink": unary("Shrink", "<lambd = 0.5>"),
    "ThresholdedRelu": unary("ThresholdedRelu", "<alpha = 0.5>"),
    "Clip": Graph("y = Clip (x, lo, hi)", {"lo": np.float32(-1), "hi": np.float32(2)}),
    "Cast": Graph("c = Cast <to = 6> (x) y = Cast <to = 1> (c)"),
    "IsNaN": Graph("l = Log (x) c = IsNaN (l) y = Cast <to = 1> (c)"),
    "IsInf": Graph("f = Floor (x) r = Reciprocal (f) c = IsInf (r) y = Cast <to = 1> (c)"),
    "QuickGelu": unary("com.microsoft.QuickGelu", microsoft=True),
    "FastGelu": unary("com.microsoft.FastGelu", microsoft=True),
    "contributed Gelu": unary("com.microsoft.Gelu", microsoft=True),
    "BiasGelu": Graph("y = com.microsoft.BiasGelu (x, c)", {"c": floats(C)}, layout="NHWC", microsoft=True),
    # along channels
    "Softmax": unary("Softmax", "<axis = 1>"),
    "LogSoftmax": unary("LogSoftmax", "<axis = -3>"),
    "Hardmax": unary("Hardmax", "<axis = 1>"),
    "old Softmax": Graph("y = Softmax <axis = 3> (x)", layout="NHWC", opset=11),
    "LpNormalization": unary("LpNormalization", "<axis = 1, p = 2>"),
    "LayerNormalization": Graph("y = LayerNormalization (x, g, c)", {"g": floats(C), "c": floats(C)}, layout="NHWC"),
    "RMSNormalization": Graph("y = RMSNormalization (x, g)", {"g": floats(C)}, layout="NHWC", opset=23),
    "SimplifiedLayerNormalization": Graph(
        "y = SimplifiedLayerNormalization <axis = -1> (x, g)", {"g": floats(C)}, layout="NHWC"
    ),
    "QLinearSoftmax": Graph(
        f"{BYTES} q = com.microsoft.QLinearSoftmax <axis = 1, opset = 13> (b, s, z, t, t0) y = DequantizeLinear (q, t, t0)",
        {**TO_BYTES, "t": np.float32(1 / 256), "t0": np.uint8(0)},
        microsoft=True,
    ),
    "LRN": unary("LRN", "<size = 3, alpha = 0.5>"),
    "CumSum": Graph("y = CumSum (x, a)", {"a": np.array(1)}),
    "TopK": Graph("v, i = TopK <axis = 1> (x, k) y = Identity (v)", {"k": ints(2)}),
    "Split": Graph("a, b = Split <axis = 1> (x, k) y = Add (a, b)", {"k": ints(2, 2)}),
    "Gather": Graph("y = Gather <axis = 1> (x, i)", {"i": ints(2, 0, 2)}),
    "Gather of one": Graph("g = Gather <axis = 1> (x, i) y = Unsqueeze (g, a)", {"i": np.array(1), "a": ints(1)}),
    **{
        f"Reduce{op}": unary(f"Reduce{op}", "<axes = [1], keepdims = 1>")
        for op in "Mean Max Min Prod L1 L2 LogSum LogSumExp SumSquare".split()
    },
    "ReduceSum": Graph("y = ReduceSum (x, a)", {"a": ints(-3)}),
    "ReduceMean of an input": Graph(
        "m = ReduceMean <keepdims = 0> (x, a) y = Unsqueeze (m, a)", {"a": ints(1)}, opset=18
    ),
    "ArgMax": Graph("m = ArgMax <axis = 1> (x) y = Cast <to = 1> (m)"),
    "ArgMin": Graph(
        "m = ArgMin <axis = 1, keepdims = 0> (x) u = Unsqueeze (m, a) y = Cast <to = 1> (u)", {"a": ints(1)}
    ),
    # axes that move
    "Transpose": Graph("t = Transpose <perm = [0, 2, 3, 1]> (x) y = Relu (t)"),
    "Transpose, rows and columns": Graph("y = Transpose <perm = [0, 3, 1, 2]> (x)"),
    "dense over channels": Graph("y = MatMul (x, w)", {"w": floats(C, 5)}, layout="NHWC"),
    "Squeeze": Graph("u = Unsqueeze (x, a) s = Squeeze (u, a) y = Relu (s)", {"a": ints(2)}),
    "old Squeeze": Graph("u = Unsqueeze <axes = [4]> (x) s = Squeeze <axes = [-1]> (u) y = Relu (s)", opset=11),
    "channel shuffle": Graph(
        "a = Reshape (x, s) b = Transpose <perm = [0, 2, 1, 3, 4]> (a) y = Reshape (b, t)",
        {"s": ints(0, 2, 2, H, W), "t": ints(0, C, H, W)},
    ),
    "focus": Graph(
        "a = Slice (x, o, e, k, t) b = Slice (x, l, e, k, t) y = Concat <axis = 1> (a, b)",
        {"o": ints(0, 0), "l": ints(1, 0), "e": ints(100, 100), "k": ints(2, 3), "t": ints(2, 2)},
        size=(10, 12),
    ),
}
# They have a rule, for receptive fields: nothing is followed in these layouts, and Flatten merges rows and columns.
NEVER_LOCAL = {("", "Flatten"), ("com.microsoft", "NhwcMaxPool"), ("com.microsoft", "NhwcFusedConv")}
# What depends on all positions, on places, or on what is not understood.
ENDS: dict[str, Graph] = {
    "global pooling": unary("GlobalAveragePool"),
    "squeeze and excitation": Graph("g = GlobalAveragePool (x) s = Sigmoid (g) y = Mul (x, s)"),
    "instance normalisation": Graph("y = InstanceNormalization (x, g, c)", {"g": floats(C), "c": floats(C)}),
    "softmax along a row": unary("Softmax", "<axis = 3>"),
    "quantised softmax over everything": Graph(
        f"{BYTES} q = com.microsoft.QLinearSoftmax <axis = 1, opset = 11> (b, s, z, t, t0) y = DequantizeLinear (q, t, t0)",
        {**TO_BYTES, "t": np.float32(1 / 256), "t0": np.uint8(0)},
        microsoft=True,
    ),
    "softmax over everything": Graph("y = Softmax <axis = 1> (x)", opset=11),
    "layer normalisation over rows": Graph("y = LayerNormalization (x, g)", {"g": floats(W)}),
    "mean of rows": unary("ReduceMean", "<axes = [2], keepdims = 1>"),
    "mean of everything": unary("ReduceMean", "<axes = [1, 2, 3], keepdims = 1>"),
    "concat of rows": Graph("y = Concat <axis = 2> (x, x)"),
    "concat with a constant": Graph(
        "y = Concat <axis = 1> (x, c)", {"c": floats(2, 1, H, W)}, y=f"float[2, 5, {H}, {W}]"
    ),
    "position embedding": Graph("y = Add (x, c)", {"c": floats(1, C, H, W)}),
    "a row added": Graph("y = Add (x, c)", {"c": floats(W)}),
    "dense over columns": Graph("y = MatMul (x, w)", {"w": floats(W, W)}),
    "reflected border": Graph('y = Pad <mode = "reflect"> (x, p)', {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}),
    "edge repeated": Graph('y = Pad <mode = "edge"> (x, p)', {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}),
    "backwards": Graph("y = Slice (x, s, e, a, t)", {"s": ints(-1), "e": ints(-100), "a": ints(3), "t": ints(-1)}),
    "aligned corners": Graph(
        'y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , k)',
        {"k": np.array([1, 1, 2, 2], np.float32)},
    ),
    "cubic": Graph('y = Resize <mode = "cubic"> (x, , k)', {"k": np.array([1, 1, 2, 2], np.float32)}),
    "made smaller": Graph('y = Resize <mode = "nearest"> (x, , k)', {"k": np.array([1, 1, 0.5, 0.75], np.float32)}),
    "nearly half the size": Graph(
        'y = Resize <mode = "nearest"> (x, , k)', {"k": np.array([1, 1, 0.51, 0.51], np.float32)}, size=(40, 40)
    ),
    "nearly twice the size": Graph(
        'y = Resize <mode = "linear"> (x, , k)', {"k": np.array([1, 1, 2.04, 2.04], np.float32)}, size=(20, 20)
    ),
    "a third": Graph('y = Resize <mode = "linear"> (x, , , k)', {"k": ints(2, C, 3, 12)}, y=f"float[2, {C}, 3, 12]"),
    "rows taken": Graph("y = Gather <axis = 2> (x, i)", {"i": ints(3, 1, 0)}),
    "positions in one axis": Graph(
        "a = Reshape (x, s) y = Reshape (a, t)", {"s": ints(0, C, H * W), "t": ints(0, C, W, H)}
    ),
    "padding counts, ceil": unary(
        "AveragePool",
        "<kernel_shape = [2, 2], strides = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1, ceil_mode = 1>",
    ),
    "transposed convolution": Graph("y = ConvTranspose <strides = [2, 2]> (x, w)", {"w": floats(C, 3, 2, 2)}),
    "sum along a row": Graph("y = CumSum (x, a)", {"a": np.array(3)}),
    "an added number of all": pair("m = ReduceMax <keepdims = 0> (x) y = Add (v, m)"),
}


@dataclass(frozen=True)
class Ready:
    """A graph with everything it computes, and what the region algebra says of it."""

    graph: Graph
    model: onnxray.Model
    known: Locality
    session: Session

    def values(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {"x": x, **self.session.run({"x": x})}


@functools.cache
def ready(name: str) -> Ready:
    graph = GRAPHS[name] if name in GRAPHS else ENDS[name]
    model = onnxray.load(graph.proto())
    names = [output for node in model.graph.node for output in node.output if output]
    session = Session(expose(model, names), threads=1)
    real = {output: array.shape for output, array in session.run({"x": graph.sample()}).items()}
    sizes = {**concrete_shapes(model), **real, "x": graph.shape}
    return Ready(graph, model, locality(model, "x", graph.axes, sizes), session)


def spans_of(size: int) -> np.ndarray:
    """Intervals at both ends, within, and all of an axis; an empty one."""
    middle = size // 2
    pairs = [(0, 1), (size - 1, size), (middle, middle + 1), (1, 4), (size - 3, size - 1), (0, size), (2, 2)]
    return np.array(pairs, np.int64)


def forms(graph: Graph, axis: int, span: np.ndarray) -> list[np.ndarray]:
    """x with the rows or columns `span` replaced, in several ways."""
    where = (slice(None),) * graph.axes[axis] + (slice(*span),)
    found = []
    for seed, factor in ((1, 1), (2, 1), (3, -40), (4, 40)):
        x = graph.sample()
        x[where] = graph.sample(seed)[where] * (factor if graph.spread > 1 else 1)
        found.append(x)
    return found


def differing(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """Where along `axis` two arrays differ."""
    same = (a == b) | ((a != a) & (b != b))
    return np.flatnonzero(~same.all(axis=tuple(i for i in range(a.ndim) if i != axis)))


@pytest.mark.parametrize("name", GRAPHS)
def test_what_changes(name: str) -> None:
    r = ready(name)
    assert "y" in r.known.axes, "the graph is local"
    clean = r.values(r.graph.sample())
    for axis in (0, 1):
        spans = spans_of(r.graph.shape[r.graph.axes[axis]])
        said = changed(r.model, r.known, spans, axis)
        for number, span in enumerate(spans):
            seen: dict[str, set[int]] = {value: set() for value in said}
            for x in forms(r.graph, axis, span):
                got = r.values(x)
                for value, where in seen.items():
                    where.update(differing(got[value], clean[value], r.known.axes[value][axis]).tolist())
            for value, where in seen.items():
                first, end = said[value][number]
                assert 0 <= first <= end <= clean[value].shape[r.known.axes[value][axis]]
                assert where <= set(range(first, end)), (value, span)
                if r.graph.tight and first < end:
                    assert (min(where), max(where) + 1) == (first, end), (value, span)


@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_needed(name: str) -> None:
    """A part of a node's output stays as it is when everything but what it needs is changed."""
    r = ready(name)
    clean, other = r.values(r.graph.sample()), r.values(r.graph.sample(1))
    for output, step in r.known.steps.items():
        alone = Session(only(r.model, output, list(step.reaches)), threads=1)
        for axis in (0, 1):
            place = r.known.axes[output][axis]
            for first, end in spans_of(clean[output].shape[place]):
                if not 0 <= first < end:
                    continue
                feeds = {}
                for value, reach in step.reaches.items():
                    feeds[value] = other[value].copy()
                    at = r.known.axes[value][axis]
                    low, high = np.clip(reach[axis].backward(np.array([[first, end]]))[0], 0, clean[value].shape[at])
                    where = (slice(None),) * at + (slice(low, high),)
                    feeds[value][where] = clean[value][where]
                part = (slice(None),) * place + (slice(first, end),)
                got = alone.run(feeds)[output]
                # One node by itself may be computed by another kernel than among others; what it needs is not within that.
                same, wanted = got[part].astype(np.float64), clean[output][part].astype(np.float64)
                atol = ROUNDING * np.abs(np.nan_to_num(clean[output].astype(np.float64), posinf=0, neginf=0)).max()
                np.testing.assert_allclose(same, wanted, rtol=0, atol=atol, err_msg=f"{output} {first}:{end}")


def only(model: onnxray.Model, output: str, inputs: list[str]) -> onnxray.Model:
    """The one node that computes `output`, as a model."""
    return extract(model, outputs=value_infos(model, [output]), inputs=value_infos(model, inputs))


def test_every_rule_is_judged() -> None:
    judged = set()
    for name in GRAPHS:
        known = ready(name).known
        judged |= {
            ("" if s.node.domain in ("", "ai.onnx") else s.node.domain, s.node.op_type) for s in known.steps.values()
        }
    assert set(RULES) - judged == NEVER_LOCAL


@pytest.mark.parametrize("name", ENDS)
def test_where_the_local_part_ends(name: str) -> None:
    known = ready(name).known
    assert "y" in known.reached
    assert "y" not in known.axes


def test_other_inputs_end_it(parse: Parse) -> None:
    proto = parse(
        "g (float[N, 2, 4, 4] x, float[N, 2, 4, 4] o) => (float[N, 2, 4, 4] y) { r = Relu (x) y = Add (r, o) }"
    )
    model = onnxray.load(proto)
    known = locality(model, "x", (2, 3), dict.fromkeys(("x", "o", "r", "y"), (2, 2, 4, 4)))
    assert set(known.axes) == {"x", "r"}
    assert known.reached == {"x", "r", "y"}


def test_unknown_sizes_end_it(parse: Parse) -> None:
    model = onnxray.load(parse("g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y) { r = Relu (x) y = Neg (r) }"))
    known = locality(model, "x", (2, 3), {"x": (2, 2, 4, 4), "r": (2, 2, 4, 4), "y": None})
    assert set(known.axes) == {"x", "r"}
    with pytest.raises(onnxray.OnnxrayError, match="shape of the input 'x' is not known"):
        locality(model, "x", (2, 3), {"x": None})


def test_a_cap_keeps_the_middle() -> None:
    r = ready("conv large padding")
    model, known = r.model, r.known
    spans = np.array([[0, 1], [4, 5], [8, 9], [0, 9]])
    free, capped = (changed(model, known, spans, 0, cap)["y"] for cap in (None, 0.1))
    size = known.size("y", 0)
    most = int(np.ceil(0.1 * size))
    assert ((capped[:, 1] - capped[:, 0]) <= most).all()
    assert ((capped[:, 0] >= free[:, 0]) & (capped[:, 1] <= free[:, 1])).all()
    centre = (free.sum(axis=1) - capped.sum(axis=1)) / 2
    assert (np.abs(centre) <= 0.5).all()
    np.testing.assert_array_equal(changed(model, known, spans, 0, 1.0)["y"], free)
