"""What a model is: its layers, and what onnxray decided about its inputs and outputs, with the reason for each decision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto

from .attributes import attributes
from .cost import macs as count_macs
from .cost import parameters
from .errors import CardError, ModelError, ShapeError, UnknownName
from .graph import DOMAIN_NAMES, Model, Shape, Source, Value, load
from .receptive import ReceptiveField, receptive_fields, spatial_axes


@dataclass(frozen=True)
class Layer:
    """One node on the way of the data.

    Attributes:
        name: of the node; where it has none, or shares it, that of its output value.
        op: operator type, with its domain if that is not the standard one.
        output: name of its (first) output value.
        shape: of that value; ints, names of symbolic sizes, None for unknown ones; None if the rank is unknown.
        params: number of parameters it reads.
        macs: multiply-accumulates for one sample, None where a shape is not known.
        receptive_field: size, stride and offset in input pixels, None where it is not defined.
        map_axes: axes of `output` that run along the height and the width of the input image, None if it has none.
        cam: whether class activation mapping fits, `cam_reason` says why or why not.
        inputs: names of the values it reads that are computed or fed.
    """

    name: str
    op: str
    output: str
    shape: Shape | None
    params: int
    macs: int | None
    receptive_field: ReceptiveField | None
    map_axes: tuple[int, ...] | None
    cam: bool
    cam_reason: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """Something found out about the model: `value`, why, and how to say otherwise."""

    what: str
    value: Any
    reason: str
    override: str


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
        return {"NCHW": (2, 3), "NHWC": (1, 2), "CHW": (1, 2), "HWC": (0, 1), "NHW": (1, 2), "HW": (0, 1)}[self.layout]


@dataclass(frozen=True)
class ClassOutput:
    """The output that scores classes. `scores` is "logits", "log-probabilities" or "probabilities"."""

    name: str
    axis: int
    classes: int | None
    scores: str
    reason: str


@dataclass(frozen=True)
class Report:
    """Everything `onnxray inspect` shows."""

    model: Model
    layers: tuple[Layer, ...]
    decisions: tuple[Decision, ...]
    producer: str
    batch: str

    @property
    def params(self) -> int:
        return sum(math.prod(t.dims) for t in self.model.graph.initializer if self.model.values[t.name].dtype is not None)

    @property
    def macs(self) -> int | None:
        counts = [layer.macs for layer in self.layers]
        return None if any(c is None for c in counts) else sum(c or 0 for c in counts)


def inspect(model: Source) -> Report:
    """Look into `model`: layers, inputs, outputs, and what is decided automatically."""
    model = load(model)
    producer = " ".join(x for x in (model.proto.producer_name, model.proto.producer_version) if x) or "not stated"
    return Report(model, model.layers, decisions(model), producer, _batch(model))


def _batch(model: Model) -> str:
    sizes = {v.shape[0] for v in model.inputs if v.shape}
    fixed = [s for s in sizes if isinstance(s, int)]
    if not fixed:
        return "dynamic"
    return f"fixed at {fixed[0]}: larger batches run {'one sample' if fixed[0] == 1 else f'{fixed[0]} samples'} at a time"


def decisions(model: Model) -> tuple[Decision, ...]:
    """What was decided about the model's ends, each with its reason and the option that overrides it."""
    found = []
    try:
        image = image_input(model)
        size = "x".join("any" if s is None else str(s) for s in image.size)
        told = f"{image.name} ({image.layout}, {size}, {image.channels} channels, {image.dtype})"
        found.append(Decision("image input", told, image.reason, "--input NAME, --layout NCHW|NHWC"))
    except (ModelError, CardError) as error:
        found.append(Decision("image input", "none", str(error), "--input NAME, --layout NCHW|NHWC"))
    try:
        output = class_output(model)
        count = "unknown number of" if output.classes is None else output.classes
        told = f"{output.name} ({count} classes, {output.scores})"
        found.append(Decision("class output", told, output.reason, "--output NAME, --scores logits|probabilities"))
    except ModelError as error:
        found.append(Decision("class output", "none", str(error), "--output NAME"))
    best = cam_layer(model)
    if best is not None:
        reason = f"the last layer of {best.cam_reason}"
        found.append(Decision("layer for class activation maps", best.name, reason, "--layer NAME"))
    return tuple(found)


