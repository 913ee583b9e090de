"""A report: one HTML file with everything in it, made of the sections that tasks contribute.

A task takes part by a function `section(subject)` in its module, and its name in `tasks/demo.py: SECTIONS`. What it
returns is data (texts, tables, pictures); only this file writes HTML, and it escapes whatever comes from a model or a
file name.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...engine.version import __version__
from ..figures.figure import number, scale_stops
from ..figures.parts import Bars, Compare, Heading, Picture, Rows, Section, Table, Tile, Tiles
from ..tasks.about import About, about_of
from ..tasks.subject import Subject
from ..terminal.translated_page import translated_page

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..figures.figure import Scale


# From this width of a tile on, tiles fill the page.
_LARGE = 280


def document(title: str, lead: str, subject: Subject | About, parts: Sequence[Section]) -> str:
    """The whole page; nothing in it is loaded from anywhere, and a policy in it forbids that to browsers as well."""
    about = subject if isinstance(subject, About) else about_of(subject)
    style = importlib.resources.files(__package__).joinpath("site/report.css").read_text(encoding="utf-8")
    names = [f"section-{number}" for number in range(1, len(parts) + 1)]
    links = "".join(f'<a href="#{name}">{_text(part.title)}</a>' for name, part in zip(names, parts, strict=True))
    body = "\n".join(_section(name, part) for name, part in zip(names, parts, strict=True))
    script, allowed = _script(parts)
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'{allowed}"
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="onnxray {_text(__version__)}">
<title>{_text(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
<p class="lead">{_text(lead)}</p>
{_facts(about)}
<nav>{links}</nav>
</header>
<main>
{body}
</main>
<footer>Made by onnxray {_text(__version__)}. Model sha256 <code>{_text(about.sha256)}</code>.</footer>
{script}</body>
</html>
"""
    return translated_page(page, about.names)


def _facts(about: About) -> str:
    return "<dl>" + "".join(f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in about.facts) + "</dl>"


def _section(name: str, section: Section) -> str:
    parts: list[str] = []
    cards: list[str] = []
    for part in section.parts:
        if isinstance(part, Bars):
            cards.append(_bars(part))
            continue
        if cards:
            parts.append(f'<div class="cards">{"".join(cards)}</div>')
            cards = []
        parts.append(_part(part))
    if cards:
        parts.append(f'<div class="cards">{"".join(cards)}</div>')
    lead = f'<p class="lead">{_text(section.lead)}</p>' if section.lead else ""
    return f'<section id="{name}">\n<h2>{_text(section.title)}</h2>\n{lead}\n' + "\n".join(parts) + "\n</section>"


def _part(part: Picture | Tiles | Compare | Rows | Table | Heading) -> str:
    if isinstance(part, Heading):
        return f"<h3>{_text(part.text)}</h3>"
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Tiles):
        inner = "".join(map(_tile, part.tiles))
        large = " large" if part.side >= _LARGE else ""
        return f'<div class="tiles{large}" style="--side:{part.side}px">{inner}</div>'
    if isinstance(part, Rows):
        return _rows(part)
    if isinstance(part, Compare):
        return _compare(part)
    if not part.on_page:
        return ""
    caption = f"<figcaption>{_text(part.caption)}</figcaption>" if part.caption else ""
    image = _image("png", part.png, part.pixels, part.alt)
    return f'<figure class="paper"><div class="scroll">{image}</div>{caption}</figure>'


def _tile(part: Tile, title: str = "", hidden: str = "") -> str:
    """A small picture; `title` in place of its own. hidden: what its column says, for narrow screens and readers."""
    alt = " ".join(filter(None, (hidden, part.title, part.note))) or "map"
    head = f"<b>{_text(title or part.title)}</b>" if title or part.title else ""
    column = f'<span class="column">{_text(hidden)}</span>' if hidden else ""
    note = f"<span>{_text(part.note)}</span>" if part.note else ""
    scale = _scale(part.scale) if part.scale else ""
    return f'<figure class="tile">{head}{column}{_small(part, alt)}{scale}{note}</figure>'


# Moves the maps between what is not seen and what is seen alone.
_SLIDER = """for (const part of document.querySelectorAll(".compare")) {
  const slider = part.querySelector("input");
  const show = () => part.style.setProperty("--mix", slider.value / 100);
  slider.addEventListener("input", show);
  show();
}"""


