"""Arrays as OrtValues and back, element types that NumPy lacks included."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import onnx

from .ort import ort

# Element types that ONNX Runtime does not exchange with NumPy by itself.
NOT_IN_NUMPY = ("bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz")


def to_ort_value(array: Any, device: str = "cpu", number: int = 0) -> Any:
    array = np.asarray(array, order="C")
    if array.dtype.kind != "V" and array.dtype.name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return ort.OrtValue.ortvalue_from_numpy(array, device, number)
    bits = array.view(np.uint16 if array.dtype.itemsize == 2 else np.uint8)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, onnx.helper.np_dtype_to_tensor_dtype(array.dtype))


def from_ort_value(value: Any) -> Any:
    kind = value.data_type().removeprefix("tensor(").rstrip(")")
    if kind not in NOT_IN_NUMPY:
        return value.numpy()
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(kind.upper())))
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(data, dtype).reshape(value.shape()).copy()


def to_device(array: np.ndarray, device: str, number: int = 0) -> Any:
    """`array` as an OrtValue on "cpu" or "cuda", on the device of that number."""
    return to_ort_value(array, device, number)
