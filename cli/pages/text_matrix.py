"""What a language model says, and why, as an HTML fragment: choose a word that it says, and see what speaks for it."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...engine.attribution.text_html import AGAINST, FOR, STRENGTH, WHITE_FROM, greatest, ground_of

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation

STYLE = """
.oxm{max-width:48em;margin:.6em 0}.oxm p{line-height:2;white-space:pre-wrap;overflow-wrap:anywhere;margin:.4em 0}
.oxm .w{border-radius:3px;padding:.12em .18em}
.oxm button{font:inherit;color:inherit;background:none;border:1px solid var(--rule,#999)}
.oxm button{border-radius:4px;padding:.05em .3em}
.oxm button{cursor:pointer;margin:0 .1em}.oxm button[aria-pressed=true]{outline:2px solid currentColor}
.oxm .t{overflow-x:auto}.oxm table{border-collapse:collapse;font-size:13px}
.oxm td{text-align:right;padding:.15em .5em;font-variant-numeric:tabular-nums}
.oxm th{padding:.15em .5em;text-align:right;font-weight:600}.oxm thead th{vertical-align:bottom}
.oxm .h{line-height:1.5}
""".strip()
SCRIPT = """
for(const m of document.querySelectorAll('.oxm')){const v=JSON.parse(m.dataset.v),top=+m.dataset.m,
words=m.querySelectorAll('.w'),says=m.querySelectorAll('button');
const show=k=>{says.forEach((b,i)=>b.setAttribute('aria-pressed',i==k));words.forEach((w,i)=>{const x=v[k][i],
s=Math.min(1,Math.abs(x)/(top||1));w.style.background=`rgba(${x>0?'FOR':'AGAINST'},${(s*STRENGTH).toFixed(3)})`;
w.style.color=s>WHITE_FROM?'#fff':'';w.title=(x>0?'+':'')+x.toPrecision(4)})};
says.forEach((b,k)=>{b.onclick=b.onfocus=b.onmouseenter=()=>show(k)});show(0)}
""".strip()
for _name, _value in (
    ("AGAINST", ",".join(map(str, AGAINST))),
    ("FOR", ",".join(map(str, FOR))),
    ("STRENGTH", str(STRENGTH)),
    ("WHITE_FROM", str(WHITE_FROM)),
):
    SCRIPT = SCRIPT.replace(_name, _value)


def matrix_html(parts: Sequence[Explanation]) -> str:
    """The prompt with its words, what the model says as buttons, and the table of all values. parts: one for each
    token that it says."""
    first = parts[0]
    assert first.reading is not None
    most = max(greatest(e.words) for e in parts)
    values = [[float(f"{w.value:.6g}") for w in e.words] for e in parts]
    says = [_said(e) for e in parts]
    data = f"data-v='{html.escape(json.dumps(values), quote=True)}' data-m='{most:.6g}'"
    buttons = "".join(
        f'<button type=button title="{html.escape(e.score_text)}">{html.escape(text)}</button>'
        for e, text in zip(parts, says, strict=True)
    )
    texts = [_running(first, side) for side in range(len(first.reading.given.parts))]
    # What a decoder or a chat says is a text of its own; else it goes on with the prompt.
    apart = first.reading.roles.decoder or first.reading.given.chat
    running = "".join(f"<p>{text}</p>" for text in (texts if apart else ["".join(texts)]))
    return (
        f"<div class=oxm {data}><p class=h>{html.escape(first.method)}: choose a token that the model says</p>"
        f"{running}<p>{buttons}</p>{_table(parts, says, most)}</div>"
    )


def _said(e: Explanation) -> str:
    """The token of an explanation, by its text."""
    return e.label.split("' (")[0].removeprefix("'") if e.label.startswith("'") else e.label


def _running(e: Explanation, side: int) -> str:
    """The text of a side with a mark around every word."""
    assert e.reading is not None
    text, at, found = e.reading.given.parts[side], 0, []
    for word in (w for w in e.words if w.side == side):
        start = max(at, word.start)
        found += [html.escape(text[at:start]), f"<span class=w>{html.escape(text[start : word.end])}</span>"]
        at = max(at, word.end)
    return "".join([*found, html.escape(text[at:])])


def _table(parts: Sequence[Explanation], says: Sequence[str], most: float) -> str:
    head = "".join(f"<th scope=col>{html.escape(text)}</th>" for text in says)
    rows = []
    for number, word in enumerate(parts[0].words):
        cells = "".join(_cell(e.words[number].value, most) for e in parts)
        rows.append(f"<tr><th scope=row>{html.escape(word.text)}</th>{cells}</tr>")
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<details open><summary>All values</summary><div class=t>{table}</div></details>"


def _cell(value: float, most: float) -> str:
    ground, is_strong = ground_of(value, most)
    ink = ";color:#fff" if is_strong else ""
    shown = f"{value:+.3g}" if most and abs(value) >= 5e-4 * most else "0"
    return f'<td style="{ground}{ink}" title="{value:+.4g}">{shown}</td>'
