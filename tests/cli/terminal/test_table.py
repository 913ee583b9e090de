"""Tables and short numbers."""

from __future__ import annotations

import pytest

from onnxray.cli.terminal.echo import one_line
from onnxray.cli.terminal.table import Column, axes_text, count, display_width, elide, shape_text, table


@pytest.mark.parametrize(
    ("n", "wanted"),
    [
        (None, "?"),
        (0, "0"),
        (999, "999"),
        (1000, "1.00k"),
        (1234, "1.23k"),
        (12_345, "12.3k"),
        (123_456, "123k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (3_504_872, "3.50M"),
        (300_774_272, "301M"),
        (4_100_000_000, "4.10G"),
    ],
)
def test_counts_have_three_digits(n: int | None, wanted: str) -> None:
    assert count(n) == wanted


def test_long_text_is_cut_in_the_middle() -> None:
    assert elide("abcdefghij", 10) == "abcdefghij"
    assert elide("abcdefghij", 7) == "abc…hij"
    assert elide("abcdefghij", 6) == "abc…ij"
    assert elide("abc", 2) == "…"
    assert display_width("日本語") == 6
    assert elide("日本語テキスト", 8) == "日本…ト" or display_width(elide("日本語テキスト", 8)) <= 8


def test_columns_shrink_then_drop() -> None:
    columns = [Column("name", least=6), Column("n", right=True), Column("extra", drop=1)]
    rows = [["a-long-name-indeed", "7", "x" * 10], ["b", "123", "y"]]
    whole = table(columns, rows).splitlines()
    assert whole[2] == "a-long-name-indeed    7  xxxxxxxxxx"
    assert whole[3] == "b                   123  y"
    assert max(len(line) for line in table(columns, rows, 28).splitlines()) == 28
    narrow = table(columns, rows, 14).splitlines()
    assert narrow[2] == "a-lo…deed    7"
    assert narrow[-1] == "(the terminal is too narrow for: extra)"


def test_shapes() -> None:
    assert shape_text(("N", 3, 224, 224)) == "Nx3x224x224"
    assert shape_text((None, "unk__1590", "a_very_long_name", 4)) == "?x?x?x4"
    assert shape_text(("batch", 3, 224, 224)) == "batch x 3 x 224 x 224"
    assert shape_text(()) == "scalar"
    assert shape_text(None) == "?"
    assert axes_text((3, 3)) == "3"
    assert axes_text((3, 5)) == "3x5"
    assert axes_text((0.5, 0.5)) == "0.5"


def test_control_characters_do_not_survive() -> None:
    assert one_line("a\x1b[31m\r\nb\u202ec") == "a�[31m b�c"
