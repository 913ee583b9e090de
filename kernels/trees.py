"""Exact Shapley values of sums of decision trees, against rows of a background (interventional TreeSHAP).

S. M. Lundberg et al., "From local explanations to global understanding with explainable AI for trees", Nature Machine
Intelligence 2, 2020, algorithm 3: with one row b of the background in place of what is hidden, a leaf of weight v that
is reached where all players of a set X are shown (x meets their conditions, b does not) and all of Z are hidden (b
meets them, x does not) adds

    v * (|X| - 1)! |Z|! / (|X| + |Z|)!   to each player of X,       -v * |X|! (|Z| - 1)! / (|X| + |Z|)!   to each of Z

A player may stand for several features, those that one column of a table becomes: then X and Z are sets of players.

A tree is walked once for a row x and all rows of the background together: the list of those that may still reach a leaf
with it goes down with the walk, and shrinks. What a player of the path is, its place, is known beforehand (`places`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .jit import kernel
from .threads import bands

# Players on the way to one leaf: a set of them is one word.
MOST_PLAYERS = 64
# What a node asks: x <= threshold, x == threshold, x is one of `members[first:first + count]`.
AT_MOST, EQUAL, MEMBER = 0, 1, 2


@dataclass(frozen=True)
class Nodes:
    """The nodes of all trees, arrays (nodes,).

    feature: int32, -1 at a leaf. threshold: float64; of MEMBER the first of its `members`. kind: uint8, what the node
    asks. missing: bool, whether NaN meets it. yes, no: int32, the children. count: int32, the number of members.
    roots: int32 (trees,). members: float64.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    kind: NDArray[np.uint8]
    missing: NDArray[np.bool_]
    yes: NDArray[np.int32]
    no: NDArray[np.int32]
    count: NDArray[np.int32]
    roots: NDArray[np.int32]
    members: NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Players on the paths. place: int8 (nodes,), the place that a node's player has on its path.

    start, length: int32 (nodes,), of leaves: the players of the path are `players[start:start + length]`. depth: of the
    deepest path.
    """

    place: NDArray[np.int8]
    start: NDArray[np.int32]
    length: NDArray[np.int32]
    players: NDArray[np.int32]
    depth: int


def places(nodes: Nodes, player: NDArray[np.int32]) -> Places:
    """The places of players, (features,) -> player. Raises ValueError for a path with more than `MOST_PLAYERS`."""
    total = len(nodes.feature)
    place, start, length = np.zeros(total, np.int8), np.zeros(total, np.int32), np.zeros(total, np.int32)
    most, size, depth = _measured(nodes.feature, nodes.yes, nodes.no, nodes.roots, player, place)
    if most > MOST_PLAYERS:
        raise ValueError(f"a path asks of {most} players, at most {MOST_PLAYERS} are possible")
    players = np.zeros(max(1, size), np.int32)
    _filled(nodes.feature, nodes.yes, nodes.no, nodes.roots, player, place, start, length, players)
    return Places(place, start, length, players, depth)


@kernel
def _measured(feature, yes, no, roots, player, place):  # type: ignore[no-untyped-def]
    """The most players of a path, those of all paths together, and the deepest path; `place` is filled in."""
    room = len(feature) + 2
    stack, levels = np.zeros(room, np.int32), np.zeros(room, np.int32)
    path, known = np.zeros(room, np.int32), np.zeros(room, np.int32)
    most, size, depth = 0, 0, 0
    for root in roots:
        top = 1
        stack[0], levels[0] = root, 0
        while top > 0:
            top -= 1
            node, level = stack[top], levels[top]
            # known[level]: how many players the path has before this node.
            count = known[level] if level > 0 else 0
            depth = max(depth, level)
            if feature[node] < 0:
                most, size = max(most, count), size + count
                continue
            mine, at = player[feature[node]], count
            for i in range(count):
                if path[i] == mine:
                    at = i
                    break
            path[at] = mine
            place[node] = min(at, 127)
            known[level + 1] = max(count, at + 1)
            stack[top], levels[top] = no[node], level + 1
            stack[top + 1], levels[top + 1] = yes[node], level + 1
            top += 2
    return most, size, depth


@kernel
def _filled(feature, yes, no, roots, player, place, start, length, players):  # type: ignore[no-untyped-def]
    room = len(feature) + 2
    stack, levels = np.zeros(room, np.int32), np.zeros(room, np.int32)
    path, known = np.zeros(room, np.int32), np.zeros(room, np.int32)
    size = 0
    for root in roots:
        top = 1
        stack[0], levels[0] = root, 0
        while top > 0:
            top -= 1
            node, level = stack[top], levels[top]
            count = known[level] if level > 0 else 0
            if feature[node] < 0:
                start[node], length[node] = size, count
                for i in range(count):
                    players[size + i] = path[i]
                size += count
                continue
            path[place[node]] = player[feature[node]]
            known[level + 1] = max(count, place[node] + 1)
            stack[top], levels[top] = no[node], level + 1
            stack[top + 1], levels[top + 1] = yes[node], level + 1
            top += 2


def shares(most: int) -> NDArray[np.float64]:
    """shares[a, b] = a! b! / (a + b + 1)!, for a, b up to `most`."""
    found = np.zeros((most + 1, most + 1))
    for a in range(most + 1):
        for b in range(most + 1):
            found[a, b] = math.exp(math.lgamma(a + 1) + math.lgamma(b + 1) - math.lgamma(a + b + 2))
    return found


def shapley(
    nodes: Nodes,
    where: Places,
    weight: NDArray[np.float64],
    x: NDArray[np.float64],
    background: NDArray[np.float64],
    players: int,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """The Shapley values (rows, players) of the sum of the trees' leaves, the mean over the rows of the background.

    weight: (nodes,), of leaves. x: (rows, features). background: (B, features), B at least 1. They are of the
    difference between the sum for x and its mean over the background.
    """
    result = np.zeros((len(x), players))
    hidden = np.ascontiguousarray(background.T, np.float64)
    x = np.ascontiguousarray(x, np.float64)
    table = shares(int(where.length.max(initial=0)) + 1)
    plain = not nodes.kind.any() and not np.isnan(x).any() and not np.isnan(background).any()

    def work(first: int, last: int) -> None:
        _walk(
            nodes.feature, nodes.threshold, nodes.kind, nodes.missing, nodes.yes, nodes.no, nodes.count, nodes.roots,
            nodes.members, where.place, where.start, where.length, where.players, where.depth, weight, table,
            plain, x[first:last], hidden, result[first:last],
        )  # fmt: skip

    bands(work, len(x), threads)
    return np.asarray(result / background.shape[0], np.float64)


@kernel
def _asks(value, threshold, kind, missing, members, count):  # type: ignore[no-untyped-def]
    """Whether a value meets a node of any kind."""
    if value != value:
        return missing
    if kind == 1:
        return value == threshold
    if kind == 2:
        first = int(threshold)
        for i in range(first, first + count):  # noqa: SIM110
            if members[i] == value:
                return True
        return False
    return value <= threshold


@kernel(error_model="numpy")
def _walk(  # type: ignore[no-untyped-def]
    feature, threshold, kind, missing, yes, no, count, roots, members, place, start, length, players, depth, weight,
    table, plain, x, hidden, result,
):  # fmt: skip
    """result += the sums over the rows of the background, (features, B) in `hidden`.

    plain: whether every node asks for a value of at most its threshold, and no value is NaN.
    """
    rows = hidden.shape[1]
    zero, one, prime = np.uint64(0), np.uint64(1), np.uint64(67)
    # Which place a bit stands for: 2^k mod 67 is another number for every k below 66.
    bit = np.zeros(67, np.int64)
    power = one
    for k in range(64):
        bit[power % prime] = k
        power = power << one
    room = 2 * depth + 4
    # Of every node that waits: the places that x has broken, its list of background rows, where free room begins.
    at, broken = np.zeros(room, np.int32), np.zeros(room, np.uint64)
    first, size, free = np.zeros(room, np.int64), np.zeros(room, np.int64), np.zeros(room, np.int64)
    # A row of the background in a list, and the places whose conditions it breaks.
    who, breaks = np.zeros(room * rows + 1, np.int32), np.zeros(room * rows + 1, np.uint64)
    sums = np.zeros(64)
    for b in range(rows):
        who[b] = b
    for r in range(x.shape[0]):
        for root in roots:
            top = 1
            at[0], broken[0], first[0], size[0], free[0] = root, zero, 0, rows, rows
            for b in range(rows):
                breaks[b] = zero
            while top > 0:
                top -= 1
                node, mine, low, many = at[top], broken[top], first[top], size[top]
                if feature[node] < 0:
                    leaf = weight[node]
                    if leaf == 0.0:
                        continue
                    z, left = 0, mine
                    while left != zero:
                        left &= left - one
                        z += 1
                    begin, total = start[node], length[node]
                    negative, seen = 0.0, zero
                    for i in range(low, low + many):
                        theirs = breaks[i]
                        n, left = 0, theirs
                        while left != zero:
                            left &= left - one
                            n += 1
                        if z > 0:
                            negative += table[n, z - 1]
                        if n > 0:
                            share = table[n - 1, z]
                            seen |= theirs
                            left = theirs
                            while left != zero:
                                rest = left & (left - one)
                                sums[bit[(left ^ rest) % prime]] += share
                                left = rest
                    for k in range(total):
                        if (seen >> np.uint64(k)) & one:
                            result[r, players[begin + k]] += leaf * sums[k]
                            sums[k] = 0.0
                        if (mine >> np.uint64(k)) & one:
                            result[r, players[begin + k]] -= leaf * negative
                    continue
                f, limit = feature[node], threshold[node]
                mask = one << np.uint64(place[node])
                own = x[r, f]
                goes = own <= limit if plain else _asks(own, limit, kind[node], missing[node], members, count[node])
                column = hidden[f]
                lost = (mine & mask) != zero
                begin = free[top]
                near, far = begin, begin + many
                for i in range(low, low + many):
                    b, theirs = who[i], breaks[i]
                    given = column[b]
                    if plain:
                        same = (given <= limit) == goes
                    else:
                        same = _asks(given, limit, kind[node], missing[node], members, count[node]) == goes
                    if same:
                        who[near], breaks[near] = b, theirs
                        near += 1
                    else:
                        if (theirs & mask) == zero:  # a leaf there is reached with the row's value alone
                            who[far], breaks[far] = b, theirs
                            far += 1
                        if not lost:  # and one here with x's alone
                            who[near], breaks[near] = b, theirs | mask
                            near += 1
                if far > begin + many:
                    at[top], broken[top] = no[node] if goes else yes[node], mine | mask
                    first[top], size[top], free[top] = begin + many, far - begin - many, far
                    top += 1
                if near > begin:
                    at[top], broken[top] = yes[node] if goes else no[node], mine
                    first[top], size[top], free[top] = begin, near - begin, far
                    top += 1
