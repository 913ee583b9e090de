"""Files that are taken for ONNX models and are something else: known by their first bytes, with the way to a model."""

from __future__ import annotations

# How many first bytes tell.
HEAD_BYTES = 4096

_EXPORT = "export the network with torch.onnx.export"
# (first bytes, where they begin, what it is, what to do)
_MAGIC: tuple[tuple[bytes, int, str, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        0,
        "a Git LFS pointer in place of the file",
        "run `git lfs pull` in its repository, or download the file itself",
    ),
    (b"ORTM", 4, "a model in ONNX Runtime's own format (.ort)", "give the .onnx file that it was made from"),
    (
        b"TFL3",
        4,
        "a TensorFlow Lite model",
        "convert it with `python -m tf2onnx.convert --tflite model.tflite --output model.onnx`",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        0,
        "an HDF5 file, as Keras saves models",
        "load it in Keras and write `model.export('model.onnx', format='onnx')`",
    ),
    (
        b"GGUF",
        0,
        "a GGUF file: weights without a graph",
        "export the network to ONNX in the framework it was made with",
    ),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", 0, "a PyTorch file of before 1.6", _EXPORT),
    (b"\x93NUMPY", 0, "a NumPy array", "give the model, and the array as its input"),
    (b"ftrt", 0, "a TensorRT engine", "give the .onnx file that it was built from"),
    (b"ptrt", 0, "a TensorRT engine", "give the .onnx file that it was built from"),
    (b"\x1f\x8b", 0, "compressed with gzip", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", 0, "compressed with zstd", "unpack it first"),
    (b"BZh", 0, "compressed with bzip2", "unpack it first"),
    (b"\xfd7zXZ\x00", 0, "compressed with xz", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive", "unpack it first"),
    (b"ustar", 257, "a tar archive", "unpack it and give the .onnx file in it"),
)
# Names in the first entry of a ZIP archive.
_IN_ZIP: tuple[tuple[bytes, str, str], ...] = (
    (b"data.pkl", "a PyTorch file (.pt, .pth)", f"load it in PyTorch and {_EXPORT}"),
    (b"constants.pkl", "a TorchScript file", f"load it in PyTorch and {_EXPORT}"),
    (
        b"model.weights.h5",
        "a Keras file (.keras)",
        "load it in Keras and write `model.export('model.onnx', format='onnx')`",
    ),
    (b".npy", "a file of NumPy arrays (.npz)", "give the model, and the arrays as its input"),
)


def known_format(head: bytes) -> tuple[str, str] | None:
    """(what the file is, what to do) from its first bytes; None where they tell nothing."""
    for magic, at, what, remedy in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return what, remedy
    if head[:4] == b"PK\x03\x04":
        for name, what, remedy in _IN_ZIP:
            if name in head:
                return what, remedy
        return "a ZIP archive", "unpack it and give the .onnx file in it"
    if len(head) > 9 and head[8:10] in (b'{"', b"{ ") and int.from_bytes(head[:8], "little") < 1 << 32:
        return "a safetensors file: weights without a graph", "build the network in its framework and export that"
    return _known_text(head)


def _known_text(head: bytes) -> tuple[str, str] | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:400].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page in place of the file", "download it again, by its direct address and logged in if need be"
    if start.startswith((b"<?xml", b"<net ")):
        kind = "an OpenVINO model" if b"<net " in start else "an XML file"
        return kind, "give the .onnx file that it was converted from"
    return None
