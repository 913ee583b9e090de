"""What is said of all images of a run whose results stay in parts: gathered block by block, in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...files.manifest import MANIFEST, indented
from .. import activation_statistics
from ..explain_entries import left_out_of_all

if TYPE_CHECKING:
    from ..joined import RunPart
    from .store import Store


def summarise(parts: Iterable[RunPart], store: Store) -> tuple[int, int]:
    """Write the manifest of the whole, without images, next to the folder of parts; how many images there are, and how
    many failed. Raises OutputError."""
    seen = _Seen()
    stats = None
    entries = seen.entries(parts)
    first = next(entries, None)
    if first is not None and seen.head["options"].get("stats"):
        stats = activation_statistics.layers_csv(_chained(first, entries))
    for _ in entries:
        pass
    files = []
    if stats is not None:
        store.write("../layers.csv", stats.encode())
        files.append("layers.csv")
    options = {key: value for key, value in seen.head["options"].items() if key != "shard"}
    keys = [*seen.head]
    head = {key: seen.head[key] for key in keys[: keys.index("versions") + 1]}
    manifest = {**head, "options": options, "files": files, "images": [], **seen.said()}
    store.write(f"../{MANIFEST}", (indented(manifest) + "\n").encode())
    return seen.images, seen.failed


def _chained(first: Mapping[str, Any], others: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    yield first
    yield from others


class _Seen:
    """What is known of the parts that have been gone through."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.parts = self.images = self.failed = 0
        self.left_out: dict[str, str] | None = None
        self.silent: dict[str, set[int]] = {}

    def entries(self, parts: Iterable[RunPart]) -> Iterator[Mapping[str, Any]]:
        """The entries of all parts, which are counted."""
        for part in parts:
            found = list(part.entries())
            self.head = self.head or dict(part.head)
            self.parts, self.images = self.parts + 1, self.images + len(found)
            self.failed += sum(entry["status"] == "failed" for entry in found)
            if any(entry["status"] == "done" for entry in found):
                mine = left_out_of_all(found)
                known = mine if self.left_out is None else self.left_out
                self.left_out = {name: why for name, why in known.items() if name in mine}
            for name, numbers in activation_statistics.silent_in_all(found).items():
                self.silent[name] = self.silent.get(name, set(numbers)) & set(numbers)
            yield from found

    def said(self) -> dict[str, Any]:
        """For the manifest."""
        silent = {name: sorted(numbers) for name, numbers in self.silent.items()}
        return {
            "parts": {"blocks": self.parts, "images": self.images, "failed": self.failed},
            **({"left_out": self.left_out} if self.left_out else {}),
            **({"silent_in_all_images": silent} if silent else {}),
        }