def cam_layer(model: Model) -> Layer | None:
    """The layer that class activation mapping uses by default: the last one that fits."""
    fitting = [layer for layer in model.layers if layer.cam]
    return fitting[-1] if fitting else None


def value_of(model: Model, name: str) -> str:
    """The value that a layer's or a value's name stands for. Raises UnknownName with the nearest names of both kinds."""
    if name in model.values:
        return name
    found = layer_by_name(model).get(name)
    if found is not None:
        return found.output
    raise UnknownName("layer or value", name, [*layer_by_name(model), *model.values], "`onnxray inspect` lists them")


def find_layer(model: Model, name: str) -> Layer:
    """The layer called `name`, or the one that computes the value of that name. Raises UnknownName."""
    named = layer_by_name(model)
    if name in named:
        return named[name]
    for layer in model.layers:
        if layer.output == name:
            return layer
    raise UnknownName("layer", name, [*named, *(layer.output for layer in model.layers)], "`onnxray inspect` lists them")


def layer_by_name(model: Model) -> Mapping[str, Layer]:
    return {layer.name: layer for layer in model.layers}


def layers(model: Model) -> tuple[Layer, ...]:
    """The layers of `model`; `Model.layers` keeps the result."""
    shapes = concrete_shapes(model)
    fields: dict[str, ReceptiveField | None] = {}
    places: dict[str, tuple[int, ...]] = {}
    source = _spatial_input(model)
    if source is not None:
        fields = receptive_fields(model, *source)
        places = spatial_axes(model, *source)
    on_input = {v.name for v in model.inputs}
    nodes = []
    for node in model.graph.node:
        if any(name in on_input for name in node.input):
            on_input.update(node.output)
            if _carries_data(model, node):
                nodes.append(node)
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.name] = counts.get(node.name, 0) + 1
    taken = {n for n, c in counts.items() if c == 1}
    found = []
    for node in nodes:
        output = next(name for name in node.output if name)
        unique = node.name and node.name in taken and (node.name not in model.values or node.name == output)
        axes = places.get(output)
        cam, reason = _cam_fit(model, node, output, axes, shapes)
        found.append(
            Layer(
                name=node.name if unique else output,
                op=node.op_type if node.domain in DOMAIN_NAMES else f"{node.domain}.{node.op_type}",
                output=output,
                shape=model.values[output].shape,
                params=parameters(model, node),
                macs=count_macs(model, node, shapes),
                receptive_field=fields.get(output),
                map_axes=axes,
                cam=cam,
                cam_reason=reason,
                inputs=tuple(name for name in node.input if name in on_input),
            )
        )
    return tuple(found)


def concrete_shapes(model: Model) -> dict[str, tuple[int, ...] | None]:
    """Shapes with the batch and every other symbolic size set: batch 1, image sides as the card says or 224, lengths 16."""
    sizes: dict[str, int] = {}
    source = _spatial_input(model)
    overrides = model.overrides.get("size")
    side = overrides if isinstance(overrides, int) else 224
    for value in model.inputs:
        for axis, dim in enumerate(value.shape or ()):
            if isinstance(dim, str):
                spatial = source is not None and value.name == source[0] and axis in source[1]
                sizes.setdefault(dim, side if spatial else 1 if axis == 0 else 16)
    shapes: dict[str, tuple[int, ...] | None] = {}
    symbolic = False
    for name, value in model.values.items():
        shape = value.shape
        if shape is None or any(d is None or (isinstance(d, str) and d not in sizes) for d in shape):
            shapes[name] = None
            symbolic = True
        else:
            shapes[name] = tuple(sizes[d] if isinstance(d, str) else d for d in shape if d is not None)
    if symbolic and sizes:
        shapes = _inferred(model, sizes, shapes)
    return _probed(model, sizes, shapes) if None in shapes.values() else shapes


