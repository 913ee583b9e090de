"""DeepDream: a picture for each image and objective, a sheet of all, and the frames and films of endless zooms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import find_images, open_model, warn
from .visualize import chosen_class, described_card

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.dream import Dream, Dreamer
    from ...engine.graph.model import Model
    from ...engine.optimize.dream.octaves import Dreamed
    from ...engine.optimize.dream.recipe import DreamRecipe
    from ...engine.optimize.dream.slope import Slope
    from ...engine.optimize.dream.zoom import Zoom
    from ...engine.optimize.objective import Objective
    from ..figures.parts import Section
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common
    from ..terminal.progress import Progress
    from .subject import Subject

Entry = dict[str, Any]


@dataclass(frozen=True)
class DreamOptions:
    """What `onnxray dream` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    layers: Sequence[str]
    channel: int | None
    classes: Sequence[str]
    objectives: Sequence[str]
    guide: str | None
    together: bool
    weights: Sequence[float]
    octaves: int | None
    ratio: float
    steps: int
    rate: float
    jitter: int
    blurs: Sequence[float]
    rainbow: bool
    tile: int
    overlap: int
    seed: int
    zoom: int | None
    zoom_factor: float
    zoom_turn: float
    zoom_octaves: int
    zoom_steps: int
    fps: float
    output: Output
    common: Common


@dataclass(frozen=True)
class _Start:
    """What is dreamed of: noise, or a file whose bytes have this hash."""

    name: str
    path: Path | None
    sha256: str | None


@dataclass(frozen=True)
class _Wanted:
    """One picture: its number, where it starts, and what it is dreamed for; `objective` None: all of them together."""

    number: int
    start: _Start
    objective: Objective | None


@dataclass(frozen=True)
class _Work:
    """All that the pictures of a run share."""

    options: DreamOptions
    dreamer: Dreamer
    objectives: Sequence[Objective]
    weights: Sequence[float]
    zoom: Zoom | None
    size: tuple[int, int] | None


def dream(options: DreamOptions) -> Run:
    """Dream and write the pictures, one after the other, then the sheet; the run, at its end.

    Raises what `onnxray.dream` raises; ImageError, OutputError.
    """
    from ..files.manifest import read_manifest
    from ..files.run import Run, describe
    from ..terminal.progress import Progress

    common = options.common
    starts = _starts(options)
    work, model = _work(options)
    described = described_card(model, common.quiet)
    wanted = _wanted(work, starts)
    about = {"model": describe(model), "card": described, "layers": [str(o) for o in work.objectives]}
    earlier = read_manifest(options.output.folder) if options.output.resume else None
    with (
        Progress(len(wanted), "pictures", quiet=common.quiet, bar=common.progress) as bar,
        Run(options.output, "dream", {**_described(work), **common.runtime}, about) as run,
    ):
        entries = _kept(run, earlier, wanted)
        bar.done = len(entries)
        _record(run, entries)
        for one in wanted:
            if one.number in entries:
                continue
            entries[one.number] = _dreamed(run, work, one, bar)
            bar.step(entries[one.number]["objective"])
            _record(run, entries)
            run.flush()
        run.manifest["files"].append(run.picture("sheet.png", sheet(run.folder, list(entries.values()))))
    return run


def _starts(options: DreamOptions) -> list[_Start]:
    """Raises ImageError where there is no such file."""
    from ...engine.dream import NOISE
    from ..files.run import digest_of

    names = [name for name in options.images if name != NOISE or Path(name).exists()]
    found = [_Start(path.stem, path, digest_of(path)) for path in find_images(names)] if names else []
    return found + [_Start(NOISE, None, None)] * (len(names) < len(options.images))


def _work(options: DreamOptions) -> tuple[_Work, Model]:
    """What the command line asks for. Raises MethodError, UnknownName, TargetError, ModelError, CardError."""
    from ...engine.dream import Dreamer
    from ...engine.errors import MethodError
    from ...engine.inference.batches import RunOptions
    from ...engine.optimize.canvas import canvas_of, labels_of

    card = dict(options.common.card)
    size = card.pop("size", None)
    model = open_model(options.model, card)
    recipe = _recipe(options)
    dreamer = Dreamer(model, canvas_of(model), labels_of(model), recipe, RunOptions(**options.common.runtime))
    objectives = _objectives(options, dreamer)
    weights = list(options.weights) or [1.0] * len(objectives)
    if options.weights and not options.together:
        raise MethodError("weights have no effect on pictures of one objective each: give --together as well")
    side = (size, size) if isinstance(size, int) else size
    return _Work(options, dreamer, objectives, weights, _zoom(options), side), model


def _recipe(options: DreamOptions) -> DreamRecipe:
    from ...engine.optimize.dream.recipe import BLURS, DreamRecipe

    blurs = tuple(sigma for sigma in options.blurs if sigma != 0) if options.blurs else BLURS
    return DreamRecipe(
        octaves=options.octaves,
        ratio=options.ratio,
        steps=options.steps,
        rate=options.rate,
        jitter=options.jitter,
        blurs=blurs,
        colours=not options.rainbow,
        tile=options.tile,
        overlap=options.overlap,
        seed=options.seed,
    )


