"""Reverse-mode differentiation of ONNX graphs: `vjp`.

    model -> opset >= 18 -> decompose what has no rule of its own -> pull cotangents back -> prune -> Model

The rules are in `gradients/`; here is what they have in common: which nodes lie between `wrt` and `of`, summing the
cotangents of values that are read more than once, undoing broadcasts, names, and what to say when there is no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import onnx

from ..emitter.assemble import assemble, gradient_names
from ..emitter.emitter import Emitter
from ..emitter.graph_types import GraphTypes
from ..emitter.trial_types import learn
from ..errors import Disconnected, GradientError, NoGradient, ShapeError, UnknownName
from ..graph.contradictions import check_consistent, why_refused
from ..graph.model import Model, Source
from ..graph.read import read
from ..graph.upgrade import GRADIENT_OPSET, upgraded
from ..graph.widen import widened
from ..proto.bodies import inside
from ..proto.edit import copied
from ..proto.values import FLOATS, elem_of
from .decompose import decompose_live, rewrite
from .diagnosis import no_path_error
from .half import with_half_forward
from .path import Lookup, Rules, lookup_of
from .pullback import pullback


def vjp(model: Source, of: str | Sequence[str], wrt: str | Sequence[str], rules: Rules = None) -> Model:
    """A model that computes what `model` does and, besides, vector-Jacobian products, in standard ONNX operators.

    of      values to differentiate: names of outputs or of any float value inside
    wrt     values to differentiate by: inputs, initializers or any float value inside; at a value inside, the gradient
            is the total one, as if the value were an input of what comes after it
    rules   None: the derivative. "guided" (Springenberg et al. 2015, arXiv:1412.6806) or "deconvnet" (Zeiler & Fergus
            2014): other rules for rectifiers, see `rectifiers.py`. A mapping from operator or (domain, operator) to a
            rule: your own, written like those in `gradients/`, as (node, dy, op) or (node, cotangents, op).

    Inputs: those of the model, then `cotangent/<name>` for each `of`, of that value's type and shape. Outputs: those of
    the model, then `grad/<name>` for each `wrt`: the sum over `of` of cotangent times derivative. The batch and every
    other dimension stay symbolic where they were. The way back of a float16 model is computed in float32. Where the
    model has a value of such a name already (it is a vjp itself), another "grad/" or "cotangent/" goes before it.

    Cotangents, inputs and weights are finite numbers: a rectifier may pass an infinite cotangent that it should leave
    out as NaN. Of a rectified value between 0 and 2^-126, the smallest normal number, a part of the cotangent passes.

    Raises UnknownName, NoGradient (an operator between `wrt` and `of` has none), Disconnected (no `of` depends on a
    `wrt`), GradientError (a value is no float tensor, a rule has other parameters), ShapeError (a rank that cannot be
    known), ModelError, OpsetError.
    """
    return differentiated(model, of, wrt, rules)


def differentiated(
    model: Source, of: str | Sequence[str], wrt: str | Sequence[str], rules: Rules = None, *, wide: bool = False
) -> Model:
    """`vjp`; `wide`: cotangents and gradients of a float16 model are float32."""
    model = read(model)
    of, wrt = _names(model, of, "of"), _names(model, wrt, "wrt")
    lookup = lookup_of(rules)
    check_consistent(model)
    given, model = model, upgraded(model, GRADIENT_OPSET)
    single = widened(model)
    note = {"onnxray.vjp": f"of={','.join(of)}; wrt={','.join(wrt)}; rules={_rules_name(rules)}"}
    try:
        # Of a model that was made here and that nobody else knows, the weights need not be copied once more.
        made = _differentiated(single, of, wrt, lookup, note, consume=model is not given and single is model)
    except (NoGradient, ShapeError) as error:
        refused = why_refused(given)
        if refused is None:
            raise
        said = str(error).partition(", or use a gradient-free")[0] if isinstance(error, NoGradient) else "no gradient"
        raise NoGradient(f"{said}; the model cannot be run either: {refused}") from error
    return made if single is model else with_half_forward(made, model, of, wrt, wide)


def _differentiated(
    model: Model, of: list[str], wrt: list[str], lookup: Lookup, note: Mapping[str, str], *, consume: bool
) -> Model:
    known_types = GraphTypes(model, [copied(node) for node in model.graph.node], model.opset)
    _check_floats(known_types, of, wrt)
    op = Emitter(known_types)
    op.lookup, op.pull = lookup, partial(_pull, lookup)
    decompose_live(op, lookup, of, wrt)
    seeds, totals = gradient_names(op, of, wrt)
    found = pullback(op, known_types.nodes, dict(zip(of, seeds, strict=True)), wrt, lookup)
    for name in wrt:
        if name not in found:
            raise Disconnected(no_path_error(op, known_types.nodes, of, name, lookup))
    found = {n: found[n] for n in wrt}
    return assemble(op, dict(zip(of, seeds, strict=True)), found, totals, note, consume=consume)


def _names(model: Model, names: str | Sequence[str], what: str) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names)
    if not listed:
        raise GradientError(f"`{what}` names no value: give at least one")
    for name in listed:
        if name not in model.values:
            remedy = inside(model.graph, name) or f"`{what}` takes any value of the model"
            raise UnknownName("value", name, model.values, remedy)
    if len(set(listed)) < len(listed):
        raise GradientError(f"`{what}` names a value twice: {', '.join(repr(n) for n in listed)}")
    return listed


def _rules_name(rules: Rules) -> str:
    if rules is None or isinstance(rules, str):
        return rules or "none"
    name = getattr(rules, "name", None)
    if isinstance(name, str):
        return name
    return "own rules for " + ",".join(sorted(w if isinstance(w, str) else "::".join(w) for w in rules))


def _check_floats(known_types: GraphTypes, of: list[str], wrt: list[str]) -> None:
    for name in [*of, *wrt]:
        elem = elem_of(known_types.types.get(name))
        if not elem:
            learn(known_types)
            elem = elem_of(known_types.types.get(name))
        if elem not in FLOATS:
            kind = onnx.TensorProto.DataType.Name(elem).lower() if elem else "no tensor of a known type"
            raise GradientError(
                f"value {name!r} is {kind}: only float tensors can be differentiated or differentiated by"
            )


def _pull(lookup: Lookup, op: Emitter, cotangents: Mapping[str, str], wrt: Sequence[str]) -> dict[str, str]:
    """Pull cotangents back through the nodes emitted so far in the scope of a subgraph."""
    changed = True
    while changed:
        op.nodes, changed = rewrite(op, op.nodes, lookup, list(cotangents), wrt)
    return pullback(op, list(op.nodes), cotangents, wrt, lookup)
