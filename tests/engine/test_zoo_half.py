"""Trained networks of the zoo in float16: their answers and their maps are those of float32, with the tolerance of its digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray.cli.files.images import read
from onnxray.tests.engine.zoo import opened

pytestmark = pytest.mark.slow

# Name -> an image, and the least correlation of gradients: rounded weights turn rectifiers over.
NETWORKS = {
    "mobilenet_v2_100_224": ("images/photos/cat.bmp", 0.95),
    "mobilenet_v1_025_224": ("images/photos/cat.bmp", 0.9),
    "resnet20_cifar10": ("images/cifar10/cat_0000.jpg", 0.95),
    "squeezenet_v1_1": ("images/photos/cat.bmp", 0.95),
    "emotion_mini_xception": ("images/photos/face.jpg", 0.9),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_networks(zoo: Path, name: str) -> None:
    file, least = NETWORKS[name]
    single, image = opened(zoo, name), read(zoo / file)
    half = onnxray.load(single, half=True)
    due, got = (onnxray.predict(m, image).top for m in (single, half))
    assert due[0].index == got[0].index
    assert got[0].score == pytest.approx(due[0].score, rel=0.03)
    for method, enough in (("grad-cam", 0.995), ("gradient", least)):
        a, b = (onnxray.explain(m, image, method=method, target=due[0].index) for m in (single, half))
        assert isinstance(a, onnxray.Explanation)
        assert isinstance(b, onnxray.Explanation)
        assert np.corrcoef(a.values.ravel(), b.values.ravel())[0, 1] > enough, method
        assert b.values.dtype == np.float32
        assert np.isfinite(b.values).all()
