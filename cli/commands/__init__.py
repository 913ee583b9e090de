"""The commands of `onnxray`, in the order `onnxray --help` lists them: name -> its one line of help.

The command NAME lives in the module `cli/commands/NAME.py` as `command`, which is imported when it is called for.
Adding one is that file and one line here; the lines are kept here so that `onnxray --help` imports none of them, and a
test holds both equal.
"""

from __future__ import annotations

COMMANDS = {
    "demo": "Show everything on the built-in model: a report in a few seconds.",
    "inspect": "List a model's layers, inputs, outputs and what is decided about them.",
    "predict": "Name what a classifier sees in images, with scores.",
    "activations": "Picture what the layers of a model answer to images.",
    "filters": "Picture the weights of a layer, and what each filter makes of an image.",
    "explain": "Show why a model answers as it does for images.",
    "grad": "Write a model that also computes gradients, in standard ONNX operators.",
    "compile": "Write a model that explains its own answers, in standard ONNX operators.",
    "models": "The built-in model and cards of well-known public ones.",
}
