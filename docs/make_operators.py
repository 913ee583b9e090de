"""Writes docs/operators.md from the registry of gradients: `python docs/make_operators.py`."""

from __future__ import annotations

from pathlib import Path

import onnx

from onnxray.engine.gradients.coverage import rows

_TITLES = {
    "": "ONNX (`ai.onnx`)",
    "ai.onnx.ml": "ONNX-ML (`ai.onnx.ml`)",
    "com.microsoft": "ONNX Runtime (`com.microsoft`)",
}
_HEAD = """# Operators

Which operators `onnxray.vjp` differentiates. This page is generated from the registry of gradients
(`engine/gradients/`) by `python docs/make_operators.py`; operators of the standard are those of onnx {version}.

*yes*: every float input, or those named, has a gradient. *no*: declared to have none; a path through it ends there,
unless the note says that it is an error. *missing*: nobody has written it yet; it is an error.
"""


def page() -> str:
    """The text of docs/operators.md."""
    parts = [_HEAD.format(version=".".join(onnx.__version__.split(".")[:2]))]
    found = list(rows())
    for domain in dict.fromkeys(row.domain for row in found):
        own = [row for row in found if row.domain == domain]
        count = {state: sum(row.state == state for row in own) for state in ("yes", "no", "missing")}
        parts.append(f"\n## {_TITLES.get(domain, f'`{domain}`')}\n")
        parts.append(f"{count['yes']} differentiable, {count['no']} declared not to be, {count['missing']} missing.\n")
        parts.append("| operator | gradient | note |\n|---|---|---|")
        parts.extend(f"| {row.name} | {row.state} | {row.note} |" for row in own)
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("operators.md").write_text(page(), encoding="utf-8")
