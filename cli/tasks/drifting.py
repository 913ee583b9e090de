"""Drift of the images of a command: what their records say of it, and alarms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import OutputError
from ..parameters.line import PSI, DriftOptions
from ..sinks.sink import Alarmed, Sink
from ..terminal.echo import say

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.pipeline.drift import Look, Looking, Reference, Window

# The folder in --out that a reference of the first images is kept in.
REFERENCE = "reference"


class Drifting:
    """Looks at images, in threads, and judges what was seen, in order and in one thread.

    keep: the folder that a reference of the first images is written to, and read from at the next start; None: it is
    made anew by each run. alarmed: whether a limit was crossed; last: the measures of the last image; limits of them;
    above: those above their limits.
    """

    def __init__(self, model: Model, options: DriftOptions, runtime: dict[str, Any], keep: Path | None) -> None:
        from ...engine.inference.batches import RunOptions
        from ...engine.pipeline.drift import WINDOW, Gathering, Looking, load_reference

        text = str(options.reference)
        self._wanted = int(text) if text.isascii() and text.isdigit() and not Path(text).is_dir() else None
        if self._wanted == 0:
            raise OutputError("--reference 0 names no image: give how many of the first images are the reference")
        folder = Path(text) if self._wanted is None else keep
        known = None
        if folder is not None and (self._wanted is None or (folder / "manifest.json").exists()):
            known = load_reference(folder, options.layer)
        if known is not None and self._wanted not in (None, known.count):
            raise OutputError(
                f"the reference in {str(folder)!r} is of {known.count} images, not of {self._wanted}: remove the "
                "folder, and the next images make another one"
            )
        layer = options.layer if known is None else known.layer
        self.looking: Looking = Looking(model, layer, RunOptions(**runtime))
        self._keep, self._size = keep, options.window or WINDOW
        self.limits = dict(options.alarm)
        self._window: Window | None = None
        self._gathering = Gathering(self.looking.layer.name, self.looking.sha256)
        self.above: set[str] = set()
        self.alarmed = False
        self.last: dict[str, float | None] = {}
        if known is not None:
            self._begin(known)

    def fields(self, look: Look, name: str, tell: Callable[[str], None]) -> dict[str, Any]:
        """What the record of the next image says; alarms are said. tell: takes what --quiet would leave out.

        Raises OutputError where the reference cannot be written.
        """
        layer = self.looking.layer.name
        if self._window is None:
            self._gathering.add(look)
            found: dict[str, Any] = {"layer": layer, "reference": self._gathering.count}
            if self._gathering.count == self._wanted:
                reference = self._gathering.reference()
                if self._keep is not None:
                    reference.save(self._keep)
                self._begin(reference)
                tell(f"drift is measured from here on: the first {self._wanted} images are the reference")
            return found
        distance = self._window.add(look)
        self.last = {"smd": distance.smd, "psi": distance.psi}
        above = {m for m, limit in self.limits.items() if (value := self.last[m]) is not None and value > limit}
        self._say(above, name, tell)
        self.above = above
        return {"layer": layer, **self.last, "window": self._size, "alarm": sorted(above)}

    def _begin(self, reference: Reference) -> None:
        from ...engine.pipeline.drift import Window

        self.looking.fits(reference)
        self._window = Window(reference, self._size)

    def _say(self, above: set[str], name: str, tell: Callable[[str], None]) -> None:
        layer = self.looking.layer.name
        for measure in sorted(above - self.above):
            self.alarmed = True
            what = f"the {self._size} images up to {name}" if measure == PSI else name
            value, limit = self.last[measure], self.limits[measure]
            say(f"alarm: drift: {measure} {value:.3g} of {what} at {layer} is above {limit:g}")
        for measure in sorted(self.above - above):
            tell(f"drift: {measure} is below {self.limits[measure]:g} again, with {name}")


def drifting_of(model: Model, options: DriftOptions, runtime: dict[str, Any], keep: Path | None) -> Drifting | None:
    """None where drift is not asked for. Raises OutputError, MethodError, UnknownName, TargetError."""
    return None if options.reference is None else Drifting(model, options, runtime, keep)


class Alarms:
    """Tells the sinks that take alarms when the set of measures above their limits changes."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = [sink for sink in sinks if isinstance(sink, Alarmed)]
        self._before: list[str] = []

    def take(self, key: str, fields: dict[str, Any]) -> None:
        """The fields of a record. Raises OutputError."""
        drift = fields.get("drift") or {}
        now = drift.get("alarm")
        if now is None or now == self._before:
            return
        about = {"id": key, **{name: fields.get(name) for name in ("path", "time")}, "drift": drift}
        for sink in self._sinks:
            sink.alarm(key, about)
        self._before = now
