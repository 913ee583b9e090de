"""An encoder and a decoder, exported as two files, as one model: from the ids of both to the scores of the next token.

The names are those of Optimum's files, `encoder_model.onnx` and `decoder_model.onnx`, or `decoder_model_merged.onnx`,
of which the branch without a cache is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import GraphProto, NodeProto

from ..errors import ModelError
from ..proto.edit import copied, rename
from ..proto.nodes import reads, subgraphs
from ..proto.values import Value
from .model import Model
from .read import read
from .upgrade import upgraded

ENCODERS = ("encoder_model.onnx",)
DECODERS = ("decoder_model.onnx", "decoder_model_merged.onnx")
# The input of the joined model that takes the tokens said so far.
DECODER_IDS = "decoder_input_ids"
# Those of the mask and the positions of these tokens, where the decoder reads them.
_MASK, _POSITIONS = "decoder_attention_mask", "decoder_position_ids"
_PREFIX = "decoder/"
_BRANCH = "use_cache_branch"


def pair_in(folder: Path) -> tuple[Path, Path] | None:
    """The encoder and the decoder in a folder, or in its folder `onnx`; None where there are none."""
    for place in (folder, folder / "onnx"):
        encoders = [place / name for name in ENCODERS if (place / name).is_file()]
        decoders = [place / name for name in DECODERS if (place / name).is_file()]
        if encoders and decoders:
            return encoders[0], decoders[0]
    return None


def with_decoder(encoder: Model, decoder: Model) -> Model:
    """One model of both: the inputs of the encoder and `decoder_input_ids`, the scores (N, T, V) of the decoder.

    The decoder reads what the encoder answers as `encoder_hidden_states`, and the encoder's mask as
    `encoder_attention_mask`; caches are left out. Raises ModelError for a decoder without these inputs, and for weights
    in data files that are too large to be read in.
    """
    if encoder.folder or decoder.folder:
        raise ModelError("the weights of the encoder and the decoder are too large to be one model: 1 GiB each at most")
    opset = max(encoder.opset, decoder.opset)
    encoder, decoder = upgraded(encoder, opset), upgraded(decoder, opset)
    proto, part = copied(encoder.untyped), copied(decoder.untyped)
    _take_branch(part.graph)
    names = _names(encoder, decoder)
    _rename_all(part.graph, names)
    own = (DECODER_IDS, _MASK, _POSITIONS)
    scores = _scores(decoder)
    outputs = [v for v in part.graph.output if v.name == names.get(scores, scores)]
    proto.graph.node.extend(part.graph.node)
    proto.graph.initializer.extend(part.graph.initializer)
    proto.graph.input.extend(v for v in part.graph.input if v.name in own)
    del proto.graph.output[:], proto.graph.value_info[:]
    proto.graph.output.extend(outputs)
    known = {o.domain for o in proto.opset_import}
    proto.opset_import.extend(o for o in part.opset_import if o.domain not in known)
    proto.ir_version = max(proto.ir_version, part.ir_version)
    _check_inputs(_without_unused(proto), part.graph)
    found = read(proto)
    return Model(found.untyped, path=encoder.path, folder=None, overrides=encoder.overrides)


def _names(encoder: Model, decoder: Model) -> dict[str, str]:
    """What the decoder's inputs are in the joined model, and its scores. Raises ModelError."""
    ids = _input(decoder, ("input_ids",), "iu", "token ids (input_ids)")
    hidden = _input(decoder, ("hidden", "memory", "encoder_out"), "f", "the encoder's answer (encoder_hidden_states)")
    states = [v for v in encoder.outputs if v.rank == 3 and v.dtype is not None and v.dtype.kind == "f"]
    if not states:
        raise ModelError("the encoder has no output (samples, tokens, width) that a decoder could read")
    found = {ids: DECODER_IDS, hidden: states[0].name, _scores(decoder): _scores(decoder)}
    masks = [v.name for v in decoder.inputs if "encoder" in v.name.lower() and "mask" in v.name.lower()]
    own = [v.name for v in encoder.inputs if "mask" in v.name.lower()]
    if masks and not own:
        raise ModelError(f"the decoder reads the mask {masks[0]!r} and the encoder has none: export both together")
    return found | dict(zip(masks, own, strict=False)) | _of_tokens(decoder, {*found, *masks})


