"""The version of onnxray."""

__version__ = "0.1.0"
