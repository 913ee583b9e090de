"""Where images go into a model: found by looking, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import NodeProto

from ..caches import of_model
from ..errors import CardError, ModelError, UnknownName
from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.operators import CONVOLUTIONS, weight_of
from ..proto.values import Value
from .said_input import SAID, SaidInput, said_input


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
    ModelError when no input looks like an image, CardError when the layout, or the card's `kind` and `axes`, contradict
    the model.
    """
    name = name or model.overrides.get("input")
    layout = layout or model.overrides.get("layout")
    said = said_input(model)
    if said is not None and said.kind == "image":
        name, layout = name or said.name, said.axes or layout
    names = [v.name for v in model.inputs]
    if name is not None and name not in names:
        raise UnknownName("model input", name, names)
    reasons = []
    for value in (v for v in model.inputs if name in (None, v.name)):
        found = _refused(said, value) or _as_image(model, value, layout)
        if isinstance(found, ImageInput):
            return found if said is None or found.name != said.name else replace(found, reason=SAID)
        reasons.append(found)
    listed = "; ".join(reasons) or "it has no input"
    raise ModelError(
        f"the model has no image input ({listed}): name it with input= and layout=, or give arrays (.npy, .npz)"
    )


def _refused(said: SaidInput | None, value: Value) -> str:
    """Why the input is no image where the card says so."""
    if said is None or said.name != value.name or said.kind == "image":
        return ""
    return f"{value}: {said.kind} to the card"


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
        if read is not None and read < MOST_CHANNELS and (shape[1] == read or not isinstance(shape[1], int)):
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
MOST_CHANNELS = 32


def _image(value: Value, layout: str, reason: str, channels: int | None = None) -> ImageInput:
    sides = dict(zip(layout, value.shape or (), strict=True))
    height, width = (d if isinstance(d, int) else None for d in (sides["H"], sides["W"]))
    count = sides.get("C", 1)
    if not isinstance(count, int):
        count = channels or 3
    if value.dtype is None:
        raise ModelError(f"the type of the input {value} is not known")
    return ImageInput(value.name, layout, (height, width), count, value.dtype, reason)
