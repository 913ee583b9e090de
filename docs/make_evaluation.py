"""Writes the table of metrics in docs/evaluation.md from the registry: `python docs/make_evaluation.py`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from onnxray.engine.evaluate.registry import FAMILIES, help_of, metrics, options_of

PLACE = Path(__file__).parent / "evaluation.md"
_BEGIN, _END = "<!-- metrics, by make_evaluation.py -->\n", "<!-- end of metrics -->\n"


def table() -> str:
    """Each family's table, then what every metric says of itself."""
    parts = []
    for family in FAMILIES:
        of_family = {name: cls for name, cls in metrics().items() if cls.family == family}
        if not of_family:
            continue
        parts += [f"### {family.capitalize()}\n", "| metric | good | range | needs | what it is |", "| --- " * 5 + "|"]
        for name, cls in of_family.items():
            needs = cls.needs + (", mask" if cls.needs_mask else "")
            good = "high" if cls.better == "higher" else "low"
            parts.append(f"| `{name}` | {good} | {cls.range} | {needs} | {help_of(cls)} |")
        parts.append("")
        for name, cls in of_family.items():
            doc = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[2]
            options = "; ".join(f"`{o.name}` = {o.default}: {o.help.rstrip('.')}" for o in options_of(cls))
            lines = [f"**{name}**. " + " ".join(doc.split())] if doc else [f"**{name}**."]
            lines += [f"Options: {options}."] if options else []
            parts.append(" ".join([*lines, f"Weakness: {cls.weakness}. {cls.paper}."]) + "\n")
    return "\n".join(parts)


def page(text: str) -> str:
    """The page with its table as the registry has it now."""
    pattern = re.escape(_BEGIN) + ".*" + re.escape(_END)
    return re.sub(pattern, lambda _: f"{_BEGIN}\n{table()}\n{_END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    PLACE.write_text(page(PLACE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
