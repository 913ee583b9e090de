"""Lists the versions of a folder that holds a site for each: `python docs/make_versions.py FOLDER`.

versions.json and the first page are written; the site reads versions.json for its list, as those that mike deploys do.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

_FIRST = """<!doctype html>
<meta http-equiv="refresh" content="0; url=latest/index.html">
<a href="latest/index.html">onnxray</a>
"""


def versions(folder: Path) -> list[dict[str, object]]:
    """The versions that the folder has, the newest first; that has the alias "latest"."""
    names = [path.name for path in folder.iterdir() if path.is_dir() and re.fullmatch(r"\d+(\.\d+)+", path.name)]
    names.sort(key=lambda name: [int(part) for part in name.split(".")], reverse=True)
    return [
        {"version": name, "title": name, "aliases": ["latest"] if number == 0 else []}
        for number, name in enumerate(names)
    ]


def main(folder: Path) -> None:
    (folder / "versions.json").write_text(json.dumps(versions(folder), indent=1) + "\n", encoding="utf-8")
    (folder / "index.html").write_text(_FIRST, encoding="utf-8")
    (folder / ".nojekyll").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
