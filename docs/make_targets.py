"""Writes docs/targets.md from the registry of targets: `python docs/make_targets.py`."""

# ruff: noqa: E501 (rows of tables, commands)

from __future__ import annotations

from pathlib import Path

from onnxray.engine.targets.registry import forms

_HEAD = """# Targets

What is explained: which number of the network a map belongs to. `--target` of `onnxray explain` and
`onnxray.explain(model, image, target=...)` take the same texts; a class index, or a label, stands for a class. This table is
generated from the registry of targets (`engine/targets/kinds/`) by `python docs/make_targets.py`.

| text | what is explained |
|---|---|
| `5`, `tabby` | a class, by its index or its label |
"""

_TAIL = r"""
Without `--target`, `predicted` is meant: the most probable class of a classifier, the `value` of a model that answers with one
number, the `region` of a segmentation network, the boxes `box:top:3` of a detector. `details` of the explanation, and the manifest, say which output that was and why.
`str(explanation.target)` is a text that reads back as the same target. In Python `onnxray.Target` has a function for each
form: `Target.contrast("cat", "dog")`, `Target.region("cat", mask=array)`, `Target.like(photo)`.

## Recipes

| question | command |
|---|---|
| Why this class? | `onnxray explain model.onnx cat.jpg` |
| Why this one rather than that? | `onnxray explain model.onnx cat.jpg --target contrast:tabby,lynx` |
| Another class for each image | `onnxray explain model.onnx a.jpg b.jpg --target each:tabby,lynx` |
| Maps of the three most probable classes | `onnxray explain model.onnx cat.jpg --target top:3` |
| A saturated probability, whose gradient vanishes | `onnxray explain detector.onnx street.jpg --target logit:element:scores:42,1` |
| A regression: age, price, an anomaly score | `onnxray explain age.onnx face.jpg`, of several numbers `--target value:2` |
| Why is this part segmented so? | `onnxray explain seg.onnx street.jpg --target region:car:instance:1` |
| What places the edge of the region? | `onnxray explain seg.onnx street.jpg --target region:car:boundary` |
| Depth or an anomaly map in a box of the image | `onnxray explain depth.onnx room.jpg --target mean:depth:120,80,200,160` |
| Which pixels does a super-resolution network use? | `onnxray explain sr.onnx small.png --method lam --target 'mean:\|gradient\|:40,60,56,76'` |
| Why does the pose have the knee there? | `onnxray explain pose.onnx runner.jpg --target point:left_knee` |
| Why this box? Of all, the most certain one | `onnxray explain yolo.onnx street.jpg --target box` |
| The second person, the box at a point, why it is that wide | `--target box:person:2`, `--target box:at:120,80`, `--target box:side=w` |
| What makes two faces similar? | `onnxray explain face.onnx me.jpg --target like:passport.jpg` |
| More like A than like B? | `onnxray explain face.onnx me.jpg --target unlike:a.jpg,b.jpg` |
| What does this channel look at? | `onnxray explain model.onnx cat.jpg --target unit:layer4.1.conv2:37 --method guided-backprop` |
| What does the strongest unit look at? | `onnxray explain model.onnx cat.jpg --target unit:layer4.1.conv2:strongest,strongest` |

## In pictures

Each recipe on a small network: what it is given, and the explanation. `python docs/make_target_pictures.py` draws them.

%%PICTURES%%
## Rules

- A score is linear in the value that it is read from. Choices that depend on the answer (the predicted class, the strongest
  unit, where a class wins) are made once, on the image as it is.
- `logit:` goes before a class, an element, a unit, a mean, a region or a value that holds probabilities. Before a sigmoid stands its
  input; before a softmax the input less the log of the sum of the exponentials of the others, log(p / (1 - p)), which is taken
  without differences of large numbers. A score of 0.99999 has no slope left: `explain` warns and names the text to use.
- Boxes are `Y0,X0,Y1,X1` in pixels of the image as given (of the tensor, where a tensor was given). Masks are pictures or `.npy` files of
  the image's size or the map's; what is not 0 belongs to them.
- `region:predicted` takes class 0 for the background where it covers most of the image, and the largest of the others.
  `instance:K` is the K-th largest 4-connected component, `boundary` the band of one cell on either side of the edge.
- `element:VALUE:INDEX,...` has an index for every axis after the batch; a value without a batch, as what a non-maximum
  suppression selects, has one for every axis.
- `point:NAME` is the greatest score of a keypoint's heat map, or the sum of that of its columns and that of its rows. Names are the
  model's labels where there is one for each keypoint, else COCO's where there are 17. The overlay shows all points whose peak is at least
  0.3 of the greatest, those of COCO joined, and the manifest has each in pixels of the image (`points`).
- Next to the explanation of a number, of a region or of a mean, the sheet has the map that the model itself answers with, where it
  has one (anomalies, depth), `own-map-overlay.png` the same over the image. It says where something is, the explanation what made the answer.
- `mean:|gradient|` is the mean magnitude of Sobel's gradient of a map, by default of the output that is one: how much detail is made
  there. An edge of one per pixel counts 1.
- Models and outputs without an axis of samples are counted as if they had one: boxes, regions and points mean the same places.
- `like:` and `unlike:` compare by the cosine. References are pictures, which the model embeds itself, or `.npy` embeddings. Tokens
  and places are averaged first (over `attention_mask` where the model has that input); `like:max:...`, `like:cls:...` pool otherwise.
"""

