"""What kind of thing an input takes, found by structure: an image, text, a table, sound, a series, a volume, a state.

The card decides, else structure (the first layer that reads it, the axes that it has); what nothing supports is
"tensor".
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CardError, ModelError
from ..graph.model import Model
from ..proto.operators import CONVOLUTIONS, ML, weight_of
from ..proto.values import Value
from .recurrent_state import state_inputs
from .said_input import SAID, said_input
from .signal_axes import convolved_axes, readers_behind, reads_features
from .signature import first_layer, image_input

KINDS = ("image", "text", "mask", "table", "sound", "series", "volume", "state", "number", "tensor")
_SOUND, _TABLE, _LONG_KERNEL = 512, 4096, 64


@dataclass(frozen=True)
class InputKind:
    """kind: one of KINDS. axes: a letter for each axis, N samples, C channels, T time, F features, D, H, W; "" where
    not known. reason: why."""

    kind: str
    axes: str
    reason: str


def input_kinds(model: Model) -> dict[str, InputKind]:
    """The kind of every input, in order: what the card says, else what structure does. Raises CardError where the card
    contradicts the model."""
    try:
        image = image_input(model)
    except (ModelError, CardError):
        image = None
    states, said = state_inputs(model), said_input(model)
    several = len(model.inputs) > 1
    found = {}
    for value in model.inputs:
        if image is not None and value.name == image.name:
            found[value.name] = InputKind("image", image.layout, image.reason)
        elif value.name in states:
            found[value.name] = InputKind("state", "", f"{states[value.name]}: zeros where nothing is given")
        else:
            found[value.name] = _kind(model, value, several)
            if said is not None and said.name == value.name:
                axes = said.axes or found[value.name].axes * (found[value.name].kind == said.kind)
                found[value.name] = InputKind(said.kind, axes, SAID)
    return found


def _kind(model: Model, value: Value, several: bool) -> InputKind:
    shape, dtype = value.shape, value.dtype
    if shape is None or dtype is None:
        return InputKind("tensor", "", "its shape is not known")
    if dtype.kind in "iu" and _looks_up(model, value.name):
        return InputKind(
            "text", "NT"[2 - len(shape) :] if len(shape) <= 2 else "", "its numbers choose rows of a table"
        )
    if dtype.kind in "iub" and "mask" in value.name.lower():
        return InputKind("mask", "NT"[2 - len(shape) :] if len(shape) <= 2 else "", "its name")
    if _reads_columns(model, value.name) or (dtype.kind not in "fiub" and len(shape) <= 2):
        return InputKind("table", "NF"[2 - len(shape) :], "an operator of classical machine learning reads its columns")
    if several and len(shape) == 2 and shape[1] == 1:
        return InputKind("table", "NF", "one of several columns")
    if len(shape) <= 1 or (len(shape) == 2 and shape[1] == 1 and not several):
        return InputKind("number", "N"[: len(shape)], "one number per sample" if shape else "one number")
    if dtype.kind == "f":
        return _of_floats(model, value, shape)
    return InputKind("tensor", "", f"{dtype} of {len(shape)} axes")


def _of_floats(model: Model, value: Value, shape: tuple[int | str | None, ...]) -> InputKind:
    node = first_layer(model, value.name)
    convolved = node is not None and node.op_type in CONVOLUTIONS
    if _transforms(model, value.name):
        return InputKind("sound", "NT" if len(shape) == 2 else "N1T", "a Fourier transform reads it")
    if len(shape) == 5:
        last = convolved_axes(model) == (value.name, (1, 2, 3))
        return InputKind("volume", "NDHWC" if last else "NCDHW", "5 axes" + ", channels last" * last)
    if len(shape) == 3:
        weight = model.values.get(weight_of(node)) if node is not None and convolved else None
        kernel = weight.shape[2] if weight is not None and weight.shape and len(weight.shape) == 3 else 0
        if convolved and shape[1] == 1 and isinstance(kernel, int) and kernel >= _LONG_KERNEL:
            return InputKind("sound", "N1T", f"one channel, read by kernels of {kernel}")
        if shape[1] == 1 and (not isinstance(shape[2], int) or shape[2] >= _SOUND):
            return InputKind("sound", "N1T", "one channel of many samples")
        if convolved:
            return InputKind("series", "NCT", "a convolution reads axis 1 as channels")
        why = reads_features(model, value.name)
        return InputKind("series", "NTF" if why else "", why or "3 axes")
    if len(shape) == 2:
        width = shape[1]
        if not isinstance(width, int):
            return InputKind("sound", "NT", "samples of any length")
        told = node is not None and node.op_type in ("Gemm", "MatMul")
        if width <= _TABLE and (told or width < _SOUND):
            return InputKind("table", "NF", f"{width} columns")
        return InputKind("sound", "NT", f"{width} samples")
    return InputKind("tensor", "", f"{len(shape)} axes that are no image")


def _looks_up(model: Model, name: str) -> bool:
    return any(
        (op == "Gather" and place == 1) or (op == "OneHot" and place == 0)
        for _, op, place in readers_behind(model, name)
    )


def _reads_columns(model: Model, name: str) -> bool:
    return any(domain == ML for domain, _, _ in readers_behind(model, name))


def _transforms(model: Model, name: str) -> bool:
    return any(op in ("STFT", "DFT", "MelWeightMatrix") for _, op, _ in readers_behind(model, name))
