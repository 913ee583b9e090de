"""NumPy's files with broken headers: one kind of error, at once."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from onnxray.engine.preprocess.arrays import read_array, read_arrays


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + data


def of(shape: str, descr: str = "'<f4'") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", bytes(8))


BROKEN = {
    "more than there is": of("(1000000000000,)"),
    "more than any file": of(f"({'9' * 5000},)"),
    "negative": of("(-1,)"),
    "no size": of("(True, 'a')"),
    "no type": of("(2,)", "'xx'"),
    "objects": of("(1,)", "'|O'"),
    "an expression": npy("__import__('os')"),
    "nested": npy("(" * 9000),
    "short": b"\x93NUM",
    "another version": b"\x93NUMPY\x09\0aa",
    "a long header": b"\x93NUMPY\x02\0" + b"\xff" * 4,
    "half a ZIP": b"PK\x03\x04abc",
    "empty": b"",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_arrays(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", data)
    with pytest.raises(ValueError, match=r"\w") as caught:
        read_array(tmp_path / "a.npy")
    assert "\n" not in str(caught.value)
    try:
        found = read_arrays(tmp_path / "a.npz")
    except ValueError:
        return
    assert all(isinstance(value, bytes) for value in found.values())  # no array: NumPy hands out a member as it is


def test_arrays_are_read(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", a=values, b=values.T)
    found = read_array(tmp_path / "a.npy")
    assert np.array_equal(found, values)
    assert type(found) is np.ndarray
    assert np.array_equal(read_arrays(tmp_path / "a.npz")["b"], values.T)
    with pytest.raises(ValueError, match="several arrays"):
        read_array(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="No such file"):
        read_array(tmp_path / "b.npy")
