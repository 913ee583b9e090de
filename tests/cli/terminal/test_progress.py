"""What long runs say on stderr."""

from __future__ import annotations

import sys

import pytest

from onnxray.cli.terminal.progress import Progress, duration


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bar_with_the_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    clock = Clock()
    with Progress(4, bar=True, clock=clock) as bar:
        clock.now += 10
        bar.step("first.png")
        bar.say("something")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1/4 images, 30 s left  first.png" in shown.err
    assert "\r\x1b[2Konnxray: something\n" in shown.err
    assert shown.err.endswith("\r\x1b[2K")
    assert all(len(line) < 110 for line in shown.err.split("\r"))


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stderr.isatty()
    clock = Clock()
    with Progress(20, clock=clock) as bar:
        for _ in range(20):
            clock.now += 1
            bar.step("x")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "onnxray: 4 of 20 images, 16 s left"
    assert lines[-1] == "onnxray: 20 of 20 images"
    assert len(lines) == 9


def test_short_runs_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(50, clock=Clock()) as bar:
        for _ in range(50):
            bar.step()
    assert capsys.readouterr().err == ""


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress(3, quiet=True, bar=True, clock=clock) as bar:
        clock.now += 100
        bar.step()
        bar.say("a remark")
        bar.say("a failure", error=True)
    assert capsys.readouterr().err == "onnxray: error: a failure\n"


@pytest.mark.parametrize(
    ("seconds", "wanted"), [(-1, "0 s"), (59.4, "59 s"), (125, "2 min 5 s"), (12000, "3 h 20 min")]
)
def test_durations(seconds: float, wanted: str) -> None:
    assert duration(seconds) == wanted


def test_parts_of_a_step(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    clock = Clock()
    with Progress(2, bar=True, clock=clock) as bar:
        clock.now += 10
        bar.part(0.5, "rise")
        shown = capsys.readouterr().err
        assert "0/2 images, 30 s left  rise" in shown
        assert shown.count("\u2588") == 6
        bar.step("first.png")
        clock.now += 10
        bar.part(2.0)
        assert bar.done + bar.inside == 2
    capsys.readouterr()
    with Progress(1, clock=clock) as lines:
        for i in range(100):
            clock.now += 1
            lines.part((i + 1) / 100)
        lines.step("x")
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "onnxray: image 1 of 1, 10%, 1 min 30 s left"
    assert len(told) == 10
    with Progress(1, quiet=True, bar=True, clock=clock) as none:
        none.part(0.5)
    assert capsys.readouterr().err == ""
