"""Where the objects of images lie: masks in a folder, COCO's JSON, Pascal VOC's XML, a CSV of boxes.

DIR/KIND/000_mask.png    next to images KIND/000.png: MVTec-AD's folder `ground_truth`
DIR/000_mask.png, DIR/000.png    the same without folders of kinds
DIR/000.xml              boxes of Pascal VOC, with classes
FILE.json                polygons, run lengths or boxes of COCO, with classes
FILE.csv                 boxes: columns filename, xmin, ymin, xmax, ymax, and class where it is known
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import ImageError
from ...engine.survey.pictures import Picture
from .images import read
from .rle import from_rle

_ENDINGS = ("_mask", "", "-mask", "_gt")
_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Objects:
    """The pixels of each class in one image, bool (H, W), by label; "" where the class is not known."""

    masks: Mapping[str, Mask]

    @property
    def largest(self) -> str:
        """The label of the class that covers most."""
        return max(self.masks, key=lambda label: int(self.masks[label].sum()))


@dataclass(frozen=True)
class Masks:
    """Objects by image: `of(path, size)`; None where there are none for an image."""

    where: Path
    find: Callable[[Path, tuple[int, int]], Objects | None] = field(repr=False)

    def of(self, image: Path, size: tuple[int, int]) -> Objects | None:
        """The objects in an image of `size` (H, W). Raises ImageError for a file that cannot be read, or an object
        outside the image.
        """
        found = self.find(image, size)
        if found is None or not any(mask.any() for mask in found.masks.values()):
            return None
        return found


def open_masks(where: str | Path) -> Masks:
    """The masks of a folder or a file. Raises ImageError where there are none."""
    path = Path(where)
    if path.is_dir():
        return Masks(path, lambda image, size: _in_folder(path, image, size))
    if not path.is_file():
        raise ImageError(f"there is no file or folder {str(path)!r} with masks")
    if path.suffix.lower() == ".xml":
        return Masks(path, lambda image, size: _voc(path, size))
    if path.suffix.lower() == ".json":
        return Masks(path, _coco(path))
    if path.suffix.lower() == ".csv":
        return Masks(path, _boxes(path))
    raise ImageError(
        f"{str(path)!r} holds no masks: give a folder of masks, COCO's .json, VOC's .xml or a .csv of boxes"
    )


def _in_folder(folder: Path, image: Path, size: tuple[int, int]) -> Objects | None:
    kind = image.parent.name
    for inside in (folder / kind, folder) if kind else (folder,):
        for ending in _ENDINGS:
            for suffix in _SUFFIXES:
                file = inside / f"{image.stem}{ending}{suffix}"
                if file.is_file() and file.resolve() != image.resolve():
                    return Objects({"": _read(file)})
        file = inside / f"{image.stem}.xml"
        if file.is_file():
            return _voc(file, size)
    return None


def _read(file: Path) -> Mask:
    """The pixels of a mask's file that are not black; of gray levels up to 255, those above 127."""
    values = read(file).max(axis=2)
    return np.asarray(values > (127 if values.max() > 127 else 0))


def _voc(file: Path, size: tuple[int, int]) -> Objects | None:
    """Boxes of Pascal VOC, whose pixels count from 1, both ends included."""
    try:
        tree = ElementTree.parse(file).getroot()
        masks: dict[str, Mask] = {}
        for part in tree.iter("object"):
            label = (part.findtext("name") or "").strip()
            box = part.find("bndbox")
            if box is None:
                continue
            edges = [round(float(box.findtext(name) or "nan")) for name in ("xmin", "ymin", "xmax", "ymax")]
            _fill(masks.setdefault(label, np.zeros(size, np.bool_)), edges[1] - 1, edges[0] - 1, edges[3], edges[2])
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise ImageError(f"{str(file)!r} is no annotation of Pascal VOC: {error}") from error
    declared = [tree.findtext(f"size/{name}") for name in ("height", "width")]
    _check(file, [None if text is None else int(float(text)) for text in declared], size)
    return Objects(masks) if masks else None


# The columns of a CSV of boxes; y1 and x1 are not inside.
_COLUMNS = ("filename", "xmin", "ymin", "xmax", "ymax")
# A class and ymin, xmin, ymax, xmax.
_Box = tuple[str, list[float]]


def _boxes(file: Path) -> Callable[[Path, tuple[int, int]], Objects | None]:
    """Boxes of a CSV: pixels from 0, xmax and ymax are the first that lie outside."""
    by_path: dict[Path, list[_Box]] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened)
            for row in reader:
                box = _box(row, f"line {reader.line_num} of {str(file)!r}")
                by_path.setdefault(Path(row["filename"]), []).append(box)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        text = f"{type(error).__name__} {error}: it takes the columns {', '.join(_COLUMNS)}, and class if known"
        raise ImageError(f"{str(file)!r} is no CSV of boxes: {text}") from error
    meant = _looked_up(by_path, file, "the column filename")

    def find(image: Path, size: tuple[int, int]) -> Objects | None:
        masks: dict[str, Mask] = {}
        for label, edges in (box for path in meant(image) for box in by_path[path]):
            if edges[2] > size[0] or edges[3] > size[1]:
                raise ImageError(
                    f"a box of {image.name} in {str(file)!r} ends at {edges[2]:g} x {edges[3]:g} and the image has "
                    f"{size[0]} x {size[1]} pixels: give the boxes of these images"
                )
            _fill(masks.setdefault(label, np.zeros(size, np.bool_)), edges[0], edges[1], edges[2], edges[3])
        return Objects(masks) if masks else None

    return find