def _zoom(options: DreamOptions) -> Zoom | None:
    from ...engine.optimize.dream.zoom import zoom_of

    return zoom_of(options.zoom, options.zoom_factor, options.zoom_turn, options.zoom_octaves, options.zoom_steps)


def _objectives(options: DreamOptions, dreamer: Dreamer) -> list[Objective]:
    from ...engine.errors import MethodError
    from ...engine.optimize.units import objectives_of

    others = options.channel is not None or options.classes or options.objectives
    if options.guide is not None:
        from ..files.photos import read_photo

        if not options.layers or others:
            raise MethodError(
                "a guide is followed in a layer: give --layer and neither a channel, a class nor an objective"
            )
        pixels = read_photo(options.guide, dreamer.canvas.card)
        return [dreamer.guided(name, pixels) for name in options.layers]
    return objectives_of(
        dreamer.model,
        layer=list(options.layers) or None,
        channel=options.channel,
        target=[chosen_class(text) for text in options.classes] or None,
        objective=list(options.objectives) or None,
    )


def _wanted(work: _Work, starts: Sequence[_Start]) -> list[_Wanted]:
    each: list[Objective | None] = [None] if work.options.together else list(work.objectives)
    return [_Wanted(n, s, o) for n, (s, o) in enumerate((s, o) for s in starts for o in each)]


def _described(work: _Work) -> dict[str, Any]:
    """What decides about the results, as JSON-like data."""
    from ...engine.dream import options_of

    options = work.options
    guide = None
    if options.guide is not None:
        from ..files.run import digest_of

        guide = digest_of(Path(options.guide))
    return {
        **options_of(work.dreamer.recipe),
        "size": list(work.size) if work.size else None,
        "guide_sha256": guide,
        "together": options.together,
        "weights": list(work.weights),
        "zoom": vars(work.zoom) if work.zoom else None,
        "fps": options.fps if work.zoom else None,
    }


def _kept(run: Run, earlier: Mapping[str, Any] | None, wanted: Sequence[_Wanted]) -> dict[int, Entry]:
    """The pictures of the run that is continued that are wanted still, and whose files are there."""
    asked = {one.number: one for one in wanted}
    found: dict[int, Entry] = {}
    for entry in (earlier or {}).get("pictures", ()):
        one = asked.get(entry.get("number", -1)) if isinstance(entry, dict) else None
        files = entry.get("files") if isinstance(entry, dict) else None
        same = one is not None and entry.get("image_sha256") == one.start.sha256 and entry.get("image") == _image(one)
        if one is not None and same and isinstance(files, list) and all((run.folder / str(f)).is_file() for f in files):
            found[one.number] = entry
            for name in files:
                run.name(str(name))
    return found


def _image(one: _Wanted) -> str:
    return str(one.start.path or one.start.name)


def _record(run: Run, entries: Mapping[int, Entry]) -> None:
    run.manifest["pictures"] = [entries[n] for n in sorted(entries)]
    run.manifest["files"] = [name for n in sorted(entries) for name in entries[n]["files"]]


def _dreamed(run: Run, work: _Work, one: _Wanted, bar: Progress) -> Entry:
    """Dream one picture, with its zoom, and write its files; its entry of the manifest."""
    from ...engine.dream import warnings_of

    dreamer = work.dreamer
    original = dreamer.start(_pixels(one.start, dreamer), work.size)
    objective = one.objective or dreamer.objective(work.objectives, work.weights, original)
    frames = work.zoom.frames if work.zoom else 0

    def on_step(step: int, steps: int, score: float) -> None:
        bar.part((step + 1) / steps / (1 + frames), f"{one.start.name}, {objective}: {score:.4g}")

    if work.zoom:
        work.zoom.check((original.shape[1], original.shape[2]))
    slope, made = dreamer.dream(objective, original, on_step)
    for text in warnings_of(slope):
        warn(f"{one.start.name}: {text}", work.options.common.quiet)
    base = run.name(f"{one.start.name}-{objective}")
    files = _files(run, dreamer, base, original, made)
    if work.zoom:
        files += _film(run, work, base, slope, made, bar)
    return {
        "number": one.number,
        "image": _image(one),
        "image_sha256": one.start.sha256,
        "objective": str(objective),
        "before": made.before,
        "after": made.after,
        "octaves": [list(size) for size in made.sizes],
        "size": list(made.picture.shape[1:]),
        "warnings": list(warnings_of(slope)),
        "files": files,
    }


def _pixels(start: _Start, dreamer: Dreamer) -> Any:
    """Raises ImageError."""
    from ..files.photos import read_photo

    return None if start.path is None else read_photo(start.path, dreamer.canvas.card)


def _files(run: Run, dreamer: Dreamer, base: str, original: NDArray[np.float32], made: Dreamed) -> list[str]:
    """The picture, the picture before, and all channels where a PNG cannot hold them."""
    shown = dreamer.canvas.shown
    files = [
        run.picture(f"{base}.png", shown(made.picture[None])[0]),
        run.picture(run.name(f"{base}-before.png"), shown(original[None])[0]),
    ]
    if dreamer.canvas.channels not in (1, 3):
        files.append(run.array(f"{base}.npy", made.picture))
    return files


