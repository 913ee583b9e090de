"""Figures and charts: what is drawn where, by the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.cli.figures import charts, figure
from onnxray.cli.files.images import text_size
from onnxray.kernels import colormap

BLUE, RED = (np.array(colormap.table("polar")[i], int) for i in (0, 255))


def has(block: np.ndarray, colour: tuple[int, int, int] | np.ndarray) -> np.ndarray:
    return np.asarray((block == np.array(colour, np.uint8)).all(axis=-1))


def test_scales_say_whether_there_are_both_signs() -> None:
    assert figure.scale_of([0.0, 2.0]) == figure.Scale(colormap.SEQUENTIAL, 0.0, 2.0)
    assert figure.scale_of([1.0, 2.0]).lo == 0.0
    signed = figure.scale_of([-1.0, 2.0])
    assert (signed.table, signed.lo, signed.hi, signed.signed) == (colormap.DIVERGING, -2.0, 2.0, True)
    assert figure.scale_of([-3.0, -1.0]).hi == 3.0
    assert figure.scale_of([0.0, 0.0]).hi > 0
    assert figure.scale_of([np.nan, np.inf]).hi > 0
    values = np.r_[np.ones(999), 1000.0]
    robust = figure.scale_of(values, outliers=True)
    assert (robust.hi, robust.beyond) == (1.0, 0.001)
    assert figure.scale_of(values).hi == 1000.0


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (-2.345678, "-2.35"),
        (1234.6, "1235"),
        (99999.0, "99999"),
        (123456.0, "1.23e5"),
        (0.00012, "1.20e-4"),
        (-5e9, "-5.00e9"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(value: float, wanted: str) -> None:
    assert figure.number(value) == wanted


def test_maps_keep_their_proportions_and_their_mean() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    large = figure.fit(values, 40)
    assert large.shape == (30, 40)
    np.testing.assert_array_equal(large[::10, ::10], values)
    assert set(np.unique(large)) == set(range(12))
    small = figure.fit(np.tile(values, (40, 40)), 40)
    assert small.shape == (30, 40)
    assert small.mean() == pytest.approx(5.5, abs=0.2)


def test_blocks_are_put_together_on_white() -> None:
    a, b = figure.blank(4, 6, (1, 1, 1)), figure.blank(2, 3, (2, 2, 2))
    stacked = figure.stack([a, b], gap=2, align="middle")
    assert stacked.shape == (8, 6, 3)
    assert has(stacked, (2, 2, 2)).sum() == 6
    assert has(stacked[6:, 1:4], (2, 2, 2)).all()
    row = figure.side_by_side([a, b], gap=1, align="end")
    assert row.shape == (4, 10, 3)
    assert has(row[2:, 7:], (2, 2, 2)).all()
    tiles = figure.grid([a] * 5, columns=2, gap=1)
    assert tiles.shape == (14, 13, 3)
    assert has(tiles, (1, 1, 1)).sum() == 5 * 24
    assert figure.stack([]).size == 0


def test_text_fits_its_width() -> None:
    name = "/model/encoder/layers.11/attention/query/MatMul_output_0"
    for width in (60, 120, 300):
        block = figure.text(name, 14, width=width)
        assert block.shape[1] <= width
        assert (block < 128).any()
    short = figure.shorten(name, 14, 150)
    assert short.startswith("/mod")
    assert short.endswith("ut_0")
    assert figure.shorten("short", 14, 500) == "short"
    assert text_size(figure.shorten(name, 14, 5), 14)[0] <= text_size("…", 14)[0]
    page = figure.paragraph("word " * 60, 14, 200)
    assert page.shape[1] <= 200
    assert page.shape[0] > 5 * 14


def test_the_colour_bar_runs_from_low_to_high() -> None:
    bar = figure.colour_bar(figure.Scale(colormap.DIVERGING, -2.0, 2.0, "weight"), 200)
    row = bar[8].astype(int)
    assert (row[1] == BLUE).all()
    assert (row[200] == RED).all()
    assert (bar[18:] < 128).any()


@pytest.mark.parametrize("width", [40, 90, 120, 200, 360])
def test_the_numbers_of_a_colour_bar_never_touch(width: int) -> None:
    scale = figure.Scale(colormap.DIVERGING, -0.00457, 0.00457)
    bar = figure.colour_bar(scale, width)
    ink = (bar[20:] < 128).any(axis=(0, 2))
    gaps = [len(run) for run in "".join("x" if i else " " for i in ink).strip().replace("x", "|").split("|") if run]
    ends = [figure.text(figure.number(v), figure.SMALL).shape[1] for v in (scale.lo, scale.hi)]
    assert bar.shape[1] >= sum(ends) + figure.GAP
    assert max(gaps) >= figure.GAP // 2 - 2
    zero = ink[bar.shape[1] // 2 - 4 : bar.shape[1] // 2 + 4].any()
    assert zero == (width >= 200)  # there is room for it


def test_bars_start_at_zero_and_are_as_long_as_their_values() -> None:
    chart = charts.bars(["a", "b", "c"], [2.0, 1.0, -1.0])
    lengths = [int(has(chart[24 * i + 12], figure.ACCENT).sum()) for i in range(3)]
    negative = int(has(chart[24 * 2 + 12], figure.SECOND).sum())
    assert lengths[2] == 0
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=2)
    assert negative == pytest.approx(lengths[1], abs=2)
    assert charts.bars(["nan"], [float("nan")]).shape[0] == 24
    assert charts.bars(["zero"], [0.0]).shape[0] == 24


def test_a_histogram_counts_zeros_apart() -> None:
    values = np.r_[np.zeros(50), np.full(25, 0.5), np.full(25, 1.5)]
    drawn = charts.histogram(values, "relu", (0.0, 2.0), width=100, height=100, bins=2)
    body = has(drawn, figure.ACCENT)
    columns = body.sum(axis=0)
    assert columns[70] == columns[130] > 80
    none = charts.histogram(np.zeros(4), "all zero", (0.0, 1.0))
    assert not has(none, figure.ACCENT).any()


def test_a_heat_table_has_a_cell_per_value() -> None:
    matrix = np.array([[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]], np.float32)
    drawn = charts.heat(matrix, figure.scale_of(matrix), "tokens", "features")
    assert has(drawn, RED).sum() == has(drawn, BLUE).sum() == 2 * 24 * 24
    large = charts.heat(np.zeros((900, 5000), np.float32), figure.scale_of([1.0]), "tokens", "features")
    assert large.shape[1] < 1100
    assert large.shape[0] < 650


@pytest.mark.parametrize(
    ("lo", "hi", "wanted"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (-1.0, 1.0, [-1, -0.5, 0, 0.5, 1]),
        (3.0, 3.0, [3.0]),
        (0.0, 1e-6, [0, 2e-7, 4e-7, 6e-7, 8e-7, 1e-6]),
    ],
)
def test_ticks_are_round_numbers(lo: float, hi: float, wanted: list[float]) -> None:
    assert charts.ticks(lo, hi) == pytest.approx(wanted)


def test_small_columns_show_both_signs() -> None:
    values = np.array([1.0, -1.0, 0.5])
    drawn = charts.columns(values, figure.scale_of(values), 60)
    assert has(drawn[:, 5], figure.ACCENT).sum() > 25
    assert has(drawn[:, 25], figure.SECOND).sum() > 25
    assert charts.columns(np.arange(1000.0), figure.scale_of([1000.0]), 60).shape == (60, 60, 3)


def test_figures_are_repeatable() -> None:
    def make() -> bytes:
        scale = figure.scale_of([-1.0, 1.0], "unit")
        return figure.page("Title", ["A line."], [figure.colour_bar(scale)]).tobytes()

    assert make() == make()


@pytest.mark.parametrize(
    ("size", "shown"),
    [((100, 200), (112, 224)), ((100, 640), (90, 573)), ((640, 100), (573, 90)), ((10, 900), (10, 896))],
)
def test_wide_and_tall_pictures_can_be_looked_at(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert figure.picture(np.zeros((*size, 3), np.uint8), 224).shape[:2] == shown


def test_a_curve_is_the_function_that_its_values_draw() -> None:
    x = np.linspace(-2, 2, 401)
    drawn = charts.curve(x, np.maximum(x, 0), "Relu", width=201, height=101)[-125:-24]
    places = np.argwhere((drawn == figure.ACCENT).all(axis=2))
    rows = [np.median(places[places[:, 1] == 56 + i, 0]) for i in (20, 60, 150, 200)]
    assert rows[0] == rows[1] == pytest.approx(100, abs=2)
    assert rows[2] == pytest.approx(50, abs=3)
    assert rows[3] == pytest.approx(1, abs=3)
    assert charts.curve(np.full(3, np.nan), np.zeros(3), "none").size == 0
