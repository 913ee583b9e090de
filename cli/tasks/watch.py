"""Explaining images as they arrive in a folder, for months: nothing is lost or done twice, whatever ends the process.

    arrives -> whole -> read -> (rule) -> explained, measured -> sinks -> line of the journal -> moved

The line in the journal, which is on disk before anything else happens, is what makes an image done. Sinks come before
it, so that what a killed process has not written is written at the next start; a file that is in the journal and
still in the folder is only moved.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ...engine.atomic import holder_of, take_lock
from ...engine.errors import ImageError, ModelError, OutputError
from ...engine.pipeline.flow import Flow, Sizes, Stages
from ...engine.pipeline.ticket import Ticket
from ..files.journal import Journal
from ..parameters.inputs import card_of, open_model
from ..parameters.methods import chosen_methods
from ..sinks.registry import sink_of
from ..sinks.sink import Sink
from ..sources.incoming import Arrived, Incoming
from ..sources.source import Selection
from ..terminal.echo import say
from .explain import target_of
from .keeper import Found, Keeper
from .measures import Measures, read_part
from .over_images import side_by_side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.pipeline.rules import Rule
    from ...engine.preprocess.card import Card
    from ...engine.targets.target import Target
    from ..files.output import Output
    from ..parameters.options import Common

RECORDS, LOCK = "records.jsonl", ".onnxray-lock"


@dataclass(frozen=True)
class WatchOptions:
    """What `onnxray watch` is asked for, in the words of the command line."""

    folder: Path
    model: str
    methods: Sequence[str]
    targets: Sequence[str]
    layers: Sequence[str]
    settings: Sequence[str]
    when: str | None
    threshold: float
    part: Path | None
    mm_per_pixel: float | None
    to: Sequence[str]
    move_to: Path | None
    output: Output
    common: Common
    selection: Selection


def watch(options: WatchOptions) -> int:
    """Explain what arrives until SIGTERM, --limit or --duration; how many images were done.

    Raises RuleError, UnknownName, ModelError, CardError, TargetError, ImageError for what is asked for, OutputError.
    """
    work = explaining(options)
    folder, out = options.folder, options.output.folder
    sinks = [sink_of(text) for text in options.to or (f"folder:{out / 'images'}",)]
    _check_places(options, sinks)
    with ExitStack() as stack:
        lock = _lock(out)  # let go of when nobody holds it
        stack.callback(lock.release)
        journal = stack.enter_context(Journal(out / RECORDS))
        for sink in sinks:
            sink.open()
            stack.callback(sink.close)
        keeper = Keeper(folder, options.move_to, journal, sinks)
        incoming = stack.enter_context(Incoming(folder, options.selection.recursive, keeper.is_done, say_of(options)))
        stack.enter_context(_ending(keeper, incoming))
        flow: Flow[Found] = stack.enter_context(
            Flow(Stages(work.several, work.read), Sizes(work.workers, queue=work.workers))
        )
        say_of(options)(f"watching {str(folder)!r}: records go to {str(out / RECORDS)!r}")
        return _loop(options, keeper, incoming, flow)


def say_of(options: WatchOptions) -> Callable[[str], None]:
    return (lambda text: None) if options.common.quiet else say


def _loop(options: WatchOptions, keeper: Keeper, incoming: Incoming, flow: Flow[Found]) -> int:
    waiting: deque[tuple[Arrived, Ticket[Found]]] = deque()
    start, limit = time.monotonic(), options.selection.limit
    while not keeper.stop.is_set() and options.selection.lasts(time.monotonic() - start):
        while waiting and (waiting[0][1].done() or len(waiting) >= flow.capacity):
            keeper.commit(*waiting.popleft(), incoming)
        if limit is not None and keeper.done + len(waiting) >= limit:
            if not waiting:
                break
            keeper.commit(*waiting.popleft(), incoming)
            continue
        for arrived in incoming.ready(0.02 if waiting else 0.5):
            if keeper.stop.is_set() or (limit is not None and keeper.done + len(waiting) >= limit):
                incoming.again(arrived.path, 0.0)
                continue
            while len(waiting) >= flow.capacity:
                keeper.commit(*waiting.popleft(), incoming)
            waiting.append((arrived, flow.submit(arrived)))
    while waiting:
        keeper.commit(*waiting.popleft(), incoming)
    say_of(options)(f"stopped: {keeper.done} images done")
    return keeper.done


def _check_places(options: WatchOptions, sinks: Sequence[Sink]) -> None:
    """Raises OutputError for a place whose files would be taken for arriving images, ImageError for no folder."""
    folder = options.folder.resolve()
    if not folder.is_dir():
        raise ImageError(f"there is no folder {str(options.folder)!r} to watch")
    places = [options.output.folder, options.move_to, *(getattr(sink, "folder", None) for sink in sinks)]
    for place in (Path(place).resolve() for place in places if place is not None):
        if place == folder or (options.selection.recursive and place.is_relative_to(folder)):
            raise OutputError(f"{str(place)!r} is in the folder that is watched: results need another one")


def _lock(out: Path) -> Any:
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = take_lock(out / LOCK)
    except OSError as error:
        raise OutputError(f"cannot write {str(out)!r}: {error.strerror or error}") from error
    if lock is None:
        raise OutputError(
            f"{str(out)!r} is in use ({holder_of(out / LOCK)}): stop that one, or give another folder with --out"
        )
    return lock


@contextmanager
def _ending(keeper: Keeper, incoming: Incoming) -> Iterator[None]:
    """SIGTERM finishes what is in work, for the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        keeper.stop.set()
        incoming.wake()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class Work:
    """Arrived files in, explanations out; for threads."""

    model: Model
    card: Card
    methods: Sequence[Method]
    targets: Sequence[Target]
    layers: Sequence[str]
    rule: Rule | None
    measures: Measures
    selection: Selection
    workers: int
    runtime: dict[str, Any]

    def read(self, arrived: Arrived) -> Found:
        """The image of a file that did not change meanwhile. Raises ImageError."""
        from ..files.images import read_bytes
        from ..files.photos import photo_of

        data = read_bytes(arrived.path)
        if len(data) != arrived.size:
            raise ImageError(f"{str(arrived.path)!r} has changed while it was read")
        return Found(arrived, hashlib.sha256(data).hexdigest(), photo_of(arrived.path, data, self.card)[0])

    def several(self, found: Sequence[Found]) -> list[Found]:
        return [self._one(image) for image in found]

    def _one(self, image: Found) -> Found:
        from ...engine.explain import problem_of, solve
        from ...engine.inference.batches import RunOptions
        from ...engine.preprocess.depth import shown

        seen, picture = self.selection.part(image.pixels), shown(image.pixels, self.card)
        fields: dict[str, Any] = {}
        if self.rule is not None:
            names = self.names(seen, str(image.arrived.path))
            fields["prediction"] = {key: names[key] for key in ("label", "index", "score", "margin", "entropy")}
            fields["explained"] = self.rule.holds(names)
            if not fields["explained"]:
                return Found(image.arrived, image.sha256, picture, (), fields)
        explanations: list[Explanation] = []
        for target in self.targets:
            runtime = RunOptions(**self.runtime)
            for at_layer in (True, False):
                methods = [method for method in self.methods if method.at_layer is at_layer]
                if methods:
                    layers = list(self.layers) if at_layer else None
                    problem = problem_of(self.model, seen, target, layers, card=self.card, runtime=runtime)
                    explanations += [e for method in methods for e in solve(problem, method)]
        placed = [self.selection.placed(e, picture) for e in explanations]
        fields["maps"] = [self._entry(e) for e in placed]
        return Found(image.arrived, image.sha256, picture, placed, fields)

    def names(self, pixels: NDArray[Any], path: str) -> dict[str, Any]:
        """What a rule knows of an image."""
        import numpy as np

        from ...engine.pipeline.rules import names_of
        from ...engine.predict import predict

        found = predict(self.model, pixels, top=1 << 20, **self.runtime)
        if found.numbers is not None:
            return names_of(found.numbers, None, path, classes=False)
        values = np.zeros(1 + max(guess.index for guess in found.top))
        for guess in found.top:
            values[guess.index] = guess.probability
        return names_of(values, self.card.labels, path)

    def _entry(self, e: Explanation) -> dict[str, Any]:
        about = {"method": e.method, "target": str(e.target), "label": e.label, "score": e.score}
        return {**about, "probability": e.probability, "layer": e.layer, "region": self.measures.of(e)}


