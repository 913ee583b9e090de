"""Shapley values of tree ensembles: `tree-shap` and the C code of `shap`, for the same rows and background.

    python -m onnxray.bench.tables [rows]

Needs shap, skl2onnx and scikit-learn, and takes LightGBM and XGBoost in where these and onnxmltools are installed. Both
explain `rows` rows (100) against 100 rows on one thread; onnxray's time is the whole call, reading the model, running
it and the kernel. The values are compared first, where both read the trees alike: thresholds are float32 in ONNX.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import onnxray

warnings.filterwarnings("ignore")


def models(x: Any, y: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, fitted model, the same as ONNX."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor

    for name, model in (
        ("gradient boosting, 100 trees of depth 3", GradientBoostingRegressor(random_state=0)),
        ("random forest, 100 trees of depth 8", RandomForestRegressor(max_depth=8, random_state=0)),
        ("random forest, 100 trees of any depth", RandomForestRegressor(random_state=0)),
        ("extra trees, 100 trees of any depth", ExtraTreesRegressor(random_state=0)),
    ):
        yield name, model.fit(x, y), to_onnx(model, x[:1])
    if importlib.util.find_spec("onnxmltools") is None:
        return
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [("x", FloatTensorType([None, x.shape[1]]))]
    if importlib.util.find_spec("lightgbm"):
        import lightgbm

        model = lightgbm.LGBMRegressor(verbose=-1, n_jobs=1).fit(x, y)
        yield "LightGBM, 100 trees of 31 leaves", model, onnxmltools.convert_lightgbm(model, initial_types=types)
    if importlib.util.find_spec("xgboost"):
        import xgboost

        model = xgboost.XGBRegressor(n_jobs=1).fit(x, y)
        yield "XGBoost, 100 trees of depth 6", model, onnxmltools.convert_xgboost(model, initial_types=types)


def best(work: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    found, least = None, float("inf")
    for _ in range(times):
        start = time.perf_counter()
        found = work()
        least = min(least, time.perf_counter() - start)
    return least, found


def main() -> None:
    import shap
    from sklearn.datasets import make_regression

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    x, y = make_regression(2000, 20, n_informative=10, noise=5.0, random_state=0)
    x = x.astype(np.float32)
    rows, background = x[:count], x[-100:]
    print(f"{count} rows, background of {len(background)}, {x.shape[1]} columns; seconds, best of 3")
    for name, model, proto in models(x, y):
        loaded = onnxray.load(proto.SerializeToString())

        def ours(loaded: Any = loaded) -> Any:
            found = onnxray.explain(loaded, rows, "tree-shap", background=background, threads=1)
            return np.stack([e.values for e in found])

        def theirs(model: Any = model) -> Any:
            return shap.TreeExplainer(model, background).shap_values(rows, check_additivity=False)

        ours()
        mine, values = best(ours)
        c, known = best(theirs)
        off = float(np.abs(values - known).max() / np.abs(known).max())
        print(f"{name:42} onnxray {mine:7.3f}  shap {c:7.3f}  ratio {mine / c:5.2f}  largest difference {off:.1e}")


if __name__ == "__main__":
    main()
