"""`onnxray grad`: a model that also computes gradients, as an .onnx file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import open_model


@click.command("grad")
@options.model
@click.option(
    "--of", "of", metavar="NAME", multiple=True, help="Value to differentiate; default: the first float output."
)
@click.option(
    "--wrt", "wrt", metavar="NAME", multiple=True, help="Value to differentiate by; default: every float input."
)
@click.option(
    "--rules",
    type=click.Choice(["none", "guided", "deconvnet"]),
    default="none",
    show_default=True,
    help="Rules for rectifiers: the derivative, guided backpropagation or deconvnet.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The .onnx file to write.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option(
    "--verify", "check", is_flag=True, help="Compare with finite differences of the model; exit 1 if they differ."
)
@click.option(
    "--feeds", type=click.Path(path_type=Path), metavar="FILE", help="Inputs for --verify: an .npz, one array each."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random numbers of --verify.")
@options.as_json
@options.quiet
def command(
    model: str,
    of: tuple[str, ...],
    wrt: tuple[str, ...],
    rules: str,
    out: Path,
    force: bool,
    check: bool,
    feeds: Path | None,
    seed: int,
    as_json: bool,
    quiet: bool,
    progress: bool,
) -> None:
    """Write a model that also computes gradients, in standard ONNX operators.

    The new model has the inputs of MODEL and one `cotangent/NAME` per --of; its outputs are those of MODEL and one
    `grad/NAME` per --wrt: the sum over --of of cotangent times derivative. Feed a cotangent of zeros with a one at a
    class for the gradient of that class.
    """
    from ...engine.autodiff.vjp import vjp
    from ...engine.errors import GradientError, OutputError

    if out.exists() and not force:
        raise OutputError(f"{str(out)!r} exists: choose another name or give --force")
    if rules != "none" and check:
        raise click.UsageError("--verify compares with the derivative: it has no meaning with --rules")
    source = open_model(model, {})
    floats = [v.name for v in source.inputs if v.dtype is not None and v.dtype.kind == "f"]
    scores = [v.name for v in source.outputs if v.dtype is not None and v.dtype.kind == "f"]
    of, wrt = of or tuple(scores[:1]), wrt or tuple(floats)
    if not of or not wrt:
        missing = "--of: the model has no float output" if not of else "--wrt: the model has no float input"
        raise GradientError(f"nothing to differentiate, give {missing} (any value inside will do)")
    gradient = vjp(source, list(of), list(wrt), None if rules == "none" else rules)
    result: dict[str, Any] = {
        "model": str(source.path),
        "sha256": source.sha256,
        "out": str(out),
        "rules": rules,
        "inputs": [str(v) for v in gradient.inputs],
        "outputs": [str(v) for v in gradient.outputs],
        "opset": gradient.opset,
        "nodes": [len(source.graph.node), len(gradient.graph.node)],
    }
    failed = []
    if check:
        result["checks"] = _verify(source, gradient, of, wrt, feeds, seed)
        failed = [row for row in result["checks"] if not row["passed"]]
    gradient.save(out)
    if as_json:
        click.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        click.echo(_told(result))
    if failed:
        row = failed[0]
        raise GradientError(
            f"the gradient by {row['wrt']!r} along {row['direction']} is off by {row['error']:.1%} from finite "
            f"differences (limit {row['limit']:.0%}; {len(failed)} of {len(result['checks'])} checks): kinks and "
            "rounding can do that to a deep float32 model; try another --seed or real --feeds"
        )


def _verify(source: Any, gradient: Any, of: Any, wrt: Any, feeds: Path | None, seed: int) -> list[dict[str, Any]]:
    from ...engine.autodiff.finite_differences import verify

    return [
        {name: getattr(row, name) for name in ("wrt", "direction", "exact", "numeric", "error", "limit", "passed")}
        for row in verify(source, gradient, of, wrt, feeds=_read(feeds), seed=seed)
    ]


def _read(feeds: Path | None) -> dict[str, Any] | None:
    import zipfile

    import numpy as np

    from ...engine.errors import ShapeError

    if feeds is None:
        return None
    try:
        with np.load(feeds, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ShapeError(f"cannot read {str(feeds)!r} as an .npz of input arrays: {error}") from error


def _told(result: dict[str, Any]) -> str:
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
