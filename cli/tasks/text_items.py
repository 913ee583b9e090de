"""The texts of a command: those of its line, of files, of lines and of tables."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..parameters.inputs import open_model
from ..parameters.texts import TextOptions

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.text.given import Text
    from ..parameters.options import Common
    from ..sources.source import Selection


class AsksTexts(Protocol):
    """What a command is asked for that may be about texts."""

    @property
    def model(self) -> str: ...
    @property
    def images(self) -> Sequence[str]: ...
    @property
    def texts(self) -> TextOptions: ...
    @property
    def common(self) -> Common: ...
    @property
    def selection(self) -> Selection: ...


@dataclass(frozen=True)
class Item:
    """A text to explain. path: what names it in the manifest; of: the file that it is from, None for --text."""

    path: Path
    text: str
    pair: str | None = None
    continuation: str | None = None
    of: Path | None = None

    @property
    def sha256(self) -> str:
        """Of the text and its pair; what stands behind it is an option."""
        return hashlib.sha256("\n".join([self.text, self.pair or ""]).encode("utf-8", "replace")).hexdigest()

    def given(self, asked: TextOptions) -> Text:
        """What the engine takes. Raises TextError."""
        from ...engine.text.given import Text

        return Text(
            self.text,
            self.pair,
            asked.choices,
            unit=asked.unit,  # type: ignore[arg-type]
            spans=asked.spans,
            continuation=self.continuation,
            generate=asked.generate,
            last=asked.last,
            chat=asked.chat,
        )


def takes_texts(options: AsksTexts) -> bool:
    """Whether a run is about texts: those on the command line, or files that are no arrays for a model of texts."""
    from ...engine.preprocess.arrays import is_array_file
    from ...engine.text.roles import roles_of
    from ..files.find import SUFFIXES

    if options.texts.given:
        return True
    if all(Path(p).suffix.lower() in SUFFIXES for p in options.images):  # the model is not read for this
        return False
    if any(Path(p).suffix.lower() in (".npy", ".npz") for p in options.images):
        return False
    if all(is_array_file(Path(p)) for p in options.images if Path(p).is_file()) and any(map(_is_file, options.images)):
        return False
    return roles_of(open_model(options.model, options.common.card)) is not None


def _is_file(name: str) -> bool:
    return Path(name).is_file()


def items_of(options: AsksTexts, model: Model) -> list[Item]:
    """The texts of a run, in order. Raises TextError."""
    from ...engine.text.roles import roles_of
    from ..files.texts import text_files, texts_in

    asked = options.texts
    roles, texts, pairs = roles_of(model), asked.texts, asked.pairs
    if roles is not None and len(roles.ids) > 1 and not roles.decoder and not pairs and len(texts) == len(roles.ids):
        texts, pairs = texts[:1], texts[1:]  # a model that compares texts: they are one pair
    found = [
        Item(Path(f"text-{n}"), text, pair, behind)
        for n, (text, pair, behind) in enumerate(itertools.zip_longest(texts, pairs, asked.continued), 1)
        if text is not None
    ]
    for path in text_files(options.images, options.selection.recursive) if options.images else []:
        rows = list(texts_in(path, asked.lines, asked.column, asked.pair_column))
        names = [path] if len(rows) == 1 else [path.with_name(f"{path.name}-{n}") for n in range(1, len(rows) + 1)]
        found += [Item(name, text, pair, None, path) for name, (text, pair) in zip(names, rows, strict=True)]
    chosen = found[:: options.selection.every]
    return chosen if options.selection.limit is None else chosen[: options.selection.limit]
