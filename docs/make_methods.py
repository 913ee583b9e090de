"""Writes docs/methods.md from the registry of attribution methods: `python docs/make_methods.py`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from onnxray.engine.methods.options import describe
from onnxray.engine.methods.registry import Method, help_of, methods, options_of

_HEAD = """\
# Attribution methods

<!-- Written from the registry (`engine/methods/`) by `python docs/make_methods.py`: change the docstrings there. -->

An attribution method answers the question: which parts of the input made the network give this score? All of them are
called the same way, in Python and on the command line:

    e = onnxray.explain("model.onnx", "cat.jpg", method="grad-cam", target="tabby")
    e.values       # float32, signed, not normalised, at the method's own resolution
    e.heatmap      # float32 (H, W) on the pixels of the image
    e.overlay()    # uint8 (H, W, 3)
    e.warnings     # what should be known before the map is believed
    e.save("out")

    onnxray explain model.onnx cat.jpg --method grad-cam,integrated-gradients --target tabby -O steps=100

"Needs" says what a method asks of the model. Those that need a gradient differentiate the graph (`onnxray.vjp`), from
the score back to the input or to a layer. Those that run the tail run what lies behind a layer on changed maps, those
that run the network run all of it on changed inputs; both work on networks that have no gradient: quantised ones, for
instance. Nothing switches from one to the other by itself.
"""

_CHOICE = """\
## Which one to take

Judged on images ([evaluation.md](evaluation.md), with confidence intervals), not by how maps look. On the built-in
model, 200 images with masks: `lrp` has the best mean rank of all methods whose maps change with the weights,
`integrated-gradients` and `lam` come next. Among class activation maps `recipro-cam` and `grad-cam` lead; their maps
are coarse, so they hold the object in one patch and rank lower by the share of the heat that lies on thin defects.
`vargrad`, `smoothgrad-squared` and `eigen-grad-cam` come last. On MobileNetV2 with 12 photographs, without masks, the
class activation maps lead (`recipro-cam`, `xgrad-cam`, `hires-cam`, `finer-cam`, not to be told apart), and `lrp` and
`integrated-gradients` lie behind: objects are large there, and average drop favours coarse maps. So the order is
another one on another network: start with `grad-cam`, take `lrp` where the detail matters, and let `onnxray choose
MODEL PHOTOS` rank the methods on yours.
"""

_SANITY = """\
## Which of them depend on the network at all

Adebayo et al. ("Sanity Checks for Saliency Maps", NeurIPS 2018) replace the weights of a network by random ones and
look whether the map changes. It should: a map that stays the same shows the image, not what the network has learned.
The last column of the table says what came of it; "fails" means that the map largely survives when the upper layers
are randomised, because it is dominated by what comes from the lower layers: edges of the image, or their attention.

{sanity}

Such maps are fine pictures of what the lower layers of a network react to. As an explanation of its answer they
mislead: take another method, or guided Grad-CAM with this in mind.
"""

_TARGETS = """\
## What is explained

| target | meaning |
| --- | --- |
| `predicted` | the most probable class (the default) |
| `rank:2` | the class of that rank |
| `top:3` | the three most probable classes, at once |
| `5`, `tabby` | a class by number, or by label: whole, or one of its synonyms |
| `class:LABEL` | a label that looks like another form |
| `classes:5,tabby` | several classes at once (`;` between them where a label has a comma) |
| `contrast:A,B` | the score of A minus that of B |
| `prob:A` | the probability instead of the logit; a softmax is added where the model has none |
| `logit:A` | the score before the model's softmax |
| `unit:LAYER:CHANNEL` | a channel of any layer, its mean |
| `unit:LAYER:CHANNEL,Y,X` | one unit; `strongest` in place of either finds the greatest activation |
| `region:CLASS` | a class of a dense output, where it wins |
| `region:CLASS:Y0,X0,Y1,X1` | the same over a box, in pixels of the image |
| `element:VALUE:I,J` | one number of any value; `max` or `mean` along an axis |
| `cotangent:VALUE:FILE.npy` | the sum of a value times an array |

In Python these are `onnxray.Target.predicted()`, `.contrast(a, b)`, `.region("cat", mask=...)` and so on; a text in
the same syntax, a number, a label or a list of them will do as well.

## Where class activation maps are made

The layer can be named with `layer=` (several of them are merged: each map is divided by its greatest magnitude,
brought to one size, and averaged). Without it, onnxray takes the last layer that still is a map of the image and that
the answer depends on; the result's `reason` says which and why. Transformers hold tokens instead of maps: where each
token lies in the image is found by following positions through the graph, so class tokens, windows (Swin) and
channels-last maps need no help from the user. For dense answers (segmentation) it is the last layer of the coarsest
maps.

Maps are signed. Papers put a ReLU at the end; here only the picture does that: its colours begin at 0.
"""


_HIDING = """\
## What is hidden, and what stands in for it

`ablation`, `lime`, `kernel-shap` and `sobol` hide features of the input and look at the score. They need no gradient
and no image: random forests, quantised networks, texts as numbers and tables will do. What counts as one feature is
the option `segments`:

| segments | features |
| --- | --- |
| `auto` | superpixels on images (`sobol`: the grid) and volumes, single elements on all other inputs |
| `slic`, or a number | superpixels (SLIC) of what the model sees, about 50, or about that many |
| `grid` | `grid` cells along each axis of an image, a volume, a signal's time; `4x8`: rows x columns, time x features |
| `elements` | every number of the input: the columns of a table, the words of a text |
| labels, an array of integers | what has the same number; negative numbers are never hidden |
| masks, an array of booleans | one mask for each feature; they may overlap and leave parts free |

