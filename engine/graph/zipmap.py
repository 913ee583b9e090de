"""Classifiers that end in a list of dictionaries, as scikit-learn's do by default, with their scores as a tensor.

ZipMap turns scores (N, C) into one mapping per sample, label -> score. Nothing can be computed from such an output; the
tensor that it is made of says the same, and the labels are among the node's attributes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from ..caches import of_model
from ..proto.attributes import attributes
from ..proto.edit import copied
from ..proto.operators import ML
from .model import Model


@of_model
def with_tensor_scores(model: Model) -> Model:
    """The model with outputs of ZipMap replaced by tensors (N, C) of the same names; the model itself without any.

    Labels that are texts become the model's, unless it was given others.
    """
    if (ML, "ZipMap") not in model.operators:
        return model
    graph = copied(model.graph)
    outputs = {info.name: info for info in graph.output}
    labels: list[str] = []
    for node in graph.node:
        if node.op_type != "ZipMap" or node.domain != ML or node.output[0] not in outputs:
            continue
        given = attributes(node)
        texts = [t.decode() if isinstance(t, bytes) else str(t) for t in given.get("classlabels_strings", ())]
        count = len(texts) or len(given.get("classlabels_int64s", ()))
        labels = labels or texts
        name = f"{node.output[0]}/shape"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, count], np.int64), name))
        # Reshape says how many axes there are: shape inference is often wrong about what classifiers give.
        plain = onnx.helper.make_node("Reshape", [node.input[0], name], list(node.output), name=node.name)
        node.CopyFrom(plain)
        info = onnx.helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, [None, count])
        outputs[node.output[0]].CopyFrom(info)
    changed = model.with_graph(graph)
    overrides = {"labels": tuple(labels), **model.overrides} if labels else model.overrides
    return Model(changed.proto, path=model.path, folder=model.folder, overrides=overrides, sha256=model.sha256)
