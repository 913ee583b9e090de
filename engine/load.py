"""`load`: a model file, with what the caller knows better than its card."""

from __future__ import annotations

from typing import Any

from .errors import CardError
from .graph.model import Model, Source
from .graph.read import read
from .preprocess.card import check
from .preprocess.find import said_beside


def load(source: Source, **card: Any) -> Model:
    """Read a model and make it ready: functions inlined, constants folded, shapes inferred, opset at least 7.

    `source` is a path, a name of `onnxray models list` ("builtin"), the bytes of a file, an onnx.ModelProto (left as it
    is) or a Model. `card` overrides fields of
    the model card (`size`, `mean`, `std`, `order`, `layout`, `resize`, `labels`, ...; see
    `onnxray.engine.preprocess.card.Card`), those among them that say what the model answers: `output` (its name),
    `answer` ("classes", "two", "labels", "number", ...), `scores` ("logits", "probabilities" or "log-probabilities")
    and `decision_threshold`. `kind`, `axes` and `tokenizer`, which say what the input is, are taken from a card beside
    the model as well.

    External data up to 1 GiB in all is read in; beyond that it stays where it is and is memory-mapped.

    Raises ModelError (not an ONNX model, truncated, contradictory), ExternalDataError (data file missing or outside the
    model's folder), OpsetError (older than opset 7 and not convertible), CardError (unknown field), UnknownName (no
    such model or file).
    """
    model = read(source)
    for name in ("warnings", "about"):
        if card.get(name) is not None:
            raise CardError(f"{name} describes a card file and has no effect as an option: leave it out")
    options = check({name: value for name, value in card.items() if value is not None}, "the options", confined=False)
    if not isinstance(source, Model):
        own = ("tokenizer",) if "kind" in options or "axes" in options else ("kind", "axes", "input", "tokenizer")
        options = {**{name: value for name, value in said_beside(model).items() if name in own}, **options}
    if not options:
        return model
    return Model(
        model.proto,
        path=model.path,
        folder=model.folder,
        overrides={**model.overrides, **options},
        sha256=model._sha256,
    )
