"""Compiling a model with its explanation, into a file, a Triton repository, a web page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import BUILTIN, SAMPLES, card_of, find_images, open_model
from ..parameters.methods import named_values

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.preprocess.card import Card


# What --method is where nothing is explained.
NONE = "none"


@dataclass(frozen=True)
class CompileOptions:
    """What `onnxray compile` is asked for, in the words of the command line."""

    model: str
    method: str
    layers: Sequence[str]
    target: str
    settings: Sequence[str]
    upsample: str
    normalize: str
    preprocess: str | None
    novelty: Path | None
    novelty_outputs: str
    visualize: str | None
    dream: str | None
    out: Path | None
    triton: Path | None
    page: Path | None
    web_runtime: Path | None
    force: bool
    card: Mapping[str, Any]
    quiet: bool

    @property
    def optimises(self) -> bool:
        """Whether the model optimises an image, in place of explaining."""
        return self.visualize is not None or self.dream is not None

    @property
    def samples(self) -> tuple[Path, ...]:
        """Images for a page to offer: some of the built-in model's; of other models there are none."""
        return tuple(find_images((SAMPLES,)))[1:9:2] if self.model == BUILTIN else ()


def compile_files(
    options: CompileOptions, write_page: Callable[[Callable[[], Model], Model, Path, CompileOptions], Path]
) -> dict[str, Any]:
    """Write what is asked for; what it is, as JSON-like data.

    write_page: writes the page for a model still to be compiled, and its source, into a folder; gives its index.html.
    Raises UnknownName, MethodError, TargetError for what is asked for, ModelError, CardError, OutputError for files.
    """
    from ...engine.compile import compile as compile_model
    from ...engine.errors import MethodError
    from ...engine.methods.registry import parse
    from ...engine.novelty.memory import Novelty

    _check_out(options)
    if options.optimises:
        return _described(*_optimiser(options, write_page))
    explains = options.method != NONE
    values = parse(options.method, named_values(options.settings)) if explains else named_values(options.settings)
    source = open_model(options.model, options.card)
    if options.preprocess or options.page:
        card = card_of(source, options.quiet)
        if options.page:
            _check_page(card)
    if options.page and not explains:
        raise MethodError("the page shows an explanation: give a method, or leave --html out")
    memory = None if options.novelty is None else Novelty.load(options.novelty, source)
    method: dict[str, Any] = {"method": options.method if explains else None, "layer": options.layers or None}
    method |= {"target": options.target, "novelty": memory, "novelty_outputs": options.novelty_outputs}
    compiled: list[Model] = []

    def build(default_target: bool, upsample: str, normalize: str, preprocess: str | None) -> Model:
        shape: dict[str, Any] = {"upsample": upsample, "normalize": normalize, "preprocess": preprocess or False}
        compiled.append(compile_model(source, **method, **values, default_target=default_target, **shape))
        return compiled[-1]

    made: dict[str, Any] = {}
    shape = (options.upsample, options.normalize, options.preprocess)
    if options.out is not None:
        build(True, *shape).save(options.out)
        made["out"] = str(options.out)
    if options.triton is not None:
        from ...engine.compiled.triton import write

        made["triton"] = str(write(build(False, *shape), options.triton, _name(options.model), force=options.force))
    if options.page is not None:
        made["html"] = str(write_page(lambda: build(False, "input", "uint8", "HWC"), source, options.page, options))
    return _described(source, compiled[0], made)


def _check_page(card: Card) -> None:
    """Raises CardError for a card of pictures that no browser decodes."""
    from ...engine.errors import CardError

    if card.has_bands or card.bits or card.window:
        what = "bands" if card.has_bands else "bits" if card.bits else "window"
        raise CardError(
            f"a browser hands out pictures of 8 bits in red, green and blue, and the card has {what}: compile the "
            "model without a page (-o FILE), with --preprocess if images go in"
        )


# Method, target, upsample, normalize, preprocess and novelty, where nothing is said.
_USUAL = ("grad-cam", "predicted", "input", "none", None, None)


def _optimiser(
    options: CompileOptions, write_page: Callable[[Callable[[], Model], Model, Path, CompileOptions], Path]
) -> tuple[Model, Model, dict[str, Any]]:
    """As `compile_files`, for files that optimise an image: source, model, what was written."""
    from ...engine.compile import compile as compile_model
    from ...engine.errors import MethodError

    if options.triton is not None:
        raise MethodError("a file that optimises an image takes one at a time, Triton batches: leave --triton out")
    given = (options.method, *options.layers, options.target, options.upsample, options.normalize, options.preprocess)
    if (*given, options.novelty) != _USUAL or options.novelty_outputs != "own":
        raise MethodError("a file that optimises an image explains nothing: leave out what only explanations have")
    card = dict(options.card)
    asked: dict[str, Any] = {"visualize": options.visualize, "dream": options.dream, "size": card.pop("size", None)}
    source = open_model(options.model, card)
    settings: dict[str, Any] = dict(named_values(options.settings))
    model = compile_model(source, **asked, **settings)
    made: dict[str, Any] = {}
    if options.out is not None:
        model.save(options.out)
        made["out"] = str(options.out)
    if options.page is not None:
        made["html"] = str(write_page(lambda: model, source, options.page, options))
    return source, model, made


def _described(source: Model, first: Model, made: Mapping[str, Any]) -> dict[str, Any]:
    from ...engine.compile import METADATA

    return {
        "model": str(source.path),
        **made,
        **json.loads(first.metadata[METADATA]),
        "inputs": [str(v) for v in first.inputs],
        "outputs": [str(v) for v in first.outputs],
        "nodes": [len(source.graph.node), len(first.graph.node)],
    }


def as_text(result: Mapping[str, Any]) -> str:
    """The written models in lines: method, inputs, outputs, files."""
    lines = []
    if result["method"] is not None:
        where = f" at {result['layer']} ({result['layer_reason']})" if result["layer"] else ""
        lines.append(f"{result['method']}{where}, target {result['target']}")
    if "novelty" in result:
        novelty = result["novelty"]
        lines.append(
            f"novelty by {novelty['method']} at {', '.join(novelty['layers'])}, above {novelty['threshold']:.4g}"
        )
    before, after = result["nodes"]
    lines.append(f"opset {result['opset']}, {after} nodes ({before} before)")
    lines += [f"  input   {text}" for text in result["inputs"]]
    lines += [f"  output  {text}" for text in result["outputs"]]
    lines += [f"written: {result[kind]}" for kind in ("out", "triton", "html") if kind in result]
    return "\n".join(lines)


def _check_out(options: CompileOptions) -> None:
    from ...engine.errors import OutputError

    if options.out is not None and options.out.exists() and not options.force:
        raise OutputError(f"{str(options.out)!r} exists: choose another name or give --force")


def _name(model: str) -> str:
    """A name that a server takes, made of the file's."""
    stem = Path(model).stem
    return "".join(c if (c.isascii() and c.isalnum()) or c in "_-." else "_" for c in stem).lstrip(".-") or "model"
