"""Names of files and folders that every system accepts, each given out once."""

from __future__ import annotations

import re
from collections.abc import Iterable


def slug(text: str) -> str:
    """`text` as a file name that every system accepts: ASCII letters, digits and "._-", at most 80 of them."""
    plain_text = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    if len(plain_text) > 80:
        plain_text = f"{plain_text[:38].rstrip('-.')}--{plain_text[-38:].lstrip('-.')}"
    if re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", plain_text):
        plain_text = f"_{plain_text}"
    return plain_text or "unnamed"


class Names:
    """Gives out names, each once, whatever the case of its letters. taken: names that are in use already."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.lower() for name in taken}

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._taken

    def take(self, name: str) -> None:
        """This name is in use."""
        self._taken.add(name.lower())

    def name(self, wanted: str, folder: str = "") -> str:
        """A name, made of `wanted`, that has not been given out; with that of its folder before it."""
        base = f"{folder}/{slug(wanted)}" if folder else slug(wanted)
        stem, dot, ending = base.rpartition(".")
        if not stem or "/" in ending or len(ending) > 5:
            stem, dot, ending = base, "", ""
        found, number = base, 2
        while found in self:
            found, number = f"{stem}-{number}{dot}{ending}", number + 1
        self.take(found)
        return found