def _probed(
    model: Model, sizes: dict[str, int], shapes: dict[str, tuple[int, ...] | None]
) -> dict[str, tuple[int, ...] | None]:
    """`shapes`, completed by one run on zeros for the values whose shape depends on computed numbers."""
    from .session import run
    from .split import expose

    unknown = [name for name, shape in shapes.items() if shape is None and model.values[name].dtype is not None]
    feeds = {}
    for value in model.inputs:
        if value.shape is None or value.dtype is None or value.dtype.kind not in "biuf":
            return shapes
        unnamed = [1, *[16] * len(value.shape)]
        dims = [sizes[d] if isinstance(d, str) else unnamed[i] if d is None else d for i, d in enumerate(value.shape)]
        feeds[value.name] = np.zeros(dims, value.dtype)
    if not unknown:
        return shapes
    try:
        exposed = expose(model, unknown, only=True)
        got = run(exposed, {v.name: feeds[v.name] for v in exposed.inputs})
    except (ModelError, ShapeError):
        return shapes  # it does not run on zeros, or not at these sizes: those shapes stay unknown
    return {**shapes, **{name: array.shape for name, array in got.items()}}


def _inferred(
    model: Model, sizes: dict[str, int], shapes: dict[str, tuple[int, ...] | None]
) -> dict[str, tuple[int, ...] | None]:
    """`shapes`, completed by an inference with the symbolic sizes of the inputs put in."""
    from onnx import GraphProto

    graph = GraphProto()
    graph.CopyFrom(model.graph)
    del graph.value_info[:]
    for info in graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    for info in graph.output:
        info.type.tensor_type.ClearField("shape")
    fixed = model.with_graph(graph)
    for name, value in fixed.values.items():
        dims = [d for d in value.shape or () if isinstance(d, int)]
        if shapes.get(name) is None and value.shape is not None and len(dims) == len(value.shape):
            shapes[name] = tuple(dims)
    return shapes


def _carries_data(model: Model, node: NodeProto) -> bool:
    """Whether the node computes features, not shapes, indices or masks."""
    output = next((name for name in node.output if name), None)
    if output is None:
        return False
    dtype = model.values[output].dtype
    if dtype is None or dtype.kind in "f" or dtype.name == "bfloat16":
        return True
    if any(v.name == output for v in model.graph.output):
        return True
    return dtype.kind in "iu" and dtype.itemsize <= 4 and (model.values[output].rank or 0) >= 2 and node.op_type != "Cast"


def _spatial_input(model: Model) -> tuple[str, tuple[int, ...]] | None:
    """The input along whose spatial axes receptive fields are measured: the image, else a signal or a volume."""
    try:
        found = image_input(model)
        return found.name, found.axes
    except (ModelError, CardError):
        pass
    for value in model.inputs:
        if value.rank in (3, 5) and value.dtype is not None and value.dtype.kind == "f":
            node = _first_layer(model, value.name)[0]
            if node is not None and node.op_type in _CONVOLUTIONS:
                return value.name, tuple(range(2, value.rank))
    return None


_CONVOLUTIONS = ("Conv", "FusedConv", "ConvInteger", "QLinearConv")
_PASSES_ON = frozenset(
    """Add Sub Mul Div Cast QuantizeLinear DequantizeLinear DynamicQuantizeLinear Identity BatchNormalization Pad Clip Resize
    Upsample Relu LeakyRelu Split Slice Concat MaxPool AveragePool InstanceNormalization LayerNormalization""".split()
)


def _first_layer(model: Model, name: str) -> tuple[NodeProto | None, bool]:
    """The first node that tells the layout of the value `name`, and whether channels were moved on the way."""
    front = [name]
    seen = set(front)
    while front:
        current = front.pop(0)
        for node in model.consumers(current):
            if node.op_type in (*_CONVOLUTIONS, "Transpose", "ConvTranspose", "Reshape", "Flatten", "MatMul", "Gemm"):
                return node, False
            if node.op_type in _PASSES_ON and node.input[0] == current:
                for output in node.output:
                    if output and output not in seen:
                        seen.add(output)
                        front.append(output)
    return None, False


def image_input(model: Model, name: str | None = None, layout: str | None = None) -> ImageInput:
    """The input that takes images, its layout, and why.

    `name` and `layout` override what is found ("NCHW" or "NHWC"; batch or channel axes may be missing: "CHW", "HWC", "NHW",
    "HW"); the model's own overrides count as well. Raises UnknownName for an input that does not exist, ModelError when no
    input looks like an image, CardError when the layout given contradicts the model.
    """
    name = name or model.overrides.get("input")
    layout = layout or model.overrides.get("layout")
    names = [v.name for v in model.inputs]
    if name is not None and name not in names:
        raise UnknownName("model input", name, names)
    candidates = [v for v in model.inputs if name in (None, v.name)]
    reasons = []
    for value in candidates:
        found = _as_image(model, value, layout)
        if isinstance(found, ImageInput):
            return found
        reasons.append(found)
    listed = "; ".join(reasons) or "it has no input"
    raise ModelError(f"the model has no image input ({listed}): name it with input= and layout=, or feed tensors")


