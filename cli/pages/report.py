"""A report: one HTML file with everything in it, made of the sections that tasks contribute.

A task takes part by a function `section(subject)` in its module, and its name in `tasks/demo.py: SECTIONS`. What it
returns is data (texts, tables, pictures); only this file writes HTML, and it escapes whatever comes from a model or a
file name.
"""

from __future__ import annotations

import base64
import html
import importlib.resources
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...engine.version import __version__
from ..figures.parts import Bars, Heading, Picture, Section, Table
from ..tasks.subject import Subject
from ..terminal.table import count, shape_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def document(title: str, lead: str, subject: Subject, parts: Sequence[Section]) -> str:
    """The whole page; nothing in it is loaded from anywhere, and a policy in it forbids that to browsers as well."""
    style = importlib.resources.files(__package__).joinpath("site/report.css").read_text(encoding="utf-8")
    names = [f"section-{number}" for number in range(1, len(parts) + 1)]
    links = "".join(f'<a href="#{name}">{_text(part.title)}</a>' for name, part in zip(names, parts, strict=True))
    body = "\n".join(_section(name, part) for name, part in zip(names, parts, strict=True))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
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
{_facts(subject)}
<nav>{links}</nav>
</header>
<main>
{body}
</main>
<footer>Made by onnxray {_text(__version__)}. Model sha256 <code>{_text(subject.model.sha256)}</code>.</footer>
</body>
</html>
"""


def _facts(subject: Subject) -> str:
    from ...engine.inspection import inspect

    report = inspect(subject.model)
    card = subject.card
    size = f"{card.size[0]} x {card.size[1]} pixels, {card.order}, {card.resize}"
    facts = [
        ("model", subject.model.path.name if subject.model.path else "in memory"),
        ("made by", report.producer),
        (
            "size",
            f"{len(report.layers)} layers, {count(report.params)} parameters, {count(report.macs)} MACs per image",
        ),
        ("input", "; ".join(f"{v.name}: {v.dtype} {shape_text(v.shape)}" for v in subject.model.inputs)),
        ("output", "; ".join(f"{v.name}: {v.dtype} {shape_text(v.shape)}" for v in subject.model.outputs)),
        ("images are shown as", f"{size} ({card.source})" if card.source else size),
    ]
    facts += [("note", warning) for warning in card.warnings]
    return "<dl>" + "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in facts) + "</dl>"


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


def _part(part: Picture | Table | Heading) -> str:
    if isinstance(part, Heading):
        return f"<h3>{_text(part.text)}</h3>"
    if isinstance(part, Table):
        return _table(part)
    caption = f"<figcaption>{_text(part.caption)}</figcaption>" if part.caption else ""
    return f"<figure>{_image(part.png, part.pixels, part.alt)}{caption}</figure>"


def _bars(part: Bars) -> str:
    from ..files.images import encode

    rows = "".join(
        f'<div class="bar"><span class="name" style="--share:{100 * min(1.0, max(0.0, share)):.1f}%">'
        f"{_text(name)}</span>"
        f"<span>{100 * share:.1f} %</span></div>"
        for name, share in part.bars
    )
    image = _image(encode(part.pixels, ".png"), part.pixels, part.title)
    return f'<div class="card">{image}<h3>{_text(part.title)}</h3>{rows}</div>'


def _table(part: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        marks = (' class="right"' if i in part.right else "" for i in range(len(cells)))
        return "<tr>" + "".join(f"<{tag}{m}>{_text(c)}</{tag}>" for m, c in zip(marks, cells, strict=True)) + "</tr>"

    body = "".join(row(cells, "td") for cells in part.rows)
    return f'<div class="scroll"><table><thead>{row(part.titles, "th")}</thead><tbody>{body}</tbody></table></div>'


def _image(png: bytes, pixels: NDArray[np.uint8], alt: str) -> str:
    height, width = pixels.shape[:2]
    data = base64.b64encode(png).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{_text(alt)}">'


def _text(value: Any) -> str:
    """Escaped for HTML, control characters left out."""
    from ..terminal.echo import one_line

    return html.escape(one_line(str(value)), quote=True)