Labels are (H, W), on the model's input or on the image, and masks (F, H, W). On other inputs labels are whatever
broadcasts to a sample (a column of numbers groups time steps), and masks have one axis more. On the command line an
array is the path of an .npy file. The result's `details` hold the value of every segment (`weights`), what it was
called (`names`) and where it lies (`segments`).

What stands in for hidden parts is the option `fill`; no choice is neutral, so it is worth trying two:

| fill | hidden parts hold |
| --- | --- |
| `zero` | 0 in the model's tensor: the training set's mean colour after the usual normalisation |
| `black`, `gray`, `white`, `#rrggbb` | that colour, brought to the tensor as the model card says |
| `mean` | the image's mean colour |
| `segment-mean` | each segment its own mean colour |
| `blur` | the image, blurred |
| `noise` | uniform noise over the input's range, seeded |
| `inpaint` | a smooth continuation of what surrounds them (the Laplace equation) |
| a number or an array | that; an array has the shape of a sample, or a number for each channel |

For tables the mean of the training set, as an array, usually says more than `zero`.
"""


_SPEED = """\
## Speed

Two cores of an AMD EPYC with AVX-512, two threads, one image of 224 x 224, the same weights in PyTorch 2.13 and
ONNX Runtime 1.31; `python bench/cam.py`, `bench/saliency.py` and `bench/compile.py` print it, after a comparison of
the results. Grad-CAM through `onnxray.explain`:

| network | onnxray | pytorch-grad-cam | Captum LayerGradCam | forward pass alone |
| --- | --- | --- | --- | --- |
| ResNet-18 | 11.2 ms | 54.5 ms (4.9x) | 19.4 ms (1.7x) | 9.2 ms |
| ResNet-50 | 22.8 ms | 127 ms (5.6x) | 42.7 ms (1.9x) | 20.8 ms |
| MobileNetV2 | 4.1 ms | 33.6 ms (8.2x) | 13.7 ms (3.3x) | 2.5 ms |

The time is that of the heatmap on the image's pixels, scores included. Where the forward pass alone takes half of
Captum's time, twice its speed cannot be had. Compiled into the model, Grad-CAM costs 1.02 to 1.06
times the forward pass on these networks. Pixel-wise methods were measured at 1.5 times Captum on ResNet-18 and 1.9 to
2.2 times on MobileNetV2 (gradient, SmoothGrad; processor time of one thread). Occlusion has [a page](occlusion.md) of
its own.

In processor time of one thread on an AMD EPYC with AVX2 and no AVX-512, on a random MobileNetV2 with 1,280 channels,
`ablation-cam` took 0.39 s and pytorch-grad-cam's 106 s (270x), for that runs the whole network where only what lies
behind the layer changes; `score-cam` 13.5 s and 72 s (5.3x). Score-CAM takes a forward pass for each mask: its ratio
is that of the forward passes, 5.4 on MobileNetV2, 4.1 on SqueezeNet, 2.4 on ResNet-50 and 1.7 on ResNet-18 against
PyTorch's batches of 16, times what dead channels and equal masks leave out. `rise`, `lime`, `kernel-shap` and
`score-cam` took 0.98 to 1.02 of a loop of bare runs over as many images on MobileNetV2 with 200 runs, and 1.02 to
1.13 on SqueezeNet with 100 on a busy machine, where work done once, such as superpixels, counts more (`python
bench/masked.py --threads 1`).
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD, *_overview(), "", _TARGETS, _HIDING, _CHOICE, _SANITY.format(sanity=_sanity()), _SPEED, *_details()]
    return "\n".join(parts) + "\n"


def _overview() -> Iterator[str]:
    yield "| method | needs | where | weights randomised | what it shows |"
    yield "| --- | --- | --- | --- | --- |"
    for name, cls in methods().items():
        where = "a layer" if cls.at_layer else "the input"
        cells = [f"[`{name}`](#{_anchor(name)})", _needs(cls), where, str(cls.randomisation), _cell(help_of(cls))]
        yield f"| {' | '.join(cells)} |"


def _needs(cls: type[Method]) -> str:
    return {"gradient": "gradient", "tail": "tail", "forward": "network"}[cls.needs]


def _sanity() -> str:
    failing = [f"`{name}`" for name, cls in methods().items() if cls.randomisation == "fails"]
    return f"Methods that fail it: {', '.join(failing)}."


def _details() -> Iterator[str]:
    for name, cls in methods().items():
        if _anchor(name) != name:
            yield f'<a id="{_anchor(name)}"></a>\n'
        yield f"## {name}\n"
        yield inspect.getdoc(cls) or ""
        yield ""
        yield _source(cls)
        options = options_of(cls)
        if options:
            yield "| option | default | |"
            yield "| --- | --- | --- |"
            for option in options:
                default = "none" if option.default is None else f"`{option.default}`"
                yield f"| `{option.name}` | {default} | {_cell(option.help)} {_cell(describe(option).capitalize())}. |"
            yield ""


def _source(cls: type[Method]) -> str:
    """What the module says about where the method comes from: its docstring without the first line."""
    text = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")
    _, _, rest = text.partition("\n")
    return rest.strip() + "\n" if rest.strip() else ""


def _anchor(name: str) -> str:
    """The same in every renderer: a name of letters, digits and hyphens as it is, another by its own anchor."""
    return name.replace("+", "-plus")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_name("methods.md").write_text(page(), encoding="utf-8")