def _as_image(model: Model, value: Value, layout: str | None) -> ImageInput | str:
    shape = value.shape
    if value.dtype is None or value.dtype.kind not in "fiu" or (value.dtype.kind in "iu" and value.dtype.itemsize > 2):
        return f"{value}: not a type for pixels"
    if shape is None or (len(shape) not in (3, 4) and layout is None):
        return f"{value}: images have 3 or 4 axes"
    if layout is not None:
        if layout not in ("NCHW", "NHWC", "CHW", "HWC", "NHW", "HW") or len(layout) != len(shape):
            raise CardError(f"layout {layout!r} does not fit the input {value}: give one letter of N, C, H, W per axis")
        return _image(value, layout, "as given")
    channels = {i for i, d in enumerate(shape) if d in (1, 3, 4)}
    node, _ = _first_layer(model, value.name)
    if len(shape) == 3:
        if shape[0] in (1, 3) and node is not None and 0 in channels and node.op_type in ("Unsqueeze", *_CONVOLUTIONS):
            return _image(value, "CHW", "3 axes, the first of them with a number of channels")
        return f"{value}: 3 axes, read as a sequence or signal"
    if node is not None and node.op_type == "Transpose":
        perm = list(attributes(node).get("perm", ()))
        if perm == [0, 3, 1, 2]:
            return _image(value, "NHWC", f"its first use, {node.name or node.output[0]!r}, moves the last axis to the channels")
        if perm == [0, 2, 3, 1] and 1 in channels:
            return _image(value, "NCHW", "its first use moves axis 1 to the end, as a channel axis")
    if node is not None and node.op_type in _CONVOLUTIONS and (1 in channels or not isinstance(shape[1], int) or shape[1] < 32):
        weight = model.values.get(node.input[3 if node.op_type == "QLinearConv" else 1])
        groups = attributes(node).get("group", 1)
        wanted = weight.shape[1] if weight and weight.shape and len(weight.shape) > 1 else None
        if isinstance(wanted, int) and (shape[1] == wanted * groups or not isinstance(shape[1], int)):
            reason = f"the convolution {node.name or node.output[0]!r} reads {wanted * groups} channels from axis 1"
            return _image(value, "NCHW", reason, channels=wanted * groups)
    if 1 in channels and 3 not in channels:
        return _image(value, "NCHW", f"axis 1 has {shape[1]} channels")
    if 3 in channels and 1 not in channels:
        return _image(value, "NHWC", f"axis 3 has {shape[3]} channels")
    if 1 in channels and 3 in channels:
        return _image(value, "NCHW", "axes 1 and 3 could both be channels; NCHW is the ONNX convention")
    return f"{value}: no axis has 1, 3 or 4 channels"


def _image(value: Value, layout: str, reason: str, channels: int | None = None) -> ImageInput:
    shape = value.shape or ()
    sides = {letter: shape[axis] for axis, letter in enumerate(layout)}
    height, width = (d if isinstance(d, int) else None for d in (sides["H"], sides["W"]))
    count = sides.get("C", 1)
    if not isinstance(count, int):
        count = channels or 3
    assert value.dtype is not None
    return ImageInput(value.name, layout, (height, width), count, value.dtype, reason)


_CARRIES_SCORES = frozenset("Identity Cast Reshape Flatten Squeeze Unsqueeze QuantizeLinear DequantizeLinear Transpose".split())


