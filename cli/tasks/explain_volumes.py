"""Explanations of volumes: slices, a slider page, and the heat as a volume of its own. No result names a patient."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import open_model
from ..parameters.methods import DEFAULT
from .explain_entries import about_of
from .explain_pages import Page, PageExplainer, asked_of
from .over_images import Outcome
from .solving import both, solutions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.volumes.given import Volume
    from ..files.run import Run
    from .explain import ExplainOptions

# Slices of a strip, and their side in pixels.
_SLICES, _SIDE = 96, 320


@dataclass
class VolumeExplainer(PageExplainer):
    """One volume in, its explanations out; what the page shows is kept.

    paths: name of a result -> the volume's own path, which may name a patient and is written nowhere.
    """

    paths: Mapping[Path, Path] = field(default_factory=dict)

    def read(self, name: Path) -> tuple[Volume, Sequence[str]]:
        from ..files.volumes import read_volume

        return read_volume(self.paths[name])

    def one(self, path: Path, read: Any, folder: str) -> Outcome:
        """Everything about one volume: its results for the manifest, and the files written."""
        volume, notes = read
        left_out: dict[str, str] = {}
        for text in notes:
            self.warn(text, path.name)
        maps = [self.entry(e, folder, path.name) for e in self._explanations(volume, left_out)]
        about = {"shape": list(volume.shape), "spacing": list(volume.spacing), "notes": list(notes)}
        return {"volume": about, **self.outcome(maps, left_out)}, [file for found in maps for file in found["files"]]

    def _explanations(self, volume: Volume, left_out: dict[str, str]) -> list[Explanation]:
        """Every target by every method. Raises MethodError where none fits."""
        from ...engine.attribution.volumes import input_of_volume
        from ...engine.explain import problem_of
        from ...engine.inference.batches import RunOptions

        asked = self.asked
        runtime = RunOptions(**asked.options.common.runtime, batch=asked.options.batch)
        given = input_of_volume(asked.model, {"": volume, **asked.fed})
        made = functools.partial(problem_of, asked.model, given.feeds, runtime=runtime)
        questions = (both(functools.partial(made, target), asked.options.layers) for target in asked.targets)
        answers = solutions(questions, asked.methods, asked.every, left_out, self.warn)
        return [e for _, found in answers for e in given.shown(found)]

    def write(self, e: Explanation, stem: str, name: str) -> tuple[dict[str, Any], list[str]]:
        from ..figures import volume
        from ..files.nifti import nifti_of

        shown = e.volume
        assert shown is not None
        files, heat = [], None
        if "npy" in self.asked.options.formats:
            files.append(self.run.array(f"{stem}.npy", e.values))
            heat = self.run.data(f"{stem}.nii.gz", nifti_of(shown.values, shown.affine))
            files.append(heat)
        if self.draws:
            view = volume.view_of(e)
            strip, numbers = volume.strip_of(view, _SLICES, _SIDE)
            files.append(self.run.picture(f"{stem}.png", volume.figure_of(e, f"Explanation of {name}")))
            files.append(self._jpeg(f"{stem}-slices.jpg", strip))
            hot = view.turn.place(shown.hottest, view.shape)[0]
            self.show(
                e,
                name,
                figure=files[-2],
                strip=files[-1],
                heat=heat,
                numbers=numbers,
                first=min(range(len(numbers)), key=lambda i: abs(i * max(1, -(-len(view.values) // _SLICES)) - hot)),
                ratio=strip.shape[1] / (strip.shape[0] / len(numbers)),
            )
        return {"hottest": {"voxel": list(shown.hottest), "mm": list(shown.hottest_mm)}}, files

    def _jpeg(self, name: str, picture: NDArray[Any]) -> str:
        from ..files.images import encode

        return self.run.data(name, encode(picture, ".jpg", 88))


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
    from ...engine.errors import VolumeError
    from ..files.run import Run
    from ..terminal.progress import Progress

    if options.at is not None:
        raise VolumeError("a volume is explained by its voxels: leave --at out, or give an array")
    asked = asked_of(options, "volumes", DEFAULT)
    given = [Path(name) for name in options.images]
    paths = _named(given[:: options.selection.every][: options.selection.limit])
    with (
        Run(options.output, "explain", asked.decisive, about_of(options, asked.model, None), list(paths)) as run,
        Progress(len(paths), quiet=options.common.quiet, bar=options.common.progress, what="volumes") as bar,
    ):
        work = VolumeExplainer(asked, run, paths=paths)
        for name in paths:
            for text in _done(run, work, name):
                bar.say(text)
            bar.step(name.name)
        work.finish(len(paths), "volume", f"Where {Path(options.model).name} looks", page)
    return run
