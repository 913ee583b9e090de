"""The commands of `onnxray`, in the order `onnxray --help` lists them: name -> its one line of help.

The command NAME lives in the module `cli/commands/NAME.py` as `command`, which is imported when it is called for.
Adding one is that file and one line here; the lines are kept here so that `onnxray --help` imports none of them, and a
test holds both equal.
"""

from __future__ import annotations

COMMANDS = {
    "demo": "Show everything on the built-in model: a report in a few seconds.",
    "inspect": "List a model's layers, inputs and outputs, and how onnxray interprets them.",
    "predict": "Classify images: print the top classes with their probabilities.",
    "activations": "Draw layer activations for images.",
    "filters": "Draw the weights of a layer, and the response of each filter to an image.",
    "explain": "Show which parts of an image, or of any other input, a model's answer depends on.",
    "watch": "Explain images as they arrive in a folder, until the command is stopped.",
    "visualize": "Draw what a unit, a class or a direction of a model looks for.",
    "dream": "Dream of images: exaggerate what a network sees in them (DeepDream).",
    "microscope": "Make a site over every layer and unit of a model, to be opened from disk.",
    "top": "Find the images that excite each unit of a layer most, in one pass over any number of images.",
    "health": "Examine the units of a model on a data set: dead, saturated, duplicate; compare versions.",
    "novelty": "Find what is unlike good images: a score and a map, out of any model.",
    "evaluate": "Judge the maps of explanation methods by metrics, and say which method to use here.",
    "choose": "Rank the explanation methods that fit a model within a time budget, and say why.",
    "merge": "Merge results over parts of a data set, or parts of a site, into the whole.",
    "report": "Write a report about one image: one HTML file with everything in it.",
    "grad": "Write a model that also computes gradients, in standard ONNX operators.",
    "compile": "Write a model that also outputs its explanation, in standard ONNX operators.",
    "export": "Write numbers of every node for the graph of Google's Model Explorer.",
    "doctor": "Check the installation: versions, execution providers, kernels, pictures, extras.",
    "methods": "List the explanation methods, or describe one with its options.",
    "models": "List the built-in model and the cards of well-known public models.",
}
