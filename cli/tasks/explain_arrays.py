"""Explanations of what is no image: arrays of NumPy's files, and values inside a model."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import card_or_none, find_images, open_model, refuse_crop, refuse_part
from ..parameters.methods import DEFAULT, chosen_methods
from .explain import check_options, target_of
from .explain_entries import about_of, decisive_of, entry_of, file_name, left_out_of_all
from .news import News
from .over_images import Outcome, over_images
from .solving import both, solutions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.preprocess.card import Card
    from ...engine.targets.target import Target
    from ..files.run import Run
    from .explain import ExplainOptions

# Explanations of one file that are drawn; of more, only the values are written.
_MOST_DRAWN = 64


@dataclass
class ArrayExplainer:
    """One file of arrays (or a picture, where a value inside is explained) in, its explanations out.

    fed: further inputs, the same for every file. every: whether `all` is asked for.
    """

    model: Model
    card: Card | None
    targets: Sequence[Target]
    methods: Sequence[Method]
    every: bool
    options: ExplainOptions
    fed: Mapping[str, NDArray[Any]]
    run: Run
    _news: News = field(default_factory=News)

    def read(self, path: Path) -> Any:
        """What a file gives the model: an array, {input: array}, or the pixels of a picture."""
        from ..files.arrays import given_of

        return given_of(path, self.model, self.fed, self.card)

    def one(self, path: Path, given: Any, folder: str) -> Outcome:
        """Everything about one file: its results for the manifest, and the files written."""
        maps: list[dict[str, Any]] = []
        files: list[str] = []
        left_out: dict[str, str] = {}
        said: list[str] = []
        for number, (sample, e, x) in enumerate(self.explanations(given, left_out)):
            entry = self._write(e, x, folder, path.name, number, sample)
            maps.append(entry)
            files += entry["files"]
            for text in e.warnings:
                self._news.warn(text, e.method)
            if len(said) < 3:
                said.append(f"{e.method}: {e.label}, {e.score_text}")
        self._news.say(f"{path.name}: {'; '.join(dict.fromkeys(said))}")
        return {"maps": maps, **({"left_out": left_out} if left_out else {})}, files

    def explanations(
        self, given: Any, left_out: dict[str, str]
    ) -> Iterator[tuple[int | None, Explanation, NDArray[Any] | None]]:
        """Of every target by every method, with the number of the sample where there are several, and what it holds.

        Raises MethodError where no method fits.
        """
        from ...engine.explain import problem_of
        from ...engine.inference.batches import RunOptions

        runtime = RunOptions(**self.options.common.runtime, batch=self.options.batch)
        made = functools.partial(problem_of, self.model, given, card=self.card, runtime=runtime, at=self.options.at)
        questions = (both(functools.partial(made, target), self.options.layers) for target in self.targets)
        for problem, found in solutions(questions, self.methods, self.every, left_out, self._news.warn):
            several = len(problem.input.x) > 1
            for row, e in enumerate(found):
                sample = int(problem.sample[row])
                yield sample if several else None, e, problem.input.x[sample]

    def _write(
        self, e: Explanation, x: NDArray[Any] | None, folder: str, name: str, number: int, sample: int | None
    ) -> dict[str, Any]:
        parts_of_name = [e.method] if sample is None else [f"sample-{sample}", e.method]
        if len(self.targets) > 1:
            parts_of_name.append(file_name(e))
        stem = self.run.name("-".join(parts_of_name), folder)
        files = []
        if "npy" in self.options.formats:
            files.append(self.run.array(f"{stem}.npy", e.values))
        if {"heatmap", "overlay", "sheet"} & set(self.options.formats) and number < _MOST_DRAWN:
            files.append(self.run.picture(f"{stem}.png", self.figure(e, x, name)))
        where = {} if sample is None else {"sample": sample}
        return {**where, **entry_of(e), "files": files}

    def figure(self, e: Explanation, x: NDArray[Any] | None, name: str) -> NDArray[np.uint8]:
        """The picture of one explanation. x: what was explained, one sample."""
        from ..figures import array_map, spectrogram

        if x is not None and spectrogram.is_spectrogram(e, x):
            return spectrogram.figure_of(e, x, f"Explanation of {name}")
        return array_map.figure_of(e, x, f"Explanation of {name}")

    def news(self, path: Path) -> list[str]:
        """What is to be said since the last call."""
        return self._news.take()


def _fits(entry: dict[str, Any]) -> None:
    """Raises KeyError or TypeError for an entry of an earlier run that is not of this command's form."""
    for found in entry["maps"]:
        list(found["files"])


def takes_arrays(options: ExplainOptions) -> bool:
    """Whether a run is about arrays or a value inside the model: no map lies on a picture then."""
    from ...engine.preprocess.arrays import is_array_file
    from ..files.photos import is_photo_file

    named = [Path(name) for name in options.images]
    if options.at is not None:
        return True
    if not any(p.suffix.lower() in (".npy", ".npz") or is_array_file(p) for p in named):
        return False
    model = open_model(options.model, options.common.card)
    return not all(is_photo_file(path, model) for path in find_images(options.images, options.model, True))


def explain_arrays(options: ExplainOptions) -> Run:
    """Explain every file; the run, at its end. Raises as `explain` does."""
    from ..files.arrays import fed
    from ..files.run import Run
    from ..terminal.progress import Progress

    common = options.common
    methods, every = chosen_methods(options.methods or (DEFAULT,), options.settings)
    model = open_model(options.model, common.card)
    card = card_or_none(model, common.quiet)
    paths = find_images(options.images, options.model, common.quiet, options.selection)
    refuse_crop(options.selection)
    refuse_part(options.share)
    targets = [target_of(text, model, card) for text in options.targets]
    check_options(model, options, methods)
    given = fed(options.feeds, model)
    decisive = {**decisive_of(options, methods, targets), "with": sorted(options.feeds), "at": options.at}
    with (
        Run(options.output, "explain", decisive, about_of(options, model, card), paths) as run,
        Progress(len(paths), quiet=common.quiet, bar=common.progress) as bar,
    ):
        work = ArrayExplainer(model, card, targets, methods, every, options, given, run)
        over_images(run, bar, paths, work.one, work.news, _fits, work.read)
        if left_out := left_out_of_all(run.entries):
            run.manifest["left_out"] = left_out
    return run
