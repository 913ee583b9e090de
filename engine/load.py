"""`load`: a model file, with what the caller knows better than its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import CardError
from .graph.model import Model, Source
from .graph.read import read
from .inspect.signature import SCORES
from .preprocess.card import check


def load(source: Source, **card: Any) -> Model:
    """Read a model and make it ready: functions inlined, constants folded, shapes inferred, opset at least 7.

    `source` is a path, the bytes of a file, an onnx.ModelProto (left as it is) or a Model. `card` overrides fields of
    the model card (`size`, `mean`, `std`, `order`, `layout`, `resize`, `labels`, ...; see
    `onnxray.engine.preprocess.card.Card`) and, besides, `output` (name of the output that scores classes) and
    `scores` (what it holds: "logits", "probabilities" or "log-probabilities").

    External data up to 1 GiB in all is read in; beyond that it stays where it is and is memory-mapped.

    Raises ModelError (not an ONNX model, truncated, contradictory), ExternalDataError (data file missing or outside the
    model's folder), OpsetError (older than opset 7 and not convertible), CardError (unknown field).
    """
    model = read(source)
    options = _check_options(card) if card else {}
    if not options:
        return model
    return Model(
        model.proto,
        path=model.path,
        folder=model.folder,
        overrides={**model.overrides, **options},
        sha256=model._sha256,
    )


def _check_options(card: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in card.items() if value is not None}
    outputs: dict[str, Any] = {name: given.pop(name) for name in ("output", "scores") if name in given}
    if not isinstance(outputs.get("output", ""), str):
        raise CardError(f"output must be the name of an output, got {outputs['output']!r}")
    if outputs.get("scores", SCORES[0]) not in SCORES:
        raise CardError(f"scores must be one of {', '.join(SCORES)}, got {outputs['scores']!r}")
    return {**check(given, "the options", confined=False), **outputs}
