"""tree-shap against brute force over coalitions, run by ONNX Runtime: trees of every kind, pipelines, linear models."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

import onnxray
from onnxray.engine.errors import MethodError, NoSum
from onnxray.engine.methods import tree_shap
from onnxray.tests.engine.tables.small import FLOAT, INT, ML, TEXT, classifier, model, regressor, shapley

RNG = 7


def cells(rows: int, columns: int, missing: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 5, (rows, columns)).astype(np.float32) + rng.choice([0, 0.5], (rows, columns)).astype(
        np.float32
    )
    x[rng.random(x.shape) < missing] = np.nan
    return x


def output(proto: onnx.ModelProto, name: str) -> object:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0].name
    return lambda rows: np.asarray(session.run([name], {first: rows.astype(np.float32)})[0], np.float64)


def judged(proto: onnx.ModelProto, name: str, column: int, target: object, missing: float = 0.0) -> onnxray.Explanation:
    """Explain the first of some rows, compared with all coalitions of its columns against the other rows."""
    x = cells(12, proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value, missing)
    e = onnxray.explain(proto, x[:1], "tree-shap", target=target, background=x[1:])
    scores = output(proto, name)
    wanted = shapley(lambda rows: scores(rows)[:, column], x[0], x[1:])
    np.testing.assert_allclose(e.values, wanted, atol=1e-5 * max(1.0, np.abs(wanted).max()))
    assert abs(e.details["completeness_error"]) < 1e-5
    return e


@pytest.mark.parametrize(
    ("modes", "missing"),
    [
        (("BRANCH_LEQ",), 0.0),
        (("BRANCH_LEQ",), 0.2),
        (("BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_LEQ"), 0.0),
        (("BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"), 0.2),
    ],
)
def test_trees_of_every_comparison(modes: tuple[str, ...], missing: float) -> None:
    node = regressor(np.random.default_rng(RNG), "x", "y", 6, modes=modes, count=5, depth=4)
    judged(model([node], {"x": (FLOAT, 6)}, {"y": (FLOAT, 1)}), "y", 0, None, missing)


@pytest.mark.parametrize("how", ["SUM", "AVERAGE"])
def test_sums_and_means_of_trees_with_a_base(how: str) -> None:
    node = regressor(np.random.default_rng(RNG), "x", "y", 5, aggregate_function=how, base_values=[3.0])
    e = judged(model([node], {"x": (FLOAT, 5)}, {"y": (FLOAT, 1)}), "y", 0, None)
    assert e.values.sum() == pytest.approx(e.score - e.details["baseline_score"], abs=1e-5)


def test_the_greatest_of_trees_is_no_sum() -> None:
    node = regressor(np.random.default_rng(RNG), "x", "y", 5, aggregate_function="MAX")
    proto = model([node], {"x": (FLOAT, 5)}, {"y": (FLOAT, 1)})
    with pytest.raises(NoSum, match="takes the MAX of its trees"):
        onnxray.explain(proto, cells(1, 5), "tree-shap", background=cells(9, 5))
    found = onnxray.explain(proto, onnxray.Table(cells(4, 5)))
    assert {e.method for e in found} == {"kernel-shap"}


@pytest.mark.parametrize(("classes", "transform"), [(2, "LOGISTIC"), (3, "SOFTMAX"), (2, "NONE"), (3, "NONE")])
def test_classifiers_are_explained_before_their_sigmoid_or_softmax(classes: int, transform: str) -> None:
    def made(transform: str) -> onnx.ModelProto:
        node = classifier(np.random.default_rng(RNG), "x", 5, classes, transform)
        return model([node], {"x": (FLOAT, 5)}, {"label": (INT, 1), "scores": (FLOAT, classes)})

    x, scores = cells(9, 5), output(made("NONE"), "scores")
    proto = made(transform)
    del proto.graph.output[0].type.tensor_type.shape.dim[1]
    shown = output(proto, "scores")(x[:1])[0]
    for target in range(classes):
        e = onnxray.explain(proto, x[:1], "tree-shap", target=target, background=x[1:])
        wanted = shapley(lambda rows, of=target: scores(rows)[:, of], x[0], x[1:])
        np.testing.assert_allclose(e.values, wanted, atol=1e-5)
        assert e.score == pytest.approx(float(scores(x[:1])[0, target]), abs=1e-5)
        assert e.probability == pytest.approx(float(shown[target]), abs=1e-5)
    if transform != "NONE":
        with pytest.raises(MethodError, match="a probability is no sum of trees"):
            onnxray.explain(proto, x[:1], "tree-shap", target="prob:1", background=x[1:])


def test_ensembles_of_version_5() -> None:
    """Two trees, one of a single split; members of a set, and a leaf on each side."""
    node = helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain=ML,
        n_targets=1,
        aggregate_function=1,
        post_transform=0,
        tree_roots=[0, 2],
        nodes_featureids=[0, 2, 1],
        nodes_modes=numpy_helper.from_array(np.array([6, 0, 3], np.uint8), "modes"),
        nodes_splits=numpy_helper.from_array(np.float32([0, 2, 1]), "splits"),
        membership_values=numpy_helper.from_array(np.float32([0, 1, 3, np.nan]), "members"),
        nodes_truenodeids=[1, 0, 3],
        nodes_trueleafs=[0, 1, 1],
        nodes_falsenodeids=[2, 1, 4],
        nodes_falseleafs=[1, 1, 1],
        leaf_targetids=[0, 0, 0, 0, 0],
        leaf_weights=numpy_helper.from_array(np.float32([1, -2, 4, 0.5, -1]), "weights"),
    )
    proto = model([node], {"x": (FLOAT, 3)}, {"y": (FLOAT, 1)}, ml=5)
    try:
        output(proto, "y")
    except Exception as error:  # an older ONNX Runtime
        pytest.skip(f"ONNX Runtime has no TreeEnsemble: {error}")
    judged(proto, "y", 0, None)


def test_what_comes_behind_the_trees_is_weighed() -> None:
    """y = 2 (a(x) - b(x)) + x @ w: two ensembles, a factor, and a linear part."""
    rng = np.random.default_rng(RNG)
    nodes = [
        regressor(rng, "x", "a", 4),
        regressor(rng, "x", "b", 4),
        helper.make_node("Sub", ["a", "b"], ["d"]),
        helper.make_node("Mul", ["d", "two"], ["t"]),
        helper.make_node("MatMul", ["x", "w"], ["l"]),
        helper.make_node("Add", ["t", "l"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.float32([2]), "two"),
        numpy_helper.from_array(np.float32([[1], [-1], [0.5], [0]]), "w"),
    ]
    judged(model(nodes, {"x": (FLOAT, 4)}, {"y": (FLOAT, 1)}, constants), "y", 0, None)


def pipeline(last: list) -> onnx.ModelProto:
    """What scikit-learn's ColumnTransformer becomes: two numbers scaled, two texts one-hot, joined."""
    nodes = [
        helper.make_node("Concat", ["age", "fare"], ["numbers"], axis=1),
        helper.make_node("Imputer", ["numbers"], ["whole"], domain=ML, imputed_value_floats=[2.0, 2.0], replaced_value_float=float("nan")),
        helper.make_node("Scaler", ["whole"], ["scaled"], domain=ML, offset=[2.0, 2.0], scale=[2.0, 1.0]),
        helper.make_node("OneHotEncoder", ["sex"], ["s"], domain=ML, cats_strings=["f", "m"], zeros=1),
        helper.make_node("OneHotEncoder", ["port"], ["p"], domain=ML, cats_strings=["C", "Q", "S"], zeros=1),
        helper.make_node("Concat", ["s", "p"], ["texts"], axis=2),
        helper.make_node("Reshape", ["texts", "five"], ["flat"]),
        helper.make_node("Concat", ["scaled", "flat"], ["features"], axis=1),
        *last,
    ]  # fmt: skip
    return model(
        nodes,
        {"age": (FLOAT, 1), "fare": (FLOAT, 1), "sex": (TEXT, 1), "port": (TEXT, 1)},
        {"y": (FLOAT, 1)},
        [numpy_helper.from_array(np.int64([-1, 5]), "five")],
    )