def explaining(options: WatchOptions) -> Work:
    """The model and what is asked of it, checked before the first image."""
    from ...engine.pipeline.rules import parse
    from ...engine.preprocess.answers import answer_of

    methods, _ = chosen_methods(options.methods, options.settings)
    model = open_model(options.model, options.common.card)
    card = card_of(model, options.common.quiet)
    rule = None
    if options.when is not None:
        answer = answer_of(model)
        if not answer.has_classes and answer.kind != "number":
            raise ModelError(f"--when is about classes or numbers, the output {answer.output!r} holds neither")
        rule = parse(options.when, card.labels if answer.has_classes else None)
    targets = [target_of(text, model, card) for text in options.targets]
    part = None if options.part is None else read_part(options.part)
    workers, runtime = side_by_side((), options.common.runtime)
    measures = Measures(options.threshold, part, options.mm_per_pixel)
    found = Work(model, card, methods, targets, options.layers, rule, measures, options.selection, workers, runtime)
    _warm(found)
    return found


def _warm(work: Work) -> None:
    """Make sessions and compile kernels, and find out what is wrong, by an image of zeros."""
    import numpy as np

    from ...engine.errors import ShapeError, TargetError
    from ..sources.source import ALL

    zeros = np.zeros((*work.card.size, 3), np.uint8)
    plain = Work(**{**vars(work), "selection": ALL, "measures": Measures(), "rule": None})
    try:
        plain.several([Found(Arrived(Path("zeros"), 0, 0), "", zeros)])
        if work.rule is not None:
            work.rule.holds(work.names(zeros, "image.png"))
    except (ShapeError, TargetError):
        return  # of zeros only
