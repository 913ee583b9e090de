"""Which methods are right on the built-in model and on another network: the tables of docs/evaluation.md.

    python bench/methods.py [--images 200] [--patient 10] [--json FILE] [--threads 1]
    python bench/methods.py MODEL.onnx PHOTOS/ ...       # of another network, without masks: the predicted class

Every method that fits at its default options, by metrics of faithfulness and, where masks are known, of localisation.
The built-in model's images are those of `localisation.py`: rendered from seeds that its training did not use,
classified rightly, all kinds of defects in turn; the class of the defect is explained. `--patient`: how many of the
images the methods get that run the network hundreds of times, evenly spread; the ranks of all methods are those on
these images alone, so that all are ranked on the same. Insertion and deletion change 1/16 of the pixels in each step.
With `--json`, the values of all images are written after each image, and a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from _harness import arguments
from localisation import rendered

import onnxray
from onnxray import models
from onnxray.cli.files.images import read
from onnxray.engine.attribution.photos import card_or_none
from onnxray.engine.evaluate.registry import Metric, make
from onnxray.engine.evaluate.results import Evaluation, Judged
from onnxray.engine.evaluation import PATIENT, Judge
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.methods.registry import make as method
from onnxray.engine.methods.registry import methods
from onnxray.engine.survey.pictures import Picture

# Those of `PATIENT` and further ones that take seconds for one map.
SLOW = PATIENT | {"ablation", "ablation-cam", "occlusion"}
STEPS = 16


def options_of() -> argparse.Namespace:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model", nargs="?", default=None, help="another classifier (default: the built-in one)")
        parser.add_argument("photos", nargs="*", type=Path, help="its images")
        parser.add_argument("--images", type=int, default=200, help="images (default 200)")
        parser.add_argument("--patient", type=int, default=10, help="images for slow methods (default 10)")

    return arguments(__doc__, rounds=1, more=more)


def asked(model: onnxray.Model, masks: bool) -> list[Metric]:
    card = card_or_none(model)
    assert card is not None
    assert card.size is not None
    height, width = card.size
    step = -(-height * width // STEPS)
    named = [make("insertion", {"step": step}), make("deletion", {"step": step}), make("average-drop")]
    if masks:
        named += [make(name) for name in ("relevance-mass", "relevance-rank", "pointing-game")]
    return [*named, make("sparseness")]


def given(model: onnxray.Model, options: argparse.Namespace) -> Iterator[tuple[Picture, object]]:
    """The images and their masks."""
    if options.model is None:
        for number, case in enumerate(rendered(model, options.images)):
            yield Picture(f"{number:03}-{case.label}", case.image, case.label), case.mask
    else:
        for file in options.photos[: options.images]:
            yield Picture(file.stem, read(file)), None


def judged(model: onnxray.Model, options: argparse.Namespace, count: int) -> list[Judged]:
    """The values of all images, the slow methods' on some."""
    runtime = RunOptions(threads=options.threads, providers="cpu")
    metrics, every = asked(model, options.model is None), -(-count // options.patient)
    file = options.json
    known = json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}
    for number, (picture, mask) in enumerate(given(model, options)):
        if picture.name in known:
            continue
        named = [method(name) for name in methods() if name not in SLOW or number % every == 0]
        judge = Judge(model, named, metrics, None, runtime, 0, True)
        one = judge.one(picture, mask)
        known[picture.name] = one.to_mapping()
        if file:
            file.write_text(json.dumps(known), encoding="utf-8")
    return [Judged.from_mapping(name, found) for name, found in known.items()]


def report(found: list[Judged], metrics: list[Metric]) -> None:
    """The table, the ranks of the quick methods on all images, and those of all methods where all have values."""
    fitting = [name for name in methods() if any(image.values.get(name) for image in found)]
    quick = tuple(name for name in fitting if name not in SLOW)
    shared = [image for image in found if any(name in image.values for name in SLOW)]
    everything = Evaluation(tuple(fitting), tuple(metrics), tuple(shared)).ranking
    of_quick = Evaluation(quick, tuple(metrics), tuple(found)).ranking
    table = Evaluation(tuple(fitting), tuple(metrics), tuple(found))
    rows = dict(table.rows())
    for line in table.to_markdown().splitlines():
        name = line.split("|")[1].strip().strip("`")
        if name in rows:
            count = max(one.count for one in rows[name].values() if one is not None)
            rank = of_quick.mean_rank.get(name)
            line = f"| `{name}` | {count} | {'-' if rank is None else f'{rank:.1f}'} | {line.split('|', 2)[2].strip()}"
        else:
            line = line.replace("| method |", "| method | images | mean rank |").replace(
                "| --- |", "| --- | ---: | ---: |"
            )
        print(line)
    print(f"\n{of_quick.sentence}")
    print(f"On the {len(shared)} images of all methods: {everything.sentence}")


def main() -> None:
    options = options_of()
    model = onnxray.load(options.model or str(models.path(models.BUILTIN)))
    count = options.images if options.model is None else len(options.photos[: options.images])
    report(judged(model, options, count), asked(model, options.model is None))


if __name__ == "__main__":
    main()
