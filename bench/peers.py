"""The peers that attribution benchmarks compare with, imported whether or not torchvision is there.

pytorch-grad-cam imports torchvision for a few helpers that Grad-CAM never calls; PyTorch's CPU builds come without it.
Where it is missing, empty modules of its name stand in, for these imports only.
"""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from importlib import metadata
from typing import Any

# The distribution that the module onnxruntime came with.
RUNTIME = tuple(
    name for name in ("onnxruntime", "onnxruntime-gpu") if any(metadata.distributions(name=name))
)  # fmt: skip

_NAMES = {
    "torchvision": (),
    "torchvision.transforms": ("Compose", "Normalize", "ToTensor", "Resize"),
    "torchvision.transforms.functional": ("resize",),
}


def grad_cam() -> Any:
    """The module pytorch_grad_cam."""
    warnings.filterwarnings("ignore")
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        for name, attributes in _NAMES.items():
            module = types.ModuleType(name)
            module.__path__ = []  # type: ignore[attr-defined]
            for attribute in attributes:
                setattr(module, attribute, None)
            sys.modules[name] = module
    import pytorch_grad_cam

    return pytorch_grad_cam


def captum() -> Any:
    """The module captum.attr."""
    warnings.filterwarnings("ignore")
    import captum.attr

    return captum.attr


def pooled_layer(module: Any) -> Any:
    """The child of a Sequential network right before its global pooling: where class activation maps are made."""
    children = list(module.children())
    at = next(i for i, child in enumerate(children) if type(child).__name__ == "AdaptiveAvgPool2d")
    return children[at - 1]
