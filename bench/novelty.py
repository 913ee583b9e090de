"""Novelty memories on surfaces with defects: how well images and pixels are told apart, and what the map costs.

For each surface of the built-in generator: 40 good images, then others that are good and others with each defect, with
masks. The baseline is the textbook's PatchCore in plain NumPy on the same features (all patches, greedy k-center to the
same number, brute force), and two gates that need no memory: the greatest softmax probability and the energy of the
logits (W. Liu et al., 2020). `--zoo DIR` adds magnetic tiles and castings.

    python bench/novelty.py MODEL [--surfaces brushed,leather] [--good 40] [--zoo DIR] [--time]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.special import logsumexp
from scipy.stats import rankdata

import onnxray
from onnxray.cli.files.images import read
from onnxray.engine.attribution.inputs import input_of, values_at
from onnxray.engine.novelty.fit import fit
from onnxray.engine.preprocess.answers import answer_of
from onnxray.engine.preprocess.image import prepare
from onnxray.kernels.resize import resize
from onnxray.models.surface import LABELS, TEXTURES, render

METHODS = ("whitened", "patchcore", "padim", "mahalanobis", "knn")


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The share of pairs of a positive and a negative whose scores are in order, equal ones half."""
    ranks, count = rankdata(scores), int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / max(1, count * (len(positive) - count)))


def surfaces(name: str | None, good: int) -> tuple[list, list, list]:
    """Good images, test images and their masks (bool, of the image); name None: a mixture of all surfaces."""
    names = list(TEXTURES)
    kind = (lambda i: name) if name else (lambda i: names[i % len(names)])
    clean = [render(1000 + i, "clean", texture=kind(i)).image for i in range(good)]
    tests = [render(2000 + i, "clean", texture=kind(i)) for i in range(21)]
    tests += [render(3000 + i, LABELS[1 + i % (len(LABELS) - 1)], texture=kind(i)) for i in range(3 * len(LABELS) - 3)]
    return clean, [t.image for t in tests], [t.mask for t in tests]


def tiles(zoo: Path) -> tuple[list, list, list]:
    files = sorted((zoo / "inspection" / "magnetic_tile").glob("*.jpg"))
    images = [read(f) for f in files]
    masks = [read(f.with_suffix(".png"))[..., 0] > 127 for f in files]
    free = [n for n, f in enumerate(files) if "_Free_" in f.name]
    kept = free[:-2] if len(free) > 6 else free[:5]
    rest = [n for n in range(len(files)) if n not in kept]
    return [images[n] for n in kept], [images[n] for n in rest], [masks[n] for n in rest]


