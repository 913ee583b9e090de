"""Files of other formats are named, with the way to a model."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

import onnxray


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"x" * 100)
    return file.getvalue()


HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()


@pytest.mark.parametrize(
    ("data", "what", "remedy"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "Git LFS pointer", "git lfs pull"),
        (b"\x20\x00\x00\x00ORTM" + bytes(90), r"\.ort", "onnx file that it was made from"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(90), "TensorFlow Lite", "tf2onnx"),
        (zipped("archive/data.pkl"), "PyTorch", r"torch\.onnx\.export"),
        (zipped("model.onnx"), "ZIP archive", "unpack"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch", r"torch\.onnx\.export"),
        (len(HEADER).to_bytes(8, "little") + HEADER + bytes(4), "safetensors", "export"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5", "Keras"),
        (b"GGUF\x03\x00\x00\x00" + bytes(90), "GGUF", "export"),
        (b"<!DOCTYPE html><html>not found</html>", "web page", "download"),
        (b"\x1f\x8b\x08\x00" + bytes(90), "gzip", "unpack"),
    ],
)
def test_formats(tmp_path: Path, data: bytes, what: str, remedy: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(onnxray.OnnxrayError, match=f"not an ONNX model but .*{what}.*{remedy}"):
            onnxray.load(source)
