"""Plans on disk, by model and shape: the next process does not search for them again.

What the search decides is kept, a few hundred bytes of JSON; the stages are made from it anew. The name of a file is a
hash of all that the search looks at, its own source included, so a plan that was kept is the one that would be found.
Files lie in `$ONNXRAY_PLANS`, else in `plans/` of the folder that models are kept in; `ONNXRAY_PLANS=off` keeps none.
Where nothing can be written, or what is read is damaged, plans are searched for.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...models import cache_folder
from ..atomic import atomic
from ..errors import OutputError
from ..proto import external_data as external
from ..version import __version__
from .network import Network
from .windows import Windows

MOST_PLANS = 500
_SMALL = 4096  # bytes of constants that sizes, axes and windows of operators may be read from


class Step(NamedTuple):
    """A section of a chain: from the cut `entry` to the cut `exit`, with its kinds in `groups`; see `Along`."""

    entry: int
    exit: int
    groups: int


class Chain(NamedTuple):
    """What a search decided. cuts: how many it chose from; no steps: the whole network runs. seconds: expected."""

    cuts: int
    steps: tuple[Step, ...]
    seconds: float


def place_of(network: Network, windows: Windows, cap: float | None) -> Path | None:
    """Where the plan of these windows is kept, None where none are."""
    chosen = os.environ.get("ONNXRAY_PLANS", "")
    if chosen.lower() == "off":
        return None
    digest = hashlib.sha256(_own_source())
    known, model = network.known, network.model
    about = (known.source, known.batch, network.outputs, windows.share, cap, model.opsets.items(), known.sizes.items())
    digest.update(repr((*about, sorted(known.axes.items()))).encode("utf-8", "surrogateescape"))
    for node in model.untyped.graph.node:
        digest.update(node.SerializeToString(deterministic=True))
    for tensor in model.untyped.graph.initializer:
        small = not external.is_external(tensor) and external.nbytes(tensor) <= _SMALL
        about_tensor = tensor.SerializeToString(deterministic=True) if small else b""
        digest.update(repr((tensor.name, tensor.data_type, *tensor.dims)).encode("utf-8", "surrogateescape"))
        digest.update(about_tensor)
    digest.update(windows.boxes.tobytes())
    try:
        folder = Path(chosen) if chosen else cache_folder() / "plans"
    except RuntimeError:  # nobody's home
        return None
    return folder / f"{digest.hexdigest()[:32]}.json"


@functools.cache
def _own_source() -> bytes:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return __version__.encode() + b"".join(file.read_bytes() for file in files)


def read(place: Path | None) -> Chain | None:
    """The chain that is kept there, None where there is none or it is damaged."""
    if place is None:
        return None
    try:
        found = json.loads(place.read_text("utf-8"))
        chain = Chain(int(found["cuts"]), tuple(Step(*map(int, s)) for s in found["steps"]), float(found["seconds"]))
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return chain if _is_whole(chain) else None


def _is_whole(chain: Chain) -> bool:
    at = 0
    for step in chain.steps:
        if step.entry != at or not step.entry < step.exit < chain.cuts or step.groups not in (1, 2):
            return False
        at = step.exit
    return True


def keep(place: Path | None, cuts: int, steps: Sequence[Step], seconds: float) -> None:
    """Write a chain there, and forget the oldest beyond `MOST_PLANS`; where that cannot be, nothing is kept."""
    if place is None:
        return
    text = json.dumps({"cuts": cuts, "steps": steps, "seconds": seconds})
    with contextlib.suppress(OutputError, OSError):
        with atomic(place) as temporary:
            temporary.write_text(text, "utf-8")
        kept = sorted(place.parent.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        for old in kept[:-MOST_PLANS]:
            old.unlink(missing_ok=True)