def people() -> dict[str, list]:
    rng = np.random.default_rng(5)
    return {
        "age": [*rng.integers(0, 5, 11).tolist(), None],
        "fare": (rng.integers(0, 9, 12) / 2).tolist(),
        "sex": rng.choice(["f", "m"], 12).tolist(),
        "port": rng.choice(["C", "Q", "S"], 12).tolist(),
    }


@pytest.mark.parametrize("kind", ["trees", "linear"])
def test_features_go_back_to_the_columns_that_they_are_made_of(kind: str) -> None:
    last = {
        "trees": regressor(np.random.default_rng(RNG), "features", "y", 7, depth=4, count=6),
        "linear": helper.make_node(
            "LinearRegressor", ["features"], ["y"], domain=ML, targets=1, intercepts=[4.0],
            coefficients=[1.0, -2.0, 0.5, 0.25, 3.0, -1.0, 2.0],
        ),
    }[kind]  # fmt: skip
    proto, rows = pipeline([last]), people()
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    table = np.array([list(row) for row in zip(*rows.values(), strict=True)], object)

    def score(cells: np.ndarray) -> np.ndarray:
        feeds = {name: cells[:, i : i + 1].astype(np.float32 if i < 2 else object) for i, name in enumerate(rows)}
        return np.asarray(session.run(["y"], feeds)[0], np.float64)[:, 0]

    found = onnxray.explain(proto, onnxray.Table(rows))
    assert len(found) == 12
    for row in (0, 5, 11):
        e = found[row]
        assert e.method == "tree-shap"
        assert list(e.parts) == list(rows)
        np.testing.assert_allclose(e.values, shapley(score, table[row], table), atol=1e-5)