def _of_tokens(decoder: Model, taken: set[str]) -> dict[str, str]:
    """The mask and the positions (samples, tokens) of the decoder's own tokens, as they are in the joined model."""
    free = [v for v in decoder.inputs if v.name not in taken and v.rank == 2]
    masks = [v.name for v in free if "mask" in v.name.lower() and _is(v, "iufb")]
    places = [v.name for v in free if "position" in v.name.lower() and _is(v, "iu")]
    return {name: new for found, new in ((masks, _MASK), (places, _POSITIONS)) for name in found[:1]}


def _check_inputs(proto: onnx.ModelProto, part: GraphProto) -> None:
    """Raises ModelError for an input of the decoder that nothing gives; drops those that are not read."""
    read_of = {name for node in proto.graph.node for name in reads(node)}
    weights = {t.name for t in proto.graph.initializer}
    names = [v.name for v in part.input if v.name in read_of and v.name not in weights]
    unknown = [repr(name.removeprefix(_PREFIX)) for name in names if name.startswith(_PREFIX)]
    if unknown:
        raise ModelError(
            f"the decoder reads {', '.join(unknown)}, which neither the encoder nor the text gives: export it without "
            "a cache, as decoder_model.onnx"
        )
    for value in [v for v in proto.graph.input if v.name in (_MASK, _POSITIONS) and v.name not in read_of]:
        proto.graph.input.remove(value)


def _input(decoder: Model, parts: Sequence[str], kinds: str, what: str) -> str:
    found = [v.name for v in decoder.inputs if any(p in v.name.lower() for p in parts) and _is(v, kinds)]
    if not found:
        listed = ", ".join(str(v) for v in decoder.inputs[:6])
        raise ModelError(f"the decoder has no input for {what}: {listed}; take decoder_model.onnx, without a cache")
    return found[0]


def _is(value: Value, kinds: str) -> bool:
    return value.dtype is not None and value.dtype.kind in kinds and "past" not in value.name.lower()


def _scores(decoder: Model) -> str:
    found = [v.name for v in decoder.outputs if v.rank == 3 and v.dtype is not None and v.dtype.kind == "f"]
    named = [name for name in found if "logit" in name.lower()] or found
    if not named:
        raise ModelError(f"the decoder scores no tokens: its outputs are {', '.join(map(str, decoder.outputs[:6]))}")
    return named[0]


def _take_branch(graph: GraphProto) -> None:
    """The branches without a cache in place of the choices between both."""
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type != "If" or node.input[0] != _BRANCH:
            nodes.append(node)
            continue
        branch = next(a.g for a in node.attribute if a.name == "else_branch")
        answers = dict(zip((v.name for v in branch.output), node.output, strict=True))
        made = {name for inner in branch.node for name in inner.output}
        graph.initializer.extend(branch.initializer)
        for inner in branch.node:
            changed = copied(inner)
            rename(changed, answers)
            nodes.append(changed)
        given = [(name, new) for name, new in answers.items() if name not in made]
        nodes += [onnx.helper.make_node("Identity", [name], [new], name=new) for name, new in given]
    copies = [copied(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _rename_all(graph: GraphProto, names: dict[str, str]) -> None:
    """Every value of the decoder by a name that the encoder has not, those of `names` as they say."""
    values = [v.name for v in graph.input] + [t.name for t in graph.initializer]
    values += [name for node in graph.node for name in _made(node)]
    full = {name: names.get(name, f"{_PREFIX}{name}") for name in values if name}
    for node in graph.node:
        _rename_inside(node, full)
        rename(node, full)
        node.name = f"{_PREFIX}{node.name}" if node.name else ""
    for part in (*graph.initializer, *graph.input, *graph.output):
        part.name = full.get(part.name, part.name)


def _made(node: NodeProto) -> list[str]:
    inside = list(subgraphs(node))
    own = [v.name for g in inside for v in (*g.input, *g.initializer)]
    return [*node.output, *own, *(name for g in inside for inner in g.node for name in _made(inner))]


def _rename_inside(node: NodeProto, full: dict[str, str]) -> None:
    """What `rename` leaves: the inputs and initializers of subgraphs."""
    for graph in subgraphs(node):
        for part in (*graph.input, *graph.initializer):
            part.name = full.get(part.name, part.name)
        for inner in graph.node:
            _rename_inside(inner, full)


def _without_unused(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without the nodes and weights that the scores do not need, such as those of caches."""
    wanted = {v.name for v in proto.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(proto.graph.node):
        if any(name in wanted for name in node.output):
            kept.append(node)
            wanted.update(reads(node))
    stored = [t for t in proto.graph.initializer if t.name in wanted]
    nodes, tensors = [copied(n) for n in reversed(kept)], [copied(t) for t in stored]
    del proto.graph.node[:], proto.graph.initializer[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(tensors)
    return proto
