"""The live page of a site: the model, what runs it in the browser, and what the page has to know of its layers.

Pages that are opened from disk may fetch nothing, so model and runtime stand in scripts, in base64.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engine.atomic import atomic
from ...engine.errors import CardError, ImageError, MethodError, ModelError, OnnxrayError
from ..tasks.site.folder import LIVE
from .browser_page import answer_facts, find_runtime, needs_cpu, script_json

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.preprocess.card import Card
    from ...engine.survey.units import UnitLayer
    from ..tasks.site.plan import SiteLayer

# By name of the script that holds the two other files: what is loaded as it is, the module, the program.
RUNTIMES = {
    "wasm": ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.webgpu.min.js", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
}
# Images that the page offers, and the longer side of each in pixels.
_SAMPLES, _SIDE = 6, 512
# Bytes of a model that a string of a browser holds in base64.
_LARGEST = 380 * 2**20
_LEAVE_OUT = "leave --live out for a site without it"


def prepare_live(
    given: Path, model: Model, card: Card | None, layers: Sequence[SiteLayer], images: Sequence[Path]
) -> Callable[[Path], None]:
    """What writes all but the page itself into the folder of a site. given: the folder of onnxruntime-web.

    Raises OutputError (files of the runtime are missing), CardError and ModelError (no page can run this model).
    """
    from ...engine.compile import METADATA, OUTPUT, PLACE, compile_live

    runtime = find_runtime(given, RUNTIMES["wasm"], "--live")
    if card is None or card.has_bands or card.bits or card.window:
        raise CardError(f"the live page shows pictures of 8 bits in red, green and blue, {_LEAVE_OUT}")
    shown = [(layer, unit) for layer in layers if (unit := _units(model, layer, card)) is not None]
    try:
        compiled = compile_live(model, list(dict.fromkeys(unit.value for _, unit in shown)))
    except OnnxrayError as error:
        raise MethodError(f"the live page cannot be made: {error}; {_LEAVE_OUT}") from error
    note = json.loads(compiled.metadata[METADATA])
    about = answer_facts(model, note)
    if about["scores"] is None:
        raise ModelError(f"the live page explains classes, and the model has none: {_LEAVE_OUT}")
    facts = {
        **{name: about[name] for name in ("input", "labels", "scores", "colours")},
        "signed": _colours(),
        "target": note["target_input"],
        "map": OUTPUT,
        "place": PLACE,
        "method_layer": note["layer"],
        "plane": list(card.size),
        "layers": [_layer(layer, unit) for layer, unit in shown],
        "start": max((n for n, (_, unit) in enumerate(shown) if len(unit.grid) == 2), default=0),
        "samples": _samples(images, card),
        "cpu_nodes": [node.name for node in compiled.graph.node if needs_cpu(node)],
        "webgpu": all((runtime / name).is_file() for name in RUNTIMES["webgpu"]),
        "runtime": {},
    }
    if compiled.folder is not None or compiled.proto.ByteSize() > _LARGEST:
        raise ModelError(f"the model is too large for a page that holds it as text, {_LEAVE_OUT}")
    data = compiled.proto.SerializeToString(deterministic=True)
    return lambda folder: _write(folder / LIVE, facts, data, runtime)


def _write(folder: Path, facts: dict[str, Any], model: bytes, runtime: Path) -> None:
    """The facts come last: where they are, the others are."""
    _write_file(folder / "model.js", b'ONNXRAY_LIVE.model = "%s";\n' % base64.b64encode(model))
    for name in RUNTIMES if facts["webgpu"] else ("wasm",):
        script, *parts = ((runtime / file).read_bytes() for file in RUNTIMES[name])
        _write_file(folder / "ort" / RUNTIMES[name][0], script)
        text = b'ONNXRAY_LIVE.runtime.%s = {mjs: "%s", wasm: "%s"};\n'
        _write_file(folder / "ort" / f"{name}.js", text % (name.encode(), *map(base64.b64encode, parts)))
    _write_file(folder / "facts.js", f"window.ONNXRAY_LIVE = {script_json(facts)};\n".encode())


def _write_file(path: Path, data: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _units(model: Model, layer: SiteLayer, card: Card) -> UnitLayer | None:
    """Where the units of a layer lie; None where the page cannot read them."""
    from ...engine.survey.units import unit_layers

    value = layer.entry.last.output
    dtype = model.value(value).dtype
    if dtype is None or dtype not in (np.float32, np.float64, np.int8, np.uint8):
        return None
    try:
        return unit_layers(model, [value], before=False, plane=card.size)[0]
    except OnnxrayError:
        return None


def _layer(layer: SiteLayer, unit: UnitLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "slug": layer.slug,
        "value": unit.value,
        "units": list(layer.units),
        "count": unit.units,
        "channel": unit.channel,
        "axes": list(unit.axes),
        "grid": list(unit.grid),
        "order": None if unit.order is None else unit.order.tolist(),
    }


def _colours() -> list[int]:
    from ...kernels import colormap

    return [int(v) for v in colormap.table(colormap.DIVERGING).reshape(-1)]


def _samples(images: Sequence[Path], card: Card) -> list[dict[str, str]]:
    """A few images, spread evenly; those that cannot be read are reported by the survey."""
    found = []
    for path in images[:: max(1, len(images) // _SAMPLES)][:_SAMPLES]:
        with contextlib.suppress(ImageError):
            found.append(_sample(path, card))
    return found


def _sample(path: Path, card: Card) -> dict[str, str]:
    """An image that is small enough to stand in a script. Raises ImageError."""
    from ...kernels.resize import resize
    from ..files.images import encode
    from ..files.photos import read_shown

    pixels = read_shown(path, card)
    share = min(1.0, _SIDE / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[0] * share)), max(1, round(pixels.shape[1] * share)))
    small = np.asarray(resize(pixels, size)) if share < 1 else pixels
    data = base64.b64encode(encode(small, ".jpg", 90)).decode("ascii")
    return {"name": path.name, "data": f"data:image/jpeg;base64,{data}"}
