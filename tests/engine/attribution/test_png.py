"""The PNG encoder, judged by an independent decoder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxray.engine.attribution.png import data_url, encode, write
from onnxray.engine.errors import OutputError, ShapeError


def decoded(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return image[..., ::-1] if image.ndim == 3 else image


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (9, 1, 3), (33, 47, 3), (5, 6), (1, 1), (300, 2)])
def test_what_is_encoded_comes_back(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    data = encode(image)
    assert np.array_equal(decoded(data), image)
    assert encode(image) == data


def test_a_view_is_encoded_as_it_looks() -> None:
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)[::2, ::-1, ::-1]
    assert np.array_equal(decoded(encode(image)), image)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)]
)
def test_what_is_no_picture_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ShapeError, match=r"a picture must be uint8"):
        encode(image)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    image = np.full((3, 5, 3), 200, np.uint8)
    write(tmp_path / "deep" / "a.png", image)
    assert np.array_equal(cv2.imread(str(tmp_path / "deep" / "a.png")), image)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write(tmp_path / "file" / "a.png", image)
    assert data_url(image).startswith("data:image/png;base64,iVBORw0KGgo")
