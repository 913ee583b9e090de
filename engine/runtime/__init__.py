"""ONNX Runtime: the only room that runs a model."""
