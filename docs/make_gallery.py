"""Writes docs/gallery.md and its pictures by running the commands that it shows: `python docs/make_gallery.py`.

The page alone is written anew with `--page`. Pictures differ by rounding between machines, so that the tests do not
compare them: they run the commands and look whether the files are there.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from numpy.typing import NDArray

from onnxray.cli.files.images import encode, read, write
from onnxray.cli.main import main

HERE = Path(__file__).parent
IMAGES = HERE / "images" / "gallery"
LARGEST = 150_000  # bytes of a picture


@dataclass(frozen=True)
class Figure:
    """A figure of the gallery: its command, without `onnxray` and --out, and the file of it that is shown."""

    name: str
    title: str
    text: str
    command: str
    file: str

    @property
    def picture(self) -> Path:
        """The stored picture: PNG where it is small enough, else JPEG."""
        found = [path for path in (IMAGES / f"{self.name}.png", IMAGES / f"{self.name}.jpg") if path.is_file()]
        return found[0] if found else IMAGES / f"{self.name}.png"

    def run(self, folder: Path) -> Path:
        """Run the command into a folder; the file that is shown. Raises RuntimeError where it fails."""
        arguments = [*shlex.split(self.command), "--out", str(folder), "--force", "--quiet"]
        done = CliRunner(catch_exceptions=False).invoke(main, arguments)
        if done.exit_code or not (folder / self.file).is_file():
            raise RuntimeError(f"onnxray {self.command}: exit code {done.exit_code}, no {self.file}: {done.stderr}")
        return folder / self.file


FIGURES = (
    Figure(
        "responses",
        "Responses of a layer",
        "What 24 filters of the first layer respond to, one map per channel. Edges of one direction, spots, plain "
        "surfaces: each channel looks for something else, everywhere in the image.",
        "activations builtin samples/04-crack-concrete.png --layer stage1/relu --range each",
        "04-crack-concrete/stage1-relu-channels.png",
    ),
    Figure(
        "weights",
        "Weights",
        "The filters of the first layer as small images, gray where a weight is 0. Each is scaled on its own, as in "
        "the classic figure (A. Krizhevsky et al., NeurIPS 2012, figure 3).",
        "filters builtin",
        "stage1-conv.png",
    ),
    Figure(
        "filter-to-feature-map",
        "From filter to feature map",
        "Every filter next to the map that it makes of the image, before the activation function.",
        "filters builtin --on samples/05-pit-blasted.png --most 16",
        "05-pit-blasted/stage1-conv.png",
    ),
    Figure(
        "pooling",
        "Pooling",
        "Maps before pooling, and the number that each becomes. Of layers with windows (MaxPool, AveragePool) the same "
        "command draws the windows and the numbers in them.",
        "activations builtin samples/06-spatter-turned.png --layer pool",
        "06-spatter-turned/pool-pooling.png",
    ),
    Figure(
        "activation-functions",
        "Activation functions",
        "The values before and after an activation function, and the function itself as the values draw it.",
        "activations builtin samples/04-crack-concrete.png --layer stage2/relu1",
        "04-crack-concrete/stage2-relu1-histogram.png",
    ),
    Figure(
        "occlusion",
        "Occlusion, and the class that it changes",
        "A square hides one part of the image after the other. Above the most probable class with each part hidden, "
        "below the probability of the class, and the part that costs most (M. D. Zeiler and R. Fergus, ECCV 2014, "
        "figure 6).",
        "explain builtin samples/08-stain-plastic.png -m occlusion -O patch=40 -O stride=8",
        "08-stain-plastic/occlusion-classes.png",
    ),
    Figure(
        "deconvnet",
        "Deconvnet: what a unit has seen",
        "The strongest unit of each layer projected back to pixels, next to the part of the image that it looks at "
        "(Zeiler and Fergus, figure 2). The deeper the layer, the larger the part.",
        "explain builtin samples/06-spatter-turned.png -m deconvnet -t unit:stage1/relu:strongest,strongest "
        "-t unit:stage2/relu2:strongest,strongest -t unit:stage3/relu2:strongest,strongest",
        "06-spatter-turned/sheet.png",
    ),
    Figure(
        "guided-backprop",
        "Guided backpropagation",
        "The gradient of the class with negative signals cut off at every rectifier, as red, green and blue around "
        "gray (J. T. Springenberg et al., ICLR workshop 2015), next to the plain gradient and Grad-CAM times it.",
        "explain builtin samples/03-crack-ceramic.png -m gradient,guided-backprop,guided-grad-cam",
        "03-crack-ceramic/sheet.png",
    ),
    Figure(
        "grad-cam",
        "Grad-CAM",
        "Which part of the image speaks for which class: methods are rows, classes columns (R. R. Selvaraju et al., "
        "ICCV 2017).",
        "explain builtin samples/07-dent-brushed.png -m grad-cam,hires-cam,layer-cam -t top:3",
        "07-dent-brushed/sheet.png",
    ),
    Figure(
        "folder",
        "A folder in one range of colours",
        "Grad-CAM of every sample, equal colours for equal values: what is clean looks clean. `explain --range shared` "
        "writes the same, image by image.",
        "demo",
        "pictures/grad-cam-of-others.png",
    ),
    Figure(
        "regions",
        "Regions above a threshold",
        "The parts of a map above half of its maximum, each with its box and its peak, in a mask and as JSON as well.",
        "explain builtin samples/04-crack-concrete.png --threshold 0.5",
        "04-crack-concrete/grad-cam-region.png",
    ),
    Figure(
        "walk",
        "The walk through the network",
        "One image on its way through all layers: the mean of a layer's channels, below it the three strongest. "
        "`--blocks` shortens the walk of deep networks.",
        "activations builtin samples/06-spatter-turned.png --all-layers",
        "06-spatter-turned/walk.png",
    ),
)

_HEAD = """\
# Gallery

