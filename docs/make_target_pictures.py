"""Draws the pictures of docs/targets.md: `python docs/make_target_pictures.py`.

The networks are small and made here, of filters whose work can be told, but for the built-in model and its samples.
"""

# ruff: noqa: E501 (graphs in ONNX's text form)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

import onnxray
from onnxray.cli.figures.own_map import own_map
from onnxray.cli.figures.pose import overlay as pose_on
from onnxray.cli.files.images import read, write
from onnxray.engine.attribution.explanation import Explanation

FOLDER = Path(__file__).with_name("images")
SIDE, GAP = 240, 8
PLAIN = {"mean": 0, "std": 1, "resize": "stretch"}
INK = (235, 235, 60)
Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]


def model(text: str, constants: dict[str, NDArray[Any]], **card: Any) -> onnxray.Model:
    """A model in ONNX's own text form, of pixels 0..255."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    for name, array in constants.items():
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return onnxray.load(proto, **{**PLAIN, **card})


def boxed(image: Picture, corner: tuple[int, int], opposite: tuple[int, int], colour: Colour, width: int = 0) -> None:
    """A rectangle from (x, y) to (x, y), filled, or its outline of a width."""
    drawing = Image.fromarray(image)
    filled, outline = (colour, None) if not width else (None, colour)
    ImageDraw.Draw(drawing).rectangle([*corner, *opposite], fill=filled, outline=outline, width=width)
    image[...] = np.asarray(drawing)


def disc(image: Picture, centre: tuple[int, int], radius: int, colour: Colour) -> None:
    """A disc around (x, y)."""
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    image[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2] = colour


def line(image: Picture, start: tuple[int, int], end: tuple[int, int], colour: Colour, width: int) -> None:
    """A line with round ends, from (x, y) to (x, y)."""
    a, b = np.array(start, float), np.array(end, float)
    points = np.stack(np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0])), axis=-1)
    along = np.clip(((points - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
    image[np.linalg.norm(points - a - along[..., None] * (b - a), axis=-1) <= width / 2] = colour


def street() -> Picture:
    """A sky, a road and two cars."""
    image = np.zeros((96, 96, 3), np.uint8)
    image[:56] = (np.linspace((120, 170, 230), (200, 215, 235), 56)[:, None]).astype(np.uint8)
    image[56:] = (np.linspace((120, 120, 122), (70, 70, 74), 40)[:, None]).astype(np.uint8)
    for x, y, wide, colour in ((10, 60, 34, (200, 40, 40)), (64, 52, 18, (190, 60, 50))):
        boxed(image, (x, y), (x + wide, y + wide // 3), colour)
        boxed(image, (x + wide // 4, y - wide // 5), (x + 3 * wide // 4, y), colour)
        for wheel in (x + wide // 5, x + 4 * wide // 5):
            disc(image, (wheel, y + wide // 3), max(2, wide // 9), (25, 25, 25))
    noise = np.random.default_rng(0).normal(0, 5, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def segmentation() -> onnxray.Model:
    """Sky is blue, cars are red, the rest is road: colours, averaged over 7 x 7 pixels."""
    colours = np.array([[-1.2, -1.0, 2.0], [-0.2, -0.2, -0.2], [2.0, -1.2, -1.2]]) / 255
    smooth = np.ones((3, 1, 7, 7)) / 49
    return model(
        """m (float[N, 3, 96, 96] image) => (float[N, 3, 96, 96] y) { c = Conv (image, w, b)  r = Relu (c)
             y = Conv <pads = [3, 3, 3, 3], group = 3> (r, s) }""",
        {"w": colours[:, :, None, None], "b": np.array([0.0, 0.25, 0.0]), "s": smooth},
        labels=["sky", "road", "car"],
        answer="map",
    )


def depth() -> onnxray.Model:
    """What is lower in the image and darker is nearer; averaged over 9 x 9 pixels."""
    return model(
        """m (float[N, 3, 96, 96] image) => (float[N, 1, 96, 96] depth) { c = Conv (image, w)  r = Relu (c)
             s = Conv <pads = [4, 4, 4, 4]> (r, k)  depth = Add (s, rows) }""",
        {
            "w": np.full((1, 3, 1, 1), 1 / 765),
            "k": np.outer(np.hanning(11)[1:-1], np.hanning(11)[1:-1])[None, None] / 25,
            "rows": np.linspace(1, 0, 96)[None, None, :, None],
        },
        answer="map",
    )


def anomaly() -> onnxray.Model:
    """How far the lightness is from the mean around, at most: what stands out of a texture."""
    ring = np.ones((1, 1, 15, 15)) / 225
    spot = np.zeros((1, 1, 15, 15))
    spot[..., 6:9, 6:9] = 1 / 9
    return model(
        """m (float[N, 3, 96, 96] image) => (float[N, 1] pred_score, float[N, 1, 96, 96] anomaly_map) { g = Conv (image, w)
             e = Pad <mode = "reflect"> (g, pads)  d = Conv (e, k)  anomaly_map = Abs (d)  p = GlobalMaxPool (anomaly_map)  pred_score = Flatten (p) }""",
        {"w": np.full((1, 3, 1, 1), 1 / 765), "k": spot - ring, "pads": np.array([0, 0, 7, 7, 0, 0, 7, 7])},
        output="pred_score",
        answer="number",
    )


def larger() -> onnxray.Model:
    """Twice the size, sharpened: nine pixels around each decide on its four."""
    return model(
        """m (float[N, 3, 48, 48] image) => (float[N, 3, 96, 96] large) { c = Conv <pads = [2, 2, 2, 2], group = 3> (image, k)
             u = Resize <mode = "cubic", coordinate_transformation_mode = "half_pixel"> (c, , scales)  large = Relu (u) }""",
        {
            "k": np.repeat(
                (2 * np.eye(25)[12].reshape(5, 5) - np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256)[None, None], 3, 0
            )
            / 255,
            "scales": np.array([1, 1, 2, 2], np.float32),
        },
        answer="map",
    )


def figure() -> Picture:
    """A person of sticks, each joint in its own colour."""
    image = np.full((96, 96, 3), 225, np.uint8)
    at = {
        "head": (48, 18),
        "hip": (48, 52),
        "left_hand": (24, 40),
        "right_hand": (74, 30),
        "left_foot": (32, 84),
        "right_foot": (66, 84),
    }
    for a, b in (("head", "hip"), ("hip", "left_foot"), ("hip", "right_foot")):
        line(image, at[a], at[b], (90, 90, 95), 4)
    for hand in ("left_hand", "right_hand"):
        line(image, (48, 32), at[hand], (90, 90, 95), 4)
    for name, place in at.items():
        disc(image, place, 9 if name == "head" else 5, COLOURS[name])
    return image


COLOURS = {
    "head": (230, 160, 60),
    "hip": (120, 60, 160),
    "left_hand": (40, 90, 220),
    "right_hand": (40, 170, 90),
    "left_foot": (210, 50, 60),
    "right_foot": (60, 180, 200),
}


def pose() -> onnxray.Model:
    """A joint is where its own colour is, averaged over a disc of 11 pixels, at half the size."""
    seen = np.array(list(COLOURS.values())) / 255 - 0.75
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    return model(
        """m (float[N, 3, 96, 96] image) => (float[N, 6, 48, 48] heatmaps) { d = Div (image, most)  o = Sub (d, gray)  c = Conv (o, w, b)
             r = Relu (c)  heatmaps = Conv <pads = [5, 5, 4, 4], group = 6, strides = [2, 2]> (r, k) }""",
        {
            "most": np.array(255.0),
            "gray": np.array(0.75),
            "w": seen[:, :, None, None],
            "b": np.full(6, -0.35),
            "k": np.repeat(np.outer(np.hanning(13)[1:-1], np.hanning(13)[1:-1])[None, None] / 36, 6, 0),
        },
        labels=list(COLOURS),
        answer="map",
    )


def collage(*objects: str) -> Picture:
    """Objects in the quarters of an image: a red disc, a green square, blue stripes."""
    image = np.full((96, 96, 3), 205, np.uint8)
    for (y, x), what in zip(((4, 4), (4, 52), (52, 4), (52, 52)), objects, strict=True):
        part = image[y : y + 40, x : x + 40]
        if what == "disc":
            disc(part, (20, 20), 16, (205, 45, 45))
        elif what == "square":
            boxed(part, (5, 5), (34, 34), (50, 160, 70))
        elif what == "stripes":
            for row in range(4, 36, 8):
                boxed(part, (4, row), (36, row + 3), (45, 70, 200))
    return image


def tower() -> onnxray.Model:
    """An embedding of six colours, averaged over the image."""
    seen = np.array([[2, -1, -1], [-1, 2, -1], [-1, -1, 2], [1, 1, -2], [-2, 1, 1], [1, -2, 1]]) / 255
    return model(
        """m (float[N, 3, 96, 96] image) => (float[N, 6] embedding) { c = Conv (image, w)  r = Relu (c)  p = GlobalAveragePool (r)
             embedding = Flatten (p) }""",
        {"w": seen[:, :, None, None]},
        answer="embedding",
    )


def sample(part: str) -> Picture:
    """A sample image of the built-in model."""
    return read(next(path for path in onnxray.samples() if part in path.name))


# What is drawn over the image: boxes (y0, x0, y1, x1) in its pixels.
Made = tuple[Explanation, "tuple[int, int, int, int] | None"]


def explained(net: Any, image: Picture, method: str, target: Any, box: Any = None, **options: Any) -> Made:
    found = onnxray.explain(net, image, method, target, **options)
    return next(iter(found)), box


def of_builtin(target: str, method: str = "grad-cam") -> Callable[[], Made]:
    return lambda: explained(onnxray.load("builtin"), sample("scratch"), method, target)


def a_box(edges: tuple[int, int, int, int]) -> str:
    return ",".join(map(str, edges))


def small_street() -> Picture:
    return street().reshape(48, 2, 48, 2, 3).mean(axis=(1, 3)).astype(np.uint8)


def flawed() -> Picture:
    """A texture with a scratch in it."""
    rng = np.random.default_rng(1)
    image = 150 + ndimage.gaussian_filter(rng.normal(0, 40, (96, 96)), 1.5) + 4 * np.sin(np.arange(96) / 2)
    found = np.repeat(np.clip(image, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    line(found, (58, 22), (76, 44), (60, 60, 60), 3)
    return found


DEPTH_BOX, DETAIL_BOX = (50, 60, 66, 86), (24, 4, 38, 24)
PICTURES: dict[str, Callable[[], Made]] = {
    "class": of_builtin("scratch"),
    "contrast": of_builtin("contrast:scratch,stain"),
    "unit": of_builtin("unit:stage3/relu2:strongest,strongest", "guided-backprop"),
    "region": lambda: explained(segmentation(), street(), "input-x-gradient", "region:car"),
    "instance": lambda: explained(segmentation(), street(), "input-x-gradient", "region:car:instance:2"),
    "boundary": lambda: explained(segmentation(), street(), "gradient", "region:car:boundary"),
    "mean": lambda: explained(depth(), street(), "input-x-gradient", f"mean:depth:{a_box(DEPTH_BOX)}", DEPTH_BOX),
    "value": lambda: explained(anomaly(), flawed(), "occlusion", "value", patch=9, stride=3),
    "detail": lambda: explained(larger(), small_street(), "lam", f"mean:|gradient|:{a_box(DETAIL_BOX)}", DETAIL_BOX),
    "point": lambda: explained(pose(), figure(), "occlusion", "point:right_hand", patch=9, stride=3),
    "like": lambda: explained(
        tower(),
        collage("disc", "square", "", "stripes"),
        "occlusion",
        onnxray.Target.like(collage("", "stripes", "stripes", "")),
        patch=13,
        stride=4,
    ),
}


def drawn(e: Explanation, box: tuple[int, int, int, int] | None) -> Picture:
    """The image, the model's own map where it has one, and the overlay next to each other."""
    image, over = e.image, pose_on(e, e.overlay())
    assert image is not None
    assert e.model is not None
    own = own_map(e.model, image, e, {})
    tiles: list[Picture] = []
    for tile in (image, over) if own is None else (image, own.overlay(0.6), over):
        factor = SIDE / tile.shape[1]
        size = (SIDE, round(tile.shape[0] * factor))
        way = Image.Resampling.NEAREST if factor > 2 else Image.Resampling.BOX
        shown = np.array(Image.fromarray(tile).resize(size, way))
        if box is not None:
            y0, x0, y1, x1 = (round(edge * factor) for edge in box)
            boxed(shown, (x0, y0), (x1 - 1, y1 - 1), INK, 2)
        tiles.append(shown)
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    return np.ascontiguousarray(np.hstack([tiles[0], *(part for tile in tiles[1:] for part in (gap, tile))]))


if __name__ == "__main__":
    for name, make in PICTURES.items():
        write(FOLDER / f"target-{name}.jpg", drawn(*make()))
