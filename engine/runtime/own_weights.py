"""A weight of its own for every operator that reads one, for providers that mistake a shared weight.

OpenVINO's CPU plugin (onnxruntime-openvino 1.24.1) gives the operators that read one square weight the same reordered
copy of it: the ConvTranspose in a convolution's gradient then reads the weight with its channels exchanged.
"""

from __future__ import annotations

from collections import Counter

from onnx import ModelProto


def with_own_weights(proto: ModelProto) -> ModelProto:
    """The model with a copy of each weight of two or more axes for every further operator that reads it; itself where
    none is read twice. Graphs inside operators are left as they are."""
    weights = {t.name: t for t in proto.graph.initializer if len(t.dims) > 1}
    readers = Counter(name for node in proto.graph.node for name in set(node.input) if name in weights)
    if not any(count > 1 for count in readers.values()):
        return proto
    made = ModelProto()
    made.CopyFrom(proto)
    taken = {t.name for t in proto.graph.initializer} | {o for node in proto.graph.node for o in node.output}
    seen: Counter[str] = Counter()
    for node in made.graph.node:
        for name in dict.fromkeys(node.input):
            if readers[name] < 2:
                continue
            seen[name] += 1
            if seen[name] > 1:
                copy = made.graph.initializer.add()
                copy.CopyFrom(weights[name])
                copy.name = _free(f"{name}/{seen[name]}", taken)
                node.input[:] = [copy.name if read == name else read for read in node.input]
    return made


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
