"""Several devices of one kind: images are shared among them, and each is worked on by the one that is free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

from ..errors import OnnxrayError
from ..runtime.capabilities import Capability, capability
from ..runtime.providers import Provider, Providers, asked_providers, resolve
from .session import keep_for

W = TypeVar("W")


def providers_on(
    providers: Providers, devices: Sequence[int], table: Mapping[str, Capability] | None = None
) -> tuple[Providers, ...]:
    """`providers` on each of `devices`, numbers from 0, as `RunOptions` takes them; one entry for each device.

    table: what providers can do. Raises OnnxrayError where the provider has no numbered devices, as the CPU, where its
    options name a device already, and for numbers that are none or come twice; RuntimeUnavailable for a device that is
    not there, with what ONNX Runtime says.
    """
    numbers = tuple(devices) if isinstance(devices, Sequence) else (devices,)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    if not isinstance(devices, Sequence) or not numbers or not whole or len(set(numbers)) < len(numbers):
        raise OnnxrayError(f"devices={devices!r} are no devices: give different whole numbers from 0, as in (0, 1)")
    asked = [(one, *_numbered(one, table)) for one in asked_providers(providers) or resolve(None)[:1]]
    if not asked[0][1]:
        raise OnnxrayError(
            f"devices={numbers}: the provider {asked[0][2]} has no numbered devices: leave devices out; threads share "
            "a machine's processors, --on ray several machines"
        )
    for one, option, short in asked:
        if option in dict(one.options):
            raise OnnxrayError(f"devices={numbers} and the option {option} of {short} both name devices: give one")
    # All of them: operators that the first one lacks run on the same device.
    found: list[Providers] = [
        [(one.name, dict(one.options) | ({option: str(n)} if option else {})) for one, option, _ in asked]
        for n in numbers
    ]
    for chosen in found:
        resolve(chosen)
    return tuple(found)


def _numbered(asked: Provider, table: Mapping[str, Capability] | None) -> tuple[str, str]:
    """The option of a provider that chooses a device, "" where it has none, and its short name."""
    name = resolve([(asked.name, dict(asked.options))])[0].name
    return capability(name, table).numbered, name.removesuffix("ExecutionProvider")


class Free(Generic[W]):
    """Workers, one for each device; each is used by one thread at a time.

    As long as they live, more sessions are kept.
    """

    def __init__(self, workers: Sequence[W]) -> None:
        keep_for(self, len(workers))
        self._waiting: SimpleQueue[W] = SimpleQueue()
        for worker in workers:
            self._waiting.put(worker)

    @contextmanager
    def one(self) -> Iterator[W]:
        """A worker that is free, waited for where none is."""
        worker = self._waiting.get()
        try:
            yield worker
        finally:
            self._waiting.put(worker)
