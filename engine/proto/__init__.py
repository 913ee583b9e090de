"""ONNX protobuf messages, read and edited; nothing is run."""