def _film(run: Run, work: _Work, base: str, slope: Slope, made: Dreamed, bar: Progress) -> list[str]:
    """The frames of an endless zoom, and the film."""
    from ..files.images import read
    from ..files.video import VideoWriter

    assert work.zoom is not None
    folder = run.name(f"{base}-zoom")
    names = [f"{folder}/{number:04d}.png" for number in range(work.zoom.frames + 1)]
    for number, picture in _frames(work, slope, made, bar, run.folder, names):
        run.picture(names[number], work.dreamer.canvas.shown(picture[None])[0])
    film = run.name(f"{base}.mp4")
    with VideoWriter(run.folder / film, work.options.fps) as video:
        for name in names:
            video.add(read(run.folder / name))
    return [*names, film]


def _frames(
    work: _Work, slope: Slope, made: Dreamed, bar: Progress, folder: Path, names: Sequence[str]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Frames and their numbers; with --resume, those behind the last that is there."""
    from ...engine.optimize.dream.zoom import frames_after
    from ..files.images import read

    zoom, last = work.zoom, made.picture
    assert zoom is not None
    done = 0
    if work.options.output.resume and work.dreamer.canvas.channels in (1, 3):
        while done < len(names) and (folder / names[done]).is_file():
            done += 1
    if done:
        last = work.dreamer.start(read(folder / names[done - 1]), None)
    else:
        yield 0, last
    for number, found in frames_after(slope, last, work.dreamer.recipe, zoom, max(1, done)):
        bar.part((1 + number) / (1 + zoom.frames), f"frame {number} of {zoom.frames}")
        yield number, found.picture


def sheet(folder: Path, entries: Sequence[Entry]) -> NDArray[np.uint8]:
    """A grid: an image a row, first as it was, then its dreams with what they were dreamed for and the objective."""
    from ..figures import figure
    from ..files.images import decode, read_bytes

    def shown(name: str) -> figure.Block:
        return figure.picture(decode(read_bytes(folder / name), where=name), _PANEL)

    rows: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda e: e["number"]):
        rows.setdefault(entry["image"], []).append(entry)
    blocks = []
    for image, row in rows.items():
        panels = [figure.panel(shown(row[0]["files"][1]), Path(image).stem, "the image")]
        for entry in row:
            note = f"{figure.number(entry['before'])} to {figure.number(entry['after'])}"
            panels.append(figure.panel(shown(entry["files"][0]), entry["objective"], note))
        blocks.append(figure.side_by_side(panels))
    line = "Each image was changed until the network sees more of what is named above it; below, the objective."
    return figure.page("Dreams", [line], [figure.stack(blocks)])


# The longer side of a picture on the sheet, in pixels.
_PANEL = 300


def section(subject: Subject) -> Section:
    """Dreams of the image looked at closely by a high layer, small and in few steps, for a report."""
    from ...engine.errors import OnnxrayError
    from ..figures import figure
    from ..figures.parts import Section, Tile, Tiles

    path, pixels = subject.focused
    pixels = subject.picture(pixels)
    tiles = [Tile(path.name, figure.picture(pixels, _SMALL), "the image")]
    reason = "the model has no maps of features"
    for layer in _depths(subject.model):
        try:
            found = _small_dream(subject, pixels, layer)
        except OnnxrayError as error:
            reason = str(error)
            continue
        note = f"{figure.number(float(found.starts[0]))} to {figure.number(float(found.activations[0]))}"
        tiles.append(Tile(layer, figure.picture(found.images[0], _SMALL), note))
    if len(tiles) == 1:
        return Section("Dreams", f"The model does not dream: {reason}.")
    lead = (
        "DeepDream: the image is changed until a layer's activations are as large as a few steps make them. What the "
        "layer sees in the image becomes visible; below, the mean square of its activations."
    )
    return Section("Dreams", lead, [Tiles(tuple(tiles))])


# The longer side of a dream in the report, in pixels, and the depths of its layers; each costs a second.
_SMALL, _DEPTHS = 160, (0.9,)


def _depths(model: Model) -> list[str]:
    """Layers of these depths, as shares of those that end in maps."""
    maps = [layer for layer in model.layers if layer.map_axes is not None and len(layer.map_axes) == 2]
    return list(dict.fromkeys(maps[int(share * (len(maps) - 1))].name for share in _DEPTHS)) if maps else []


def _small_dream(subject: Subject, pixels: NDArray[np.uint8], layer: str) -> Dream:
    from ...engine.dream import dream as dream_of
    from ...engine.errors import ShapeError

    factor = _SMALL / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[0] * factor)), max(1, round(pixels.shape[1] * factor)))
    runtime: dict[str, Any] = dict(subject.work.runtime)
    try:
        return dream_of(subject.model, pixels, layer, size=size, octaves=1, steps=10, **runtime)
    except ShapeError:  # a network of one size only
        return dream_of(subject.model, pixels, layer, size=subject.card.size, octaves=1, steps=10, **runtime)
