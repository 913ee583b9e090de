"""Eigen-CAM: pytorch-grad-cam's maps up to sign, and eigenvectors of the covariance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnxray


def leading(places: np.ndarray) -> np.ndarray:
    """Places (n, C), centred, on the eigenvector of their covariance with the greatest eigenvalue."""
    centred = places.astype(np.float64) - places.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, -1]


@pytest.mark.parametrize(("method", "name"), [("eigen-cam", "eigencam")])
def test_it_matches_the_reference_up_to_its_sign(reference: Any, difference: Any, method: str, name: str) -> None:
    values, expected = reference.explain(method).values, reference.raw(name)
    assert min(difference(values, expected), difference(-values, expected)) < 1e-4


def test_it_is_the_principal_component_that_grows_with_activation(pooled: Any) -> None:
    values = onnxray.explain(pooled.proto, pooled.x, "eigen-cam", 1).values
    expected = leading(pooled.maps[0].reshape(6, -1).T).reshape(5, 7)
    assert np.allclose(np.abs(values), np.abs(expected), atol=1e-5 * np.abs(expected).max())
    assert abs(np.corrcoef(values.ravel(), expected.ravel())[0, 1]) > 0.9999
    assert np.corrcoef(values.ravel(), pooled.maps[0].sum(axis=0).ravel())[0, 1] > 0


def test_the_target_does_not_matter(pooled: Any) -> None:
    a, b = (onnxray.explain(pooled.proto, pooled.x, "eigen-cam", c).values for c in (0, 3))
    assert np.array_equal(a, b)
