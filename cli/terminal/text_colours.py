"""A text with its words on coloured grounds, for a terminal of 256 colours."""

from __future__ import annotations

from collections.abc import Sequence

# Grounds of what speaks for and against, from weak to strong: of the colour cube of 256 colours.
_FOR, _AGAINST = (224, 217, 210, 203, 196), (195, 153, 111, 69, 27)


def coloured(text: str, spans: Sequence[tuple[int, int, float]]) -> str:
    """The text with the characters (start, end) of each span on a ground for its share in -1..1."""
    parts, at = [], 0
    for start, end, share in spans:
        start = max(start, at)
        parts.append(text[at:start])
        piece, step = text[start:end], min(4, int(abs(share) * 5))
        if abs(share) < 0.04 or not piece:
            parts.append(piece)
        else:
            ink = 15 if step > 2 else 16
            parts.append(f"\x1b[48;5;{(_FOR if share > 0 else _AGAINST)[step]}m\x1b[38;5;{ink}m{piece}\x1b[0m")
        at = max(at, end)
    return "".join([*parts, text[at:]])
