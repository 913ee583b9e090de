"""Where methods find a step that is planted in a series, and what they cost in runs of the model.

    python -m onnxray.bench.series [series]

A recurrent, a convolutional and an attention network with weights by hand (tests/engine/series/models.py) look for a
step in one of four features. Of `series` (20) noisy series: how often the greatest value lies in the step, in its
feature; the median share of the feature in all magnitudes; the time of an explanation, in times of one run of the model
by ONNX Runtime.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import onnxruntime as ort

import onnxray
from onnxray.tests.engine.series.models import FEATURES, LONG, NAMES, PLANTED, TIMES, network, planted

METHODS: dict[str, dict[str, Any]] = {
    "gradient": {},
    "input-x-gradient": {},
    "integrated-gradients": {},
    "occlusion": {"patch": f"{LONG // 2}x1", "stride": 1},
    "ablation": {},
    "kernel-shap": {"segments": "grid", "grid": [20, FEATURES]},
}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    x, starts = planted(count)
    for name in NAMES:
        proto = network(name)
        model = onnxray.load(proto, answer="number")
        session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        given = x[:1].transpose(0, 2, 1) if name == "tcn" else x[:1]
        session.run(None, {"x": given})
        start = time.perf_counter()
        for _ in range(200):
            session.run(None, {"x": given})
        once = (time.perf_counter() - start) / 200
        for method, options in METHODS.items():
            hits, shares, times = 0, [], []
            for series, first in zip(x, starts, strict=True):
                begin = time.perf_counter()
                e = onnxray.explain(model, onnxray.Series(series), method, **options)
                times.append(time.perf_counter() - begin)
                found = np.asarray(e.map if method == "occlusion" else e.values, np.float64)
                found = found if found.shape == (TIMES, FEATURES) else found.T
                when, feature = np.unravel_index(np.argmax(found), found.shape)
                hits += int(feature == PLANTED and first - 1 <= when <= first + LONG)
                shares.append(np.abs(found[:, PLANTED]).sum() / max(np.abs(found).sum(), 1e-30))
            cost = float(np.median(times)) / once
            print(f"{name:12} {method:22} in place {hits:2}/{count}  share {np.median(shares):.2f}  {cost:7.0f} runs")


if __name__ == "__main__":
    main()
