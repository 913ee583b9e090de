"""A value inside a model as an input of it."""

from __future__ import annotations

from ..errors import ModelError
from .dependencies import behind, outputs_of
from .model import Model
from .split import value_infos


def free(model: Model, value: str) -> Model:
    """The model with `value` as one more input, the first one; what computed it is dropped, everything else stays.

    Other inputs are still read by what does not go through `value`: token ids, say, that feed masks and positions
    besides the embeddings. A model cut there by `split` would have no such paths.

    Raises UnknownName, ModelError for an input, a constant or a value that no output depends on, ShapeError for a value
    whose type cannot be known.
    """
    model.value(value)
    if value in {v.name for v in model.inputs}:
        raise ModelError(f"{value!r} is an input already: leave at= out, or name it with input=")
    producer = model.producer(value)
    if producer is None:
        raise ModelError(f"{value!r} is a constant: only values that are computed can be explained from")
    (info,) = value_infos(model, [value])
    if not {v.name for v in model.graph.output} & {value, *outputs_of(behind(model, [value]))}:
        raise ModelError(f"no output of the model depends on {value!r}: choose a value before the outputs")
    with model.edited() as edit:
        graph = edit.graph
        for node in graph.node:
            if value in node.output:
                # Other outputs of the node may be read: it stays, and this one goes nowhere.
                node.output[:] = [f"onnxray/unread/{value}" if name == value else name for name in node.output]
        outputs = [v for v in graph.output if v.name != value]
        inputs = [info, *graph.input]
        del graph.output[:], graph.input[:]
        graph.input.extend(inputs)
        graph.output.extend(outputs)
    return edit.model
