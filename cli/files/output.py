"""Where a command writes, and whether it may overwrite or goes on with an earlier run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Output:
    """Where results go: `folder`, whether another run there may be replaced, whether an unfinished one is continued.

    `default` says that the folder was not asked for by name.
    """

    folder: Path
    force: bool = False
    resume: bool = False
    default: bool = False
