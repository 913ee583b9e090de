"""Draws the pictures of docs/tables.md: `python docs/make_tables.py`. Needs skl2onnx and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import onnxray
from onnxray.cli.figures.figure import page
from onnxray.cli.figures.waterfall import overview, waterfall
from onnxray.cli.files.images import write

FOLDER = Path(__file__).with_name("images")
COLUMNS = {"age": FloatTensorType, "fare": FloatTensorType, "sex": StringTensorType, "port": StringTensorType}


def passengers(count: int = 300) -> dict[str, np.ndarray]:
    """Ages, fares, sexes and ports drawn at random."""
    rng = np.random.default_rng(0)
    return {
        "age": rng.integers(1, 80, count).astype(np.float32),
        "fare": rng.gamma(2, 20, count).round(1).astype(np.float32),
        "sex": rng.choice(["f", "m"], count).astype(object),
        "port": rng.choice(["C", "Q", "S"], count).astype(object),
    }


def main() -> None:
    rows = passengers()
    noise = np.random.default_rng(1).normal(0, 0.5, len(rows["age"]))
    safe = 2 * (rows["sex"] == "f") + rows["fare"] / 40 - rows["age"] / 40 + (rows["port"] == "C") + noise > 1.4
    table = np.stack(list(rows.values()), axis=1)
    prepared = make_column_transformer((StandardScaler(), [0, 1]), (OneHotEncoder(), [2, 3]))
    fitted = make_pipeline(prepared, GradientBoostingClassifier(n_estimators=40, random_state=0)).fit(table, safe)
    types = [(name, kind([None, 1])) for name, kind in COLUMNS.items()]
    model = onnxray.load(to_onnx(fitted, initial_types=types), labels=("lost", "saved"))
    found = list(onnxray.explain(model, onnxray.Table(rows), target="saved"))
    e, values = found[2], np.stack([e.values for e in found])
    names = [f"{name} = {rows[name][2]}" for name in rows]
    drawn = waterfall(names, e.values, e.details["baseline_score"], e.score)
    line = f"{e.method}: {e.label}, {e.score_text}."
    write(FOLDER / "tables-row.png", page("Row 2 of passengers.csv", [line], [drawn]))
    shown = overview(list(rows), values, table)
    write(FOLDER / "tables-rows.png", page("300 rows of passengers.csv", [f"{e.method}: {e.label}."], shown))


if __name__ == "__main__":
    main()
