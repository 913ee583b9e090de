"""Whether the first axis of an input, or of a value, is that of samples."""

from __future__ import annotations

from ..caches import of_model
from ..errors import CardError, ModelError
from ..graph.model import Model
from ..proto.values import Value
from .concrete_shapes import concrete_shapes
from .signature import image_input


@of_model
def has_batch_axis(model: Model, name: str) -> bool:
    """Whether the input `name` has an axis of samples, its first one.

    Open sizes are batches, and so is one sample. A fixed size is a batch where an output has it on its first axis, too:
    a model that takes (6,) and answers with one number, or (7, 3) with (2, 3), takes one sample at a time.
    """
    shape = model.value(name).shape
    if shape is None:
        return True
    if not shape:
        return False
    first = shape[0]
    if not isinstance(first, int) or first == 1:
        return True
    found = [v.shape for v in model.outputs]
    if any(s is None or (s and not isinstance(s[0], int)) for s in found):
        sizes = concrete_shapes(model)
        found = [sizes.get(v.name) for v in model.outputs]
    return not found or any(s is None or (len(s) > 0 and s[0] == first) for s in found)


def value_has_batch(model: Model, name: str, source: str) -> bool:
    """Whether the first axis of a value is that of the samples of the input `source`.

    It is where it is open, one, or the batch that the input fixes; a class axis in front, as of (classes, rows,
    columns), is none.
    """
    shape, given = model.value(name).shape, model.value(source).shape
    if shape is None:
        return True
    if not shape or not has_batch_axis(model, source):
        return False
    return not isinstance(shape[0], int) or shape[0] == 1 or (given is not None and shape[0] == given[0])


def is_bare_map(model: Model, value: Value) -> bool:
    """Whether the value is (rows, columns) of the one image that the model takes."""
    shape = value.shape
    if shape is None or len(shape) != 2 or not all(isinstance(size, int) and size > 1 for size in shape):
        return False
    try:
        image = image_input(model)
    except (ModelError, CardError):
        return False
    alone = "N" not in image.layout or (model.value(image.name).shape or (None,))[0] == 1
    return alone and None not in image.size and shape[0] * image.size[1] == shape[1] * image.size[0]  # type: ignore[operator]


def is_rows_of_one_sample(model: Model, value: Value) -> bool:
    """Whether the value has a fixed number of rows, two or more axes, where the model takes one sample at a time.

    As where a Loop stacks one row for each of its turns: its first axis is no axis of samples.
    """
    shape = value.shape
    if shape is None or len(shape) < 2 or not isinstance(shape[0], int) or shape[0] < 2:
        return False
    given = [v for v in model.inputs if v.dtype is not None and v.dtype.kind == "f" and v.shape]
    takes_one = [not has_batch_axis(model, v.name) or (v.shape or (None,))[0] == 1 for v in given]
    return bool(given) and all(takes_one)
