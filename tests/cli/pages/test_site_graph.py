"""Rows and lines of the graph."""

from __future__ import annotations

from typing import Any

import pytest

from onnxray.cli.pages.site_graph import blocks_of, lanes_of


def graph(count: int, *skips: tuple[int, int]) -> dict[str, Any]:
    nodes = [{"name": f"n{i}", "op": "Conv", "shape": "1", "slug": None} for i in range(count)]
    return {"nodes": nodes, "edges": sorted([*((i, i + 1) for i in range(count - 1)), *skips])}


def test_edges_at_one_height_have_lines_of_their_own() -> None:
    found = lanes_of([(0, 1), (0, 4), (1, 3), (3, 6), (4, 6)], 7)
    assert found == {(0, 4): 1, (1, 3): 2, (3, 6): 2, (4, 6): 1}


@pytest.mark.parametrize("count", [5, 200])
def test_every_line_goes_from_row_to_row(count: int) -> None:
    found, width = blocks_of(graph(count, (1, 4)), {})
    rows = [row for block in found for row in block.nodes]
    assert [row.name for row in rows] == [f"n{i}" for i in range(count)]
    assert width == 36
    assert len(rows[0].paths) == 1
    assert len(rows[1].paths) == 3
    assert "M24 0V40" in rows[2].paths


def test_large_graphs_are_cut_where_nothing_else_goes_on() -> None:
    found, _ = blocks_of(graph(60, (2, 9), (10, 20)), {})
    firsts = [block.nodes[0].name for block in found]
    assert firsts[:4] == ["n0", "n10", "n21", "n25"]
    assert found[0].title == "n0 … n9"