def _box(row: Mapping[str, str], where: str) -> _Box:
    """Raises ImageError for a box without pixels, ValueError, KeyError and TypeError for what is no number."""
    edges = [float(row[name]) for name in ("ymin", "xmin", "ymax", "xmax")]
    if not all(map(math.isfinite, edges)) or edges[0] >= edges[2] or edges[1] >= edges[3]:
        said = ", ".join(f"{name} {row[name]}" for name in _COLUMNS[1:])
        raise ImageError(f"{where} has the box {said}: give finite numbers with xmin < xmax and ymin < ymax")
    return (row.get("class") or "").strip(), edges


def _looked_up(there: Iterable[Path], file: Path, where: str) -> Callable[[Path], list[Path]]:
    """Which of the paths in a file, said at `where` in it, are an image's: see `_of_image`."""
    by_name: dict[str, list[Path]] = {}
    for path in there:
        by_name.setdefault(path.name, []).append(path)
    folders = any(not _agree(*two) for paths in by_name.values() for two in itertools.combinations(paths, 2))
    return lambda image: _of_image(by_name.get(image.name, ()), image, file, folders, where)


def _of_image(paths: Sequence[Path], image: Path, file: Path, folders: bool, where: str) -> list[Path]:
    """Of the paths in a file, all of the image's base name, those that end most like the image's own path, and those
    that are short for it. folders: whether base names in the file stand for several images.

    Raises ImageError where the paths may mean different images.
    """
    whole = image.absolute()
    possible = [path for path in paths if not (folders and _lies_next_to(path, whole))]
    most = max((_common(path, whole) for path in possible), default=0)
    found = [path for path in possible if _common(path, whole) == most or _agree(path, whole)]
    if any(_agree(one, other) is not (other in found) for one in found for other in paths):
        several = " and ".join(repr(path.as_posix()) for path in paths[:3])
        raise ImageError(
            f"{image.name} stands for {several} in {str(file)!r}, and the folder of {str(image)!r} does not decide "
            f"between them: give folders in {where} as the images have them"
        )
    return found


def _lies_next_to(path: Path, image: Path) -> bool:
    """Whether a path in a file is that of another image, in the folder from which the image's own path would begin."""
    depth = len(path.parts)
    if path.is_absolute() or depth > len(image.parents):
        return False
    other = image.parents[depth - 1] / path
    return other != image and other.is_file()


def _agree(one: Path, other: Path) -> bool:
    """Whether one path may be short for the other."""
    return _common(one, other) == min(len(one.parts), len(other.parts))


def _common(one: Path, other: Path) -> int:
    """How many names two paths have in common at their ends."""
    names = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return len(list(itertools.takewhile(lambda two: two[0] == two[1], names)))


def _fill(mask: Mask, top: float, left: float, bottom: float, right: float) -> None:
    mask[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))] = True


def _check(file: Path, declared: Sequence[int | None], size: tuple[int, int]) -> None:
    if None not in declared and tuple(declared) != size:
        raise ImageError(
            f"the mask in {str(file)!r} is of an image of {declared[0]} x {declared[1]} pixels and the image has "
            f"{size[0]} x {size[1]}: give the masks of these images"
        )


def _coco(file: Path) -> Callable[[Path, tuple[int, int]], Objects | None]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        names = {entry["id"]: str(entry["name"]) for entry in data["categories"]}
        by_path: dict[Path, list[dict[str, Any]]] = {}
        for entry in data["images"]:
            by_path.setdefault(Path(entry["file_name"]), []).append(entry)
        by_image: dict[Any, list[dict[str, Any]]] = {}
        for entry in data["annotations"]:
            by_image.setdefault(entry["image_id"], []).append(entry)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(f"{str(file)!r} is no annotation file of COCO: {type(error).__name__} {error}") from error

    meant = _looked_up(by_path, file, "file_name")

    def find(image: Path, size: tuple[int, int]) -> Objects | None:
        masks: dict[str, Mask] = {}
        for about in (entry for path in meant(image) for entry in by_path[path]):
            _check(file, [about.get("height"), about.get("width")], size)
            for entry in by_image.get(about["id"], ()):
                try:
                    label = names.get(entry.get("category_id"), "")
                    mask = masks.setdefault(label, np.zeros(size, np.bool_))
                    _add(mask, entry)
                except (ValueError, KeyError, TypeError, IndexError) as error:
                    raise ImageError(f"{str(file)!r} has a broken annotation of {image.name}: {error}") from error
        return Objects(masks) if masks else None

    return find


def _add(mask: Mask, entry: Mapping[str, Any]) -> None:
    """The pixels of an annotation: polygons, run lengths, else its box (x, y, width, height)."""
    from skimage.draw import polygon

    shape = entry.get("segmentation")
    if isinstance(shape, Mapping):
        mask |= from_rle(shape)
    elif shape:
        for part in shape:
            x, y = np.asarray(part, np.float64).reshape(-1, 2).T
            # Corners lie between pixels, whose centres are half a pixel inside.
            mask[polygon(y - 0.5, x - 0.5, mask.shape)] = True
    else:
        x, y, width, height = entry["bbox"]
        _fill(mask, y, x, y + height, x + width)


def with_objects(images: Iterable[Picture], where: str) -> tuple[Iterator[Picture], Mapping[str, Any]]:
    """The images with the classes of their objects, and masks by name, which are known once the image has come."""
    opened, found = open_masks(where), dict[str, NDArray[np.bool_]]()

    def labelled() -> Iterator[Picture]:
        for picture in images:
            objects = opened.of(Path(picture.name), (picture.pixels.shape[0], picture.pixels.shape[1]))
            if objects is None:
                yield replace(picture, label=None)
            else:
                found[picture.name] = objects.masks[objects.largest]
                yield replace(picture, label=objects.largest or None)

    return labelled(), found
