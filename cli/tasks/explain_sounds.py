"""Explanations of sounds: pictures in time and frequency, what is heard, and a page to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.methods import option_names
from .explain_entries import about_of
from .explain_pages import Page, PageExplainer, asked_of
from .over_images import Outcome, over_images

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ...engine.sound.given import Frames, Sound
    from ...engine.targets.target import Target
    from ..files.run import Run
    from .explain import ExplainOptions

# Explanations that stand on the page; the folder has all.
_MOST_ON_PAGE = 200


@dataclass
class SoundExplainer(PageExplainer):
    """One sound in, its explanations out; what the page shows is kept."""

    # The sound that is explained, as a file for the page.
    _whole: str = field(default="", init=False)

    def read(self, path: Path) -> Sound:
        from ..files.sounds import read_sound

        return read_sound(path, frames_of(self.asked.options.frames))

    def one(self, path: Path, sound: Any, folder: str) -> Outcome:
        """Everything about one sound: its results for the manifest, and the files written."""
        maps: list[dict[str, Any]] = []
        left_out: dict[str, str] = {}
        files: list[str] = []
        for target in self.asked.targets:
            for e in self._explanations(sound, target, left_out):
                if not files:
                    self._whole = self._heard(e, folder)
                    files.append(self._whole)
                maps.append(self.entry(e, folder, path.name))
                files += maps[-1]["files"]
        return self.outcome(maps, left_out), files

    def _explanations(self, sound: Sound, target: Target, left_out: dict[str, str]) -> list[Explanation]:
        """One target by every method. Raises MethodError where none fits."""
        from ...engine.attribution.sounds import answer, question_of
        from ...engine.errors import GradientError, MethodError
        from ...engine.explain import solve
        from ...engine.inference.batches import RunOptions

        asked = self.asked
        runtime = RunOptions(**asked.options.common.runtime, batch=asked.options.batch)
        given = {"": sound, **asked.fed} if asked.fed else sound
        plain = question_of(asked.model, given, target, (), runtime)
        at_layers = question_of(asked.model, given, target, asked.options.layers, runtime)
        found: list[Explanation] = []
        for method in asked.methods:
            if method.name in left_out:
                continue
            try:
                found += answer(at_layers if method.at_layer else plain, method, solve)
            except (MethodError, GradientError) as error:
                if not asked.every:
                    raise
                left_out[method.name] = str(error)
                self.warn(f"{method.name} left out: {error}")
        if not found:
            raise MethodError("no method fits this model: `onnxray methods` lists them")
        return found

    def _heard(self, e: Explanation, folder: str) -> str:
        """The sound as the model hears it."""
        from ..files.sounds import wav_of

        assert e.sound is not None
        stem = self.run.name("sound", folder)
        return self.run.data(f"{stem}.wav", wav_of(e.sound.whole, e.sound.rate, _gain(e)))

    def write(self, e: Explanation, stem: str, name: str) -> tuple[dict[str, Any], list[str]]:
        from ..figures import sound
        from ..files.sounds import wav_of

        heard = e.sound
        assert heard is not None
        files = [self.run.array(f"{stem}.npy", e.values)] if "npy" in self.asked.options.formats else []
        if self.draws:
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
            self._keep(e, name, [self._whole, *sounds], pictures)
        about = {
            "rate": heard.rate,
            "start": heard.start,
            "window": heard.plane.window,
            "hop": heard.plane.hop,
            "frames": list(heard.explained),
        }
        return {"sound": about}, files

    def _keep(self, e: Explanation, name: str, sounds: Sequence[str], pictures: Sequence[str]) -> None:
        from ..figures.sound import ends_of

        heard = e.sound
        assert heard is not None
        self.show(
            e,
            name,
            **dict(zip(("sound", "heard", "without"), sounds, strict=True)),
            **dict(zip(("wave", "plane"), pictures, strict=True)),
            whole=(0.0, len(heard.whole) / heard.rate),
            times=ends_of(heard),
            hz=float(heard.frequencies[-1]),
        )


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
    from ...engine.errors import SoundError
    from ...engine.explain import SOUND_METHOD, for_sound
    from ..files.run import Run
    from ..files.sounds import sound_files
    from ..terminal.progress import Progress

    if options.at is not None:
        raise SoundError("a sound is explained in time and frequency by itself: leave --at out")
    named = option_names(options.settings)
    asked = asked_of(options, "sounds", SOUND_METHOD, lambda method: for_sound(method, named))
    found = sound_files(options.images, options.selection.recursive)
    paths = found[:: options.selection.every][: options.selection.limit]
    decisive = {**asked.decisive, "frames": options.frames}
    with (
        Run(options.output, "explain", decisive, about_of(options, asked.model, None), paths) as run,
        Progress(len(paths), quiet=options.common.quiet, bar=options.common.progress, what="sounds") as bar,
    ):
        work = SoundExplainer(asked, run)
        over_images(run, bar, paths, work.one, work.news, bool, work.read)
        work.finish(len(paths), "sound", f"What {Path(options.model).name} hears", page, _MOST_ON_PAGE)
    return run


def frames_of(given: str | int) -> Frames:
    """`strongest`, `all` or a number, as `Sound` takes it."""
    return given if isinstance(given, int) else "all" if given == "all" else "strongest"
