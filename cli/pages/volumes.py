"""The page of a run over volumes: every explanation with a slider over its axial slices."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from ..terminal.translated_page import translated_page

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>
:root{{color-scheme:light dark;--paper:#fff;--ink:#1c2128;--rule:#d0d5dc;--muted:#5f6773}}
@media (prefers-color-scheme:dark){{:root{{--paper:#15181d;--ink:#e6e9ee;--rule:#3a414b;--muted:#a3abb7}}}}
body{{background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}
body{{margin:0 auto;max-width:68em;padding:1.2em}}
h1{{font-size:1.5em;overflow-wrap:anywhere}}h2{{font-size:1.05em;margin:1.4em 0 .3em;overflow-wrap:anywhere}}
article{{border-top:1px solid var(--rule);padding-bottom:.8em}}p{{margin:.3em 0}}.m{{color:var(--muted)}}
.both{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20em),1fr));gap:1em 1.5em;align-items:start}}
.slices{{width:100%;background-repeat:no-repeat;background-size:100% auto;border-radius:3px}}
input{{width:100%;margin:.5em 0 0}}output{{font-variant-numeric:tabular-nums}}a img{{width:100%;border-radius:3px}}
a{{color:inherit}}
</style></head><body>
"""
_SCRIPT = """
document.querySelectorAll('article').forEach(function(a){
 var r=a.querySelector('input'),s=a.querySelector('.slices'),o=a.querySelector('output');
 var n=JSON.parse(r.dataset.numbers);
 function show(){s.style.backgroundPosition='0 '+(n.length>1?100*r.value/(n.length-1):0)+'%';o.value=n[r.value]}
 r.addEventListener('input',show);
 s.addEventListener('wheel',function(e){e.preventDefault();r.value=+r.value+(e.deltaY<0?1:-1);show()},{passive:false});
 show()});
"""


def page(title: str, about: str, volumes: Sequence[Mapping[str, Any]]) -> str:
    """The page. volumes: for each explanation "name", "said", "warnings", "figure", "strip" (files), "heat" (file or
    None), "numbers" of the slices in the strip, "first" (its place there), and "ratio", width by height of a slice."""
    parts = [_HEAD.format(title=html.escape(title))]
    parts.append(f"<h1>{html.escape(title)}</h1><p class=m>{html.escape(about)}</p>")
    parts += [_article(volume) for volume in volumes]
    return translated_page("".join([*parts, f"<script>{_SCRIPT}</script></body></html>\n"]))


def _article(v: Mapping[str, Any]) -> str:
    warnings = "".join(f"<p class=m>Warning: {html.escape(text)}.</p>" for text in v["warnings"])
    heat = "" if v["heat"] is None else f' Heat volume: <a href="{html.escape(v["heat"])}">{html.escape(v["heat"])}</a>'
    numbers = "[" + ",".join(map(str, v["numbers"])) + "]"
    style = f"aspect-ratio:{v['ratio']:.4f};background-image:url({html.escape(v['strip'])})"
    slider = (
        f'<div class=slices style="{style}"></div>'
        f"<label>Slice <output></output><input type=range min=0 max={len(v['numbers']) - 1} value={v['first']} "
        f'data-numbers="{numbers}" aria-label="axial slice, from the feet up"></label>'
    )
    figure = html.escape(v["figure"])
    picture = f'<a href="{figure}"><img src="{figure}" alt="orthogonal slices and montage"></a>'
    return (
        f"<article><h2>{html.escape(v['name'])}</h2><p>{html.escape(v['said'])}.{heat}</p>{warnings}"
        f"<div class=both><div>{slider}</div><div>{picture}</div></div></article>"
    )
