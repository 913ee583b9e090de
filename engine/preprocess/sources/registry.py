"""The readers, in the order in which they are asked."""

from __future__ import annotations

from .base import Reader
from .hugging_face import hugging_face, hugging_face_labels
from .openvino import openvino
from .timm import timm
from .triton import triton
from .ultralytics import ultralytics

READERS: tuple[tuple[str, Reader], ...] = (
    ("the Hugging Face preprocessor_config.json", hugging_face),
    ("the Hugging Face config.json", hugging_face_labels),
    ("the timm configuration", timm),
    ("the OpenVINO information", openvino),
    ("the Ultralytics metadata", ultralytics),
    ("Triton's config.pbtxt", triton),
)
