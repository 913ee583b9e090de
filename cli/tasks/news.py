"""What a run says of its inputs, from one to the next."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..terminal.words import as_options


@dataclass
class News:
    """Lines that wait to be said; warnings are said once in a run."""

    _said: set[str] = field(default_factory=set)
    _lines: list[str] = field(default_factory=list)

    def say(self, *lines: str) -> None:
        """Each time."""
        self._lines.extend(lines)

    def once(self, text: str, line: str | None = None) -> None:
        """`line`, by default the text itself, the first time that the text comes."""
        if text not in self._said:
            self._said.add(text)
            self._lines.append(text if line is None else line)

    def warn(self, text: str, of: str = "") -> None:
        """A warning in the words of the command line, once whatever it is of."""
        self.once(text, f"warning: {f'{of}: ' * bool(of)}{as_options(text)}")

    def take(self) -> list[str]:
        """What has come since the last call."""
        lines, self._lines = self._lines, []
        return lines
