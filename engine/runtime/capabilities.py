"""What execution providers can do, as far as plans depend on it: a table, read by planners that are pure functions.

What a provider really does is measured on its device (`bench/device.py`); a provider that is not in the table is taken
for one that reads and writes the host's memory, which is slower at worst, never wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .providers import CPU, CUDA


@dataclass(frozen=True)
class Capability:
    """What a provider can do.

    memory: the device of its tensors, as OrtValues call it. own_memory: whether that is another memory than the host's,
    so that values cost a copy each way unless they stay there, and arithmetic on whole batches of images is cheaper
    there than a copy of what comes out. numbered: its option that chooses one of several devices, "" where it has none.
    shared_weights: whether operators may read the same weight. layer_norm_statistics: whether LayerNormalization also
    gives mean and inverse deviation.
    """

    memory: str = "cpu"
    own_memory: bool = False
    numbered: str = ""
    shared_weights: bool = True
    layer_norm_statistics: bool = True


HOST = Capability()
# TensorRT keeps tensors in CUDA's memory too, but would build an engine for every small graph: it is fed by the host.
_NUMBERED = ("TensorrtExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider", "DmlExecutionProvider")
CAPABILITIES: dict[str, Capability] = {
    CPU: HOST,
    CUDA: Capability("cuda", own_memory=True, numbered="device_id"),
    **dict.fromkeys(_NUMBERED, Capability(numbered="device_id")),
    "OpenVINOExecutionProvider": Capability(shared_weights=False, layer_norm_statistics=False),
}


def capability(provider: str, table: Mapping[str, Capability] | None = None) -> Capability:
    """What `provider` (its full name) can do, by `table` (`CAPABILITIES`)."""
    return (CAPABILITIES if table is None else table).get(provider, HOST)
