"""A page that runs a compiled model in the browser: index.html with model.onnx and onnxruntime-web next to it.

Nothing is loaded from elsewhere: the page's content security policy lets it read its own folder only. The files
of onnxruntime-web are copied from an installed npm package.
"""

from __future__ import annotations

import base64
import html
import importlib.resources
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engine.atomic import atomic
from ...engine.errors import OutputError
from ..terminal.translated_page import translated_page

if TYPE_CHECKING:
    from onnx import NodeProto

    from ...engine.graph.model import Model
    from ..tasks.compile import CompileOptions

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
# What browsers with WebGPU load instead; copied where the package has them.
GPU_FILES = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)


def find_runtime(given: Path | None, files: Sequence[str] = FILES, option: str = "--web-runtime") -> Path:
    """The folder with the runtime's files: `given`, or node_modules here or further up. Raises OutputError.

    option: of the command line, which names the folder.
    """
    here = Path.cwd()
    places = [given] if given else [folder / "node_modules" / PACKAGE for folder in (here, *here.parents)]
    for place in places:
        for folder in (place / "dist", place):
            if all((folder / name).is_file() for name in files):
                return folder
    where = f"in {str(given)!r}" if given else "here"
    raise OutputError(
        f"the page needs {PACKAGE}, which is not installed {where}: run `npm install {PACKAGE}@{VERSION}`, or give "
        f"{option} FOLDER with its files"
    )


def write_compiled(build: Callable[[], Model], source: Model, folder: Path, options: CompileOptions) -> Path:
    """The page of `onnxray compile --html`; the runtime is looked for before the model is built. Raises OutputError."""
    runtime = find_runtime(options.web_runtime)
    name = Path(options.model).stem
    return write_page(build(), source, folder, runtime, title=name, samples=options.samples, force=options.force)


def write_page(
    model: Model,
    source: Model,
    folder: Path,
    runtime: Path,
    *,
    title: str,
    samples: Sequence[Path] = (),
    force: bool = False,
) -> Path:
    """Write the page for `model`, compiled of `source` with preprocess="HWC" and normalize="uint8"; its index.html.

    samples: images that the page offers. Raises OutputError.
    """
    index = folder / "index.html"
    if index.exists() and not force:
        raise OutputError(f"{str(index)!r} exists: choose another folder or give --force")
    webgpu = all((runtime / name).is_file() for name in GPU_FILES)
    text = page(model, source, title, [path.name for path in samples], webgpu)
    model.save(folder / "model.onnx")
    for path in samples:
        with atomic(folder / "samples" / path.name) as temporary:
            temporary.write_bytes(path.read_bytes())
    for name in (*FILES, *(GPU_FILES if webgpu else ())):
        with atomic(folder / "ort" / name) as temporary:
            temporary.write_bytes((runtime / name).read_bytes())
    with atomic(index) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return index


def page(model: Model, source: Model, title: str, samples: Sequence[str] = (), webgpu: bool = False) -> str:
    """The HTML. samples: names of images in the folder `samples`. webgpu: whether the files for it are there."""
    from ...engine.compile import METADATA

    note = json.loads(model.metadata[METADATA])
    if note["output"] == "picture":
        return _optimising(model, note, title, samples, webgpu)
    where = f" at layer {note['layer']}" if note["layer"] else ""
    target = {
        "runtime": "of a class that you choose",
        "predicted": "of the predicted class",
        "box": "of the most certain box",
    }
    what = target.get(note["target"], f"of {note['target']}")
    about = f"{note['method']}{where}, {what}, computed by the model file."
    parts = {
        "{title}": html.escape(title),
        "{heading}": html.escape(f"{title}: {note['method']} in the browser"),
        "{about}": html.escape(about),
        "{icon}": _icon(),
        "{facts}": script_json(
            {
                **answer_facts(source, note),
                "samples": list(samples),
                "webgpu": webgpu,
                "cpu_nodes": [node.name for node in model.graph.node if needs_cpu(node)],
            }
        ),
    }
    return _filled("explain.html", parts)


