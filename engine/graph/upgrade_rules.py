"""How operators changed between opset 7 and 18, as rewrites of single nodes; `upgrade.py` applies them.

UPGRADES: operator -> ((version, rewrite), ...), ascending. `rewrite(node, rewriter)` brings a node of the version
before to that version: it changes the node in place and appends it to `rewriter.nodes`, or appends other nodes. Changes
that only added types, attributes with the old meaning as default, or negative axes need none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from onnx import NodeProto, TensorProto

from .rewriter import Rewriter, attributes

Rewrite: TypeAlias = Callable[[NodeProto, Rewriter], None]
_OLD_AXIS = 1


def _label(node: NodeProto) -> str:
    return str(next((o for o in node.output if o), node.name))


def _attributes_to_inputs(*names: str) -> Rewrite:
    """Integer-list attributes become int64 inputs after the first, in this order."""

    def rewrite(node: NodeProto, rewriter: Rewriter) -> None:
        found = attributes(node, names)
        added = [rewriter.const(f"{_label(node)}/{name}", found[name]) if name in found else "" for name in names]
        while added and not added[-1]:
            added.pop()
        node.input.extend(added)
        rewriter.add(node)

    return rewrite


def _flattened(node: NodeProto, rewriter: Rewriter) -> None:
    """Softmax, LogSoftmax, Hardmax before 13 work on all axes from `axis` (default 1) on, taken as one."""
    axis = attributes(node, ["axis"]).get("axis", _OLD_AXIS)
    x, y = node.input[0], node.output[0]
    shape = rewriter.shape(x)
    if shape is not None:
        axis %= max(len(shape), 1)
    if axis == -1 or (shape is not None and all(size == 1 for size in shape[axis + 1 :])):
        rewriter.emit(node.op_type, [x], y, axis=axis)
        return
    flat = rewriter.emit(node.op_type, [rewriter.emit("Flatten", [x], axis=axis)], axis=1)
    rewriter.emit("Reshape", [flat, rewriter.emit("Shape", [x])], y)


def _clip_11(node: NodeProto, rewriter: Rewriter) -> None:
    """Bounds as inputs of the value's type."""
    found = attributes(node, ["min", "max"])
    elem = rewriter.elem_type(node.input[0]) or TensorProto.FLOAT
    low, high = (rewriter.const(f"{_label(node)}/{k}", found[k], elem) if k in found else "" for k in ("min", "max"))
    node.input.extend([low, high] if high else [low] if low else [])
    rewriter.add(node)


def _pad_11(node: NodeProto, rewriter: Rewriter) -> None:
    found = attributes(node, ["pads", "value"])
    node.input.append(rewriter.const(f"{_label(node)}/pads", found["pads"]))
    if found.get("value", 0):
        elem = rewriter.elem_type(node.input[0]) or TensorProto.FLOAT
        node.input.append(rewriter.const(f"{_label(node)}/value", found["value"], elem))
    rewriter.add(node)


def _slice_10(node: NodeProto, rewriter: Rewriter) -> None:
    found = attributes(node, ["starts", "ends", "axes"])
    names = [name for name in ("starts", "ends", "axes") if name in found]
    node.input.extend(rewriter.const(f"{_label(node)}/{name}", found[name]) for name in names)
    rewriter.add(node)


def _split_18(node: NodeProto, rewriter: Rewriter) -> None:
    if len(node.input) < 2 or not node.input[1]:
        node.attribute.add(name="num_outputs", i=len(node.output), type=2)
    rewriter.add(node)


def _topk_10(node: NodeProto, rewriter: Rewriter) -> None:
    node.input.append(rewriter.const(f"{_label(node)}/k", [attributes(node, ["k"])["k"]]))
    rewriter.add(node)


def _upsample_9(node: NodeProto, rewriter: Rewriter) -> None:
    scales = attributes(node, ["scales"])["scales"]
    node.input.append(rewriter.const(f"{_label(node)}/scales", scales, TensorProto.FLOAT))
    rewriter.add(node)


