"""Eigen-Grad-CAM: pytorch-grad-cam's maps up to sign, and eigenvectors of the covariance."""

from __future__ import annotations

from typing import Any

import numpy as np

import onnxray


def test_it_matches_the_reference_up_to_its_sign(reference: Any, difference: Any) -> None:
    values, expected = reference.explain("eigen-grad-cam").values, reference.raw("eigengradcam")
    assert min(difference(values, expected), difference(-values, expected)) < 1e-4


def test_it_is_the_principal_component_of_gradient_times_activation(pooled: Any) -> None:
    product = pooled.maps[0] * pooled.head[:, 2, None, None] / 35
    places = product.reshape(6, -1).T.astype(np.float64)
    centred = places - places.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    expected = (centred @ vectors[:, -1]).reshape(5, 7)
    values = onnxray.explain(pooled.proto, pooled.x, "eigen-grad-cam", 2).values
    assert np.allclose(np.abs(values), np.abs(expected), atol=1e-5 * np.abs(expected).max())
    assert np.corrcoef(values.ravel(), places.sum(axis=1))[0, 1] > 0
