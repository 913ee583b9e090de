"""Messages of the engine in the words of the command line: it names keyword arguments, a shell has options."""

from __future__ import annotations

import re

# Keyword arguments of the public functions that are options of the commands by the same name.
_NAMES = (
    *("layer", "target", "method", "input", "output", "answer", "scores", "decision_threshold", "labels", "detector"),
    *("kind", "axes"),
    *("size", "mean", "std", "order", "layout", "resize", "crop_fraction", "shortest_edge", "stretch_to"),
    *("interpolation", "antialias", "rounding", "pad_value", "align", "dtype", "bits", "window", "bands", "display"),
    *("batch", "threads", "upsample", "normalize", "preprocess"),
    *("zoom", "zoom_factor", "zoom_turn", "zoom_octaves", "zoom_steps"),
)
_KEYWORD = re.compile(rf"(?<![^\s(])({'|'.join(_NAMES)})=(?!=)(['\"\w.]?)")


# A keyword whose value is a dict, as the command line takes it: KEY=VALUE,...
_DICT = re.compile(r"(?<![^\s(])detector=\{([^{}]*)\}")


# Options that messages name in words, and numbers of devices as Python writes them.
_IN_WORDS = re.compile(r"\b(leave|without|with|give|in) (half|devices)(?= out\b| to both|[,:]|$)")
_FIRST = re.compile(r"(^|: )half: ")
_DEVICES = re.compile(r"(?<![^\s(])devices=\(([\d, ]*?),?\)")


def as_options(text: str) -> str:
    """`mean=` as `--mean`, `layer='relu'` as `--layer 'relu'`, `detector={'nms': P}` as `--detector nms=P`."""
    text = _DICT.sub(lambda m: "--detector " + m[1].replace("'", "").replace(": ", "=").replace(", ", ","), text)
    text = _DEVICES.sub(lambda m: f"--devices {m[1].replace(' ', '')}", text)
    text = _FIRST.sub(r"\1--half: ", _IN_WORDS.sub(r"\1 --\2", text))
    return _KEYWORD.sub(lambda m: f"--{m[1].replace('_', '-')}{' ' if m[2] else ''}{m[2]}", text)
