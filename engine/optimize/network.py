"""The network that is climbed: cut at what the objectives read, at any size, with the objective and its gradient.

model -> real input -> head up to the values read -> free size -> fixed sizes -> objective emitted -> vjp -> session
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..autodiff.vjp import vjp
from ..caches import Kept
from ..errors import Disconnected, ModelError, NoGradient, OnnxrayError, ShapeError
from ..graph.dynamic_batch.make_dynamic import make_dynamic
from ..graph.float_input import with_real_input
from ..graph.free_size.make_free import free_size
from ..graph.model import Model
from ..graph.split import expose, extract
from ..graph.upgrade import GRADIENT_OPSET, upgraded
from ..graph.widen import widened
from ..incremental.fixed_sizes import with_fixed_sizes
from ..inference.session import Session
from ..proto.values import Value
from ..runtime.providers import Providers
from .build import Build, apply
from .canvas import Canvas, picture_of
from .objective import Objective

SCORE, LINEAR, AFTER = "objective/score", "objective/before_activation", "objective/after_activation"


@dataclass(frozen=True)
class Climb:
    """What one run gives, each (N,), and the gradient of the sum of scores by the tensor."""

    score: NDArray[np.float32]
    linear: NDArray[np.float32]
    after: NDArray[np.float32]
    gradient: NDArray[np.float32]


class Network:
    """A model at the size of `canvas` with one objective per row, those of one structure: `run` climbs.

    Raises what objectives raise, ShapeError for a size that the network cannot take, GradientError and its subclasses
    where there is no gradient.
    """

    def __init__(
        self,
        model: Model,
        canvas: Canvas,
        objectives: Sequence[Objective],
        *,
        labels: tuple[str, ...] | None = None,
        providers: Providers = None,
        threads: int | None = None,
    ) -> None:
        self.canvas, self.rows = canvas, len(objectives)
        self._providers, self._threads = providers, threads
        self.model = with_real_input(widened(model), canvas.input)
        reads = tuple(dict.fromkeys(name for o in objectives for name in o.reads(self.model)))
        check_floats(self.model, reads)
        self.head = head_at(self.model, canvas, reads, self.rows)
        builds = [self._build(o, labels) for o in objectives]
        if len({structure for _, _, structure in builds}) > 1:
            raise ValueError("the objectives of one network must have one structure")
        first, score, structure = builds[0]
        self.feeds = {
            name: np.concatenate([build.parameters[name] for build, _, _ in builds]) for name in first.parameters
        }
        self.session = _sessions.get(
            (self.head.content_key, structure, str(providers), threads),
            lambda: self._session(first, score),
        )

    def _build(self, objective: Objective, labels: tuple[str, ...] | None) -> tuple[Build, str, Hashable]:
        build = Build(self.model, self.head, self.rows, labels, self._evaluate)
        score = objective.emit(build)
        digest = hashlib.sha256()
        for part in (*build.nodes, *build.initializers.values()):
            digest.update(part.SerializeToString(deterministic=True))
        shapes = tuple((name, array.shape) for name, array in build.parameters.items())
        return build, score, (digest.hexdigest(), shapes, score, build.linear, build.after)

    def _session(self, build: Build, score: str) -> Session:
        outputs = {SCORE: score, LINEAR: build.linear or score, AFTER: build.after or score}
        whole = apply(self.head, build, outputs)
        try:
            graph = vjp(whole, SCORE, self.canvas.input)
        except Disconnected as error:
            raise Disconnected(f"there is nothing to optimise: {error}") from None
        return self._open(extract(graph, outputs=list(graph.untyped.graph.output)))

    def _open(self, model: Model) -> Session:
        return Session(model, providers=self._providers, threads=self._threads)

    def run(self, tensor: NDArray[np.float32]) -> Climb:
        """The objective of every row at the tensor, and its gradient. Raises ShapeError, ModelError."""
        feeds = {self.canvas.input: tensor, **self.feeds, self._seed: np.ones(self.rows, np.float32)}
        try:
            got = self.session.run(feeds)
        except (ModelError, ShapeError) as error:
            size = "x".join(map(str, self.canvas.size))
            raise ShapeError(f"the network cannot take a picture of {size} pixels: {error}") from None
        gradient = next(got[name] for name in got if name.startswith("grad/"))
        return Climb(got[SCORE], got[LINEAR], got[AFTER], gradient)

    @cached_property
    def _seed(self) -> str:
        return next(name for name in self.session.inputs if name.startswith("cotangent/"))

    def _evaluate(self, value: str, image: NDArray[Any]) -> NDArray[Any]:
        """A value of the head for an image of any size, as `canvas.picture_of` takes it."""
        canvas = self.canvas
        picture = picture_of(image, canvas)[None]
        seen = picture[:, list(canvas.order)]
        shape = (1, -1, 1, 1)
        tensor = seen * np.reshape(canvas.gain, shape) + np.reshape(canvas.shift, shape)
        rows = np.repeat(np.asarray(tensor, np.float32), self.rows, axis=0)
        return self._open(expose(self.head, [value], only=True)).run({canvas.input: canvas.tensor(rows)})[value][:1]


def check_floats(model: Model, values: tuple[str, ...]) -> None:
    """Raises NoGradient for values of integers."""
    for name in values:
        dtype = model.values[name].dtype if name in model.values else None
        if dtype is not None and dtype.kind != "f":
            behind = [n.output[0] for n in model.consumers(name) if n.op_type == "DequantizeLinear"]
            choice = f"{behind[0]!r}, which is dequantised of it" if behind else "a value of floats"
            raise NoGradient(
                f"{name!r} holds {dtype} numbers, which have no gradient: choose {choice}, or use the float model"
            )


_sessions = Kept[Hashable, Session](4)
_heads = Kept[Hashable, Model](4)


def head_at(model: Model, canvas: Canvas, values: tuple[str, ...], rows: int) -> Model:
    """The part of the model that gives `values`, for `rows` pictures of the canvas's size; opset 18 or newer.

    Raises ShapeError where the network cannot take that size, or that many pictures at once; GradientError where
    nothing of it depends on the image.
    """
    key = (model.content_key, canvas.input, canvas.layout, canvas.size, values, rows)
    return _heads.get(key, lambda: _head_at(model, canvas, values, rows))


def _head_at(model: Model, canvas: Canvas, values: tuple[str, ...], rows: int) -> Model:
    head = expose(model, values, only=True)
    declared = check_reads(head, canvas, values)
    wanted = canvas.shape(rows)
    shape = declared.shape or ()
    fits = [not isinstance(d, int) or d == w for d, w in zip(shape, wanted, strict=True)]
    if not all(fits[a] for a in canvas.axes):
        head = free_size(head, canvas.input, canvas.axes)
    if canvas.batched and not fits[canvas.layout.index("N")]:
        head = make_dynamic(head)
    try:
        sized = _with_batch(with_fixed_sizes(head, canvas.input, wanted, {}), canvas, rows)
        ready = upgraded(sized, GRADIENT_OPSET)
        _check_sizes(ready, canvas)
    except OnnxrayError as error:
        raise ShapeError(
            f"the network cannot take a picture of {canvas.size[0]}x{canvas.size[1]} pixels: {error}"
        ) from None
    return ready


def check_reads(head: Model, canvas: Canvas, values: tuple[str, ...]) -> Value:
    """The image among the inputs of a head. Raises Disconnected where it is none, ModelError where there are others."""
    declared = next((v for v in head.inputs if v.name == canvas.input), None)
    if declared is None:
        raise Disconnected(f"{values[0]!r} does not depend on the image {canvas.input!r}: there is nothing to optimise")
    others = [v.name for v in head.inputs if v.name != canvas.input]
    if others:
        raise ModelError(
            f"the network reads {', '.join(map(repr, others))} besides the image: cut it at a layer before"
        )
    return declared


def _with_batch(model: Model, canvas: Canvas, rows: int) -> Model:
    """The number of rows put in, so that every shape is a number."""
    with model.edited() as edit:
        for info in edit.graph.input:
            if info.name == canvas.input and canvas.batched:
                info.type.tensor_type.shape.dim[canvas.layout.index("N")].dim_value = rows
        del edit.graph.value_info[:]
        for info in edit.graph.output:
            info.type.tensor_type.ClearField("shape")
    return edit.model


def _check_sizes(model: Model, canvas: Canvas) -> None:
    for value in model.values.values():
        if any(isinstance(d, int) and d < 1 for d in value.shape or ()) and model.producer(value.name) is not None:
            raise ShapeError(f"nothing is left of it at {value.name!r} (shape {list(value.shape or ())})")
