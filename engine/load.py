"""`load`: a model file, with what the caller knows better than its card."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .attribution.photos import card_or_none
from .errors import CardError, ModelError
from .graph.encoder_decoder import pair_in, with_decoder
from .graph.model import Model, Source
from .graph.narrow import is_narrowed, mark_as_file, narrowed
from .graph.read import read
from .inspect.float16_range import beyond_float16
from .preprocess.card import check
from .preprocess.find import said_beside

# Of inputs that are no images: numbers between this and its negative.
_NOISE = 3.0


def load(source: Source, *, half: bool = False, **card: Any) -> Model:
    """Read a model and make it ready: functions inlined, constants folded, shapes inferred, opset at least 7.

    `source` is a path, a name of `onnxray models list` ("builtin"), the bytes of a file, an onnx.ModelProto (left as it
    is) or a Model. `card` overrides fields of
    the model card (`size`, `mean`, `std`, `order`, `layout`, `resize`, `labels`, ...; see
    `onnxray.engine.preprocess.card.Card`), those among them that say what the model answers: `output` (its name),
    `answer` ("classes", "two", "labels", "number", ...), `scores` ("logits", "probabilities" or "log-probabilities")
    and `decision_threshold`. `kind`, `axes`, `tokenizer`, `sound` and `volume`, which say what the input is, are
    taken from a card beside the model as well. `decoder`: the file of the decoder where `source` is an encoder, which
    are read as one model; `source` may also be the folder of both, as Optimum writes it.

    half: the model's convolutions and products compute in float16, from weights in float16; inputs and outputs stay
    float32, as does what float16 cannot hold: weights beyond 65504, sums of many terms, powers, and values that leave
    its range in one run on noise. `source` itself is not changed; a Model that has been converted stays so, whatever
    `half` says. Gradients are computed in float32 from the float16 values of the forward pass, so that small ones do
    not become 0.

    External data up to 1 GiB in all is read in; beyond that it stays where it is and is memory-mapped.

    Raises ModelError (not an ONNX model, truncated, contradictory), ExternalDataError (data file missing or outside the
    model's folder), OpsetError (older than opset 7 and not convertible), CardError (unknown field, a `half` that is no
    bool), UnknownName (no such model or file).
    """
    if not isinstance(half, bool | np.bool_):
        raise CardError(f"half={half!r} is neither True nor False: give one of them")
    model = _with_decoder(source, card.pop("decoder", None))
    for name in ("warnings", "about"):
        if card.get(name) is not None:
            raise CardError(f"{name} describes a card file and has no effect as an option: leave it out")
    options = check({name: value for name, value in card.items() if value is not None}, "the options", confined=False)
    if not isinstance(source, Model):
        own = ("tokenizer", "sound", "volume", *(() if {"kind", "axes"} & set(options) else ("kind", "axes", "input")))
        options = {**{name: value for name, value in said_beside(model).items() if name in own}, **options}
    ready = _with_options(model, options)
    return _halved(ready) if half and not is_narrowed(ready) else ready


def _with_options(model: Model, options: Mapping[str, Any]) -> Model:
    if not options:
        return model
    return Model(
        model.proto,
        path=model.path,
        folder=model.folder,
        overrides={**model.overrides, **options},
        sha256=model._sha256,
        key=model.key,
    )


def _halved(model: Model) -> Model:
    """The model in float16. Raises ModelError where it cannot be."""
    card = card_or_none(model)
    if card is None:
        return narrowed(model, beyond_float16(model, -_NOISE, _NOISE))
    ends = [(pixel - mean) / std for pixel in (0.0, 255.0) for mean in card.mean for std in card.std]
    return narrowed(model, beyond_float16(model, min(ends), max(ends)))


def _with_decoder(source: Source, decoder: Any) -> Model:
    """The model in `source`; where that is an encoder and a decoder, both as one. Raises what `load` raises."""
    if isinstance(source, str | os.PathLike) and os.path.isdir(source):
        pair = pair_in(Path(source))
        if pair is not None:
            return with_decoder(_read(pair[0]), _read(pair[1] if decoder is None else decoder))
    model = _read(source)
    if decoder is None and not isinstance(source, Model) and model.path is not None:
        said = said_beside(model).get("decoder")
        decoder = None if said is None else Path(model.path).resolve().parent / str(said)
    if decoder is None:
        return model
    if not isinstance(decoder, str | os.PathLike | Model):
        raise ModelError(f"a decoder was given as {type(decoder).__name__}: give the path of its .onnx file")
    return with_decoder(model, _read(decoder))


def _read(source: Source) -> Model:
    """The model in `source`; of a file that it is one, before its properties are looked at."""
    model = read(source)
    if not isinstance(source, Model):
        mark_as_file(model.untyped)
    return model
