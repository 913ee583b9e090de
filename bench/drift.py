"""How often does drift raise an alarm for nothing, and how often where something has changed?

Images of one material of the built-in model's generator, whose light, colour and defects differ from image to image.
The first ones are the reference, the next ones are the same production; then they are made brighter, darker, blurred,
noisy, or are of another material. Printed: the share of images at which the population stability index of the window is
above each limit, and the range of the measures.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np

import onnxray
from onnxray.engine.pipeline.drift import Gathering, Looking, Window
from onnxray.models.surface import render

LIMITS = (0.02, 0.03, 0.05, 0.1)
CHANGES = {
    "same": lambda image: image,
    "brighter x1.15": lambda image: np.clip(image * 1.15, 0, 255).astype(np.uint8),
    "darker x0.8": lambda image: (image * 0.8).astype(np.uint8),
    "blur 1 px": lambda image: cv2.GaussianBlur(image, (0, 0), 1),
    "blur 2 px": lambda image: cv2.GaussianBlur(image, (0, 0), 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=int, default=100)
    parser.add_argument("--images", type=int, default=300, help="of the same production; a fifth for each change")
    parser.add_argument("--window", type=int, default=30)
    parser.add_argument("--texture", nargs=2, default=("brushed", "leather"), help="the material, and another one")
    parser.add_argument("--layer")
    options = parser.parse_args()
    looking = Looking(onnxray.load("builtin"), options.layer)
    own, other = options.texture
    gathering = Gathering(looking.layer.name, looking.sha256)
    for seed in range(options.reference):
        gathering.add(looking.look(render(seed, texture=own).image))
    reference = gathering.reference()
    print(f"{looking.layer.name}, {options.reference} images of {own} are the reference, windows of {options.window}")
    head = " ".join(f"{f'> {limit:g}':>7}" for limit in LIMITS)
    print(f"{'':16} images  psi median       max {head}   smd median    99 %")
    for name, texture, change in [*((n, own, c) for n, c in CHANGES.items()), (other, other, CHANGES["same"])]:
        count = options.images if name == "same" else options.images // 5
        images = (change(render(10_000 + seed, texture=texture).image) for seed in range(count))
        report(name, [looking.look(image) for image in images], Window(reference, options.window))


def report(name: str, looks: list, window: Window) -> None:
    found = [window.add(look) for look in looks]
    psi, smd = np.array([d.psi for d in found if d.psi is not None]), np.array([d.smd for d in found])
    shares = " ".join(f"{(psi > limit).mean():7.1%}" for limit in LIMITS)
    ends = f"{np.median(smd):12.2f} {np.quantile(smd, 0.99):7.2f}"
    print(f"{name:16} {len(looks):6} {np.median(psi):11.4f} {psi.max():9.4f} {shares} {ends}")


if __name__ == "__main__":
    main()