def _old_resize(node: NodeProto, rewriter: Rewriter) -> None:
    """Upsample and the first Resize: output pixel i looks at i / scale, nearest means the pixel before."""
    mode = attributes(node, ["mode"]).get("mode", b"nearest").decode()
    rewriter.emit(
        "Resize",
        [node.input[0], "", node.input[1]],
        node.output[0],
        mode="linear" if mode == "bilinear" else mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _resize_13(node: NodeProto, rewriter: Rewriter) -> None:
    """Arguments that are not used are left out, not empty; a TensorFlow 1 mode is gone."""
    for index in (1, 2, 3):
        if index < len(node.input) and node.input[index] and rewriter.shape(node.input[index]) == (0,):
            node.input[index] = ""
    while not node.input[-1]:
        node.input.pop()
    modes = {a.name: a for a in node.attribute}
    coordinates = modes.get("coordinate_transformation_mode")
    if coordinates is not None and coordinates.s == b"tf_half_pixel_for_nn":
        # floor((i + 1/2) / scale) is the nearest pixel, ties up, of (i + 1/2) / scale - 1/2
        if "nearest_mode" not in modes or modes["nearest_mode"].s != b"floor":
            raise rewriter.fail(node, "tf_half_pixel_for_nn exists no longer, and only with floor has it an equivalent")
        coordinates.s, modes["nearest_mode"].s = b"half_pixel", b"round_prefer_ceil"
    rewriter.add(node)


def _dropout_10(node: NodeProto, rewriter: Rewriter) -> None:
    """The mask, all ones in inference, was a number of the value's type and is a truth value now."""
    if len(node.output) > 1 and node.output[1]:
        mask, elem = node.output[1], rewriter.elem_type(node.input[0]) or TensorProto.FLOAT
        node.output[1] = rewriter.fresh(mask)
        rewriter.add(node)
        rewriter.emit("Cast", [node.output[1]], mask, to=elem)
    else:
        rewriter.add(node)


def _dropout_12(node: NodeProto, rewriter: Rewriter) -> None:
    """Without the new input that asks for training, it is the identity whatever the ratio."""
    attributes(node, ["ratio"])
    rewriter.add(node)


def _batch_norm_9(node: NodeProto, rewriter: Rewriter) -> None:
    """spatial=0, with statistics for every place (C, D1, ...), is written out."""
    if attributes(node, ["spatial"]).get("spatial", 1):
        rewriter.add(node)
        return
    x, scale, bias, mean, var = node.input
    elem = rewriter.elem_type(x) or TensorProto.FLOAT
    epsilon = rewriter.const(f"{_label(node)}/epsilon", attributes(node, ["epsilon"]).get("epsilon", 1e-5), elem)
    deviation = rewriter.emit("Sqrt", [rewriter.emit("Add", [var, epsilon])])
    centred = rewriter.emit("Div", [rewriter.emit("Sub", [x, mean]), deviation])
    rewriter.emit("Add", [rewriter.emit("Mul", [centred, scale]), bias], node.output[0])


def _batch_norm_14(node: NodeProto, rewriter: Rewriter) -> None:
    """More than one output used to mean training."""
    if any(node.output[1:]):
        raise rewriter.fail(node, "it is in training mode (it has more than one output)")
    del node.output[1:]
    rewriter.add(node)


def _roi_align_16(node: NodeProto, rewriter: Rewriter) -> None:
    """The half-pixel shift came with 16 and is the default since."""
    mode = node.attribute.add(name="coordinate_transformation_mode", type=3)
    mode.s = b"output_half_pixel"
    rewriter.add(node)


def _scatter_11(node: NodeProto, rewriter: Rewriter) -> None:
    node.op_type = "ScatterElements"
    rewriter.add(node)


def _scan_9(node: NodeProto, rewriter: Rewriter) -> None:
    raise rewriter.fail(node, "Scan scanned over batches of sequences in opset 8")


_AXES = _attributes_to_inputs("axes")
UPGRADES: dict[str, tuple[tuple[int, Rewrite], ...]] = {
    "BatchNormalization": ((9, _batch_norm_9), (14, _batch_norm_14)),
    "Clip": ((11, _clip_11),),
    "Dropout": ((10, _dropout_10), (12, _dropout_12)),
    "Hardmax": ((13, _flattened),),
    "LogSoftmax": ((13, _flattened),),
    "Pad": ((11, _pad_11),),
    "ReduceL1": ((18, _AXES),),
    "ReduceL2": ((18, _AXES),),
    "ReduceLogSum": ((18, _AXES),),
    "ReduceLogSumExp": ((18, _AXES),),
    "ReduceMax": ((18, _AXES),),
    "ReduceMean": ((18, _AXES),),
    "ReduceMin": ((18, _AXES),),
    "ReduceProd": ((18, _AXES),),
    "ReduceSum": ((13, _AXES),),
    "ReduceSumSquare": ((18, _AXES),),
    "Resize": ((11, _old_resize), (13, _resize_13)),
    "RoiAlign": ((16, _roi_align_16),),
    "Scan": ((9, _scan_9),),
    "Scatter": ((11, _scatter_11),),
    "Slice": ((10, _slice_10),),
    "Softmax": ((13, _flattened),),
    "Split": ((13, _attributes_to_inputs("split")), (18, _split_18)),
    "Squeeze": ((13, _AXES),),
    "TopK": ((10, _topk_10),),
    "Unsqueeze": ((13, _AXES),),
    "Upsample": ((9, _upsample_9), (10, _old_resize)),
}
