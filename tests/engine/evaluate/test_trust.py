"""Trust in one map: what each check says of a good map, and of one that is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxray.engine.evaluate.case import Case
from onnxray.engine.evaluate.trust import VERDICTS, Against, Check, Trust, checks_of, likeness
from onnxray.tests.engine.evaluate.cases import SIZE, case_of, linear


def checks(case: Case, **changes: object) -> dict[str, Check]:
    # `given` is no registered method: a name whose randomisation is known stands in.
    explanation = replace(case.explanation, **{"method": "input-x-gradient", **changes})
    return {check.name: check for check in checks_of(Case(case.problem, explanation))}


@pytest.fixture(scope="module")
def case() -> Case:
    """Exact contributions to a linear score, of which those of a corner are a hundred times as large."""
    rng = np.random.default_rng(0)
    weights, x = rng.standard_normal((2, 1, *SIZE)), rng.uniform(0.5, 1, (1, *SIZE)).astype(np.float32)
    weights[0] = np.abs(weights[0]) * 0.01
    weights[0, :, :3, :4] *= 100
    weights *= 0.04
    # What hides pixels is their surroundings blurred: the corner is bright.
    x[:, :3, :4] += 3
    return case_of(linear(weights), x, weights[0] * x, reduce="sum")


def test_a_true_map_of_a_linear_model(case: Case) -> None:
    found = checks(case)
    lights = {name: check.light for name, check in found.items()}
    assert lights == {
        "values": "green",
        "randomisation": "green",
        "deletion": "green",
        "completeness": "green",
        "agreement": "gray",  # no second method is given
        "shift": "gray",  # nor the method, to make the map anew
    }
    assert Trust("input-x-gradient", "class 0", tuple(found.values())).verdict == "green, nothing speaks against it"


def test_contributions_that_do_not_add_up(case: Case) -> None:
    values = (2 * case.explanation.values).astype(np.float32)
    found = checks(case, values=values)
    assert found["completeness"].light == "yellow"
    assert "100.0%" in found["completeness"].words
    assert Trust("m", "t", tuple(found.values())).verdict == "yellow, look twice: completeness"


def test_a_map_of_what_does_not_matter(case: Case) -> None:
    wrong = -np.asarray(case.explanation.map)
    assert checks(case, values=wrong[None].astype(np.float32), map=wrong)["deletion"].light == "red"


def test_zero_nan_and_edges(case: Case) -> None:
    nothing = np.zeros_like(case.explanation.values)
    assert checks(case, values=nothing)["values"].light == "red"
    broken = nothing.copy()
    broken[0, 0, 0] = np.nan
    found = checks(case, values=broken)
    assert set(found) == {"values", "randomisation"}
    assert "NaN" in found["values"].words
    assert checks(case, method="guided-backprop")["randomisation"].light == "red"
    assert checks(case, method="given")["randomisation"].light == "gray"


def test_lights_have_words_and_the_worst_decides() -> None:
    made = [Check(light, light, "w", "m") for light in VERDICTS]
    for number, light in enumerate(VERDICTS):
        trust = Trust("m", "t", tuple(made[number:]))
        assert trust.light == light
        assert trust.verdict.startswith(f"{light}, {VERDICTS[light]}")
        assert all("\n" not in line for line in trust.lines())
        assert len(trust.lines()) == 1 + len(trust.checks)
        assert trust.to_mapping()["light"] == light


def test_likeness_of_maps_of_cells_and_of_pixels() -> None:
    cells = np.random.default_rng(1).uniform(0, 1, (8, 8))
    pixels = np.kron(cells, np.ones((4, 4))) * 3
    assert likeness(pixels, np.kron(cells, np.ones((4, 4)))) == pytest.approx(1)
    assert likeness(pixels, pixels[::-1]) < 0.6


def test_drift_says_the_first_layer() -> None:
    one = Against("other.onnx", ("a", "a"), True, 0.9, {"first": 0.01, "second": 0.3, "third": 0.2})
    assert one.first_drift == "second"
    assert one.check().light == "yellow"
    assert "second is the first layer that differs by 30%" in one.check().words
    assert Against("o", ("a", "b"), False, 0.9, {}).check().light == "red"
    assert Against("o", ("a", "a"), True, 0.1, {}).check().light == "red"
    assert Against("o", ("a", "a"), True, 0.9, {"first": 0.01}).check().light == "green"
