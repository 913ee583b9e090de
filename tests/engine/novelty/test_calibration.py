"""The threshold against its definition and a simulation, the interval against tables."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.novelty.calibration import calibrate, clopper_pearson, growth_of, needed


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # C. Clopper and E. Pearson's interval as in statsmodels' proportion_confint(method="beta").
    [(0, 10, 0.0, 0.3084971), (1, 20, 0.0012651, 0.2487328), (5, 50, 0.0332751, 0.2181354), (10, 10, 0.6915029, 1.0)],
)
def test_interval(successes: int, trials: int, low: float, high: float) -> None:
    assert clopper_pearson(successes, trials) == pytest.approx((low, high), abs=1e-6)


def test_images_that_a_rate_takes() -> None:
    assert [needed(rate) for rate in (0.5, 0.1, 0.05, 0.01)] == [1, 9, 19, 99]
    assert calibrate(np.arange(19), 0.05, 80).reached
    assert not calibrate(np.arange(18), 0.05, 80).reached


def test_good_images_raise_no_more_alarms_than_asked_for() -> None:
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((20000, 40))
    alarms = [draw[-1] > calibrate(draw[:-1], 0.1, 80).threshold for draw in draws]
    assert 0.09 < np.mean(alarms) <= 0.104


def test_the_interval_holds_the_true_rate() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(1)
    held = 0
    for _ in range(500):
        found = calibrate(rng.standard_normal(60), 0.1, 80)
        held += found.interval[0] <= norm.sf(found.threshold) <= found.interval[1]
    assert held / 500 > 0.94


def test_few_images_are_said_to_be_few() -> None:
    assert calibrate(np.arange(30), 0.1, 120, 0.02).warnings == ()
    (rate,) = calibrate(np.arange(10), 0.05, 40, 0.02).warnings
    assert "takes 19 held-out good images, there are 10" in rate
    (small,) = calibrate(np.arange(30), 0.1, 9, 0.02).warnings
    assert "9 good images in the memory" in small
    (unstable,) = calibrate(np.arange(30), 0.1, 40, 0.2).warnings
    assert "20 % higher" in unstable


def test_growth() -> None:
    whole = np.array([1.0, 2.0, 3.0])
    assert growth_of(whole, [1.1 * whole, 1.3 * whole]) == pytest.approx(0.2)
    assert np.isnan(growth_of(np.zeros(3), [whole]))
