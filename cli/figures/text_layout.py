"""A text with its words on a diverging ground as a picture: lines of words, as SVG and as pixels.

The SVG is set in a font of one width, which every browser has, and each word is given its width, so that it looks the
same everywhere; the PNG is drawn with the font that Pillow brings, which has Latin letters only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.attribution.text_html import AGAINST, FOR, STRENGTH, WHITE_FROM, greatest

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ...engine.attribution.texts import Word

# In pixels: of the picture, of letters, between lines, around everything.
_WIDTH, _SIZE, _LINE, _MARGIN = 900, 18, 34, 28
_SMALL = 14
# Pillow and browsers draw pictures of some ten thousand pixels.
_MOST_LINES = 1000
# What XML 1.0 does not allow, not even as a reference.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INK, _MUTED = (28, 33, 40), (95, 103, 115)


@dataclass(frozen=True)
class _Placed:
    """A word, or what stands between words, at (x, y) of the top left corner of its line."""

    text: str
    x: float
    y: float
    width: float
    word: Word | None


def svg(e: Explanation) -> str:
    """The picture as SVG, its values as titles."""
    placed, height = _laid(e, lambda text: _columns(text) * _SIZE * 0.6)
    most = greatest(e.words)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="ui-monospace,Menlo,Consolas,monospace" font-size="{_SIZE}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for number, line in enumerate(_head(e)):
        weight = ' font-weight="bold"' if not number else f' fill="{_hex(_MUTED)}" font-size="{_SMALL}"'
        parts.append(f'<text x="{_MARGIN}" y="{_MARGIN + 16 + 24 * number}"{weight}>{_escaped(line)}</text>')
    for p in placed:
        ground, ink = _colours(p.word, most)
        if p.word is not None:
            value = "not read by the model" if not p.word.read else f"{p.word.value:+.4g}"
            title = f"<title>{escape(value)}</title>"
            box = f'x="{p.x - 2:.1f}" y="{p.y:.1f}" width="{p.width + 4:.1f}" height="{_LINE - 8}"'
            parts.append(f'<rect {box} rx="3" fill="{_hex(ground)}">{title}</rect>')
        if p.text.strip():
            at = f'x="{p.x:.1f}" y="{p.y + 19:.1f}" textLength="{p.width:.1f}" lengthAdjust="spacingAndGlyphs"'
            parts.append(f'<text {at} fill="{_hex(ink)}" pointer-events="none">{_escaped(p.text)}</text>')
    parts += [_svg_scale(e, most, height - _MARGIN - 8), "</svg>"]
    return "\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", text))


def _svg_scale(e: Explanation, most: float, y: int) -> str:
    low = "#ffffff" if e.display == "positive" else _hex(_mixed(-1.0))
    middle = "" if e.display == "positive" else '<stop offset=".5" stop-color="#fff"/>'
    high = _hex(_mixed(1.0))
    gradient = f'<stop offset="0" stop-color="{low}"/>{middle}<stop offset="1" stop-color="{high}"/>'
    left, right = _ends(e, most)
    x = _MARGIN + round(_SMALL * 0.6 * len(left)) + 12
    style = f'fill="{_hex(_MUTED)}" font-size="{_SMALL}"'
    return (
        f'<defs><linearGradient id="s">{gradient}</linearGradient></defs><text x="{_MARGIN}" y="{y + 12}" {style}>'
        f'{left}</text><rect x="{x}" y="{y}" width="160" height="14" fill="url(#s)" stroke="#d0d5dc"/>'
        f'<text x="{x + 170}" y="{y + 12}" {style}>{right}</text>'
    )


def pixels(e: Explanation) -> NDArray[np.uint8]:
    """The picture as uint8 (H, W, 3) RGB. Letters that Pillow's font lacks are boxes, in the SVG they are letters."""
    from PIL import Image, ImageDraw, ImageFont

    font, small = ImageFont.load_default(_SIZE), ImageFont.load_default(_SMALL)
    placed, height = _laid(e, lambda text: float(font.getlength(text)))
    most = greatest(e.words)
    image = Image.new("RGB", (_WIDTH, height), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(_head(e)):
        at = (_MARGIN, _MARGIN + 24 * number)
        draw.text(at, line, _MUTED if number else _INK, small if number else font)
    for p in placed:
        ground, ink = _colours(p.word, most)
        if p.word is not None:
            draw.rounded_rectangle((p.x - 2, p.y, p.x + p.width + 2, p.y + _LINE - 8), 3, fill=ground)
        if p.text.strip():
            draw.text((p.x, p.y + 3), p.text, ink, font)
    _draw_scale(draw, e, most, height - _MARGIN - 8, small)
    return np.asarray(image)


def _draw_scale(draw: Any, e: Explanation, most: float, y: int, font: Any) -> None:
    left, right = _ends(e, most)
    x = _MARGIN + int(font.getlength(left)) + 10
    draw.text((_MARGIN, y - 2), left, _MUTED, font)
    for column in range(160):
        share = column / 159 if e.display == "positive" else 2 * column / 159 - 1
        draw.line((x + column, y, x + column, y + 13), fill=_mixed(share))
    draw.text((x + 170, y - 2), right, _MUTED, font)


def _ends(e: Explanation, most: float) -> tuple[str, str]:
    return ("0", f"{most:.4g}") if e.display == "positive" else (f"against {-most:.4g}", f"{most:+.4g} for")


def _head(e: Explanation) -> list[str]:
    where = f" at {e.layer}" if e.layer else ""
    return [f"{e.label}, {e.score_text}"[:96], f"{e.method}{where}"[:110]]


def _laid(e: Explanation, width: Callable[[str], float]) -> tuple[list[_Placed], int]:
    """Every word at its place, and the height of the picture."""
    assert e.reading is not None
    y, space = float(_MARGIN + 58), width("n")
    found: list[_Placed] = []
    for side, text in enumerate(e.reading.given.parts):
        y = _paragraph(text, [w for w in e.words if w.side == side], width, space, y, found) + _LINE + 6
    end = _MARGIN + 58 + _LINE * _MOST_LINES
    if y > end + _LINE:
        drawn = {p.word for p in found if p.y < end}
        found = [p for p in found if p.y < end]
        rest = f"... {sum(w not in drawn for w in e.words)} more words, see index.html"
        found.append(_Placed(rest, float(_MARGIN), float(end), width(rest), None))
        y = float(end + _LINE + 6)
    return found, int(y) + 44


def _paragraph(
    text: str, words: Sequence[Word], width: Callable[[str], float], space: float, y: float, found: list[_Placed]
) -> float:
    x, at = float(_MARGIN), 0
    for part, word in _pieces(text, words):
        start = text.find(part, at)
        gap = text[at:start] if start >= 0 else ""
        at = max(at, start) + len(part)
        lines = gap.count("\n")
        if lines and found:
            x, y = float(_MARGIN), y + _LINE * min(lines, 2)
        elif gap:
            x += space * 0.6
        for chunk in _chunks(part, width):
            wide = width(chunk)
            hangs = not gap and len(chunk) < 3 and x + wide < _WIDTH - 4  # no line begins with a full stop
            if x + wide > _WIDTH - _MARGIN and x > _MARGIN and not hangs:
                x, y = float(_MARGIN), y + _LINE
            found.append(_Placed(chunk, x, y, wide, word))
            x += wide + (4 if word is not None else 0)
    return y


def _pieces(text: str, words: Sequence[Word]) -> list[tuple[str, Word | None]]:
    """The words of a text, and what stands between them that is no white space."""
    parts: list[tuple[str, Word | None]] = []
    at = 0
    for word in words:
        start = max(at, word.start)
        parts += [(piece, None) for piece in text[at:start].split()]
        if text[start : word.end]:
            parts.append(
                (
                    " ".join(text[start : word.end].split())
                    if "\n" in text[start : word.end]
                    else text[start : word.end],
                    word,
                )
            )
        at = max(at, word.end)
    return [*parts, *((piece, None) for piece in text[at:].split())]


def _chunks(part: str, width: Callable[[str], float]) -> list[str]:
    """A word in parts that fit into a line."""
    room, found = _WIDTH - 2 * _MARGIN, [""]
    for word in part.split(" ") if width(part) > room else [part]:
        more = f"{found[-1]} {word}" if found[-1] else word
        if width(more) <= room:
            found[-1] = more
            continue
        found.append(word)
        while width(found[-1]) > room:
            cut = max(1, int(len(found[-1]) * room / width(found[-1])))
            found[-1:] = [found[-1][:cut], found[-1][cut:]]
    return [chunk for chunk in found if chunk]


def _columns(text: str) -> int:
    """Columns of a font of one width that a text takes."""
    wide = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text if not unicodedata.combining(c))
    return max(1, wide)


def _colours(word: Word | None, most: float) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Of the ground and of the letters."""
    if word is None or not word.read:
        return (255, 255, 255), _INK if word is None else (150, 156, 165)
    share = word.value / most if most else 0.0
    return _mixed(share), (255, 255, 255) if abs(share) > WHITE_FROM else _INK


def _mixed(share: float) -> tuple[int, int, int]:
    """The colour of a share in -1..1 of the greatest magnitude, on white."""
    colour, a = FOR if share > 0 else AGAINST, min(1.0, abs(share)) * STRENGTH
    red, green, blue = (round(255 + (c - 255) * a) for c in colour)
    return red, green, blue


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
