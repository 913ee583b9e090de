"""Figures of a running command for Prometheus, over HTTP, in its text format.

The package `prometheus-client`, which the extra `prometheus` installs, writes the format and serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...engine.errors import OutputError, RuntimeUnavailable

if TYPE_CHECKING:
    from ...engine.pipeline.flow import Flow
    from .drifting import Drifting


@contextmanager
def serving(
    address: str | None, counts: Callable[[], tuple[int, int]], flow: Flow[Any], drifting: Drifting | None
) -> Iterator[None]:
    """Serve the figures at http://HOST:PORT/metrics in a thread, until the end of the block; None: nothing is served.

    address: PORT, of this machine alone, or HOST:PORT. counts: how many images are done, and how many failed.

    Raises OutputError for an address that is none or in use, RuntimeUnavailable.
    """
    if address is None:
        yield
        return
    host, port = _parts(address)
    client = _client()
    registry = client.CollectorRegistry(auto_describe=False)
    registry.register(_Figures(counts, flow, drifting))
    try:
        server, thread = client.start_http_server(port, host, registry)
    except OSError as error:
        raise OutputError(f"--prometheus {address} cannot be served: {error.strerror or error}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Figures:
    """What Prometheus collects."""

    def __init__(self, counts: Callable[[], tuple[int, int]], flow: Flow[Any], drifting: Drifting | None) -> None:
        self._counts, self._flow, self._drifting = counts, flow, drifting

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

        images = CounterMetricFamily("onnxray_images", "Images by what became of them.", labels=["status"])
        for status, number in zip(("done", "failed"), self._counts(), strict=True):
            images.add_metric([status], number)
        yield images
        stages = SummaryMetricFamily("onnxray_stage_seconds", "Seconds of images in each stage.", labels=["stage"])
        for stage, (count, seconds) in sorted(self._flow.totals().items()):
            stages.add_metric([stage], count, seconds)
        yield stages
        yield GaugeMetricFamily("onnxray_queue_depth", "Images that wait or are in work.", self._flow.depth)
        if self._drifting is not None:
            yield from self._of_drift(self._drifting, GaugeMetricFamily)

    @staticmethod
    def _of_drift(drifting: Drifting, family: Any) -> Iterator[Any]:
        distance = family("onnxray_drift", "Distance from the reference, of the last image.", labels=["measure"])
        alarm = family("onnxray_drift_alarm", "Whether the measure is above its limit.", labels=["measure"])
        for measure, value in sorted(drifting.last.items()):
            if value is not None:
                distance.add_metric([measure], value)
        for measure in sorted(drifting.limits):
            alarm.add_metric([measure], float(measure in drifting.above))
        yield distance
        yield alarm


def _parts(address: str) -> tuple[str, int]:
    """Raises OutputError for what is no address."""
    host, colon, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536) or (colon and not host):
        raise OutputError(f"--prometheus {address!r} is no address: give PORT, or HOST:PORT to serve other machines")
    return host.strip("[]") or "127.0.0.1", int(port)


def _client() -> Any:
    try:
        import prometheus_client
    except ImportError as error:
        raise RuntimeUnavailable(
            "--prometheus needs the package prometheus-client: pip install 'onnxray[prometheus]'"
        ) from error
    return prometheus_client