# Picture -> what it shows, and the command that makes such a one.
SHOWN = {
    "class": ("A class: what looks like a scratch.", "onnxray explain builtin samples --target scratch"),
    "contrast": (
        "Two classes: why a scratch rather than a stain.",
        "onnxray explain builtin samples --target contrast:scratch,stain",
    ),
    "unit": (
        "A unit: what the strongest one of a layer sees.",
        "onnxray explain builtin samples --target unit:stage3/relu2:strongest,strongest --method guided-backprop",
    ),
    "region": (
        "A region of a segmentation: all cars.",
        "onnxray explain seg.onnx street.jpg --target region:car --method input-x-gradient",
    ),
    "instance": (
        "One of its components: the second largest.",
        "onnxray explain seg.onnx street.jpg --target region:car:instance:2 --method input-x-gradient",
    ),
    "boundary": (
        "Its boundary: what places the edge.",
        "onnxray explain seg.onnx street.jpg --target region:car:boundary --method gradient",
    ),
    "mean": (
        "The depth in a box: the image, the depth that the model finds, the explanation.",
        "onnxray explain depth.onnx street.jpg --target mean:depth:50,60,66,86 --method input-x-gradient",
    ),
    "value": (
        "An anomaly score: the image, the model's own map, and the explanation: what hides the flaw lowers the score (red), what "
        "hides a part of it only raises it (blue).",
        "onnxray explain anomaly.onnx surface.png --target value --method occlusion",
    ),
    "detail": (
        "The detail that a super-resolution network makes in a box: which pixels it takes it from.",
        "onnxray explain sr.onnx small.png --target 'mean:|gradient|:24,4,38,24' --method lam",
    ),
    "point": (
        "A keypoint of a pose, with the other ones.",
        "onnxray explain pose.onnx person.png --target point:right_hand --method occlusion",
    ),
    "like": (
        "Similarity to another image, which holds the stripes too: what makes them alike (red) and what does not (blue).",
        "onnxray explain embedding.onnx a.png --target like:b.png --method occlusion",
    ),
}


def page() -> str:
    """The text of docs/targets.md."""
    rows = [f"| `{_cell(form.syntax)}` | {_cell(form.about)} |" for form in forms().values()]
    shown = [
        f"{about}\n\n    {command}\n\n![{about}](images/target-{name}.jpg)\n"
        for name, (about, command) in SHOWN.items()
    ]
    return _HEAD + "\n".join(rows) + "\n" + _TAIL.replace("%%PICTURES%%", "\n".join(shown))


def _cell(text: str) -> str:
    """A bar ends a cell, in code as well."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_name("targets.md").write_text(page(), encoding="utf-8")
