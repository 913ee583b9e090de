"""Writing a model that also computes gradients, and comparing it with finite differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import open_model

if TYPE_CHECKING:
    from ...engine.graph.model import Model


@dataclass(frozen=True)
class GradOptions:
    """What `onnxray grad` is asked for, in the words of the command line."""

    model: str
    of: Sequence[str]
    wrt: Sequence[str]
    rules: str
    out: Path
    force: bool
    verify: bool
    feeds: Path | None
    seed: int


def check_out(options: GradOptions) -> None:
    """Raises OutputError if the file to write is there and may not be replaced."""
    from ...engine.errors import OutputError

    if options.out.exists() and not options.force:
        raise OutputError(f"{str(options.out)!r} exists: choose another name or give --force")


def grad(options: GradOptions) -> dict[str, Any]:
    """Write the model; what it is, as JSON-like data. Raises GradientError, ModelError, ShapeError, OutputError."""
    from ...engine.autodiff.vjp import vjp

    source = open_model(options.model, {})
    of, wrt = _values(source, options)
    gradient = vjp(source, of, wrt, None if options.rules == "none" else options.rules)
    result: dict[str, Any] = {
        "model": str(source.path),
        "sha256": source.sha256,
        "out": str(options.out),
        "rules": options.rules,
        "inputs": [str(v) for v in gradient.inputs],
        "outputs": [str(v) for v in gradient.outputs],
        "opset": gradient.opset,
        "nodes": [len(source.graph.node), len(gradient.graph.node)],
    }
    if options.verify:
        result["checks"] = _verify(source, gradient, of, wrt, options)
    gradient.save(options.out)
    return result


def check_verified(result: Mapping[str, Any]) -> None:
    """Raises GradientError if a comparison with finite differences failed."""
    from ...engine.errors import GradientError

    failed = [row for row in result.get("checks", ()) if not row["passed"]]
    if failed:
        row = failed[0]
        raise GradientError(
            f"the gradient by {row['wrt']!r} along {row['direction']} is off by {row['error']:.1%} from finite "
            f"differences (limit {row['limit']:.0%}; {len(failed)} of {len(result['checks'])} checks): kinks and "
            "rounding can do that to a deep float32 model; try another --seed or real --feeds"
        )


def as_text(result: Mapping[str, Any]) -> str:
    """The written model in lines: inputs, outputs, comparisons."""
    before, after = result["nodes"]
    lines = [f"{result['out']}  opset {result['opset']}, {after} nodes ({before} before)"]
    lines += [f"  input   {text}" for text in result["inputs"]]
    lines += [f"  output  {text}" for text in result["outputs"]]
    for row in result.get("checks", ()):
        lines.append(
            f"  {row['wrt']}, along {row['direction']}: {row['exact']:.6g}, by finite differences {row['numeric']:.6g} "
            f"(off by {row['error']:.2%})"
        )
    return "\n".join(lines)


def _values(source: Model, options: GradOptions) -> tuple[list[str], list[str]]:
    """The values to differentiate and those to differentiate by. Raises GradientError when there is none."""
    from ...engine.errors import GradientError

    floats = [v.name for v in source.inputs if v.dtype is not None and v.dtype.kind == "f"]
    scores = [v.name for v in source.outputs if v.dtype is not None and v.dtype.kind == "f"]
    of, wrt = list(options.of) or scores[:1], list(options.wrt) or floats
    if not of or not wrt:
        missing = "--of: the model has no float output" if not of else "--wrt: the model has no float input"
        raise GradientError(f"nothing to differentiate, give {missing} (any value inside will do)")
    return of, wrt


def _verify(
    source: Model, gradient: Model, of: Sequence[str], wrt: Sequence[str], options: GradOptions
) -> list[dict[str, Any]]:
    from ...engine.autodiff.finite_differences import verify

    rows = verify(source, gradient, of, wrt, feeds=_read(options.feeds), seed=options.seed)
    return [{**asdict(row), "passed": row.passed} for row in rows]


def _read(feeds: Path | None) -> dict[str, Any] | None:
    from ...engine.errors import ShapeError
    from ...engine.preprocess.arrays import read_arrays

    if feeds is None:
        return None
    try:
        return dict(read_arrays(feeds))
    except ValueError as error:
        raise ShapeError(f"cannot read {str(feeds)!r} as an .npz of input arrays: {error}") from error
