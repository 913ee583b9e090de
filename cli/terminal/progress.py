"""What a long run says on stderr: a bar with the time left on a terminal, else plain lines; nothing with --quiet."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType

from .echo import one_line, say
from .table import display_width, elide

_REDRAW = 0.1  # seconds between two drawings of the bar
_PATIENCE = 2.0  # seconds before a run is long enough for plain lines


class Progress:
    """Counts `total` steps of one kind (`what`, plural). Use it as a context manager.

    On a terminal, or with `bar`, one line is redrawn; elsewhere a long run writes a line for each tenth of the steps.
    """

    def __init__(
        self,
        total: int,
        what: str = "images",
        *,
        quiet: bool = False,
        bar: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.what, self.quiet = total, what, quiet
        self.bar = bar or sys.stderr.isatty()
        self.done = 0
        self.inside = 0.0  # how much of the next one is done, in [0, 1]
        self._clock = clock
        self._start = clock()
        self._drawn = float("-inf")
        self._shown = False
        self._tenth = 0

    def __enter__(self) -> Progress:
        self._draw("")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def step(self, name: str = "") -> None:
        """One more is done; `name` says which."""
        self.done, self.inside = self.done + 1, 0.0
        self._tell(name, self.done == self.total)

    def steps(self, count: int, name: str = "") -> None:
        """So many more are done; `name` says how it goes."""
        self.done, self.inside = min(self.done + count, self.total), 0.0
        self._tell(name, self.done == self.total)

    def part(self, share: float, name: str = "") -> None:
        """So much of the next one is done, 0 to 1; `name` says what is being done."""
        self.inside = min(max(share, 0.0), 1.0)
        self._tell(name, False)

    def _tell(self, name: str, last: bool) -> None:
        if self.quiet or self.total < 1:
            return
        if self.bar:
            if last or self._clock() - self._drawn >= _REDRAW:
                self._draw(name)
            return
        tenth = int((self.done + self.inside) * 10 / self.total + 1e-9)
        if tenth > self._tenth:
            self._tenth = tenth
            if self._clock() - self._start > _PATIENCE:
                done = f"{self.done} of {self.total} {self.what}"
                if self.inside:
                    done = f"{self.what.removesuffix('s')} {self.done + 1} of {self.total}, {self.inside:.0%}"
                say(f"{done}{self._left()}")

    def say(self, text: str, *, error: bool = False) -> None:
        """A line of its own; errors are said even when quiet."""
        if error or not self.quiet:
            self._clear()
            say(f"{'error: ' if error else ''}{text}")
            self._draw("")

    def _left(self) -> str:
        done = self.done + self.inside
        if not 0 < done < self.total:
            return ""
        elapsed = self._clock() - self._start
        return f", {duration(elapsed / done * (self.total - done))} left"

    def _draw(self, name: str) -> None:
        if self.quiet or not self.bar or self.total < 1:
            return
        width = shutil.get_terminal_size().columns - 1
        share = (self.done + self.inside) / self.total
        filled = round(24 * share)
        line = f"{'█' * filled}{'░' * (24 - filled)} {self.done}/{self.total} {self.what}{self._left()}"
        room = width - display_width(line) - 2
        if name and room > 8:
            line = f"{line}  {elide(one_line(name), room)}"
        sys.stderr.write(f"\r\x1b[2K{elide(line, width)}")
        sys.stderr.flush()
        self._drawn, self._shown = self._clock(), True

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._shown = False


def duration(seconds: float) -> str:
    """A time in the two units that matter: 8 s, 2 min 5 s, 3 h 20 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Download:
    """What a download says on stderr; `update` takes the bytes so far and in all."""

    def __init__(self, name: str, *, quiet: bool = False, bar: bool = False) -> None:
        self._name, self._quiet = name, quiet
        self._bar = (bar or sys.stderr.isatty()) and not quiet
        self._drawn = float("-inf")
        self._start: tuple[float, int] | None = None
        self._tenth = 0

    def __enter__(self) -> Download:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar and self._start is not None:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    def update(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = (now, done)
        if self._quiet:
            return
        began, first = self._start
        line = f"{self._name}: {done / 1e6:.1f} MB"
        if total:
            line = f"{self._name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB"
            if first < done < total and now > began:
                line += f", {duration((total - done) * (now - began) / (done - first))} left"
        if self._bar and (now - self._drawn >= _REDRAW or done == total):
            sys.stderr.write(f"\r\x1b[2K{elide(line, shutil.get_terminal_size().columns - 1)}")
            sys.stderr.flush()
            self._drawn = now
        elif not self._bar and total and done * 10 // total > self._tenth:
            self._tenth = done * 10 // total
            say(line)
