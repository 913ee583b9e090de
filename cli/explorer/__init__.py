"""The extension of Google's Model Explorer: `model-explorer --extensions=model_explorer_onnx,onnxray.cli.explorer`."""
