"""The page of a run over sounds: what the model heard, to be seen and listened to, with a cursor that moves along."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from ..terminal.translated_page import translated_page

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>
:root{{color-scheme:light dark;--paper:#fff;--ink:#1c2128;--rule:#d0d5dc;--muted:#5f6773;--cursor:#c2185b}}
@media (prefers-color-scheme:dark){{
:root{{--paper:#15181d;--ink:#e6e9ee;--rule:#3a414b;--muted:#a3abb7;--cursor:#ff5c93}}img{{filter:brightness(.86)}}}}
body{{background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}
body{{margin:0 auto;max-width:68em;padding:1.2em}}
h1{{font-size:1.5em;overflow-wrap:anywhere}}h2{{font-size:1.05em;margin:1.4em 0 .3em;overflow-wrap:anywhere}}
h3{{font-size:.95em;margin:1.1em 0 .3em;font-weight:600}}
article{{border-top:1px solid var(--rule);padding-bottom:.8em}}p{{margin:.3em 0}}.m{{color:var(--muted)}}
.view{{position:relative;cursor:crosshair;margin:0 0 0 3.2em;touch-action:manipulation}}
.view img{{display:block;width:100%;border-radius:3px}}.wave img{{height:5.5em}}
.plane img{{height:clamp(11em,32vw,22em)}}
.view i{{position:absolute;top:0;bottom:0;width:2px;margin-left:-1px}}
.view i{{background:var(--cursor);display:none;pointer-events:none}}
.view b{{position:absolute;right:100%;margin-right:.5em;font:12px/1 system-ui;transform:translateY(-50%)}}
.view b{{color:var(--muted);white-space:nowrap}}
.axis{{display:flex;justify-content:space-between;margin:.2em 0 .6em 3.2em;font-size:12px;color:var(--muted)}}
.players{{display:grid;grid-template-columns:repeat(auto-fit,minmax(15em,1fr));gap:.6em 1.2em;margin:.6em 0}}
.players label{{display:block;font-size:.88em}}.players audio{{width:100%;display:block;margin-top:.2em}}
</style></head><body>
"""
_SCRIPT = """
document.querySelectorAll('article').forEach(function(a){
 var players=[].slice.call(a.querySelectorAll('audio')),views=[].slice.call(a.querySelectorAll('.view')),now=players[0];
 function show(t){views.forEach(function(v){var s=+v.dataset.start,e=+v.dataset.stop,x=(t-s)/(e-s);
  var c=v.querySelector('i');
  c.style.display=x>=0&&x<=1?'block':'none';c.style.left=100*x+'%'})}
 function step(){show(now.currentTime);if(!now.paused)requestAnimationFrame(step)}
 players.forEach(function(p){
  p.addEventListener('play',function(){players.forEach(function(o){if(o!==p)o.pause()});now=p;step()});
  ['seeked','timeupdate'].forEach(function(n){p.addEventListener(n,function(){if(p===now)show(p.currentTime)})})});
 views.forEach(function(v){v.addEventListener('click',function(e){var r=v.getBoundingClientRect(),s=+v.dataset.start;
  var t=s+(e.clientX-r.left)/r.width*(v.dataset.stop-s);now.currentTime=Math.max(0,t);show(t)})})});
"""


def page(title: str, about: str, sounds: Sequence[Mapping[str, Any]]) -> str:
    """The page. sounds: for each explanation "name", "said", "warnings", the files "wave", "plane" (pictures without
    axes) and "sound", "heard", "without", the ends in seconds "whole" and "times", and "hz", the highest frequency."""
    parts = [_HEAD.format(title=html.escape(title))]
    parts.append(f"<h1>{html.escape(title)}</h1><p class=m>{html.escape(about)}</p>")
    parts += [_article(sound) for sound in sounds]
    return translated_page("".join([*parts, f"<script>{_SCRIPT}</script></body></html>\n"]))


def _article(s: Mapping[str, Any]) -> str:
    warnings = "".join(f"<p class=m>Warning: {html.escape(text)}.</p>" for text in s["warnings"])
    players = "".join(
        f'<label>{text}<audio controls preload="metadata" src="{html.escape(s[key])}"></audio></label>'
        for key, text in (
            ("sound", "The sound"),
            ("heard", "Heard: what speaks for the answer"),
            ("without", "Without what is heard"),
        )
    )
    marks = "".join(
        f'<b style="top:{100 * (1 - hz / s["hz"]):.1f}%">{hz / 1000:g} kHz</b>' for hz in _marks(float(s["hz"]))
    )
    return (
        f"<article><h2>{html.escape(s['name'])}</h2><p>{html.escape(s['said'])}</p>{warnings}"
        f"<div class=players>{players}</div>"
        f"{_view('wave', s['wave'], s['whole'], '', 'waveform of the sound, the explained part on blue')}"
        f"{_view('plane', s['plane'], s['times'], marks, 'relevance over the spectrogram')}</article>"
    )


def _view(kind: str, file: str, ends: tuple[float, float], marks: str, alt: str) -> str:
    digits = 1 if ends[1] - ends[0] > 4 else 2 if ends[1] - ends[0] > 0.4 else 3
    shown = "".join(f"<span>{ends[0] + (ends[1] - ends[0]) * k / 4:.{digits}f} s</span>" for k in range(5))
    return (
        f'<div class="view {kind}" data-start="{ends[0]:.6f}" data-stop="{ends[1]:.6f}">{marks}'
        f'<img src="{html.escape(file)}" alt="{alt}"><i></i></div><div class=axis>{shown}</div>'
    )


def _marks(top: float) -> list[float]:
    """Frequencies that are written at the axis."""
    step = next((s for s in (250, 500, 1000, 2000, 5000, 10_000) if top / s <= 6), 20_000)
    return [float(hz) for hz in range(0, int(top) + 1, step)]
