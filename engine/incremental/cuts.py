"""Where a network can be cut: sets of values, each with rows and columns, that everything behind is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..inspect.macs import macs
from ..proto.nodes import reads
from .network import ACTIVATIONS, Network

MOST_CUTS = 24
MOST_LIVE = 3
MOST_MAP = 6 << 20  # elements of the untouched image's maps at one cut, which are kept
# Behind the last cut, whole maps: rows of one run, fewer where the largest value of them all has more elements.
TAIL_AT_ONCE = 4
TAIL_ELEMENTS = 1 << 23
# Elements of the weights of layers that are run for many windows at once, and of what they read.
LEAST_WEIGHTS = 4 << 20
MOST_ROW = 1 << 16


@dataclass(frozen=True)
class Cut:
    """values: everything behind them depends on the image through them. at: the place of the last node before them.
    done: seconds of the whole network up to there.
    """

    values: tuple[str, ...]
    at: int
    done: float


def find_cuts(network: Network, most: int = MOST_CUTS) -> list[Cut]:
    """Sets of values that separate the image from the outputs, up to `most`, in graph order, the image first."""
    nodes, known = network.nodes, network.known
    last = {name: at for at, node in enumerate(nodes) for name in reads(node)}
    last.update((name, len(nodes)) for name in network.outputs)
    live = [known.source]
    found = [Cut((known.source,), -1, 0.0)]
    done = 0.0
    for at, node in enumerate(nodes):
        live += [name for name in node.output if name in last]
        live = [name for name in live if last[name] > at]
        done += network.seconds[node.output[0]]
        if any(name not in known.axes and not _is_size(network, name) for name in node.output if name):
            break  # everything behind depends on all positions
        if any(name not in known.axes for name in live):
            continue
        ends = at == len(nodes) - 1
        values = network.outputs if ends and set(live) == set(network.outputs) else tuple(live)
        large = not ends and network.elements(live) > MOST_MAP
        if large or len(live) > MOST_LIVE or not all(_is_cuttable(network, name) for name in live):
            continue
        if ends or not any(_fuses(network, name) for name in live):
            found.append(Cut(values, at, done))
    return _thinned(network, found, most)


def tail_at_once(network: Network, behind: tuple[str, ...]) -> int:
    """How many whole maps go into one run behind a cut."""
    largest = max((network.sizes.get(node.output[0], 0) for node in network.behind(behind).nodes), default=1)
    return int(min(TAIL_AT_ONCE, max(1, TAIL_ELEMENTS // max(1, largest))))


def heavy_end(network: Network, behind: tuple[str, ...]) -> str | None:
    """A small value behind a cut from which on there are large matrices and little else; None where there is none.

    Such layers take as long for one row as for many: the time goes into reading their weights.
    """
    part, known = network.behind(behind).nodes, network.known
    last = {name: at for at, node in enumerate(part) for name in reads(node)}
    last.update((name, len(part)) for name in network.outputs)
    live = list(behind)
    for at, node in enumerate(part):
        live = [name for name in [*live, *node.output] if last.get(name, -1) > at]
        if len(live) != 1 or network.elements(live) not in range(1, MOST_ROW + 1):
            continue
        rest = part[at + 1 :]
        weights = sum(network.stored.get(name, 0) for name in {name for node in rest for name in reads(node)})
        work = sum(macs(network.model, node, known.sizes) or 0 for node in rest) / known.batch
        if weights >= LEAST_WEIGHTS and work <= 2 * weights:
            return live[0]
    return None


def _is_size(network: Network, name: str) -> bool:
    dtype = network.model.value(name).dtype
    return dtype is not None and dtype.kind in "iu"


def _is_cuttable(network: Network, name: str) -> bool:
    height, width = network.known.axes[name]
    return width == height + 1


def _fuses(network: Network, name: str) -> bool:
    """Whether ONNX Runtime would compute the value and its only reader in one go."""
    node, readers = network.model.producer(name), network.model.consumers(name)
    if node is None:
        return False
    if node.op_type == "DequantizeLinear" or _is_rounded(network, name):
        return True  # apart, they would round otherwise than the integer operator they become
    return (
        node.op_type in ("Conv", "BatchNormalization", "FusedConv", "ConvTranspose")
        and len(readers) == 1
        and readers[0].op_type in ACTIVATIONS
    )


def _is_rounded(network: Network, name: str) -> bool:
    """Whether the value, or what a function of it alone gives, is quantised next."""
    readers = network.model.consumers(name)
    if any(reader.op_type == "QuantizeLinear" for reader in readers):
        return True
    alone = len(readers) == 1 and readers[0].op_type in ACTIVATIONS
    return alone and _is_rounded(network, readers[0].output[0])


def _thinned(network: Network, cuts: list[Cut], most: int) -> list[Cut]:
    """Of cuts with next to nothing between them, the one with the fewest elements."""
    total = max(cuts[-1].done, 1e-12)
    kept: list[Cut] = []
    for cut in cuts[1:]:
        if kept and cut.done - kept[-1].done < total / (4 * most):
            if network.elements(cut.values) <= network.elements(kept[-1].values):
                kept[-1] = cut
        else:
            kept.append(cut)
    while len(kept) > most - 1:
        gaps = [b.done - a.done for a, b in zip([cuts[0], *kept], kept, strict=False)]
        del kept[int(np.argmin(gaps[:-1]))]
    if cuts[-1].values == network.outputs and len(cuts) > 1 and kept[-1] != cuts[-1]:
        kept.append(cuts[-1])
    return [cuts[0], *kept]
