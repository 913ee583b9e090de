"""Masks of objects in the forms in which data sets come: against pycocotools and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from onnxray.cli.files.images import write
from onnxray.cli.files.masks import open_masks
from onnxray.cli.files.rle import from_rle, to_rle
from onnxray.engine.errors import ImageError

SIZE = (20, 30)
BOX = np.zeros(SIZE, bool)
BOX[4:9, 10:22] = True


def test_run_lengths_come_back_and_are_those_of_pycocotools() -> None:
    rng = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 1):
        mask = rng.random((37, 53)) < share
        np.testing.assert_array_equal(from_rle(to_rle(mask)), mask)
        coded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        np.testing.assert_array_equal(from_rle({**coded, "counts": coded["counts"].decode()}), mask)
    with pytest.raises(ValueError, match="do not fill"):
        from_rle({"size": [2, 2], "counts": [3]})


@pytest.mark.parametrize("name", ["crack/000_mask.png", "crack/000.png", "000_mask.png", "000.png", "000_gt.png"])
def test_folders_of_masks(tmp_path: Path, name: str) -> None:
    file = tmp_path / "ground_truth" / name
    file.parent.mkdir(parents=True)
    write(file, np.repeat(BOX[..., None], 3, axis=2).astype(np.uint8) * 255)
    masks = open_masks(tmp_path / "ground_truth")
    found = masks.of(tmp_path / "test" / "crack" / "000.png", SIZE)
    assert found is not None
    np.testing.assert_array_equal(found.masks[""], BOX)
    assert masks.of(tmp_path / "test" / "good" / "001.png", SIZE) is None


def test_a_csv_of_boxes(tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(
        "filename,width,height,class,xmin,ymin,xmax,ymax\nphotos/a.jpg,30,20,dog,10,4,22,9\na.jpg,30,20,cat,0,0,2,2\n",
        encoding="utf-8",
    )
    found = open_masks(file).of(Path("pictures/a.jpg"), SIZE)
    assert found is not None
    assert found.largest == "dog"
    np.testing.assert_array_equal(found.masks["dog"], BOX)
    assert found.masks["cat"].sum() == 4
    assert open_masks(file).of(Path("b.jpg"), SIZE) is None
    with pytest.raises(ImageError, match="9 x 22 and the image has 5 x 5"):
        open_masks(file).of(Path("a.jpg"), (5, 5))
    for text in ("image,x\n1,2\n", "filename,xmin,ymin,xmax,ymax\na.jpg,1,2,three,4\n", "filename,xmin\na.jpg\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ImageError, match="takes the columns filename"):
            open_masks(file)


HEAD = "filename,xmin,ymin,xmax,ymax\n"


def test_boxes_of_a_csv_belong_to_the_folder_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(
        f"{HEAD}test/broken/000.png,10,4,22,9\ntest/scratch/000.png,0,0,2,2\ntest/broken/001.png,0,0,3,3\n",
        encoding="utf-8",
    )
    of = open_masks(file).of
    for root in (tmp_path / "elsewhere", tmp_path / "test", Path("test"), Path()):
        counts = [o and o.masks[""].sum() for o in (of(root / f"{k}/000.png", SIZE) for k in ("broken", "scratch"))]
        assert counts == [BOX.sum(), 4]
    moved = of(Path("pictures/001.png"), SIZE)
    assert moved is not None
    assert moved.masks[""].sum() == 9
    said = r"000.png stands for 'test/broken/000.png' and 'test/scratch/000.png' in .* does not decide between them"
    for image in ("pictures/000.png", "000.png"):
        with pytest.raises(ImageError, match=said):
            of(Path(image), SIZE)
    # Where the images lie as the file says, one that it does not name has no boxes.
    for name in ("broken/000.png", "scratch/000.png", "broken/001.png"):
        (tmp_path / "test" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "test" / name).touch()
    for name in ("good/000.png", "good/001.png"):
        assert of(tmp_path / "test" / name, SIZE) is None


def test_a_base_name_alone_may_be_short_for_one_path(tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(f"{HEAD}a.png,0,0,2,2\nx/a.png,10,4,22,9\n", encoding="utf-8")
    found = open_masks(file).of(tmp_path / "x" / "a.png", SIZE)
    assert found is not None
    assert found.masks[""].sum() == BOX.sum() + 4
    file.write_text(f"{HEAD}a.png,0,0,2,2\nx/a.png,10,4,22,9\ny/a.png,0,0,3,3\n", encoding="utf-8")
    with pytest.raises(ImageError, match="a.png stands for 'a.png' and 'x/a.png' and 'y/a.png'"):
        open_masks(file).of(tmp_path / "x" / "a.png", SIZE)


@pytest.mark.parametrize("box", ["nan,4,22,9", "10,4,inf,9", "22,4,10,9", "10,9,22,9", "10,-inf,22,9"])
def test_boxes_without_pixels_are_refused_by_line(tmp_path: Path, box: str) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(f"{HEAD}a.png,0,0,2,2\na.png,{box}\n", encoding="utf-8")
    xmin = box.split(",")[0]
    with pytest.raises(ImageError, match=rf"^line 3 of .*boxes.csv' has the box xmin {xmin}, .*: give finite numbers"):
        open_masks(file)


def test_pascal_voc(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(
        "<annotation><size><width>30</width><height>20</height></size>"
        "<object><name>dog</name><bndbox><xmin>11</xmin><ymin>5</ymin><xmax>22</xmax><ymax>9</ymax></bndbox></object>"
        "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object>"
        "</annotation>",
        encoding="utf-8",
    )
    for where in (tmp_path, tmp_path / "a.xml"):
        found = open_masks(where).of(Path("pictures/a.jpg"), SIZE)
        assert found is not None
        assert found.largest == "dog"
        np.testing.assert_array_equal(found.masks["dog"], BOX)
        assert found.masks["cat"].sum() == 4
    with pytest.raises(ImageError, match="20 x 30 pixels and the image has 5 x 5"):
        open_masks(tmp_path).of(Path("pictures/a.jpg"), (5, 5))


def test_coco_tells_images_of_one_name_by_their_folders(tmp_path: Path) -> None:
    about = {
        "categories": [{"id": 1, "name": "dog"}],
        "images": [
            {"id": 1, "file_name": "left/a.jpg", "height": 20, "width": 30},
            {"id": 2, "file_name": "right/a.jpg", "height": 20, "width": 30},
        ],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10]},
            {"image_id": 2, "category_id": 1, "bbox": [20, 10, 10, 10]},
        ],
    }
    file = tmp_path / "coco.json"
    file.write_text(json.dumps(about), encoding="utf-8")
    masks = open_masks(file)
    for folder, y, x in (("left", 5, 5), ("right", 15, 25)):
        found = masks.of(tmp_path / folder / "a.jpg", SIZE)
        assert found is not None
        assert found.masks["dog"].sum() == 100
        assert found.masks["dog"][y, x]
    with pytest.raises(ImageError, match=r"a.jpg stands for 'left/a.jpg' and 'right/a.jpg'.*give folders in file_name"):
        masks.of(tmp_path / "a.jpg", SIZE)


def test_coco(tmp_path: Path) -> None:
    ring = [[5.0, 3.0, 25.0, 3.0, 25.0, 15.0, 5.0, 15.0]]
    file = tmp_path / "coco.json"
    about = {
        "categories": [{"id": 7, "name": "dog"}, {"id": 8, "name": "cat"}],
        "images": [{"id": 1, "file_name": "x/a.jpg", "height": 20, "width": 30}],
        "annotations": [
            {"image_id": 1, "category_id": 7, "segmentation": ring, "bbox": [5, 3, 20, 12]},
            {"image_id": 1, "category_id": 8, "bbox": [10, 4, 12, 5]},
            {"image_id": 1, "category_id": 8, "segmentation": to_rle(BOX[::-1])},
        ],
    }
    file.write_text(json.dumps(about), encoding="utf-8")
    masks = open_masks(file)
    found = masks.of(Path("a.jpg"), SIZE)
    assert found is not None
    coded = coco.merge(coco.frPyObjects(ring, *SIZE))
    wanted = from_rle({**coded, "counts": coded["counts"].decode()})  # pycocotools' own decoding warns on NumPy 2
    np.testing.assert_array_equal(found.masks["dog"], wanted)
    np.testing.assert_array_equal(found.masks["cat"], BOX | BOX[::-1])
    assert masks.of(Path("b.jpg"), SIZE) is None
    about["annotations"] = [{"image_id": 1, "category_id": 7, "bbox": [1, 2]}]
    file.write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(ImageError, match=r"broken annotation of a.jpg"):
        open_masks(file).of(Path("a.jpg"), SIZE)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "no annotation file of COCO"),
        ("a.json", "[]", "no annotation file of COCO"),
        ("a.xml", "<a", "no annotation of Pascal VOC"),
        ("a.txt", "", "holds no masks"),
        ("", "", "no file or folder"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path: Path, name: str, text: str, words: str) -> None:
    where = tmp_path / (name or "gone")
    if name:
        where.write_text(text, encoding="utf-8")
    with pytest.raises(ImageError, match=words):
        open_masks(where).of(Path("a.jpg"), SIZE)