def _compare(part: Compare) -> str:
    """Each map over the same image, which stands once in the page; a script moves the slider's value on."""
    from ..files.images import encode

    photo = f"data:image/jpeg;base64,{base64.b64encode(encode(part.photo, '.jpg', 88)).decode('ascii')}"
    tiles = []
    for tile in part.maps:
        image = _image("jpeg", encode(tile.pixels, ".jpg", 88), tile.pixels, f"{tile.title} over the image")
        note = f"<span>{_text(tile.note)}</span>" if tile.note else ""
        scale = _scale(tile.scale) if tile.scale else ""
        stack = f'<div class="stack">{image}</div>'
        tiles.append(f'<figure class="tile"><b>{_text(tile.title)}</b>{stack}{scale}{note}</figure>')
    slider = '<label class="slider">image <input type="range" min="0" max="100" value="70"> map</label>'
    return f'<div class="compare" style="--photo:url({photo})">{slider}<div class="tiles">{"".join(tiles)}</div></div>'


def _script(parts: Sequence[Section]) -> tuple[str, str]:
    """The script of the page, and what its policy says of scripts; both empty where no part needs one."""
    if not any(isinstance(part, Compare) for section in parts for part in section.parts):
        return "", ""
    digest = base64.b64encode(hashlib.sha256(_SLIDER.encode()).digest()).decode("ascii")
    return f"<script>{_SLIDER}</script>\n", f"; script-src 'sha256-{digest}'"


def _rows(part: Rows) -> str:
    heads = "".join(f"<b>{_text(column)}</b>" for column in part.columns)
    found = [f'<div class="row heads"><span></span>{heads}</div>']
    for row in part.rows:
        tiles = "".join(_tile(tile, hidden=column) for tile, column in zip(row.tiles, part.columns, strict=True))
        name = f"<div><h4>{_text(row.title)}</h4><p>{_text(row.note)}</p></div>"
        found.append(f'<div class="row">{name}{tiles}</div>')
    return f'<div class="rows" style="--columns:{len(part.columns)}">{"".join(found)}</div>'


def _small(part: Tile, alt: str) -> str:
    """A tile's image: cells of maps as they are, photographs compressed."""
    from ..files.images import encode

    kind = "png" if part.cells else "jpeg"
    data = encode(part.pixels, ".png" if part.cells else ".jpg", 88)
    return _image(kind, data, part.pixels, alt, "cells" if part.cells else "")


def _scale(scale: Scale) -> str:
    """A bar of a scale's colours between its ends."""
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in scale_stops(scale))
    ends = f"<span>{_text(number(scale.lo))}</span><span>{_text(number(scale.hi))}</span>"
    return f'<div class="scale"><i style="background:linear-gradient(90deg, {stops})"></i>{ends}</div>'


def _bars(part: Bars) -> str:
    rows = "".join(
        f'<div class="bar"><span class="name" translate="no" style="--share:{100 * min(1.0, max(0.0, share)):.1f}%">'
        f"{_text(name)}</span>"
        f"<span>{100 * share:.1f} %</span></div>"
        for name, share in part.bars
    )
    image = _small(Tile(part.title, part.pixels), part.title)
    return f'<div class="card">{image}<h3>{_text(part.title)}</h3>{rows}</div>'


def _table(part: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        marks = (' class="right"' if i in part.right else "" for i in range(len(cells)))
        lamps = ('<i class="lamp {0}"></i>' if i in part.lights and tag == "td" else "" for i in range(len(cells)))
        parts = zip(marks, lamps, map(_text, cells), strict=True)
        return "<tr>" + "".join(f"<{tag}{m}>{lamp.format(c)}{c}</{tag}>" for m, lamp, c in parts) + "</tr>"

    body = "".join(row(cells, "td") for cells in part.rows)
    kind = ' class="lights"' if part.lights else ""
    return (
        f'<div class="scroll"><table{kind}><thead>{row(part.titles, "th")}</thead><tbody>{body}</tbody></table></div>'
    )


def _image(kind: str, data: bytes, pixels: NDArray[np.uint8], alt: str, style: str = "") -> str:
    height, width = pixels.shape[:2]
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    marked = f' class="{style}"' if style else ""
    return f'<img{marked} src="{source}" width="{width}" height="{height}" alt="{_text(alt)}" loading="lazy">'


def _text(value: Any) -> str:
    """Escaped for HTML, control characters left out."""
    from ..terminal.echo import one_line

    return html.escape(one_line(str(value)), quote=True)