def class_output(model: Model, name: str | None = None, scores: str | None = None) -> ClassOutput:
    """The output that scores classes, on which axis, and whether it holds logits or probabilities, and why.

    `name` and `scores` override what is found. Raises UnknownName for an output that does not exist, ModelError when no
    output looks like class scores.
    """
    name = name or model.overrides.get("output")
    scores = scores or model.overrides.get("scores")
    names = [v.name for v in model.outputs]
    if name is not None and name not in names:
        raise UnknownName("model output", name, names)
    reasons = []
    for value in model.outputs:
        if name not in (None, value.name):
            continue
        axis = _class_axis(value)
        if axis is None:
            reasons.append(f"{value}: not one score per class")
            continue
        dim = value.shape[axis] if value.shape else None
        kind, why = (scores, "as given") if scores else _score_kind(model, value.name)
        place = "the only output" if len(names) == 1 else "the first output with one score per class" if not name else "as given"
        return ClassOutput(value.name, axis, dim if isinstance(dim, int) else None, kind, f"{place}; {kind}: {why}")
    raise ModelError(f"no output of the model scores classes ({'; '.join(reasons)}): name one with output=, or use a value")


def _class_axis(value: Value) -> int | None:
    if value.dtype is None or value.dtype.kind not in "fiu" or value.dtype.itemsize > 4 and value.dtype.kind != "f":
        return None
    shape = value.shape
    if shape is None or len(shape) == 2:
        return 1
    if len(shape) == 1 and isinstance(shape[0], int) and shape[0] > 1:
        return 0
    if len(shape) == 4 and shape[2:] == (1, 1):
        return 1
    if len(shape) == 4 and shape[1:3] == (1, 1):
        return 3
    return None


def _score_kind(model: Model, name: str) -> tuple[str, str]:
    node = model.producer(name)
    while node is not None and node.op_type in _CARRIES_SCORES:
        node = model.producer(node.input[0])
    if node is None:
        return "logits", "nothing is computed before it"
    label = f"{node.op_type} {node.name or node.output[0]!r}"
    kinds = {"Softmax": "probabilities", "Sigmoid": "probabilities", "LogSoftmax": "log-probabilities"}
    if node.op_type in kinds:
        return kinds[node.op_type], f"it comes out of {label}"
    if node.domain == "ai.onnx.ml":
        given = attributes(node)
        after = given.get("post_transform", "NONE")
        if "Classifier" in node.op_type or after != "NONE" or node.op_type == "Normalizer":
            return "probabilities", f"it comes out of the classifier {label}"
    return "logits", f"it comes out of {label}, with no softmax or sigmoid after it"


_CAM_OPS = frozenset(
    """Conv FusedConv ConvInteger QLinearConv Relu LeakyRelu PRelu Clip HardSwish Sigmoid Mul Add Sum Concat BatchNormalization
    MaxPool AveragePool QLinearAdd QLinearMul QLinearConcat QLinearLeakyRelu Elu Selu Gelu Swish Mish Softplus Tanh
    LayerNormalization InstanceNormalization GroupNormalization DequantizeLinear QuickGelu Identity Dropout Transpose
    Resize ConvTranspose ThresholdedRelu Celu DepthToSpace SpaceToDepth""".split()
)


def _cam_fit(
    model: Model,
    node: NodeProto,
    output: str,
    axes: tuple[int, ...] | None,
    shapes: Mapping[str, tuple[int, ...] | None],
) -> tuple[bool, str]:
    value = model.values[output]
    if axes is None:
        return False, "it has no height and width of the image any more"
    if node.op_type not in _CAM_OPS:
        return False, f"{node.op_type} gives no feature map"
    if value.dtype is not None and value.dtype.kind != "f":
        return False, "its values are integers"
    if len(axes) != 2:
        return False, f"its input is a {'signal' if len(axes) == 1 else 'volume'}, not an image"
    shape = shapes.get(output)
    if shape is None:
        sizes = [s for s in (value.shape or ()) if isinstance(s, int)]
        return False, f"its size is not known (shape {sizes})"
    height, width = (shape[a] for a in axes)
    if height * width < 4:
        return False, f"its map is only {height}x{width}"
    channels = math.prod(shape) // (shape[0] * height * width or 1)
    if channels < 4:
        return False, f"it has only {channels} channels"
    return True, f"{channels} channels of {height}x{width} cells along the image"


def check_layer_is_map(model: Model, layer: Layer) -> tuple[int, ...]:
    """The layer's (height, width) axes. Raises ShapeError if it has none."""
    if layer.map_axes is None or len(layer.map_axes) != 2:
        fitting = [other.name for other in model.layers if other.map_axes is not None][-3:]
        raise ShapeError(f"layer {layer.name!r} is no map ({layer.cam_reason}): choose one such as {', '.join(fitting)}")
    return layer.map_axes
