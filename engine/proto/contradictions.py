"""Nodes on which a rule fails in a way that nobody foresaw: the last line behind the checks of a model.

A model is untrusted, and a rule may rely on something that no check asks for. Whoever walks through nodes turns what
is raised then into an error that names the node, in the one place where rules are called:

    except CONTRADICTIONS as error:
        raise contradiction(node, error) from error
"""

from __future__ import annotations

import onnx
import onnx.shape_inference
from onnx import NodeProto

from ..errors import ModelError
from .nodes import label

CONTRADICTIONS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)


def contradiction(node: NodeProto, error: BaseException) -> ModelError:
    """What to raise from `error`, which a rule raised on the node."""
    reason = " ".join(str(error).split()) or "no reason given"
    return ModelError(
        f"node {label(node)} is not what its operator allows ({type(error).__name__}: {reason[:200]}): the model "
        "contradicts itself there; if ONNX Runtime runs it, report the model to onnxray"
    )
