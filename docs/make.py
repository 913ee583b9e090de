"""Writes every generated page anew, and the notebooks: `python docs/make.py`; with `--pictures` the pictures too.

Pages come from registries, docstrings and help texts, and take seconds. Pictures take minutes, and some need
scikit-learn.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent
# Those whose result is text; the others draw.
# Written where sites are published, not here.
OTHERS = ("versions",)
PAGES = ("evaluation", "methods", "operators", "python", "signatures", "targets", "notebooks")


def commands(pictures: bool) -> list[list[str]]:
    """The programs to run, in order."""
    names = [*PAGES, *(drawing() if pictures else ())]
    scripts = [[sys.executable, str(DOCS / f"make_{name}.py")] for name in names]
    return [[sys.executable, "-m", "onnxray.cli.reference"], *scripts]


def drawing() -> list[str]:
    """The names of the scripts that draw."""
    found = sorted(path.stem.removeprefix("make_") for path in DOCS.glob("make_*.py"))
    return [name for name in found if name not in (*PAGES, *OTHERS)]


def main() -> None:
    for command in commands("--pictures" in sys.argv[1:]):
        subprocess.run(command, check=True, cwd=DOCS.parent)


if __name__ == "__main__":
    main()
