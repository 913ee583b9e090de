"""Where images go into a model and class scores come out: found by looking, each with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto

from ..caches import of_model
from ..errors import CardError, ModelError, UnknownName
from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.nodes import plain_domain
from ..proto.operators import CONVOLUTIONS, ML, weight_of
from ..proto.values import Value

SCORES = ("logits", "probabilities", "log-probabilities")


@dataclass(frozen=True)
class ImageInput:
    """The input that takes images. `size` is (height, width), None where it is not fixed."""

    name: str
    layout: str
    size: tuple[int | None, int | None]
    channels: int
    dtype: np.dtype[Any]
    reason: str

    @property
    def axes(self) -> tuple[int, int]:
        """The axes of height and width."""
        return self.layout.index("H"), self.layout.index("W")


@dataclass(frozen=True)
class ClassOutput:
    """The output that scores classes. `scores` is "logits", "log-probabilities" or "probabilities"."""

    name: str
    axis: int
    classes: int | None
    scores: str
    reason: str


# Operators that a value passes on its way to the first layer without its axes being touched.
_PASSES_ON = frozenset(
    """Add Sub Mul Div Cast QuantizeLinear DequantizeLinear DynamicQuantizeLinear Identity BatchNormalization Pad Clip
    Resize Upsample Relu LeakyRelu Split Slice Concat MaxPool AveragePool InstanceNormalization LayerNormalization
    Dropout""".split()
)
_TELLING = (*CONVOLUTIONS, "Transpose", "ConvTranspose", "Reshape", "Flatten", "MatMul", "Gemm", "Unsqueeze")


def first_layer(model: Model, name: str) -> NodeProto | None:
    """The first node behind the value `name` that tells the layout of it."""
    front = [name]
    seen = set(front)
    while front:
        current = front.pop(0)
        for node in model.consumers(current):
            if node.op_type in _TELLING and current in node.input:
                return node
            if node.op_type in _PASSES_ON and current in node.input[:2]:
                for output in node.output:
                    if output and output not in seen:
                        seen.add(output)
                        front.append(output)
    return None


@of_model
def image_input(model: Model, name: str | None = None, layout: str | None = None) -> ImageInput:
    """The input that takes images, its layout, and why.

    `name` and `layout` override what is found ("NCHW" or "NHWC"; batch or channel axes may be missing: "CHW", "HWC",
    "NHW", "HW"); the model's own overrides count as well. Raises UnknownName for an input that does not exist,
    ModelError when no input looks like an image, CardError when the layout given contradicts the model.
    """
    name = name or model.overrides.get("input")
    layout = layout or model.overrides.get("layout")
    names = [v.name for v in model.inputs]
    if name is not None and name not in names:
        raise UnknownName("model input", name, names)
    reasons = []
    for value in (v for v in model.inputs if name in (None, v.name)):
        found = _as_image(model, value, layout)
        if isinstance(found, ImageInput):
            return found
        reasons.append(found)
    listed = "; ".join(reasons) or "it has no input"
    raise ModelError(f"the model has no image input ({listed}): name it with input= and layout=, or feed tensors")


_LAYOUTS = ("NCHW", "NHWC", "CHW", "HWC", "NHW", "HW")


def _as_image(model: Model, value: Value, layout: str | None) -> ImageInput | str:
    """The input as one that takes images, or why it is none."""
    shape = value.shape
    if value.dtype is None or value.dtype.kind not in "fiu" or (value.dtype.kind in "iu" and value.dtype.itemsize > 2):
        return f"{value}: not a type for pixels"
    if shape is None or (len(shape) not in (3, 4) and layout is None):
        return f"{value}: images have 3 or 4 axes"
    if layout is not None:
        if layout not in _LAYOUTS or len(layout) != len(shape):
            raise CardError(f"layout {layout!r} does not fit the input {value}: give one letter of N, C, H, W per axis")
        return _image(value, layout, "as given")
    node = first_layer(model, value.name)
    if len(shape) == 3:
        if shape[0] in (1, 3) and node is not None and node.op_type == "Unsqueeze":
            return _image(value, "CHW", "3 axes, the first of them with a number of channels")
        return f"{value}: 3 axes, read as a sequence or signal"
    told = f"{node.name or node.output[0]!r}" if node is not None else ""
    if node is not None and node.op_type == "Transpose":
        perm = list(attributes(node).get("perm", ()))
        if perm == [0, 3, 1, 2]:
            return _image(value, "NHWC", f"its first use, {told}, moves the last axis to the channels")
        if perm == [0, 2, 3, 1] and shape[1] in (1, 3, 4):
            return _image(value, "NCHW", f"its first use, {told}, moves axis 1 to the end, as a channel axis")
    if node is not None and node.op_type in CONVOLUTIONS and not attributes(node).get("channels_last"):
        weight = model.values.get(weight_of(node))
        groups = attributes(node).get("group", 1)
        wanted = weight.shape[1] if weight and weight.shape and len(weight.shape) > 1 else None
        read = wanted * groups if isinstance(wanted, int) and isinstance(groups, int) else None
        if read is not None and read < _MOST_CHANNELS and (shape[1] == read or not isinstance(shape[1], int)):
            return _image(value, "NCHW", f"the convolution {told} reads {read} channels from axis 1", channels=read)
    first, last = (shape[axis] in (1, 3, 4) for axis in (1, 3))
    if first and last:
        return _image(value, "NCHW", "axes 1 and 3 could both be channels; NCHW is the ONNX convention")
    if first:
        return _image(value, "NCHW", f"axis 1 has {shape[1]} channels")
    if last:
        return _image(value, "NHWC", f"axis 3 has {shape[3]} channels")
    return f"{value}: no axis has 1, 3 or 4 channels"


# Cameras with more bands exist; feature maps of another network have more still.
_MOST_CHANNELS = 32


def _image(value: Value, layout: str, reason: str, channels: int | None = None) -> ImageInput:
    sides = dict(zip(layout, value.shape or (), strict=True))
    height, width = (d if isinstance(d, int) else None for d in (sides["H"], sides["W"]))
    count = sides.get("C", 1)
    if not isinstance(count, int):
        count = channels or 3
    if value.dtype is None:
        raise ModelError(f"the type of the input {value} is not known")
    return ImageInput(value.name, layout, (height, width), count, value.dtype, reason)


@of_model
def class_output(model: Model, name: str | None = None, scores: str | None = None) -> ClassOutput:
    """The output that scores classes, on which axis, and whether it holds logits or probabilities, and why.

    `name` and `scores` override what is found, as do the model's own overrides. Raises UnknownName for an output that
    does not exist, CardError for scores of an unknown kind, ModelError when no output looks like class scores.
    """
    name = name or model.overrides.get("output")
    scores = scores or model.overrides.get("scores")
    if scores is not None and scores not in SCORES:
        raise CardError(f"scores must be one of {', '.join(SCORES)}, got {scores!r}")
    names = [v.name for v in model.outputs]
    if name is not None and name not in names:
        raise UnknownName("model output", name, names)
    reasons = []
    for value in model.outputs:
        if name not in (None, value.name):
            continue
        axis = _class_axis(model, value)
        if isinstance(axis, str):
            reasons.append(f"{value}: {axis}")
            continue
        dim = value.shape[axis] if value.shape else None
        kind, why = (scores, "as given") if scores else _score_kind(model, value.name)
        if name:
            place = "as given"
        else:
            place = "the only output" if len(names) == 1 else "the first output with one score per class"
        return ClassOutput(value.name, axis, dim if isinstance(dim, int) else None, kind, f"{place}; {kind}: {why}")
    listed = "; ".join(reasons)
    raise ModelError(f"no output of the model scores classes ({listed}): name one with output=, or use a value")


def _class_axis(model: Model, value: Value) -> int | str:
    """The axis of the classes, or why there is none."""
    if value.dtype is None:
        sequence = any(o.name == value.name and o.type.HasField("sequence_type") for o in model.graph.output)
        return "a sequence; export a scikit-learn model with zipmap=False" if sequence else "not a tensor of known type"
    if value.dtype.kind not in "fiu" or (value.dtype.kind in "iu" and value.dtype.itemsize > 4):
        return "not a type for scores"
    shape = value.shape
    if shape is None:
        return 1
    if len(shape) == 2:
        return 1
    batched = any(v.shape and v.shape[0] == shape[0] and len(v.shape) > 1 for v in model.inputs) if shape else False
    if len(shape) == 1 and isinstance(shape[0], int) and shape[0] > 1 and not batched:
        return 0
    if len(shape) == 4 and shape[2:] == (1, 1):
        return 1
    if len(shape) == 4 and shape[1:3] == (1, 1):
        return 3
    return "not one score per class"


# Operators that pass scores on as they are.
_CARRIES_SCORES = frozenset(
    "Identity Cast Reshape Flatten Squeeze Unsqueeze QuantizeLinear DequantizeLinear Transpose".split()
)
_KINDS = {
    "Softmax": "probabilities",
    "Sigmoid": "probabilities",
    "QLinearSoftmax": "probabilities",
    "QLinearSigmoid": "probabilities",
    "LogSoftmax": "log-probabilities",
}


def _score_kind(model: Model, name: str) -> tuple[str, str]:
    """Logits, probabilities or log-probabilities, and why."""
    node = model.producer(name)
    while node is not None and node.op_type in _CARRIES_SCORES:
        node = model.producer(node.input[0])
    if node is None:
        return "logits", "nothing is computed before it"
    told = f"{node.op_type} {node.name or node.output[0]!r}"
    if node.op_type in _KINDS:
        return _KINDS[node.op_type], f"it comes out of {told}"
    if plain_domain(node.domain) == ML and _classifies(node):
        return "probabilities", f"it comes out of the classifier {told}"
    if _is_softmax(model, node):
        return "probabilities", f"it comes out of {told}, which divides exponentials by their sum"
    if _is_both_sides(model, node):
        return "probabilities", f"it comes out of {told}, which joins p and 1 - p"
    return "logits", f"it comes out of {told}, with no softmax or sigmoid after it"


def _classifies(node: NodeProto) -> bool:
    after = attributes(node).get("post_transform", "NONE")
    # Trees and nearest neighbours vote; linear classifiers and SVMs give raw scores unless told otherwise.
    votes = node.op_type in ("TreeEnsembleClassifier", "Normalizer")
    return votes or after in ("SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def _is_softmax(model: Model, node: NodeProto) -> bool:
    """exp(x) / sum(exp(x)), written out."""
    if node.op_type != "Div":
        return False
    top, bottom = (model.producer(name) for name in node.input[:2])
    return (
        top is not None
        and bottom is not None
        and (top.op_type, bottom.op_type) == ("Exp", "ReduceSum")
        and bottom.input[0] == node.input[0]
    )


def _is_both_sides(model: Model, node: NodeProto) -> bool:
    """[1 - p, p] with p out of a sigmoid, as scikit-learn's binary classifiers end."""
    if node.op_type != "Concat" or len(node.input) != 2:
        return False
    first = model.producer(node.input[0])
    if first is None or first.op_type != "Sub" or first.input[1] != node.input[1]:
        return False
    one = model.constant(first.input[0])
    kind = _score_kind(model, node.input[1])[0]
    return one is not None and one.size == 1 and float(one.reshape(())) == 1.0 and kind == "probabilities"
