"""The version of onnxray."""

__version__ = "0.2.0"
