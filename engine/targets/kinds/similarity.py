"""How similar the embedding that a model makes is to others: faces, siamese networks, towers of CLIP, retrieval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError, TargetError
from ...graph.model import Model
from ...graph.split import expose
from ...graph.upgrade import GRADIENT_OPSET, upgraded
from ...inference.batches import run_batches
from ...preprocess.answers import answer_of
from ...proto.writer import Writer
from ..appended import appended
from ..files import no_picture, read_file
from ..registry import form, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target

POOLS = ("auto", "cls", "mean", "max")
_SIMILARITY = "onnxray/similarity"


@kind
@dataclass(frozen=True)
class Like(Target):
    """The mean cosine between the model's embedding and those of `references`, less the mean of those of `against`.

    References are embeddings (D,) or (R, D), pictures (uint8) or tensors, which the model embeds itself, or names of
    files with either. pool: how a value with places or tokens becomes one vector: "mean" over them (over those of the
    input `attention_mask` where the model has one), "max", or the first token ("cls"); "auto" is the mean.
    """

    references: tuple[Any, ...] = field(compare=False)
    against: tuple[Any, ...] = field(default=(), compare=False)
    pool: str = "auto"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.references:
            raise TargetError("like: names nothing to compare with: give at least one picture or embedding")
        if self.pool not in POOLS:
            raise TargetError(f"there is no pooling {self.pool!r}: {', '.join(POOLS)}")
        if not self.names:
            names = tuple(_name(r) for r in (*self.references, *self.against))
            object.__setattr__(self, "names", names)

    def __str__(self) -> str:
        pool = "" if self.pool == "auto" else f"{self.pool}:"
        return f"{'unlike' if self.against else 'like'}:{pool}{','.join(self.names)}"

    @property
    def of_answer(self) -> bool:
        return True

    @property
    def title(self) -> str:
        mine, other = self.names[: len(self.references)], self.names[len(self.references) :]
        return f"similar to {', '.join(mine)}" + (f" rather than {', '.join(other)}" if other else "")

    def opened(self, read: Callable[[str], NDArray[Any]]) -> Target:
        def of(reference: Any) -> Any:
            if not isinstance(reference, str):
                return reference
            return read_file(reference, "the embedding", read)

        return replace(
            self, references=tuple(map(of, self.references)), against=tuple(map(of, self.against)), names=self.names
        )

    def resolve(self, place: Place) -> Resolved:
        value, why = _embedding(place.model)
        model = upgraded(place.model, GRADIENT_OPSET)
        writer = Writer(model.values)
        pooled = _pooled(model, writer, value, self.pool)
        if any(isinstance(r, str) for r in (*self.references, *self.against)):
            opened = self.opened(no_picture)
            assert isinstance(opened, Like)
            return opened.resolve(place)
        embedding = appended(model, writer, pooled)
        vectors = [_vectors(embedding, pooled, place, r) for r in (*self.references, *self.against)]
        weights = _weights(vectors, len(self.references), model.value(value).dtype)
        norm = _add(writer, "ReduceL2", [pooled, writer.initializer(writer.numbered(_SIMILARITY), _LAST)], keepdims=1)
        unit = _add(writer, "Div", [pooled, norm])
        writer.node("MatMul", [unit, writer.initializer(writer.numbered(_SIMILARITY), weights)], [_SIMILARITY])
        made = appended(model, writer, _SIMILARITY)

        def ones(y: NDArray[Any]) -> NDArray[np.float32]:
            return np.ones((len(y), 1, *y.shape[1:]), np.float32)

        return FixedTarget(made, _SIMILARITY, self, ones, True, None, why)


_LAST = np.array([-1], np.int64)


def _name(reference: Any) -> str:
    return reference if isinstance(reference, str) else f"an array of shape {list(np.shape(reference))}"


def _add(writer: Writer, op_type: str, inputs: list[str], **attributes: object) -> str:
    return writer.node(op_type, inputs, [writer.numbered(_SIMILARITY)], **attributes)


def _embedding(model: Model) -> tuple[str, str]:
    """The value that is compared, and why. Raises TargetError where no output is a vector of numbers."""
    try:
        answer = answer_of(model)
    except ModelError as error:
        raise TargetError(f"no output can be compared: {error}") from None
    if answer.kind in ("boxes", "state", "two"):
        raise TargetError(
            f"the output {answer.output!r} is not an embedding ({answer.reason}): name the one that is with output="
        )
    return answer.value, f"{answer.output!r} is compared: {answer.reason}"


def _pooled(model: Model, writer: Writer, value: str, pool: str) -> str:
    """A value (N, D)."""
    rank = model.value(value).rank
    if rank is None or rank < 2 or rank > 4:
        raise TargetError(f"the value {model.value(value)} is not an embedding: (N, D), (N, T, D), (N, C, H, W) are")
    if rank == 2:
        if pool != "auto":
            raise TargetError(f"the value {value!r} is one vector per sample: the pooling {pool!r} has no effect")
        return value
    if pool == "cls":
        if rank != 3:
            raise TargetError(f"the value {value!r} has no tokens: pool it by mean or max")
        first = writer.initializer(writer.numbered(_SIMILARITY), np.array(0, np.int64))
        return _add(writer, "Gather", [value, first], axis=1)
    places = np.array([1] if rank == 3 else [2, 3], np.int64)
    axes = writer.initializer(writer.numbered(_SIMILARITY), places)
    mask = next((v.name for v in model.inputs if v.name == "attention_mask" and v.rank == 2), None)
    if pool == "max":
        return _add(writer, "ReduceMax", [value, axes], keepdims=0)
    if rank == 4 or mask is None:
        return _add(writer, "ReduceMean", [value, axes], keepdims=0)
    last = writer.initializer(writer.numbered(_SIMILARITY), _LAST)
    share = _add(writer, "Unsqueeze", [_add(writer, "CastLike", [mask, value]), last])
    summed = _add(writer, "ReduceSum", [_add(writer, "Mul", [value, share]), axes], keepdims=0)
    return _add(writer, "Div", [summed, _add(writer, "ReduceSum", [share, axes], keepdims=0)])


def _vectors(embedding: Model, pooled: str, place: Place, reference: Any) -> NDArray[np.float64]:
    """(R, D), each of length 1."""
    array = np.asarray(reference)
    size = embedding.value(pooled).shape
    wide = size[-1] if size and isinstance(size[-1], int) else None
    if array.dtype.kind == "f" and array.ndim in (1, 2) and (wide is None or array.shape[-1] == wide):
        rows = np.atleast_2d(array).astype(np.float64)
    else:
        if place.prepare is None:
            raise TargetError("a picture to compare with can only be embedded while an input is explained")
        sample, shared = place.prepare(array)
        exposed = expose(embedding, [pooled], only=True)
        rows = np.asarray(run_batches(exposed, sample, [pooled], shared=shared)[pooled], np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(rows).all() or not lengths.all():
        raise TargetError("an embedding to compare with is zero or not finite: give another one")
    return np.asarray(rows / lengths)


def _weights(vectors: list[NDArray[np.float64]], mine: int, dtype: Any) -> NDArray[Any]:
    """(D, 1): the mean of the references less that of the others."""
    sizes = {v.shape[1] for v in vectors}
    if len(sizes) > 1:
        raise TargetError(f"the embeddings to compare with have {', '.join(map(str, sorted(sizes)))} numbers")
    weights = np.concatenate(vectors[:mine]).mean(axis=0)
    if len(vectors) > mine:
        weights = weights - np.concatenate(vectors[mine:]).mean(axis=0)
    return np.asarray(weights[:, None], dtype or np.float32)


def _files(text: str) -> tuple[str, list[str]]:
    pool, colon, rest = text.partition(":")
    if colon and pool in POOLS:
        text = rest
    else:
        pool = "auto"
    files = [part.strip() for part in text.split(",") if part.strip()]
    if not files:
        raise ValueError(text)
    return pool, files


@form(
    "like",
    "like:FILE,... or like:POOL:FILE,... with pictures or .npy embeddings; POOL is mean, max or cls",
    "how similar (cosine) the model's embedding is to that of other pictures, or to embeddings",
)
def _like(text: str) -> Target:
    pool, files = _files(text)
    return Like(tuple(files), (), pool)


@form("unlike", "unlike:FILE_A,FILE_B or unlike:POOL:FILE_A,FILE_B", "how much more similar to A than to B")
def _unlike(text: str) -> Target:
    pool, (a, b) = _files(text)
    return Like((a,), (b,), pool)
