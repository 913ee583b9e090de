"""Render the built-in model's sample images into models/samples: python models/make/samples.py

One image per row of `WANTED`: the first seed from 2,000,000 on (none seen in training) of which the model is right
and sure: 90 %, on clean surfaces 60 %. They show what the model does when it works; how often it does is in the card.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import onnxray

from ...cli.files.images import write
from ...engine.preprocess.find import find_card
from ...engine.preprocess.image import prepare
from ..surface import LABELS, Sample, render

HERE = Path(__file__).resolve().parent.parent
FIRST = 2_000_000
SURE, SURE_CLEAN = 0.9, 0.6
TRIES = 200
# (label, texture, (height, width))
WANTED = (
    ("clean", "brushed", (160, 160)),
    ("clean", "leather", (160, 160)),
    ("scratch", "painted", (192, 256)),
    ("crack", "ceramic", (160, 160)),
    ("crack", "concrete", (160, 160)),
    ("pit", "blasted", (160, 160)),
    ("spatter", "turned", (224, 224)),
    ("dent", "brushed", (160, 160)),
    ("stain", "plastic", (160, 200)),
    ("chip", "painted", (160, 160)),
)


def probability(model: onnxray.Model, sample: Sample) -> float:
    """The model's probability for what the sample shows."""
    x = prepare(sample.image, find_card(model)).tensor
    logits = onnxray.activations(model, x, "logits")["logits"][0].astype(np.float64)
    scores = np.exp(logits - logits.max())
    return float(scores[LABELS.index(sample.label)] / scores.sum())


def main() -> None:
    model = onnxray.load(HERE / "surface.onnx")
    rows = {}
    for index, (label, texture, size) in enumerate(WANTED):
        for seed in range(FIRST + 1000 * index, FIRST + 1000 * index + TRIES):
            sample = render(seed, label, size, texture)
            if label == "clean" and probability(model, sample) >= SURE_CLEAN:
                break
            if sample.mask.mean() > 0.004 and probability(model, sample) >= SURE:
                break
        else:
            raise SystemExit(f"no sure {label} on {texture} in {TRIES} seeds")
        name = f"{index:02d}-{label}-{texture}.png"
        write(HERE / "samples" / name, sample.image)
        rows[name] = {"label": label, "texture": texture, "seed": seed, "size": list(size)}
        print(name, seed)
    (HERE / "samples" / "samples.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")

    sheet = [
        [render(4_000_000 + 10 * row + column, label).image for column, label in enumerate(LABELS)] for row in range(4)
    ]
    write(HERE.parent / "docs" / "images" / "built-in-classes.jpg", np.vstack([np.hstack(images) for images in sheet]))


if __name__ == "__main__":
    main()
