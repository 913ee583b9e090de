"""`onnxray compile`: a model together with its explanation, as an .onnx file, a Triton model, a web page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..parameters import options
from ..parameters.inputs import card_of, open_model

if TYPE_CHECKING:
    from ...engine.graph.model import Model


@click.command("compile")
@options.model
@click.option("--method", default="grad-cam", show_default=True, metavar="NAME", help="How the answer is explained.")
@options.layers
@click.option(
    "--target",
    default="predicted",
    show_default=True,
    metavar="TARGET",
    help="predicted, runtime (a class index that is fed), a class index, a label, ...",
)
@click.option("--option", "settings", metavar="NAME=VALUE", multiple=True, help="An option of the method.")
@click.option(
    "--upsample",
    type=click.Choice(["input", "none"]),
    default="input",
    show_default=True,
    help="Bring the map to the size of the image that is fed, or leave it as the method makes it.",
)
@click.option(
    "--normalize",
    type=click.Choice(["none", "minmax", "uint8"]),
    default="none",
    show_default=True,
    help="The method's own values, or each map in 0..1 or 0..255.",
)
@click.option(
    "--preprocess",
    is_flag=False,
    flag_value="HWC",
    default=None,
    type=click.Choice(["HWC", "NHWC"], case_sensitive=False),
    help="Take uint8 RGB images of any size, one (HWC, if nothing is said) or several (NHWC).",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The .onnx file to write.")
@click.option("--triton", type=click.Path(path_type=Path), metavar="DIR", help="A Triton model repository to add to.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path), metavar="DIR", help="A folder for a page that runs it."
)
@click.option(
    "--web-runtime",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The npm package onnxruntime-web for --html; node_modules here or further up if not given.",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@options.card
@options.as_json
@options.quiet
def command(
    model: str,
    method: str,
    layers: tuple[str, ...],
    target: str,
    settings: tuple[str, ...],
    upsample: str,
    normalize: str,
    preprocess: str | None,
    out: Path | None,
    triton: Path | None,
    page: Path | None,
    web_runtime: Path | None,
    force: bool,
    card: dict[str, Any],
    as_json: bool,
    quiet: bool,
    progress: bool,
) -> None:
    """Write a model that explains its own answers, in standard ONNX operators.

    The new model has the outputs of MODEL, unchanged but for rounding, and `saliency_map`. With `--target runtime` it
    also takes `target_class`, an int64 class index; a negative one means the predicted class. `--triton` and `--html`
    write the same for a server and for a browser; the page takes images of any size whatever --preprocess says.
    """
    from ...engine.compile import METADATA
    from ...engine.compile import compile as compile_model
    from ...engine.errors import OutputError
    from ...engine.methods.registry import parse

    if out is None and triton is None and page is None:
        raise click.UsageError("nothing to write: give --out FILE, --triton DIR or --html DIR")
    if web_runtime is not None and page is None:
        raise click.UsageError("--web-runtime is for the page of --html: give it as well")
    if out is not None and out.exists() and not force:
        raise OutputError(f"{str(out)!r} exists: choose another name or give --force")
    values = parse(method, dict(_setting(text) for text in settings))
    source = open_model(model, card)
    if preprocess or page:
        card_of(source, quiet)
    common: dict[str, Any] = {"method": method, "layer": layers or None, "target": target, **values}
    made: dict[str, Any] = {}

    def build(default_target: bool, **how: Any) -> Model:
        return compile_model(source, **common, default_target=default_target, **how)

    shape = {"upsample": upsample, "normalize": normalize, "preprocess": preprocess or False}
    compiled = None
    if out is not None:
        compiled = build(True, **shape)
        compiled.save(out)
        made["out"] = str(out)
    if triton is not None:
        from ...engine.compiled.triton import write

        served = build(False, **shape)
        compiled = compiled or served
        made["triton"] = str(write(served, triton, _name(model), force=force))
    if page is not None:
        from ..pages.browser_page import find_runtime, write_page

        runtime = find_runtime(web_runtime)
        shown = build(False, upsample="input", normalize="uint8", preprocess="HWC")
        compiled = compiled or shown
        made["html"] = str(write_page(shown, source, page, runtime, title=Path(model).stem, force=force))
    assert compiled is not None
    note = json.loads(compiled.metadata[METADATA])
    result = {
        "model": str(source.path),
        **made,
        **note,
        "inputs": [str(v) for v in compiled.inputs],
        "outputs": [str(v) for v in compiled.outputs],
        "nodes": [len(source.graph.node), len(compiled.graph.node)],
    }
    click.echo(json.dumps(result, indent=2, ensure_ascii=False) if as_json else _told(result))


def _setting(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="'--option'")
    return name, value


def _name(model: str) -> str:
    """A name that a server takes, made of the file's."""
    stem = Path(model).stem
    return "".join(c if (c.isascii() and c.isalnum()) or c in "_-." else "_" for c in stem).lstrip(".-") or "model"


def _told(result: dict[str, Any]) -> str:
    where = f" at {result['layer']} ({result['layer_reason']})" if result["layer"] else ""
    lines = [f"{result['method']}{where}, target {result['target']}"]
    before, after = result["nodes"]
    lines.append(f"opset {result['opset']}, {after} nodes ({before} before)")
    lines += [f"  input   {text}" for text in result["inputs"]]
    lines += [f"  output  {text}" for text in result["outputs"]]
    lines += [f"written: {result[kind]}" for kind in ("out", "triton", "html") if kind in result]
    return "\n".join(lines)
