"""How much of a map is left when the upper layers get random weights (Adebayo et al. 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

import onnxray
from onnxray.cli.files.images import read

MNIST: dict[str, Any] = {"mean": [33.3285], "std": [78.5655], "size": 28, "order": "GRAY", "layout": "NCHW"}


def kept_by_random_weights(zoo: Path, method: str) -> float:
    """The mean rank correlation of the maps of ten digits before and after, for the class predicted before."""
    model = onnxray.load(zoo / "models" / "vit_mnist.onnx", **MNIST)
    proto = onnx.ModelProto.FromString(model.proto.SerializeToString())
    rng = np.random.default_rng(0)
    weights = [t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) >= 2]
    for tensor in weights[-4:]:
        array = onnx.numpy_helper.to_array(tensor)
        drawn = (rng.standard_normal(array.shape) * array.std()).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(drawn, tensor.name))
    randomised = onnxray.load(proto, **MNIST)
    kept = []
    for file in sorted((zoo / "images" / "mnist").iterdir())[:10]:
        first = onnxray.explain(model, read(file), method)
        second = onnxray.explain(randomised, read(file), method, first.target)
        ranks = [np.argsort(np.argsort(np.abs(e.values).ravel())) for e in (first, second)]
        kept.append(np.corrcoef(*ranks)[0, 1])
    return float(np.mean(kept))
