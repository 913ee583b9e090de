"""Ctrl-C ends a model that runs for ever, in the main thread and in workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxray.engine.runtime.interrupt import interruptible, stoppable

FOR_EVER = """
import os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from onnxray.engine.inference.session import Session
from onnxray.engine.load import load
from onnxray.engine.runtime.interrupt import interruptible

ready = Session(load(sys.argv[1]))
feeds = {"x": np.ones((1, 3), np.float32)}
if __name__ == "__main__":
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with interruptible():
            if sys.argv[2] == "main":
                ready.run(feeds)
            else:
                with ThreadPoolExecutor(2) as pool:
                    for found in [pool.submit(ready.run, feeds) for _ in range(2)]:
                        found.result()
    except KeyboardInterrupt:
        print("interrupted")
"""


def endless() -> onnx.ModelProto:
    """A Loop whose condition stays true, of more iterations than there is time for."""
    of = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["a"], ["b"])],
        "body",
        [of("i", TensorProto.INT64, []), of("go", TensorProto.BOOL, []), of("a", TensorProto.FLOAT, [1, 3])],
        [of("go_on", TensorProto.BOOL, []), of("b", TensorProto.FLOAT, [1, 3])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)],
        "endless",
        [of("x", TensorProto.FLOAT, [1, 3])],
        [of("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.array(True), "true")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.skipif(os.name == "nt", reason="a signal to oneself ends the process there")
@pytest.mark.parametrize("where", ["main", "workers"])
def test_a_run_without_end_ends_at_ctrl_c(tmp_path: Path, where: str) -> None:
    onnx.save(endless(), tmp_path / "m.onnx")
    arguments = [sys.executable, "-c", FOR_EVER, str(tmp_path / "m.onnx"), where]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.stdout == "interrupted\n", done.stderr


def test_nothing_is_left_behind() -> None:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    threads = threading.active_count()
    with interruptible():
        assert threading.active_count() == threads + 1
        with stoppable(object) as options:
            assert options is not None
    with stoppable(object) as options:
        assert options is None
    assert threading.active_count() == threads
    after = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(after)
    assert after == before
