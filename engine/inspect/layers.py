"""What a model is: its layers, and what onnxray decided about its inputs and outputs, with the reason for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto

from ..caches import of_model
from ..errors import MethodError, UnknownName
from ..graph.model import Model
from ..proto.bodies import inside
from ..proto.nodes import plain_domain, reads
from ..proto.values import Shape, Value
from .blocked_layout import BLOCKED, blocked_values
from .concrete_shapes import Sizes, concrete_shapes, spatial_input
from .layer_list import Layers, html_of
from .macs import macs as count_macs
from .macs import parameters
from .modules import module_of, parents
from .receptive_field import ReceptiveField, receptive_fields, spatial_axes


@dataclass(frozen=True)
class Layer:
    """One node on the way of the data.

    Attributes:
        name: of the node; where it has none, or shares it, that of its output value.
        op: operator type, with its domain if that is not the standard one.
        output: name of its (first) output value.
        shape: of that value; ints, names of symbolic sizes, None for unknown ones; None if the rank is unknown.
        params: number of parameters it reads (weights, biases, running statistics; no scalars).
        macs: multiply-accumulates for one sample, None where they cannot be known.
        receptive_field: size, stride and offset in input pixels, None where it is not defined.
        map_axes: axes of `output` that run along the height and the width of the input image, None if it has none.
        cam: whether class activation mapping fits, `cam_reason` says why or why not.
        inputs: names of the values it reads that are computed or fed.
        module: path of the PyTorch module it came from ("layer4.1.conv2"), "" where the file does not say.
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
    module: str = ""

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        return html_of(self)


def layer_names(given: Any) -> tuple[str, ...]:
    """The names of what a user gave: None, a name, a `Layer`, or several of these. Raises MethodError for the rest."""
    if given is None:
        return ()
    parts = [given] if isinstance(given, (str, Layer)) else given
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, (str, Layer)) for part in parts):
        raise MethodError(f"layer was given {given!r}: give a layer's name, or one of model.layers")
    return tuple(part.name if isinstance(part, Layer) else part for part in parts)


def cam_layer(model: Model) -> Layer | None:
    """The last layer that is a map of the image by its shape: to be drawn. See `attribution/layer_choice.py` for the
    one that class activation mapping takes."""
    fitting = [layer for layer in model.layers if layer.cam]
    return fitting[-1] if fitting else None


def value_of(model: Model, name: str) -> str:
    """The value that a layer's, a module's or a value's name stands for. Raises UnknownName with the nearest names."""
    if name in model.values:
        return name
    found = layer_by_name(model).get(name) or layer_of_module(model).get(name)
    if found is not None:
        return found.output
    choices = [*layer_by_name(model), *layer_of_module(model), *model.values]
    raise UnknownName("layer or value", name, choices, _remedy(model, name))


def find_layer(model: Model, name: str) -> Layer:
    """The layer called `name`, or the one that computes the value of that name, or that of the module called so.

    Raises UnknownName with the nearest names.
    """
    named = layer_by_name(model)
    if name in named:
        return named[name]
    for layer in model.layers:
        if layer.output == name:
            return layer
    modules = layer_of_module(model)
    if name in modules:
        return modules[name]
    choices = [*named, *modules, *(layer.output for layer in model.layers)]
    raise UnknownName("layer", name, choices, _remedy(model, name))


def _remedy(model: Model, name: str) -> str:
    return inside(model.graph, name) or "`onnxray inspect` lists them"


def layer_by_name(model: Model) -> Mapping[str, Layer]:
    return {layer.name: layer for layer in model.layers}


@of_model
def layer_of_module(model: Model) -> Mapping[str, Layer]:
    """Path of a module -> its last layer, which gives its output; those of modules that hold others as well."""
    return {module: layer for layer in model.layers for module in parents(layer.module)}


