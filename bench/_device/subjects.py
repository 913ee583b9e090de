"""What is run: the benchmark networks as files, models of images, and their inputs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np


def networks():
    """bench/networks.py, or None where PyTorch is not installed."""
    try:
        import networks as found
    except ImportError:
        return None
    return found


def exported(name: str, dtype: str, work: Path) -> Path:
    """A benchmark network as a file, made once. float16: the module itself in half precision."""
    path = work / f"{name}-{dtype}.onnx"
    if not path.exists():
        found = networks()
        import torch

        module = found.build(name)
        half = dtype == "float16"
        file = tempfile.NamedTemporaryFile(dir=work, delete=False)  # noqa: SIM115
        batch = {"x": {0: "batch"}, "y": {0: "batch"}}
        module = module.half() if half else module
        x = torch.zeros(1, *found.NETWORKS[name].shape, dtype=torch.float16 if half else torch.float32)
        names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": batch}
        torch.onnx.export(module, (x,), file.name, opset_version=17, dynamo=False, **names)
        os.replace(file.name, path)
    return path


def inputs(name: str, batch: int, dtype: str = "float32") -> np.ndarray:
    shape = networks().NETWORKS[name].shape
    return np.random.default_rng(0).standard_normal((batch, *shape)).astype(dtype)


def example(model) -> np.ndarray:
    """A ready tensor for a model of images: smooth noise, seeded, in the units that the model is fed."""
    declared = model.inputs[0]
    shape = [d if isinstance(d, int) else 1 for d in declared.shape]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    for axis in [i for i, d in enumerate(shape) if d > 8]:
        x = sum(np.roll(x, k, axis) for k in range(5)) / 2
    if declared.dtype == np.uint8:
        return np.clip(128 + 60 * x, 0, 255).astype(np.uint8)
    return x.astype(declared.dtype)


def one_hot(batch: int, classes: int = 1000, dtype: str = "float32") -> np.ndarray:
    seed = np.zeros((batch, classes), dtype)
    seed[:, 1] = 1
    return seed


def builtin() -> Path:
    from onnxray import models

    return models.path("builtin")