<!-- Written by `python docs/make_gallery.py`: change the figures there. -->

The figures of lectures on convolutional networks, each with the one command that makes it. All of them need nothing but
onnxray: the built-in model and its sample images. Put your model and image in their place. Results are written to a
folder, `onnxray-explain` and the like, or that of `--out`; below each command is the file that is shown here.
"""


def page() -> str:
    """The text of docs/gallery.md."""
    return "\n".join([_HEAD, *map(_section, FIGURES)])


def _section(figure: Figure) -> str:
    picture = figure.picture.relative_to(HERE).as_posix()
    return f"""\
## {figure.title}

{figure.text}

```sh
onnxray {figure.command}
```

`{figure.file}`

![{figure.title}]({picture})
"""


def make(figure: Figure) -> Path:
    """Run a figure's command and store its picture. Raises RuntimeError where it is too large."""
    with tempfile.TemporaryDirectory() as folder:
        pixels = read(figure.run(Path(folder) / "out"))
    for suffix in (".png", ".jpg"):
        (IMAGES / f"{figure.name}{suffix}").unlink(missing_ok=True)
    for width in (1240, 980, 780):
        fitted = _fitted(pixels, width)
        for suffix, quality in ((".png", 0), (".jpg", 90), (".jpg", 80)):
            if len(encode(fitted, suffix, quality)) <= LARGEST:
                return write(IMAGES / f"{figure.name}{suffix}", fitted, quality)
    raise RuntimeError(f"the picture of {figure.name} has more than {LARGEST} bytes")


def _fitted(pixels: NDArray[np.uint8], widest: int) -> NDArray[np.uint8]:
    """No wider than a page."""
    from onnxray.kernels.resize import resize

    height, width = pixels.shape[:2]
    if width <= widest:
        return pixels
    return np.asarray(resize(pixels, (round(height * widest / width), widest), "bilinear"))


if __name__ == "__main__":
    if "--page" not in sys.argv[1:]:
        IMAGES.mkdir(parents=True, exist_ok=True)
        for figure in FIGURES:
            make(figure)
    (HERE / "gallery.md").write_text(page(), encoding="utf-8")