def layers(model: Model) -> Layers:
    """The layers of `model`; `Model.layers` keeps the result. Raises ModelError where a node contradicts its input."""
    shapes = concrete_shapes(model)
    fields: dict[str, ReceptiveField | None] = {}
    places: dict[str, tuple[int, ...]] = {}
    source = spatial_input(model)
    if source is not None:
        fields = receptive_fields(model, *source, shapes)
        places = spatial_axes(model, *source, shapes)
    batch, blocked = _fixed_batch(model), blocked_values(model)
    on_input = {v.name for v in model.inputs}
    chosen: list[tuple[NodeProto, str]] = []
    for node in model.graph.node:
        if any(name in on_input for name in reads(node)):
            on_input.update(name for name in node.output if name)
            output = _data_output(model, node)
            if output is not None:
                chosen.append((node, output))
    found = []
    for (node, output), name in zip(chosen, _names(model, chosen), strict=True):
        axes = None if output in blocked else places.get(output)
        cam, reason = (False, BLOCKED) if output in blocked else _cam_fit(model, node, output, axes, shapes)
        count = count_macs(model, node, shapes)
        domain = plain_domain(node.domain)
        found.append(
            Layer(
                name=name,
                op=f"{domain}.{node.op_type}" if domain else node.op_type,
                output=output,
                shape=model.values[output].shape,
                params=sum(parameters(model, node).values()),
                macs=count // batch if count and count % batch == 0 else count,
                receptive_field=fields.get(output),
                map_axes=axes,
                cam=cam,
                cam_reason=reason,
                inputs=tuple(name for name in dict.fromkeys(reads(node)) if name in on_input),
                module=module_of(node),
            )
        )
    return Layers(found)


def _names(model: Model, chosen: list[tuple[NodeProto, str]]) -> list[str]:
    """A name for each: the node's own if it is the only one of that name and no other value is called so."""
    counts: dict[str, int] = {}
    for node, _ in chosen:
        counts[node.name] = counts.get(node.name, 0) + 1
    names = []
    for node, output in chosen:
        unique = node.name and counts[node.name] == 1 and (node.name not in model.values or node.name == output)
        names.append(node.name if unique else output)
    return names


def _fixed_batch(model: Model) -> int:
    """The batch size that all inputs share, 1 where there is none."""
    sizes = {v.shape[0] if v.shape else None for v in model.inputs}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) and size > 0 else 1


def _data_output(model: Model, node: NodeProto) -> str | None:
    """The first output that holds features, not shapes, indices or masks; outputs of the model always count."""
    outputs = {v.name for v in model.graph.output}
    names: list[str] = list(node.output)
    for name in names:
        if name and (name in outputs or _is_data(model.values[name], node)):
            return name
    return None


def _is_data(value: Value, node: NodeProto) -> bool:
    if value.dtype is None or value.dtype.kind == "f" or value.dtype.name == "bfloat16":
        return True
    if value.dtype.kind not in "iu" or node.op_type == "Cast":
        return False
    return value.dtype.itemsize <= 2 or node.op_type in ("ConvInteger", "MatMulInteger")


_CAM_OPS = frozenset(
    """Conv FusedConv ConvInteger QLinearConv Relu LeakyRelu PRelu Clip HardSwish Sigmoid Mul Add Sum Concat
    BatchNormalization MaxPool AveragePool QLinearAdd QLinearMul QLinearConcat QLinearLeakyRelu Elu Selu Gelu
    Swish Mish Softplus Tanh LayerNormalization InstanceNormalization GroupNormalization DequantizeLinear
    QuickGelu Identity Dropout Transpose Resize ConvTranspose ThresholdedRelu Celu DepthToSpace SpaceToDepth""".split()
)


def _cam_fit(
    model: Model, node: NodeProto, output: str, axes: tuple[int, ...] | None, shapes: Sizes
) -> tuple[bool, str]:
    """Whether class activation mapping fits the layer, and why."""
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


def along_signal(model: Model, layer: Layer) -> bool:
    """Whether the layer is a feature map along a signal (one axis) or a volume (three), to make class activation maps
    of."""
    if layer.map_axes is None or len(layer.map_axes) == 2 or layer.op not in _CAM_OPS or layer.shape is None:
        return False
    value = model.values[layer.output]
    rest = channel_axes(layer.shape, layer.map_axes)
    if (value.dtype is not None and value.dtype.kind != "f") or len(rest) != 1 or 0 in layer.map_axes:
        return False
    cells = [d for a in layer.map_axes if isinstance(d := layer.shape[a], int)]
    channels = layer.shape[rest[0]]
    few = len(cells) == len(layer.map_axes) and math.prod(cells) < 4
    return not few and (not isinstance(channels, int) or channels >= 4)


def channel_axes(shape: Sequence[int | str | None], map_axes: Sequence[int]) -> list[int]:
    """The axes of a value that are neither the batch nor places; of several, those of more than one element.

    Convolutions along a signal are exported as those of images of one row, too.
    """
    rest = [a for a in range(1, len(shape)) if a not in map_axes]
    return rest if len(rest) < 2 else [a for a in rest if shape[a] != 1]