def castings(zoo: Path) -> tuple[list, list, list]:
    files = sorted(f for f in (zoo / "inspection" / "casting").rglob("*") if f.suffix in (".jpeg", ".jpg", ".png"))
    good = [n for n, f in enumerate(files) if "ok" in f.name.lower()]
    kept = good[: 3 * len(good) // 4]
    rest = [n for n in range(len(files)) if n not in kept]
    images = [read(f) for f in files]
    return [images[n] for n in kept], [images[n] for n in rest], [np.full((1, 1), n not in good) for n in rest]


def textbook(memory: onnxray.Novelty, good: list, tests: list) -> np.ndarray:
    """(n, places): PatchCore with all patches at once, without Numba; as many rows as the memory has."""
    from onnxray.engine.novelty.memory import Reader
    from onnxray.engine.survey.pictures import pictures_of

    reader = Reader(memory.model, memory.card, memory.features, memory.runtime)
    read_all = lambda images: np.concatenate([f for _, f, _ in reader.run(pictures_of(images))])  # noqa: E731
    patches = read_all(good).reshape(-1, memory.features.width)
    chosen, least = [0], np.full(len(patches), np.inf, np.float32)
    for _ in range(len(memory.fitted.arrays()["rows"]) - 1):
        least = np.minimum(least, ((patches - patches[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(least.argmax()))
    rows = patches[chosen]
    return np.stack([[np.sqrt(((rows - place) ** 2).sum(axis=1).min()) for place in f] for f in read_all(tests)])


def gates(model: onnxray.Model, tests: list) -> tuple[np.ndarray, np.ndarray]:
    """Minus the greatest probability, and the energy, of each image; NaN where the model has no classes."""
    answer = answer_of(model)
    values = np.concatenate([values_at(model, input_of(model, image), [answer.value])[answer.value] for image in tests])
    rows = answer.rows(values)
    return -answer.probabilities(rows).max(axis=1), -logsumexp(answer.sides(rows), axis=1)


def judged(name: str, model: onnxray.Model, data: tuple[list, list, list], given: argparse.Namespace) -> None:
    good, tests, masks = data
    bad = np.array([mask.any() for mask in masks])
    side = (64, 64)
    flat = np.concatenate([resize(m.astype(np.float32), side, "area").ravel() > 0.5 for m in masks])
    has_masks = all(mask.size > 1 for mask in masks)
    line = f"{name:11s} {len(good):3d} good"
    for method in given.methods.split(","):
        memory = fit(model, good, method=method, rows=given.rows)
        found = memory.score(tests)
        line += f" | {method} {auroc(np.array([f.score for f in found]), bad):.3f}"
        if found[0].map is not None and has_masks:
            line += f" {auroc(np.concatenate([resize(f.map, side, 'area').ravel() for f in found]), flat):.3f}"
        if method == "whitened":
            hits = [_hit(f, mask) for f, mask in zip(found, masks, strict=True) if mask.any() and has_masks]
            line += f" (hit {np.mean(hits):.2f})" if hits else ""
            alarms = np.mean([f.novel for f, b in zip(found, bad, strict=True) if not b])
            caught = np.mean([f.novel for f, b in zip(found, bad, strict=True) if b])
            line += f" (alarms {alarms:.2f}, caught {caught:.2f}, growth {memory.calibration.growth:.2f})"
        if method == "patchcore":
            kept = memory
    if given.textbook:
        kept_good = [image for n, image in enumerate(good) if n % 5 != 4]
        line += f" | textbook {auroc(textbook(kept, kept_good, tests).max(axis=1), bad):.3f}"
    softmax, energy = gates(model, tests)
    line += f" | softmax {auroc(softmax, bad):.3f} | energy {auroc(energy, bad):.3f}"
    print(line, flush=True)


def _hit(found: onnxray.NoveltyScore, mask: np.ndarray) -> bool:
    """Whether the most unlike place lies within a twentieth of the image's side of the defect."""
    y, x = np.unravel_index(int(found.map.argmax()), found.map.shape)
    near = max(mask.shape) // 20
    return bool(mask[max(0, y - near) : y + near + 1, max(0, x - near) : x + near + 1].any())


def timed(model: onnxray.Model, good: list, rows: int) -> None:
    import onnxruntime as ort

    memory = fit(model, good, rows=rows)
    compiled = onnxray.compile(model, None, novelty=memory)
    x = prepare(good[0], memory.card).tensor.reshape(1, *prepare(good[0], memory.card).tensor.shape[-3:])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    ready = [
        ort.InferenceSession(m.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for m in (model, compiled)
    ]
    feeds = {model.inputs[0].name: x}
    outputs = [v.name for v in model.outputs]
    for one, other in zip(ready[0].run(outputs, feeds), ready[1].run(outputs, feeds), strict=True):
        assert (one == other).all(), "the model's own outputs changed"
    best = [1e9, 1e9]
    for _ in range(30):
        for n, session in enumerate(ready):
            start = time.thread_time()
            session.run(None, feeds)
            best[n] = min(best[n], time.thread_time() - start)
    sizes = [len(m.proto.SerializeToString()) for m in (model, compiled)]
    print(
        f"{rows} rows: forward {1e3 * best[0]:.2f} ms, with novelty {1e3 * best[1]:.2f} ms, {best[1] / best[0]:.2f}x; "
        f"+{(sizes[1] - sizes[0]) / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--surfaces", default=",".join(TEXTURES))
    parser.add_argument("--good", type=int, default=40)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--textbook", action="store_true")
    parser.add_argument("--time", action="store_true")
    given = parser.parse_args()
    network = onnxray.load(given.model)
    if given.time:
        timed(network, surfaces("brushed", 10)[0], given.rows)
    for surface in filter(None, given.surfaces.split(",")):
        data = surfaces(None if surface == "mixed" else surface, given.good)
        judged(surface, network, data, given)
    if given.zoo is not None:
        judged("tiles", network, tiles(given.zoo), given)
        judged("castings", network, castings(given.zoo), given)
