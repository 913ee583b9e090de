"""The site of `onnxray microscope`: pages made of what lies in its folder, and of nothing else.

Names and labels come from models, which anybody may have written: the templates escape all of them, and a content
security policy keeps each page to the files of its own folder.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.atomic import atomic
from ...engine.version import __version__
from ..figures.figure import number
from ..tasks.site.folder import FACTS
from ..tasks.site.view import LayerView, SiteView, UnitView, site_view
from .browser_page import script_json
from .site_graph import blocks_of

if TYPE_CHECKING:
    from jinja2 import Environment

_ASSETS = ("site.css", "site.js")
# Classes shown on the first page; the others are on the page of their layer.
_MOST_CLASSES = 24


def write_pages(folder: Path) -> list[str]:
    """Write all pages of the site in a folder; the names of all its files, relative to it. Raises OutputError."""
    site = site_view(folder)
    names = [FACTS, *site.files]
    for name, text in _pages(site):
        with atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        names.append(name)
    return sorted(names)


def _pages(site: SiteView) -> Iterator[tuple[str, str]]:
    """(name, text) of every page and what it loads; those that others lead to come first."""
    for name in _ASSETS:
        yield f"assets/{name}", _resource(name)
    yield "assets/search.js", _search(site)
    for place, layer in enumerate(site.layers):
        yield from _units(site, layer)
        around = (site.layers[n] if 0 <= n < len(site.layers) else None for n in (place - 1, place + 1))
        yield f"layers/{layer.slug}/index.html", _layer(site, layer, *around)
    yield "index.html", _index(site)


def _index(site: SiteView) -> str:
    facts = site.facts
    blocks, width = blocks_of(facts["graph"], {layer.slug: layer for layer in site.layers})
    units = sum(len(layer.units) for layer in site.layers)
    return _filled(
        "index.html",
        site,
        "",
        lead=f"{len(site.layers)} layers with {units} units: what each looks for, and what it answers to.",
        blocks=blocks,
        width=width,
        classes=[layer for layer in site.layers if layer.classes],
        most=_MOST_CLASSES,
        model=facts["model"],
        preprocessing=facts["preprocessing"],
        warnings=facts["warnings"],
        made=_made(facts),
    )


def _made(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    options, versions = facts["options"], facts["versions"]
    return [
        ("steps", str(options["steps"])),
        ("size", f"{options['side']} pixels"),
        ("seed", str(options["seed"])),
        ("units", str(options["units"] or "all")),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("manifest", "manifest.json"),
    ]


def _layer(site: SiteView, layer: LayerView, before: LayerView | None, after: LayerView | None) -> str:
    facts = layer.facts
    chain = " → ".join(f"{name} ({op})" for name, op in facts["chain"])
    about = [
        ("computed by", chain),
        ("module", facts["module"]),
        ("shape", facts["shape"]),
        ("parameters", f"{facts['params']:,}"),
        ("receptive field", facts["field"]),
        ("units", _count(layer)),
    ]
    what = "classes" if layer.classes else "units"
    return _filled(
        "layer.html",
        site,
        "../../",
        layer=layer,
        before=before,
        after=after,
        about=[(name, text) for name, text in about if text],
        lead=f"Images optimised to excite each of the {what}." if layer.drawn else "Pictures have not been made yet.",
    )


def _count(layer: LayerView) -> str:
    shown, all_units = len(layer.units), int(layer.facts["count"])
    return str(shown) if shown == all_units else f"{shown} of {all_units}"


def _units(site: SiteView, layer: LayerView) -> Iterator[tuple[str, str]]:
    units: Sequence[UnitView | None] = [None, *layer.units, None]
    for before, unit, after in zip(units, layer.units, units[2:], strict=False):
        missing = "nothing changed its value, or it has not been made yet"
        text = _filled("unit.html", site, "../../", layer=layer, unit=unit, before=before, after=after, missing=missing)
        yield f"layers/{layer.slug}/{unit.number}.html", text


def _search(site: SiteView) -> str:
    """What can be searched for, as a script: a page from disk may load no data."""
    layers = []
    for layer in site.layers:
        entry: dict[str, Any] = {"name": layer.name, "slug": layer.slug, "units": [unit.number for unit in layer.units]}
        if layer.classes:
            entry["labels"] = [unit.title for unit in layer.units]
        layers.append(entry)
    return f"window.ONNXRAY_SITE = {script_json({'layers': layers})};\n"


def _filled(name: str, site: SiteView, root: str, **values: Any) -> str:
    shared = {"site": site.facts, "root": root, "version": __version__, "number": _number}
    return _environment().get_template(name).render(**shared, **values)


def _number(value: float | None) -> str:
    return "" if value is None else number(value)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    found = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.finalize = _printable
    return found


def _printable(value: Any) -> Any:
    """Text of models without control characters and those that turn its direction; markup as it is."""
    from ..terminal.echo import one_line

    return one_line(value) if type(value) is str else value


def _resource(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(f"site/microscope/{name}").read_text(encoding="utf-8")
