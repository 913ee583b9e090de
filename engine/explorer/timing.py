"""How long each node of a model takes in ONNX Runtime, by its own profile; nodes are not fused for that."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from ..graph.model import Model
from ..inference.batches import RunOptions
from ..runtime.ort import ORT_ERRORS, create, run_error, session_options
from ..runtime.providers import resolve

_RUNS, _KERNEL = 5, "_kernel_time"


def node_times(model: Model, feeds: Mapping[str, Any], runtime: RunOptions) -> dict[str, float]:
    """Milliseconds of one run, by the (first) output value of each node: the median of 5 runs behind a first one.

    The graph runs as it is, without ONNX Runtime's optimisations, so that each node has a time of its own: the sum is
    more than the model takes with them. Raises ModelError, and what the run itself raises.
    """
    numbered = ModelProto()
    numbered.CopyFrom(model.untyped)
    for number, node in enumerate(numbered.graph.node):
        node.name = f"node-{number}"
    durations = _profiled(numbered, model, feeds, runtime)
    return {
        node.output[0]: float(np.median(times[1:] or times)) / 1000
        for number, node in enumerate(numbered.graph.node)
        if (times := durations.get(f"node-{number}"))
    }


def _profiled(proto: ModelProto, model: Model, feeds: Mapping[str, Any], runtime: RunOptions) -> dict[str, list[float]]:
    """Microseconds of each run, by the node's name."""
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(runtime.threads, "none", folder=str(model.folder) if model.folder else None)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = create(proto, [provider.given for provider in resolve(runtime.providers)], options)
        try:
            for _ in range(1 + _RUNS):
                session.run(None, dict(feeds))
        except ORT_ERRORS as error:
            raise run_error(error) from error
        finally:
            file = Path(session.end_profiling())
        events = json.loads(file.read_text(encoding="utf-8"))
    found: dict[str, list[float]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            found.setdefault(name.removesuffix(_KERNEL), []).append(float(event["dur"]))
    return found
