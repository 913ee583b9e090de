"""Models made of a model to explain it: parts that give some of its values, and gradients; kept for the next call."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from ..autodiff import class_cotangent as selection
from ..autodiff.path import Rules
from ..autodiff.vjp import vjp
from ..caches import Kept
from ..errors import GradientError
from ..graph.model import Model
from ..graph.split import expose, narrowed, value_infos
from ..graph.widen import widened


@dataclass(frozen=True)
class GradientGraph:
    """A model that gives `of`, values inside and gradients; `cotangent` is the input to feed, "" with classes."""

    model: Model
    cotangent: str
    gradients: Mapping[str, str]


_NO_GRADIENT = "gradient-free methods need none: occlusion, ablation"
_exposed = Kept[Hashable, Model](8)
_gradient_graphs = Kept[Hashable, GradientGraph](8)


def exposed_at(model: Model, values: tuple[str, ...]) -> Model:
    """The part of the model that gives `values`."""
    return _exposed.get((model.content_key, values), lambda: expose(model, values, only=True))


def rules_key(rules: Rules) -> Hashable:
    """What tells rules apart: a table's `key`, else the rules themselves."""
    if rules is None or isinstance(rules, str):
        return rules
    key: Hashable = getattr(rules, "key", None)
    return frozenset(rules.items()) if key is None else key


def gradient_graph(
    model: Model,
    of: str,
    wrt: tuple[str, ...],
    rules: Rules = None,
    class_axis: int | None = None,
    also: tuple[str, ...] = (),
) -> GradientGraph:
    """The graph that differentiates `of` by `wrt`, with classes chosen inside it along `class_axis`, else by a
    cotangent.

    A model in float16 is differentiated in float32: see `graph/widen.py`.

    Kept for the next call with the same model and arguments. Raises GradientError and its subclasses, whose messages
    end with what to do.
    """

    key = (model.content_key, of, wrt, rules_key(rules), class_axis, also)

    def make() -> GradientGraph:
        real = widened(model)
        try:
            graph = vjp(real, of, list(wrt), rules)
        except GradientError as error:
            text = str(error)
            if "gradient-free" not in text and "cannot be run" not in text:
                apart = model.ancestors(of).isdisjoint(wrt)
                text += f"; {'choose another target' if apart else _NO_GRADIENT}"
            raise type(error)(text) from None
        seed = graph.inputs[-1].name
        totals = graph.untyped.graph.output[len(model.outputs) :]
        outputs = [v.name for v in totals]
        # The model's own values are typed already: nothing has to be inferred of the new graph.
        own = value_infos(real, list(dict.fromkeys([of, *also])))
        exposed = narrowed(graph, [*own, *totals])
        if class_axis is not None:
            rank = model.value(of).rank
            axis = class_axis if rank is None or rank > class_axis else rank - 1
            exposed, seed = selection.select_classes(exposed, of, seed, axis), ""
        exposed.key = "gradient", *key
        return GradientGraph(exposed, seed, dict(zip(wrt, outputs, strict=True)))

    return _gradient_graphs.get(key, make)
