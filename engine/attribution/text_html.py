"""A text with its words on a diverging ground, as an HTML fragment: for notebooks and pages, light and dark."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .explanation import Explanation
    from .texts import Word

# Hues of what speaks for the target and against it, as (red, green, blue): the ends of the diverging map.
FOR, AGAINST = (178, 24, 43), (33, 102, 172)
# How much of the colour the greatest value has, and the share of it from which letters are white: below, dark ones have
# more contrast on the ground.
STRENGTH, WHITE_FROM = 0.92, 0.8
STYLE = """
.oxt{font:16px/2 system-ui,sans-serif;max-width:48em;margin:.6em 0;overflow-wrap:anywhere}
.oxt p{margin:.3em 0;white-space:pre-wrap}
.oxt .w{border-radius:3px;padding:.12em .18em;margin:0 -.06em}
.oxt .w{box-decoration-break:clone;-webkit-box-decoration-break:clone}
.oxt .s{color:#fff}
.oxt .u{opacity:.45}
.oxt .h{line-height:1.5;margin-bottom:.5em}
.oxt .k{font-size:13px;line-height:1.5;opacity:.85}
.oxt .b{display:inline-block;width:160px;height:12px;vertical-align:middle;border-radius:2px;margin:0 .4em}
.oxt .n{font-size:13px;line-height:1.4;opacity:.85;margin:.2em 0}
""".strip()


def text_html(e: Explanation) -> str:
    """The target and the score, the text with its words coloured, values on hover, the colour scale, the warnings."""
    words = e.words
    most = greatest(words)
    where = f" at {e.layer}" if e.layer else ""
    head = (
        f"<p class=h><b>{html.escape(e.label)}</b>, {html.escape(e.score_text)}<br>{html.escape(e.method + where)}</p>"
    )
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs(e, most))
    notes = "".join(f"<p class=n>warning: {html.escape(text)}</p>" for text in e.warnings)
    return f"<div class=oxt><style>{STYLE}</style>{head}{body}{scale(e, most)}{notes}</div>"


def paragraphs(e: Explanation, most: float) -> list[str]:
    """The text, or each of a pair, as HTML."""
    assert e.reading is not None
    texts = e.reading.given.parts
    found = []
    for side, text in enumerate(texts):
        mine = [w for w in e.words if w.side == side]
        total = f" <span class=k>({sum(w.value for w in mine):+.3g})</span>" if len(texts) > 1 else ""
        found.append(_running(text, mine, most) + total)
    return found


def _running(text: str, words: list[Word], most: float) -> str:
    """Running text with its words marked."""
    parts, at = [], 0
    for word in words:
        start = max(word.start, at)
        parts += [html.escape(text[at:start]), _marked(word, text[start : word.end] or "", most)]
        at = max(at, word.end)
    return "".join([*parts, html.escape(text[at:])])


def _marked(word: Word, shown: str, most: float) -> str:
    if not shown:
        return ""
    if not word.read:
        return f'<span class="w u" title="not read by the model">{html.escape(shown)}</span>'
    ground, is_strong = ground_of(word.value, most)
    strong = " s" if is_strong else ""
    return f'<span class="w{strong}" style="{ground}" title="{word.value:+.4g}">{html.escape(shown)}</span>'


def ground_of(value: float, most: float) -> tuple[str, bool]:
    """The style of the ground under a value, and whether letters on it are white. most: the ends of the colours."""
    share = min(1.0, abs(value) / most) if most else 0.0
    red, green, blue = FOR if value > 0 else AGAINST
    return f"background:rgba({red},{green},{blue},{share * STRENGTH:.3f})", share > WHITE_FROM


def scale(e: Explanation, most: float) -> str:
    """The colour scale with both of its ends, symmetric unless nothing can be negative."""
    red, blue = (f"rgba({r},{g},{b},{STRENGTH})" for r, g, b in (FOR, AGAINST))
    if e.display == "positive":
        ends = f"background:linear-gradient(90deg,transparent,{red})"
        return f'<p class=k>0<span class=b style="{ends}"></span>{most:.4g}</p>'
    ends = f"background:linear-gradient(90deg,{blue},transparent,{red})"
    return f'<p class=k>against {-most:.4g}<span class=b style="{ends}"></span>{most:+.4g} for</p>'


def greatest(words: tuple[Word, ...]) -> float:
    """The greatest magnitude of the values: the ends of the colours."""
    return max((abs(w.value) for w in words), default=0.0)
