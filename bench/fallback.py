"""Which gradient rules emit nodes that the CUDA provider has no kernel for?

    python bench/fallback.py [--zoo FOLDER]

Found from the table of its kernels (`engine/inspect/kernel_table.py`), without a card: for the gradients of ONNX's own
backend node tests, one operator each, and with the zoo for those of its framework exports. `bench/device.py` reads the
same from ONNX Runtime's placement log where there is a card. Forms of operators that are newer than the table (operator
set 19 and up) are counted apart: a later ONNX Runtime may have them.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _device.placement import rules_of

import onnxray
from onnxray.engine.inspect.kernels import without_kernel

Found = dict[tuple[str, str, str], set[str]]


def node_tests() -> Iterator[tuple[str, Any]]:
    """(name, gradient) of every backend node test that has one, at the newest operator set that gradients need."""
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        proto = case.model
        if proto is None or len(proto.graph.node) != 1 or proto.graph.node[0].domain not in ("", "ai.onnx"):
            continue
        try:
            model = onnxray.load(proto.SerializeToString())
            of = next(v.name for v in model.outputs if v.dtype is not None and v.dtype.kind == "f")
            wrt = [v.name for v in model.inputs if v.dtype is not None and v.dtype == np.float32]
            yield case.name, onnxray.vjp(model, of=of, wrt=wrt)
        except (onnxray.OnnxrayError, StopIteration, onnx.checker.ValidationError):
            continue


def exports(zoo: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted((zoo / "frameworks").iterdir()):
        if not (path / "meta.json").exists():
            continue
        with np.load(path / "io.npz") as stored:
            of = [k[4:] for k in stored.files if k.startswith("cot:")]
            wrt = [k.partition(":")[2] for k in stored.files if k.startswith(("grad:", "gradmid:"))]
        if of and wrt:
            try:
                yield path.name, onnxray.vjp(onnxray.load(path / "model.onnx"), of=of, wrt=wrt)
            except onnxray.OnnxrayError:
                continue


def fallen(graphs: Iterator[tuple[str, Any]]) -> tuple[int, Found]:
    """How many graphs there were, and (rule, operator, reason) -> their names."""
    found: Found = defaultdict(set)
    count = 0
    for name, model in graphs:
        count += 1
        rule = rules_of(model.proto)
        for node in without_kernel(model):
            if rule(node.node) != "forward":
                found[rule(node.node), node.op, node.reason].add(name)
    return count, found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--zoo", type=Path, default=os.environ.get("ONNXRAY_ZOO"))
    asked = parser.parse_args()
    sources = {"ONNX's node tests": node_tests()}
    if asked.zoo:
        sources["exports of frameworks"] = exports(Path(asked.zoo))
    for title, graphs in sources.items():
        count, found = fallen(graphs)
        newer = sorted({op for _, op, reason in found if "its form" in reason})
        print(f"{title}: {count} gradients; forms newer than the table: {', '.join(newer) or 'none'}")
        print("\n| in the gradient of | operator | reason | graphs | for instance |")
        print("|---|---|---|---|---|")
        for (rule, op, reason), names in sorted(found.items()):
            if "its form" in reason:
                continue
            print(f"| {rule} | {op} | {reason} | {len(names)} | {min(names)} |")
        print()


if __name__ == "__main__":
    main()
