"""What explanations of sounds and volumes have in common: they are explained anew each time, and stand on one page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..parameters.inputs import open_model, refuse_crop, refuse_part
from ..parameters.methods import chosen_methods
from .explain import check_options
from .explain_entries import decisive_of, entry_of, file_name, left_out_of_all
from .news import News

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.targets.target import Target
    from ..files.run import Run
    from .explain import ExplainOptions

PAGE = "index.html"
# Of a title, what the run is about, and what the page shows of each explanation.
Page: TypeAlias = "Callable[[str, str, Sequence[Mapping[str, Any]]], str]"


@dataclass(frozen=True)
class Asked:
    """What a run is asked for, looked up. every: whether `all` methods are; fed: further inputs, the same for all."""

    options: ExplainOptions
    model: Model
    targets: Sequence[Target]
    methods: Sequence[Method]
    every: bool
    fed: Mapping[str, NDArray[Any]]

    @property
    def decisive(self) -> dict[str, Any]:
        return {**decisive_of(self.options, self.methods, self.targets), "with": sorted(self.options.feeds)}


def asked_of(options: ExplainOptions, what: str, usual: str, fitted: Callable[[Method], Method] | None = None) -> Asked:
    """The options looked up. what: is explained, in the plural. usual: the method where none is named. fitted: changes
    a method to what suits these inputs.

    Raises OutputError for what such a run has not, and what looking up raises.
    """
    from ...engine.errors import OutputError
    from ...engine.targets.target import Target
    from ..files.arrays import fed

    if options.output.resume:
        raise OutputError(f"{what} are explained anew each time: give --force in place of --resume")
    refuse_crop(options.selection)
    refuse_part(options.share)
    model = open_model(options.model, options.common.card)
    methods, every = chosen_methods(options.methods or (usual,), options.settings)
    methods = methods if fitted is None else [fitted(method) for method in methods]
    targets = [Target.parse(text) for text in options.targets]
    check_options(model, options, methods)
    return Asked(options, model, targets, methods, every, fed(options.feeds, model))


@dataclass
class PageExplainer(ABC):
    """One input in, its explanations out; what the page shows of them is kept in `shown`."""

    asked: Asked
    run: Run
    shown: list[dict[str, Any]] = field(default_factory=list)
    _news: News = field(default_factory=News)

    def outcome(self, maps: Sequence[dict[str, Any]], left_out: Mapping[str, str]) -> dict[str, Any]:
        """What the manifest says of one input."""
        return {"maps": list(maps), **({"left_out": dict(left_out)} if left_out else {})}

    def entry(self, e: Explanation, folder: str, name: str) -> dict[str, Any]:
        """The files of one explanation and its entry; what is to be said of it is noted. name: of the input."""
        several = len(self.asked.targets) > 1 or any(target.is_several for target in self.asked.targets)
        stem = self.run.name(f"{e.method}-{file_name(e)}" if several else e.method, folder)
        more, files = self.write(e, stem, name)
        for text in e.warnings:
            self.warn(text, e.method)
        self._news.say(f"{name}: {e.method}: {e.label}, {e.score_text}")
        return {**entry_of(e), **more, "files": files}

    @abstractmethod
    def write(self, e: Explanation, stem: str, name: str) -> tuple[dict[str, Any], list[str]]:
        """What else the entry says, and the files, whose names begin with `stem`."""

    @property
    def draws(self) -> bool:
        return bool({"heatmap", "overlay", "sheet"} & set(self.asked.options.formats))

    def show(self, e: Explanation, name: str, **parts: Any) -> None:
        """Keep one explanation for the page."""
        said = f"{e.method}{f' at {e.layer}' if e.layer else ''}: {e.label}, {e.score_text}"
        self.shown.append({"name": name, "said": said, "warnings": e.warnings[:3], **parts})

    def warn(self, text: str, of: str = "") -> None:
        """Note a warning, which is said once."""
        self._news.warn(text, of)

    def news(self, path: Path | None = None) -> list[str]:
        """What is to be said since the last call."""
        return self._news.take()

    def finish(self, count: int, what: str, title: str, page: Page, most: int | None = None) -> None:
        """Write the page and what the manifest says of the whole run.

        count: inputs there were. what: one of them. most: explanations on the page; the folder has all.
        """
        if self.shown:
            said = f"{count} {what}{'s' * (count != 1)}, {', '.join(m.name for m in self.asked.methods)}"
            self.run.manifest["files"] = [self.run.text(PAGE, page(title, said, self.shown[:most]))]
        if left_out := left_out_of_all(self.run.entries):
            self.run.manifest["left_out"] = left_out