def _optimising(model: Model, note: dict[str, Any], title: str, samples: Sequence[str], webgpu: bool) -> str:
    """The page of a model that optimises an image."""
    dreams = note["method"] == "dream"
    verb = "DeepDream" if dreams else "What it looks for"
    facts = {
        "dreams": dreams,
        "size": note["size"],
        "channels": (model.value(note["input"]).shape or (1, 3))[1],
        "samples": list(samples),
        "webgpu": webgpu,
    }
    return _filled(
        "optimise.html",
        {
            "{title}": html.escape(title),
            "{heading}": html.escape(f"{title}: {verb}, in the browser"),
            "{about}": html.escape(f"{note['target']}, optimised by the model file itself."),
            "{icon}": _icon(),
            "{facts}": script_json(facts),
        },
    )


def _filled(name: str, parts: dict[str, str]) -> str:
    """A template of the folder `site` with its marks replaced."""
    template = importlib.resources.files(__package__).joinpath(f"site/{name}").read_text(encoding="utf-8")
    # In one pass: what is put in may look like a mark itself.
    page = re.sub("|".join(map(re.escape, parts)), lambda mark: parts[mark.group()], template)
    return translated_page(page)


def needs_cpu(node: NodeProto) -> bool:
    """Whether WebGPU has no kernel for a node, which shows only when it runs."""
    return node.op_type == "Resize" and any(a.name == "antialias" and a.i for a in node.attribute)


def _icon() -> str:
    """A spot of heat, as a PNG of 32 x 32 pixels in base64."""
    from ...kernels import colormap
    from ..files.images import encode

    y, x = np.mgrid[0:32, 0:32]
    heat = np.exp(-((x - 19) ** 2 + (y - 13) ** 2) / 90.0)
    pixels = colormap.apply(heat, colormap.table(colormap.SEQUENTIAL), 0.0, 1.0)
    return base64.b64encode(encode(pixels, ".png")).decode("ascii")


def _novelty(note: dict[str, Any]) -> dict[str, Any] | None:
    """What the page needs of a memory that is compiled in."""
    from ...kernels import colormap

    found = note.get("novelty")
    if found is None:
        return None
    colours = [int(v) for v in colormap.table(colormap.SEQUENTIAL).reshape(-1)]
    return {"threshold": found["threshold"], "map": "anomaly_map" in found["outputs"], "colours": colours}


def answer_facts(source: Model, note: dict[str, Any]) -> dict[str, Any]:
    """Names of inputs and outputs, colours, labels and scores of the classes, as pages read them."""
    from ...engine.errors import CardError, ModelError
    from ...engine.preprocess.answers import answer_of
    from ...engine.preprocess.find import find_card
    from ...engine.targets.classes import label_of
    from ...kernels import colormap

    signed = note["display"] == "signed"
    table = colormap.table(colormap.DIVERGING if signed else colormap.SEQUENTIAL)
    facts: dict[str, Any] = {
        "input": note["input"],
        "output": note["output"],
        "target_input": note.get("target_input"),
        "signed": signed,
        "colours": [int(v) for v in table.reshape(-1)],
        "labels": None,
        "scores": None,
        "novelty": _novelty(note),
        "box": note.get("box"),
    }
    if facts["box"]:
        facts["labels"] = find_card(source).labels
        return facts
    try:
        found = answer_of(source)
        if not found.has_classes or found.value != found.output:
            return facts  # no classes to list: the page shows the map alone
        facts["scores"] = {
            "output": found.output,
            "function": found.function,
            "two_sided": found.two_sided,
            "classes": found.classes,
        }
        labels = find_card(source).labels
        facts["labels"] = labels and [label_of(i, labels) or f"class {i}" for i in range(len(labels))]
    except (ModelError, CardError):
        pass  # nor here
    return facts


def script_json(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
