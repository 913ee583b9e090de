"""Explanations of volumes: slices, a slider page, and the heat as a volume of its own. No result names a patient."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..parameters.inputs import open_model, refuse_crop, refuse_part
from ..parameters.methods import DEFAULT, chosen_methods
from .explain import check_options
from .explain_entries import about_of, decisive_of, entry_of, file_name, left_out_of_all
from .news import News
from .solving import both, solutions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.targets.target import Target
    from ...engine.volumes.given import Volume
    from ..files.run import Run
    from .explain import ExplainOptions

PAGE = "index.html"
Page: TypeAlias = "Callable[[str, str, Sequence[Mapping[str, Any]]], str]"
# Slices of a strip, and their side in pixels.
_SLICES, _SIDE = 96, 320


@dataclass
class VolumeExplainer:
    """One volume in, its explanations out; what the page shows is kept.

    paths: name of a result -> the volume's own path, which may name a patient and is written nowhere.
    """

    model: Model
    targets: Sequence[Target]
    methods: Sequence[Method]
    every: bool
    options: ExplainOptions
    fed: Mapping[str, NDArray[Any]]
    run: Run
    paths: Mapping[Path, Path]
    shown: list[dict[str, Any]] = field(default_factory=list)
    _news: News = field(default_factory=News)

    def read(self, name: Path) -> tuple[Volume, Sequence[str]]:
        from ..files.volumes import read_volume

        return read_volume(self.paths[name])

    def one(self, path: Path, read: Any, folder: str) -> tuple[dict[str, Any], list[str]]:
        """Everything about one volume: its results for the manifest, and the files written."""
        volume, notes = read
        maps: list[dict[str, Any]] = []
        left_out: dict[str, str] = {}
        files: list[str] = []
        for text in notes:
            self._news.warn(text, path.name)
        for e in self._explanations(volume, left_out):
            maps.append(self._write(e, folder, path.name))
            files += maps[-1]["files"]
            for text in e.warnings:
                self._news.warn(text, e.method)
            self._news.say(f"{path.name}: {e.method}: {e.label}, {e.score_text}")
        about = {"shape": list(volume.shape), "spacing": list(volume.spacing), "notes": list(notes)}
        return {"volume": about, "maps": maps, **({"left_out": left_out} if left_out else {})}, files

    def _explanations(self, volume: Volume, left_out: dict[str, str]) -> list[Explanation]:
        """Every target by every method. Raises MethodError where none fits."""
        from ...engine.attribution.volumes import input_of_volume
        from ...engine.explain import problem_of
        from ...engine.inference.batches import RunOptions

        runtime = RunOptions(**self.options.common.runtime, batch=self.options.batch)
        given = input_of_volume(self.model, {"": volume, **self.fed})
        made = functools.partial(problem_of, self.model, given.feeds, runtime=runtime)
        questions = (both(functools.partial(made, target), self.options.layers) for target in self.targets)
        answers = solutions(questions, self.methods, self.every, left_out, self._news.warn)
        return [e for _, found in answers for e in given.shown(found)]

    def _write(self, e: Explanation, folder: str, name: str) -> dict[str, Any]:
        from ..figures import volume
        from ..files.nifti import nifti_of

        shown = e.volume
        assert shown is not None
        several = len(self.targets) > 1 or any(target.is_several for target in self.targets)
        stem = self.run.name(f"{e.method}-{file_name(e)}" if several else e.method, folder)
        files, heat = [], None
        if "npy" in self.options.formats:
            files.append(self.run.array(f"{stem}.npy", e.values))
            heat = self.run.data(f"{stem}.nii.gz", nifti_of(shown.values, shown.affine))
            files.append(heat)
        if {"heatmap", "overlay", "sheet"} & set(self.options.formats):
            view = volume.view_of(e)
            strip, numbers = volume.strip_of(view, _SLICES, _SIDE)
            files.append(self.run.picture(f"{stem}.png", volume.figure_of(e, f"Explanation of {name}")))
            files.append(self._jpeg(f"{stem}-slices.jpg", strip))
            hot = view.turn.place(shown.hottest, view.shape)[0]
            first = min(range(len(numbers)), key=lambda i: abs(i * max(1, -(-len(view.values) // _SLICES)) - hot))
            self.shown.append(
                {
                    "name": name,
                    "said": f"{e.method}{f' at {e.layer}' if e.layer else ''}: {e.label}, {e.score_text}",
                    "warnings": e.warnings[:3],
                    "figure": files[-2],
                    "strip": files[-1],
                    "heat": heat,
                    "numbers": numbers,
                    "first": first,
                    "ratio": strip.shape[1] / (strip.shape[0] / len(numbers)),
                }
            )
        hottest = {"voxel": list(shown.hottest), "mm": list(shown.hottest_mm)}
        return {**entry_of(e), "hottest": hottest, "files": files}

    def _jpeg(self, name: str, picture: NDArray[Any]) -> str:
        from ..files.images import encode

        return self.run.data(name, encode(picture, ".jpg", 88))

    def news(self) -> list[str]:
        """What is to be said since the last call."""
        return self._news.take()


def takes_volumes(options: ExplainOptions) -> bool:
    """Whether a run is about volumes: NIfTI files, or DICOM for a model that reads three axes of space."""
    from ...engine.volumes.fitting import takes_volumes as reads_volumes
    from ..files.nifti import is_nifti
    from ..files.volumes import is_volume_path

    paths = [Path(name) for name in options.images]
    if not paths or not all(map(is_volume_path, paths)):
        return False
    if all(path.is_file() and is_nifti(path) for path in paths):
        return True
    return reads_volumes(open_model(options.model, options.common.card))


def _named(paths: Sequence[Path]) -> dict[Path, Path]:
    """What results are called -> the path: names of NIfTI files, numbers of DICOM, as folders name patients."""
    from ..files.nifti import is_nifti

    found: dict[Path, Path] = {}
    for number, path in enumerate(paths, 1):
        found[path if path.is_file() and is_nifti(path) else Path(f"scan-{number}")] = path
    return found


def _done(run: Run, work: VolumeExplainer, name: Path) -> list[str]:
    """The entry of one volume put into the manifest; what is to be said. One that fails alone is raised."""
    from ...engine.errors import OnnxrayError, OutputError, RuntimeUnavailable
    from ..files.run import done, failed

    try:
        read = work.read(name)
        results, files = work.one(name, read, run.folder_for(name, name.name.partition(".")[0]))
    except (OutputError, RuntimeUnavailable):
        raise
    except OnnxrayError as error:
        if len(work.paths) == 1:
            raise
        run.add(failed(name, error))
        return [f"{name.name} failed: {error}"]
    run.add(done(name, hashlib.sha256(read[0].values.tobytes()).hexdigest(), files, **results))
    return work.news()


def explain_volumes(options: ExplainOptions, page: Page) -> Run:
    """Explain every volume; the run, at its end. Raises as `explain` does, VolumeError."""
    from ...engine.errors import OutputError, VolumeError
    from ...engine.targets.target import Target
    from ..files.arrays import fed
    from ..files.run import Run
    from ..terminal.progress import Progress

    common = options.common
    if options.output.resume:
        raise OutputError("volumes are explained anew each time: give --force in place of --resume")
    if options.at is not None:
        raise VolumeError("a volume is explained by its voxels: leave --at out, or give an array")
    refuse_crop(options.selection)
    refuse_part(options.share)
    model = open_model(options.model, common.card)
    given_paths = [Path(name) for name in options.images]
    paths = _named(given_paths[:: options.selection.every][: options.selection.limit])
    methods, every = chosen_methods(options.methods or (DEFAULT,), options.settings)
    targets = [Target.parse(text) for text in options.targets]
    check_options(model, options, methods)
    given = fed(options.feeds, model)
    about = {**decisive_of(options, methods, targets), "with": sorted(options.feeds)}
    with (
        Run(options.output, "explain", about, about_of(options, model, None), list(paths)) as run,
        Progress(len(paths), quiet=common.quiet, bar=common.progress, what="volumes") as bar,
    ):
        work = VolumeExplainer(model, targets, methods, every, options, given, run, paths)
        for name in paths:
            for text in _done(run, work, name):
                bar.say(text)
            bar.step(name.name)
        if work.shown:
            said = f"{len(paths)} volume{'s' * (len(paths) != 1)}, {', '.join(m.name for m in methods)}"
            title = f"Where {Path(options.model).name} looks"
            run.manifest["files"] = [run.text(PAGE, page(title, said, work.shown))]
        if left_out := left_out_of_all(run.entries):
            run.manifest["left_out"] = left_out
    return run
