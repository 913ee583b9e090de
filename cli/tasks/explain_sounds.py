"""Explanations of sounds: pictures in time and frequency, what is heard, and a page to listen to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..parameters.inputs import open_model, refuse_crop, refuse_part
from ..parameters.methods import chosen_methods, option_names
from .explain import check_options
from .explain_entries import about_of, decisive_of, entry_of, file_name, left_out_of_all
from .news import News
from .over_images import Outcome, over_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.sound.given import Frames, Sound
    from ...engine.targets.target import Target
    from ..files.run import Run
    from .explain import ExplainOptions

PAGE = "index.html"
# Of a title, what the run is about, and what the page shows of each explanation.
Page: TypeAlias = "Callable[[str, str, Sequence[Mapping[str, Any]]], str]"
# Explanations that stand on the page; the folder has all.
_MOST_ON_PAGE = 200


@dataclass
class SoundExplainer:
    """One sound in, its explanations out; what the page shows is kept."""

    model: Model
    targets: Sequence[Target]
    methods: Sequence[Method]
    every: bool
    options: ExplainOptions
    fed: Mapping[str, NDArray[Any]]
    run: Run
    shown: list[dict[str, Any]] = field(default_factory=list)
    _news: News = field(default_factory=News)

    def read(self, path: Path) -> Sound:
        from ..files.sounds import read_sound

        return read_sound(path, frames_of(self.options.frames))

    def one(self, path: Path, sound: Any, folder: str) -> Outcome:
        """Everything about one sound: its results for the manifest, and the files written."""
        maps: list[dict[str, Any]] = []
        left_out: dict[str, str] = {}
        files: list[str] = []
        for target in self.targets:
            for e in self._explanations(sound, target, left_out):
                if not files:
                    files += self._heard(e, folder)
                maps.append(self._write(e, folder, path.name, files[0]))
                files += maps[-1]["files"]
                for text in e.warnings:
                    self._news.warn(text, e.method)
                self._news.say(f"{path.name}: {e.method}: {e.label}, {e.score_text}")
        return {"maps": maps, **({"left_out": left_out} if left_out else {})}, files

    def _explanations(self, sound: Sound, target: Target, left_out: dict[str, str]) -> list[Explanation]:
        """One target by every method. Raises MethodError where none fits."""
        from ...engine.attribution.sounds import answer, question_of
        from ...engine.errors import GradientError, MethodError
        from ...engine.explain import solve
        from ...engine.inference.batches import RunOptions

        runtime = RunOptions(**self.options.common.runtime, batch=self.options.batch)
        given = {"": sound, **self.fed} if self.fed else sound
        plain = question_of(self.model, given, target, (), runtime)
        at_layers = question_of(self.model, given, target, self.options.layers, runtime)
        found: list[Explanation] = []
        for method in self.methods:
            if method.name in left_out:
                continue
            try:
                found += answer(at_layers if method.at_layer else plain, method, solve)
            except (MethodError, GradientError) as error:
                if not self.every:
                    raise
                left_out[method.name] = str(error)
                self._news.warn(f"{method.name} left out: {error}")
        if not found:
            raise MethodError("no method fits this model: `onnxray methods` lists them")
        return found

    def _heard(self, e: Explanation, folder: str) -> list[str]:
        """The sound as the model hears it, and the picture of its wave."""
        from ..files.sounds import wav_of

        assert e.sound is not None
        stem = self.run.name("sound", folder)
        return [self.run.data(f"{stem}.wav", wav_of(e.sound.whole, e.sound.rate, _gain(e)))]

    def _write(self, e: Explanation, folder: str, name: str, whole: str) -> dict[str, Any]:
        from ..figures import sound
        from ..files.sounds import wav_of

        heard = e.sound
        assert heard is not None
        several = len(self.targets) > 1 or any(target.is_several for target in self.targets)
        stem = self.run.name(f"{e.method}-{file_name(e)}" if several else e.method, folder)
        files = [self.run.array(f"{stem}.npy", e.values)] if "npy" in self.options.formats else []
        if {"heatmap", "overlay", "sheet"} & set(self.options.formats):
            part = sound.spread(heard, heard.heard)
            files.append(self.run.picture(f"{stem}.png", sound.figure_of(e, f"Explanation of {name}")))
            pictures = [
                self.run.picture(f"{stem}-wave.png", sound.wave_picture(heard)),
                self.run.picture(f"{stem}-plane.png", sound.plane_picture(e)),
            ]
            sounds = [
                self.run.data(f"{stem}-heard.wav", wav_of(part, heard.rate, _gain(e))),
                self.run.data(f"{stem}-without.wav", wav_of(heard.whole - part, heard.rate, _gain(e))),
            ]
            files += [*pictures, *sounds]
            self._keep(e, name, [whole, *sounds], pictures)
        about = {
            "rate": heard.rate,
            "start": heard.start,
            "window": heard.plane.window,
            "hop": heard.plane.hop,
            "frames": list(heard.explained),
        }
        return {**entry_of(e), "sound": about, "files": files}

    def _keep(self, e: Explanation, name: str, sounds: Sequence[str], pictures: Sequence[str]) -> None:
        from ..figures.sound import ends_of

        heard = e.sound
        assert heard is not None
        self.shown.append(
            {
                "name": name,
                "said": f"{e.method}{f' at {e.layer}' if e.layer else ''}: {e.label}, {e.score_text}",
                "warnings": e.warnings[:3],
                **dict(zip(("sound", "heard", "without"), sounds, strict=True)),
                **dict(zip(("wave", "plane"), pictures, strict=True)),
                "whole": (0.0, len(heard.whole) / heard.rate),
                "times": ends_of(heard),
                "hz": float(heard.frequencies[-1]),
            }
        )

    def news(self, path: Path) -> list[str]:
        """What is to be said since the last call."""
        return self._news.take()


def _gain(e: Explanation) -> float:
    """What keeps every one of the three sounds within full scale."""
    import numpy as np

    assert e.sound is not None
    most = max(float(np.abs(part).max()) for part in (e.sound.whole, e.sound.samples, e.sound.heard, e.sound.without))
    return 1.0 if most <= 1 else 1 / most


def takes_sounds(options: ExplainOptions) -> bool:
    """Whether a run is about sounds: files of them, by content, or folders and patterns that hold nothing but them."""
    from ..files.sounds import SUFFIXES, is_sound_file

    def is_one(name: str) -> bool:
        path = Path(name)
        if path.is_dir():
            kinds = (p.suffix.lower() in SUFFIXES for p in path.iterdir() if p.is_file())
            return next(kinds, False) and all(kinds)
        return is_sound_file(path) or (not path.exists() and name.lower().endswith(SUFFIXES))

    return bool(options.images) and all(map(is_one, options.images))


def explain_sounds(options: ExplainOptions, page: Page) -> Run:
    """Explain every sound; the run, at its end. Raises as `explain` does, SoundError."""
    from ...engine.errors import OutputError, SoundError
    from ...engine.explain import SOUND_METHOD, for_sound
    from ...engine.targets.target import Target
    from ..files.arrays import fed
    from ..files.run import Run
    from ..files.sounds import sound_files
    from ..terminal.progress import Progress

    common = options.common
    if options.output.resume:
        raise OutputError("sounds are explained anew each time: give --force in place of --resume")
    if options.at is not None:
        raise SoundError("a sound is explained in time and frequency by itself: leave --at out")
    refuse_crop(options.selection)
    refuse_part(options.share)
    model = open_model(options.model, common.card)
    found = sound_files(options.images, options.selection.recursive)
    paths = found[:: options.selection.every][: options.selection.limit]
    methods, every = chosen_methods(options.methods or (SOUND_METHOD,), options.settings)
    named = option_names(options.settings)
    methods = [for_sound(method, named) for method in methods]
    targets = [Target.parse(text) for text in options.targets]
    check_options(model, options, methods)
    given = fed(options.feeds, model)
    about = {**decisive_of(options, methods, targets), "with": sorted(options.feeds), "frames": options.frames}
    with (
        Run(options.output, "explain", about, about_of(options, model, None), paths) as run,
        Progress(len(paths), quiet=common.quiet, bar=common.progress, what="sounds") as bar,
    ):
        work = SoundExplainer(model, targets, methods, every, options, given, run)
        over_images(run, bar, paths, work.one, work.news, bool, work.read)
        if work.shown:
            said = f"{len(paths)} sound{'s' * (len(paths) != 1)}, {', '.join(m.name for m in methods)}"
            title = f"What {Path(options.model).name} hears"
            run.manifest["files"] = [run.text(PAGE, page(title, said, work.shown[:_MOST_ON_PAGE]))]
        if left_out := left_out_of_all(run.entries):
            run.manifest["left_out"] = left_out
    return run


def frames_of(given: str | int) -> Frames:
    """`strongest`, `all` or a number, as `Sound` takes it."""
    return given if isinstance(given, int) else "all" if given == "all" else "strongest"
