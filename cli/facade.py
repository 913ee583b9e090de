"""What of the public Python interface takes files as well as arrays: decodes, then calls the engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.attribution.explanation import Explanation, Explanations, with_source
from ..engine.explain import explain as _explain
from ..engine.graph.model import Source
from ..engine.methods.registry import Method
from ..engine.targets.target import Target


def explain(
    model: Source,
    image: Any,
    method: str | Method = "grad-cam",
    target: Any = None,
    layer: str | Sequence[str] | None = None,
    **options: Any,
) -> Explanation | Any:
    """Why `model` answers as it does for `image`: see `onnxray.engine.explain.explain`.

    `image` may also be the path of an image file, and a target may name files. Raises ImageError when one cannot be
    read.
    """
    if isinstance(target, str):
        target = Target.parse(target)
    if isinstance(target, Target):
        target = target.opened(_read)
    if not isinstance(image, str | os.PathLike):
        return _explain(model, image, method, target, layer, **options)
    from .files.images import decode_with_notes, read_bytes

    source = os.fspath(image)
    pixels, notes = decode_with_notes(read_bytes(image), where=repr(source))
    found = _explain(model, pixels, method, target, layer, **options)
    if isinstance(found, Explanations):
        return Explanations([with_source(part, source, notes) for part in found])
    return with_source(found, source, notes)


def _read(path: str) -> NDArray[np.uint8]:
    from .files.images import read

    return read(path)