def test_columns_that_are_mixed_are_refused_and_left_to_kernel_shap() -> None:
    nodes = [
        helper.make_node("Normalizer", ["x"], ["n"], domain=ML, norm="L2"),
        regressor(np.random.default_rng(RNG), "n", "y", 3),
    ]
    proto = model(nodes, {"x": (FLOAT, 3)}, {"y": (FLOAT, 1)})
    with pytest.raises(NoSum, match="made of several columns together"):
        onnxray.explain(proto, cells(1, 3), "tree-shap", background=cells(9, 3))
    found = onnxray.explain(proto, onnxray.Table(cells(3, 3), background=cells(9, 3)))
    assert [e.method for e in found] == ["kernel-shap"] * 3


def test_a_hidden_sigmoid_is_no_probability() -> None:
    """A network whose hidden layer has sigmoids is no sum, and stays what it is; nor is a mean of probabilities."""
    rng = np.random.default_rng(RNG)
    weights = {"a": (4, 3), "b": (3, 2)}
    constants = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in weights.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Sigmoid", ["h"], ["s"]),
        helper.make_node("MatMul", ["s", "b"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"]),
    ]
    mean = [
        classifier(rng, "x", 4, 2, "LOGISTIC"),
        helper.make_node("Softmax", ["x2"], ["q"]),
        helper.make_node("MatMul", ["x", "c"], ["x2"]),
        helper.make_node("Add", ["scores", "q"], ["sum"]),
        helper.make_node("Div", ["sum", "two"], ["y"]),
    ]
    mean[1], mean[2] = mean[2], mean[1]
    more = [
        numpy_helper.from_array(rng.normal(size=(4, 2)).astype(np.float32), "c"),
        numpy_helper.from_array(np.float32(2), "two"),
    ]
    for made, known in ((nodes, constants), (mean, more)):
        proto = model(made, {"x": (FLOAT, 4)}, {"y": (FLOAT, 2)}, known)
        with pytest.raises(NoSum):
            onnxray.explain(proto, cells(1, 4), "tree-shap", target=1, background=cells(9, 4))


def test_a_factor_of_one_is_passed_over() -> None:
    """As exports of LightGBM end; any other factor leaves probabilities without a score before them."""
    for factor, refused in ((1.0, False), (0.5, True)):
        nodes = [
            classifier(np.random.default_rng(RNG), "x", 4, 2, "LOGISTIC"),
            helper.make_node("Mul", ["scores", "factor"], ["y"]),
        ]
        known = [numpy_helper.from_array(np.float32([factor]), "factor")]
        proto = model(nodes, {"x": (FLOAT, 4)}, {"y": (FLOAT, 2)}, known)
        if refused:
            with pytest.raises(NoSum, match="applies LOGISTIC to each sum"):
                onnxray.explain(proto, cells(1, 4), "tree-shap", target=1, background=cells(9, 4))
            continue
        e = onnxray.explain(proto, cells(1, 4), "tree-shap", target=1, background=cells(9, 4))
        assert abs(e.details["completeness_error"]) < 1e-5
        assert e.probability == pytest.approx(1 / (1 + np.exp(-e.score)), abs=1e-5)


def test_parts_that_are_computed_from_one_another_are_refused_and_left_to_kernel_shap() -> None:
    """y = x @ W + Relu(x) @ V, and a tree and its own Relu: the slope by the first part has the second in it."""
    rng = np.random.default_rng(RNG)
    constants = [numpy_helper.from_array(rng.normal(size=(3, 1)).astype(np.float32), name) for name in "WV"]
    network = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("MatMul", ["x", "W"], ["a"]),
        helper.make_node("MatMul", ["r", "V"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    trees = [
        regressor(rng, "x", "t", 3),
        helper.make_node("Relu", ["t"], ["r"]),
        helper.make_node("Add", ["t", "r"], ["y"]),
    ]
    x = cells(8, 3) - 2.25
    for nodes in (network, trees):
        proto = model(nodes, {"x": (FLOAT, 3)}, {"y": (FLOAT, 1)}, constants if nodes is network else [])
        with pytest.raises(NoSum, match="computed from another part"):
            onnxray.explain(proto, x[:1], "tree-shap", background=x[1:])
        e = onnxray.explain(proto, onnxray.Table(x[:1], background=x[1:]))
        scores = output(proto, "y")
        wanted = shapley(lambda rows, of=scores: of(rows)[:, 0], x[0], x[1:])
        assert e.method == "kernel-shap"
        assert any("kernel-shap in place of tree-shap" in w and "computed from another part" in w for w in e.warnings)
        np.testing.assert_allclose(e.values, wanted, atol=1e-4)


def test_values_that_miss_the_score_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    node = regressor(np.random.default_rng(RNG), "x", "y", 3)
    proto = model([node], {"x": (FLOAT, 3)}, {"y": (FLOAT, 1)})
    real = tree_shap.shapley
    monkeypatch.setattr(tree_shap, "shapley", lambda *given: real(*given) + 1)
    with pytest.raises(NoSum, match="miss the score's difference"):
        onnxray.explain(proto, cells(1, 3), "tree-shap", background=cells(9, 3))


def test_without_rows_to_compare_with_it_says_what_to_give() -> None:
    node = regressor(np.random.default_rng(RNG), "x", "y", 3)
    proto = model([node], {"x": (FLOAT, 3)}, {"y": (FLOAT, 1)})
    with pytest.raises(MethodError, match="give background="):
        onnxray.explain(proto, cells(1, 3), "tree-shap")
    with pytest.raises(MethodError, match="give rows of the data as background"):
        onnxray.explain(proto, onnxray.Table(cells(1, 3)))
    with pytest.raises(MethodError, match="no rows of a table"):
        onnxray.explain("builtin", np.zeros((1, 3, 8, 8), np.float32), "tree-shap", background=np.zeros((2, 3, 8, 8)))


@pytest.mark.skipif(importlib.util.find_spec("skl2onnx") is None, reason="needs skl2onnx")
@pytest.mark.parametrize("kind", ["forest", "boosting", "logistic"])
def test_exports_of_scikit_learn(kind: str) -> None:
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    x = x.astype(np.float32)
    made = {
        "forest": RandomForestClassifier(8, max_depth=4, random_state=0),
        "boosting": GradientBoostingClassifier(n_estimators=5, random_state=0),
        "logistic": LogisticRegression(max_iter=500),
    }[kind].fit(x, y)
    proto = to_onnx(made, x[:1])
    background = x[::15]
    e = onnxray.explain(proto, x[60:61], "tree-shap", target=1, background=background)

    def score(rows: np.ndarray) -> np.ndarray:
        if kind == "forest":
            return made.predict_proba(rows)[:, 1]
        found = made.decision_function(rows)
        return found[:, 1]

    np.testing.assert_allclose(e.values, shapley(score, x[60], background), atol=2e-5)
    assert e.probability == pytest.approx(float(made.predict_proba(x[60:61])[0, 1]), abs=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("shap") is None, reason="needs shap, a peer")
def test_the_same_as_shap() -> None:
    import shap
    from skl2onnx import to_onnx
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import GradientBoostingRegressor

    x, y = load_diabetes(return_X_y=True)
    x = x.astype(np.float32)
    made = GradientBoostingRegressor(random_state=0).fit(x, y)
    found = onnxray.explain(to_onnx(made, x[:1]), x[:20], "tree-shap", background=x[-50:])
    wanted = shap.TreeExplainer(made, x[-50:]).shap_values(x[:20])
    np.testing.assert_allclose(np.stack([e.values for e in found]), wanted, rtol=1e-5, atol=1e-4)
