"""Figures for Prometheus: scraped over HTTP while images are worked on, read by its own parser."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import onnxray
from onnxray.engine.errors import OutputError
from onnxray.engine.pipeline.flow import Flow, Sizes, Stages

parser = pytest.importorskip("prometheus_client.parser")

from onnxray.cli.tasks.metrics import serving  # noqa: E402

Run = Callable[..., Result]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def scraped(port: int) -> dict[tuple[str, str], float]:
    """(name, its label): value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_while_images_are_in_work() -> None:
    go, port = threading.Event(), free_port()

    def work(items: Any) -> list[Any]:
        assert go.wait(60)
        return list(items)

    with Flow[Any](Stages(work, decode=lambda item: item), Sizes(workers=1, queue=4)) as flow:
        with serving(str(port), lambda: (3, 1), flow, None):
            tickets = [flow.submit(n) for n in range(3)]
            found = scraped(port)
            assert found["onnxray_queue_depth", ""] == 3
            assert (found["onnxray_images_total", "done"], found["onnxray_images_total", "failed"]) == (3, 1)
            go.set()
            for ticket in tickets:
                ticket.result(60)
            flow.close()
            found = scraped(port)
            assert found["onnxray_queue_depth", ""] == 0
            for stage in ("decode", "infer", "total"):
                assert found["onnxray_stage_seconds_count", stage] == 3
                assert found["onnxray_stage_seconds_sum", stage] > 0
        with pytest.raises(OSError, match="refused"):
            scraped(port)


def test_a_command_is_scraped(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each image, from the thread that hands records over."""
    from onnxray.cli.sinks.jsonl import JsonLines

    port, seen, true = free_port(), [], JsonLines.write

    def write(self: JsonLines, record: Any) -> None:
        true(self, record)
        seen.append(scraped(port))

    monkeypatch.setattr(JsonLines, "write", write)
    asked = ("--prometheus", port, "--reference", 3, "--drift-window", 2, "--alarm", "smd:0.01")
    done = run("explain", "builtin", *onnxray.samples()[:6], "--to", tmp_path / "x.jsonl", *asked)
    assert done.exit_code == 3, done.stderr
    assert [found["onnxray_images_total", "done"] for found in seen] == [0, 1, 2, 3, 4, 5]
    assert ("onnxray_drift", "smd") not in seen[2]
    assert seen[5]["onnxray_drift", "smd"] > 0.01
    assert seen[5]["onnxray_drift", "psi"] > 0
    assert seen[5]["onnxray_drift_alarm", "smd"] == 1


def test_an_address_that_cannot_be_served() -> None:
    with Flow[Any](Stages(lambda items: list(items)), Sizes()) as flow:
        for address in ("many", "0", "99999", ":9108"):
            with pytest.raises(OutputError, match="is no address"), serving(address, lambda: (0, 0), flow, None):
                pass
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(OutputError, match="in use"), serving(str(port), lambda: (0, 0), flow, None):
                pass
