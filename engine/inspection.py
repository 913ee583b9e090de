"""What onnxray decided about a model, with the reason for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .attribution.layer_choice import usual_place
from .errors import CardError, MethodError, ModelError, OnnxrayError, ShapeError, UnknownName
from .graph.dynamic_batch.make_dynamic import fixed_batches, make_dynamic
from .graph.model import Model, Source
from .graph.zipmap import with_tensor_scores
from .inspect.answer import Answer
from .inspect.input_kind import input_kinds
from .inspect.layers import Layer, find_layer, layer_names
from .inspect.macs import parameters
from .inspect.signature import image_input
from .inspect.weights import Weights, weighted_layers, weights
from .load import load
from .preprocess.answers import answer_of
from .proto.bodies import Body, bodies


@dataclass(frozen=True)
class Decision:
    """Something found out about the model: `value`, why, and how to say otherwise."""

    what: str
    value: Any
    reason: str
    override: str


@dataclass(frozen=True)
class Report:
    """Everything `onnxray inspect` shows. `params` counts every parameter once, `macs` are for one sample; `bodies` are
    the graphs inside If, Loop and Scan, whose values are no layers."""

    model: Model
    layers: tuple[Layer, ...]
    decisions: tuple[Decision, ...]
    producer: str
    batch: str
    params: int
    bodies: tuple[Body, ...] = ()

    def __repr__(self) -> str:
        lines = [f"<{self.model!r}: {len(self.layers)} layers, {self.params:,} parameters>"]
        return "\n".join([*lines, *(f"{d.what}: {d.value} ({d.reason})" for d in self.decisions)])

    @property
    def macs(self) -> int | None:
        counts = [layer.macs for layer in self.layers if layer.macs is not None]
        return sum(counts) if len(counts) == len(self.layers) else None


def inspect(model: Source, **card: Any) -> Report:
    """Look into `model`: layers, inputs, outputs, and how they are interpreted, each decision with its reason.

    model: a `Model`, a path, a name of `onnxray models list`, bytes or an onnx.ModelProto. card: fields of the model
    card that override what is found. Raises what `load` raises.
    """
    model = load(model, **card)
    producer = " ".join(x for x in (model.proto.producer_name, model.proto.producer_version) if x) or "not stated"
    counted: dict[str, int] = {}
    for node in model.graph.node:
        counted.update(parameters(model, node))
    return Report(
        model,
        model.layers,
        decisions(with_tensor_scores(model)),
        producer,
        _batch(model),
        sum(counted.values()),
        tuple(body for body in bodies(model.graph) if body.values),
    )


def filters(model: Source, layer: str | Layer | None = None) -> Weights:
    """The weights of a layer: `values` float32 (out, in / groups, spatial...), (out, in) of a dense layer, dequantised.

    model: as `inspect` takes it. layer: a name or a `Layer`; by default the first convolution, else the first layer
    that has weights. Raises UnknownName, MethodError for a layer without weights, what `load` raises.
    """
    model = load(model)
    if layer is not None:
        (name,) = layer_names(layer)
        return weights(model, find_layer(model, name))
    having = weighted_layers(model)
    if not having:
        raise MethodError("no layer of the model has stored weights: nothing to show")
    return weights(model, next((found for found in having if "Conv" in found.op), having[0]))


def _batch(model: Model) -> str:
    """One line on the batch size."""
    fixed = fixed_batches(model)
    if not fixed:
        return "dynamic" if model.inputs else "none: the model has no input"
    if len(fixed) > 1:
        return f"fixed, but the inputs differ in their first size ({', '.join(map(str, fixed))})"
    try:
        make_dynamic(model)
    except ShapeError as error:
        pieces = "one sample" if fixed[0] == 1 else f"{fixed[0]} samples"
        reason = str(error).partition(": ")[2].rpartition(";")[0] or str(error)
        return f"fixed at {fixed[0]}: larger batches run {pieces} at a time ({reason})"
    return f"fixed at {fixed[0]}: larger batches run with the size made dynamic, as samples do not mix"


def decisions(model: Model) -> tuple[Decision, ...]:
    """What was decided about the model's ends, each with its reason and the option that overrides it."""
    found = []
    try:
        image = image_input(model)
        size = "x".join("any" if s is None else str(s) for s in image.size)
        chosen = f"{image.name} ({image.layout}, {size}, {image.channels} channels, {image.dtype})"
        found.append(Decision("image input", chosen, image.reason, "--input NAME, --layout NCHW|NHWC"))
    except (ModelError, CardError, UnknownName) as error:
        found.append(Decision("image input", "none", str(error), "--input NAME, --layout NCHW|NHWC"))
    for name, kind in input_kinds(model).items():
        if kind.kind != "image":
            axes = f" ({kind.axes})" if kind.axes else ""
            found.append(
                Decision(
                    f"input {name}",
                    f"{kind.kind}{axes}",
                    kind.reason,
                    "--input NAME, --kind KIND, --axes NTF, --with NAME=FILE",
                )
            )
    try:
        answer = answer_of(model)
        found.append(Decision("answer", _about(answer), answer.reason, _ANSWER_OPTIONS))
    except (ModelError, CardError, UnknownName) as error:
        found.append(Decision("answer", "none", str(error), _ANSWER_OPTIONS))
    try:
        name, reason = usual_place(model)
        found.append(Decision("layer for class activation maps", name, reason, "--layer NAME"))
    except OnnxrayError as error:
        if found[0].value != "none":  # of models without images nobody expects a map
            found.append(Decision("layer for class activation maps", "none", str(error), "--layer NAME"))
    return tuple(found)


_ANSWER_OPTIONS = "--output NAME, --answer classes|two|labels|number|..., --scores logits|probabilities"


def _about(answer: Answer) -> str:
    """The answer in a few words: `logits (10 classes, logits)`."""
    name = answer.output if answer.value == answer.output else f"{answer.output}, from {answer.value}"
    count = "any number of" if answer.columns is None else str(answer.columns)
    what = {
        "classes": f"{count} classes, {answer.scores}",
        "two": f"one of two classes, {answer.scores}",
        "labels": f"{count} independent labels, {answer.scores}",
        "number": "one number" if answer.columns == 1 else f"{count} numbers",
        "embedding": f"an embedding of {count} numbers",
        "map": f"a map of {answer.scores}",
    }.get(answer.kind, answer.kind)
    return f"{name} ({what})"
