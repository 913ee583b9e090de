"""Rules of inspection: expressions over a prediction, such as `label != 'clean' and score > 0.6`.

They are evaluated by simpleeval, which knows no attributes, imports or calls beyond those given here.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OnnxrayError, RuleError, RuntimeUnavailable, UnknownName

NAMES = ("label", "score", "scores", "index", "margin", "entropy", "path")
_FUNCTIONS = {"abs": abs, "min": min, "max": max, "len": len}


class Scores(Sequence[float]):
    """The probabilities (C,) of all classes, by number or label."""

    def __init__(self, values: NDArray[Any], labels: Sequence[str] | None = None) -> None:
        self._values, self._labels = [float(v) for v in values], labels or ()

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._labels:
                raise UnknownName("label", key, self._labels)
            return self._values[list(self._labels).index(key)]
        return self._values[key]


def names_of(values: NDArray[Any], labels: Sequence[str] | None, path: str, *, classes: bool = True) -> dict[str, Any]:
    """What a rule knows of an image.

    values: the probabilities (C,) of the classes, or the numbers that the model answers with. score: the greatest
    probability, of numbers the first. margin: how far the second is below it. entropy: of the probabilities, in bits.
    """
    values = np.asarray(values, np.float64).reshape(-1)
    index = int(np.argmax(values)) if classes else 0
    ordered = np.sort(values)[::-1]
    shares = values[values > 0]
    entropy = float(-(shares * np.log2(shares)).sum()) if classes else 0.0
    label = labels[index] if classes and labels is not None and index < len(labels) else str(index)
    return {
        "label": label,
        "index": index,
        "score": float(values[index]),
        "scores": Scores(values, labels),
        "margin": float(ordered[0] - ordered[1]) if classes and len(ordered) > 1 else float(values[index]),
        "entropy": entropy + 0.0,
        "path": path,
    }


@dataclass(frozen=True)
class Rule:
    """An expression that is true or false of an image."""

    text: str
    tree: Any

    def holds(self, names: Mapping[str, Any]) -> bool:
        """Whether it is true with these names. Raises RuleError."""
        simpleeval = _simpleeval(self.text)
        evaluator = simpleeval.EvalWithCompoundTypes(functions=_FUNCTIONS, names=dict(names))
        try:
            return bool(evaluator.eval(self.text, previously_parsed=self.tree))
        except OnnxrayError as error:
            raise RuleError(f"the rule {self.text!r}: {error}") from error
        except Exception as error:  # of simpleeval, or of Python's operators
            raise RuleError(f"the rule {self.text!r} cannot be evaluated: {' '.join(str(error).split())}") from error


def parse(
    text: str, labels: Sequence[str] | None = None, count: int | None = None, further: Sequence[str] = ()
) -> Rule:
    """The rule of an expression, its names and labels checked. labels: of the classes; count: how many there are.
    further: names of numbers that the rule is given besides NAMES.

    Raises RuleError for what is no expression, UnknownName for a name or a label that there is not.
    """
    simpleeval = _simpleeval(text)
    try:
        tree = simpleeval.SimpleEval().parse(text)
    except (SyntaxError, simpleeval.InvalidExpression, ValueError) as error:
        said = getattr(error, "msg", None) or str(error) or "it is empty"
        raise RuleError(
            f"the rule {text!r} is no expression: {said}; an example: label != 'clean' and score > 0.6"
        ) from error
    for node in ast.walk(tree):
        _check(node, labels, (*NAMES, *further))
    rule = Rule(text, tree)
    size = count or (len(labels) if labels else 2)
    rule.holds({**names_of(np.full(size, 1 / size), labels, "image.png"), **dict.fromkeys(further, 0.0)})
    return rule


def _check(node: ast.AST, labels: Sequence[str] | None, names: Sequence[str]) -> None:
    if isinstance(node, ast.Name) and node.id not in names and node.id not in _FUNCTIONS:
        raise UnknownName("name of a rule", node.id, names, f"there are {', '.join(names)}; texts stand in quotes")
    if labels is None:
        return
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        _check_label(node.slice.value, labels)
    if isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
        if any(isinstance(part, ast.Name) and part.id == "label" for part in parts):
            for part in parts:
                for text in _texts(part):
                    _check_label(text, labels)


def _texts(node: ast.AST) -> list[str]:
    """The texts that are compared: one, or those of a list."""
    nodes = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else [node]
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def _check_label(text: str, labels: Sequence[str]) -> None:
    if text not in labels:
        raise UnknownName("label", text, labels, f"the model has {len(labels)} labels")


def _simpleeval(text: str) -> Any:
    try:
        return importlib.import_module("simpleeval")
    except ImportError:
        raise RuntimeUnavailable(
            f"the rule {text!r} is evaluated by simpleeval, which is not installed: `pip install 'onnxray[watch]'`"
        ) from None
