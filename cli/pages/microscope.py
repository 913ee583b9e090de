"""The site of `onnxray microscope`: pages made of what lies in its folder, and of nothing else.

Names and labels come from models, which anybody may have written: the templates escape all of them, and a content
security policy keeps each page to the files of its own folder.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.atomic import atomic
from ...engine.version import __version__
from ..figures.figure import number
from ..tasks.site.folder import FACTS, LIVE
from ..tasks.site.view import LayerView, SiteView, UnitView, site_view
from ..terminal.translated_page import translated_page, translated_script
from .browser_page import script_json
from .site_graph import blocks_of
from .site_health import health_of
from .site_tiles import Tiles, bars, clean

if TYPE_CHECKING:
    from jinja2 import Environment

_ASSETS = ("site.css", "site.js")
# Classes shown on the first page, the others are on the page of their layer; units named as speaking for a class.
_MOST_CLASSES, _SPEAKERS = 24, 12
# Where the style of a page's tiles goes, which is known once they are made.
_STYLE = "/* tiles */"
_LEVELS = ("the weakest", "25 %", "the median", "75 %", "the strongest")


@dataclass(frozen=True)
class UnitLink:
    """A unit that another page leads to, with the number that connects the two."""

    layer: LayerView
    unit: UnitView
    value: float


def write_pages(folder: Path) -> list[str]:
    """Write all pages of the site in a folder; the names of all its files, relative to it. Raises OutputError."""
    site = site_view(folder)
    names = [FACTS, *site.files]
    if site.live:
        names += [path.relative_to(folder).as_posix() for path in folder.glob(f"{LIVE}/**/*.js")]
    for name, text in _pages(site):
        _write_if_new(folder / name, text.encode("utf-8", "backslashreplace"))
        names.append(name)
    return sorted(set(names))


def _write_if_new(path: Path, data: bytes) -> None:
    try:
        if path.read_bytes() == data:
            return
    except OSError:
        pass  # not there, or not to be read: writing says what is wrong
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _pages(site: SiteView) -> Iterator[tuple[str, str]]:
    """(name, text) of every page and what it loads; those that others lead to come first."""
    for name in _ASSETS:
        yield f"assets/{name}", translated_script(_resource(name))
    yield "assets/search.js", _search(site)
    speakers = _speakers(site)
    for place, layer in enumerate(site.layers):
        yield from _units(site, place, speakers if layer.classes else {})
        around = (site.layers[n] if 0 <= n < len(site.layers) else None for n in (place - 1, place + 1))
        yield f"layers/{layer.slug}/index.html", _layer(site, layer, *around)
    if site.live:
        yield f"{LIVE}/live.js", translated_script(_resource("live.js"))
        yield f"{LIVE}/index.html", _filled("live.html", site, "../")
    yield "index.html", _index(site)


def _index(site: SiteView) -> str:
    facts = site.facts
    blocks, width = blocks_of(facts["graph"], site.by_slug)
    return _filled(
        "index.html",
        site,
        "",
        lead=_lead(site),
        blocks=blocks,
        width=width,
        classes=[layer for layer in site.layers if layer.classes],
        most=_MOST_CLASSES,
        model=facts["model"],
        preprocessing=facts["preprocessing"],
        warnings=facts["warnings"],
        made=_made(site),
    )


def _lead(site: SiteView) -> str:
    units, drawn = sum(len(layer.units) for layer in site.layers), sum(layer.drawn for layer in site.layers)
    text = f"{len(site.layers)} layers with {units} units: what each looks for"
    text += f", and what excites it most in {site.count} images." if site.count else "."
    return text if drawn == units else f"{text} There are optimised pictures of {drawn} units."


def _made(site: SiteView) -> list[tuple[str, str]]:
    options, versions = site.facts["options"], site.facts["versions"]
    return [
        ("steps", str(options["steps"])),
        ("size", f"{options['side']} pixels"),
        ("seed", str(options["seed"])),
        ("units", str(options["units"] or "all")),
        ("images", str(site.count or "none")),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("manifest", "manifest.json"),
    ]


def _layer(site: SiteView, layer: LayerView, before: LayerView | None, after: LayerView | None) -> str:
    facts = layer.facts
    about = [
        ("computed by", " → ".join(f"{name} ({op})" for name, op in facts["chain"])),
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
        health=[] if layer.classes else health_of(layer),
        lead=_lead_of(layer, what),
    )


def _lead_of(layer: LayerView, what: str) -> str:
    cropped = any(unit.strongest is None and unit.tile is not None for unit in layer.units)
    if not layer.drawn:
        return f"There are no optimised pictures{': what each sees of its strongest image.' if cropped else '.'}"
    text = f"Images optimised to excite each of the {what}"
    return f"{text}; where there is none yet, what it sees of its strongest image." if cropped else f"{text}."


def _count(layer: LayerView) -> str:
    shown, all_units = len(layer.units), int(layer.facts["count"])
    return str(shown) if shown == all_units else f"{shown} of {all_units}"


def _units(site: SiteView, place: int, speakers: Mapping[int, list[UnitLink]]) -> Iterator[tuple[str, str]]:
    layer = site.layers[place]
    units: Sequence[UnitView | None] = [None, *layer.units, None]
    for before, unit, after in zip(units, layer.units, units[2:], strict=False):
        text = _filled(
            "unit.html",
            site,
            "../../",
            layer=layer,
            unit=unit,
            before=before,
            after=after,
            missing="nothing changed its value, or it has not been made yet",
            levels=_LEVELS,
            histogram=bars(unit.numbers.get("histogram")),
            statistics=_statistics(site, unit),
            speaks=_speaks(site, unit),
            speakers=speakers.get(unit.number, ()),
            incoming=_links(site, unit.links.get("in", ())),
            outgoing=_links(site, unit.links.get("out", ())),
            alike=_links(site, [[place, other, value] for other, value in unit.numbers.get("alike", ())]),
        )
        yield f"layers/{layer.slug}/{unit.number}.html", text


def _links(site: SiteView, ends: Sequence[Sequence[Any]]) -> list[UnitLink]:
    """Those that have a page."""
    found = []
    for place, unit, value in ends:
        layer = site.layers[place]
        if unit in layer.by_number:
            found.append(UnitLink(layer, layer.by_number[unit], float(value)))
    return found


def _speaks(site: SiteView, unit: UnitView) -> list[tuple[str, str, float, str]]:
    """(title, address, gradient, length of the bar in percent) of each class."""
    named = [(int(index), float(value)) for index, value in unit.numbers.get("classes", ())]
    most = max((abs(value) for _, value in named), default=0.0) or 1.0
    layer, found = site.class_layer, []
    for index, value in named:
        page = layer.by_number.get(index) if layer is not None else None
        labels = site.facts["labels"]
        title = labels[index] if labels and index < len(labels) else f"class {index}"
        address = f"../{layer.slug}/{index}.html" if layer is not None and page is not None else ""
        found.append((title, address, value, f"{100 * abs(value) / most:.1f}"))
    return found


def _speakers(site: SiteView) -> dict[int, list[UnitLink]]:
    """Class -> the units that speak for it most, as shares of what their layers have most."""
    found: dict[int, list[tuple[float, UnitLink]]] = {}
    for layer in site.layers:
        named = [(u, int(c), float(v)) for u in layer.units for c, v in u.numbers.get("classes", ()) if v > 0]
        most = max((value for *_, value in named), default=1.0)
        for unit, index, value in named:
            found.setdefault(index, []).append((value / most, UnitLink(layer, unit, value)))
    best = {index: sorted(links, key=lambda link: -link[0])[:_SPEAKERS] for index, links in found.items()}
    return {index: [link for _, link in links] for index, links in best.items()}


def _statistics(site: SiteView, unit: UnitView) -> list[tuple[str, str]]:
    known = unit.numbers
    if not known:
        return []
    return [
        ("mean", number(known["mean"])),
        ("standard deviation", number(known["std"])),
        ("lowest, highest", f"{_number(float(known['lowest']))}, {_number(float(known['highest']))}"),
        ("above 0", f"in {known['firing']} of {site.count} images"),
    ]


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
    tiles = Tiles(root)
    shared = {"site": site.facts, "root": root, "images": site.images, "site_count": site.count, "tiles": tiles}
    shared["live"] = site.live
    text = _environment().get_template(name).render(**shared, **values)
    # It stands before all that comes from the model.
    names = (*(site.facts["labels"] or ()), *(layer.name for layer in site.layers))
    return translated_page(text.replace(_STYLE, tiles.style, 1), names)


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
        finalize=_printable,
    )
    found.globals.update(number=_number, version=__version__)
    return found


def _printable(value: Any) -> Any:
    """Text of models without control characters and those that turn its direction; markup as it is."""
    return clean(value) if type(value) is str else value


def _resource(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(f"site/microscope/{name}").read_text(encoding="utf-8")
