"""Strongest images: on models with known units they are the planted ones; parts merge to the whole."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxray
from onnxray.engine.errors import MethodError, OutputError, ShapeError, TargetError, UnknownName
from onnxray.engine.survey.pictures import Picture
from onnxray.engine.survey.scan import Scan, ScanOptions
from onnxray.engine.survey.top import load_top, merge_tops
from onnxray.engine.top import Looks, top
from onnxray.tests.engine.survey.detectors import SIDE, UNITS, detectors, noise, planted, tokens

PLACES = {"red": (3, 4), "green": (20, 9), "blue": (0, 31), "vertical": (14, 14), "horizontal": (7, 25)}


def pictures(size=(SIDE, SIDE), at=None, spot=1) -> list[Picture]:
    strong = [Picture(f"{u}.png", planted(u, (at or PLACES)[u], size, spot), u) for u in UNITS]
    return [*noise(10, size=size), *strong, *noise(7, 1, size)]


@pytest.fixture(scope="module")
def model() -> onnxray.Model:
    return detectors()


@pytest.mark.parametrize("layer", ["detect", "fire"])
def test_the_strongest_images_are_the_planted_ones(model, layer):
    found = top(model, pictures(), layer, 3)
    for unit, name in enumerate(UNITS):
        best = found.strongest(layer, unit)
        assert len(best) == 3
        assert best[0].image.name == f"{name}.png"
        assert best[0].place == PLACES[name]
        assert best[0].value > best[1].value >= best[2].value
        y, x = PLACES[name]
        assert best[0].box == (max(0, y - 1), max(0, x - 1), min(SIDE, y + 2), min(SIDE, x + 2))


def test_values_are_those_of_the_layer(model):
    images = pictures()
    maps = onnxray.activations(model, [p.pixels for p in images], ["detect", "fire", "dense"])
    for before, name in ((True, "detect"), (False, "fire")):
        found = top(model, images, "fire", 4, before=before)
        values = maps[name].max((2, 3))
        for unit in range(5):
            got = [e.value for e in found.strongest("fire", unit)]
            np.testing.assert_allclose(got, np.sort(values[:, unit])[::-1][:4], rtol=1e-6)
        lowest = maps[name].min((2, 3))
        assert found.weakest("fire", 3)[0].value == pytest.approx(lowest[:, 3].min())
        np.testing.assert_allclose(found.mean("fire"), maps[name].mean((0, 2, 3)), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.std("fire"), maps[name].std((0, 2, 3)), rtol=1e-4, atol=1e-6)


def test_classes_are_the_default_and_see_the_whole_image(model):
    found = top(model, pictures(), k=2)
    assert list(found.layers) == ["classes"]
    for unit, name in enumerate(UNITS[:3]):
        best = found.strongest(None, unit)[0]
        assert best.image.name == f"{name}.png"
        assert best.place == ()
        assert best.box == (0, 0, SIDE, SIDE)


@pytest.mark.parametrize(
    "card",
    [
        {"resize": "letterbox"},
        {"resize": "letterbox", "align": "top-left"},
        {"resize": "crop", "shortest_edge": 32},
        {"resize": "crop", "crop_fraction": 0.875},
        {"resize": "stretch"},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(128, 256), (192, 128)])
def test_crops_hold_what_was_planted_whatever_the_resizing(card, size):
    """The pattern is large in the image: a cell of the model's plane is several pixels of it."""
    at = dict.fromkeys(UNITS, (size[0] // 2 - 8, size[1] // 2 + 6))
    spot = 3 * max(size) // SIDE
    found = top(detectors(**card), pictures(size, at, spot), "detect", 1)
    for unit, name in enumerate(UNITS):
        (best,) = found.strongest("detect", unit)
        assert best.image.name == f"{name}.png"
        y0, x0, y1, x1 = best.box
        assert 0 <= y0 < y1 <= size[0]
        assert 0 <= x0 < x1 <= size[1]
        y, x = at[name]
        if name in UNITS[:3]:
            # The middle of the box lies on the spot.
            assert y <= (y0 + y1) / 2 <= y + spot
            assert x <= (x0 + x1) / 2 <= x + spot
        else:
            assert y0 < y + 2 * spot
            assert y1 > y - spot
            assert x0 < x + 2 * spot
            assert x1 > x - spot


def test_a_place_that_sees_only_padding_has_no_area():
    found = top(detectors(resize="letterbox", pad_value=255), pictures((32, 128)), "detect", 1)
    y0, _, y1, _ = found.layers["detect"].layer.box(0, onnxray.engine.preprocess.geometry.place(found.card, (32, 128)))
    assert y0 == y1 == 0


def test_duplicates_count_once_and_have_the_first_name(model):
    images = pictures()
    copies = [Picture(f"copy-{n}.png", images[10].pixels) for n in range(4)]
    found = top(model, [*copies, *images, *copies], "detect", 5)
    names = [e.image.name for e in found.strongest("detect", 0)]
    assert names[0] == "copy-0.png"
    assert len(set(names)) == 5
    assert "red.png" not in names
    assert found.count == len(images) + 8


def saved(result, folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in result.save(folder).values()]


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 4), st.integers(0, 1 << 30), st.sampled_from(["given", "predicted", "none"]))
def test_shards_merge_to_the_whole_byte_for_byte(tmp_path_factory, shards, seed, labels):
    model, shuffle = detectors(), random.Random(seed)
    images = [Picture(p.name, p.pixels, p.label or "noise") for p in [*pictures(), *pictures()[8:12]]]
    options = {"labels": labels, "sample": 12, "batch": 4}
    whole = top(model, images, ["fire", "classes"], 4, **options)
    parts: list[list[Picture]] = [[] for _ in range(shards)]
    shuffle.shuffle(images)
    for n, image in enumerate(images):
        parts[n if n < shards else shuffle.randrange(shards)].append(image)
    done = [top(model, part, ["fire", "classes"], 4, **options) for part in parts]
    folder = tmp_path_factory.mktemp("merge")
    assert saved(merge_tops(done), folder / "merged") == saved(whole, folder / "whole")
    assert saved(merge_tops([merge_tops(done[1:]), done[0]]), folder / "again") == saved(whole, folder / "whole")


def test_a_scan_goes_on_from_what_was_saved(model, tmp_path):
    images = pictures()
    options = ScanOptions(k=3, sample=8, labels="predicted")
    whole, first = Scan(model, ["detect"], options), Scan(model, ["detect"], options)
    list(whole.run(images))
    list(first.run(images[:9]))
    first.result().save(tmp_path / "part")
    second = Scan(model, ["detect"], options, start=load_top(tmp_path / "part"))
    assert list(second.run(images[9:]))[-1] == len(images)
    assert saved(second.result(), tmp_path / "a") == saved(whole.result(), tmp_path / "b")
    with pytest.raises(MethodError, match="go on from"):
        Scan(model, ["fire"], options, start=load_top(tmp_path / "part"))


def test_what_is_saved_is_loaded_again(model, tmp_path):
    found = top(model, pictures(), ["detect", "classes"], 3, labels="given")
    found.save(tmp_path / "one")
    again = load_top(tmp_path / "one")
    assert again.strongest("detect", 2) == found.strongest("detect", 2)
    assert again.quantiles("classes", 1) == found.quantiles("classes", 1)
    assert again.classes == tuple(sorted(UNITS))
    assert saved(again, tmp_path / "two") == saved(found, tmp_path / "one")


def test_quantiles_are_of_all_images(model):
    images = pictures()
    values = onnxray.activations(model, [p.pixels for p in images], ["detect"])["detect"].max((2, 3))[:, 3]
    found = top(model, images, "detect", 3).quantiles("detect", 3, (0, 0.5, 1))
    np.testing.assert_allclose([e.value for e in found], np.quantile(values, [0, 0.5, 1], method="nearest"), rtol=1e-5)
    assert [e.quantile for e in found] == [0, 0.5, 1]
    assert found[-1].image.name == "vertical.png"


def test_the_sample_is_bounded_and_does_not_depend_on_the_order(model):
    images = pictures()
    one, other = (top(model, part, "detect", 2, sample=5) for part in (images, images[::-1]))
    np.testing.assert_array_equal(one.sample, other.sample)
    assert len(one.sample) == 5
    assert one.quantiles("detect", 0) == other.quantiles("detect", 0)


def test_units_are_selective_for_what_they_look_for(model):
    found = top(model, [p for p in pictures() if p.label], "detect", 1)
    best, index = found.selectivity("detect")
    assert [found.classes[b] for b in best[:3]] == list(UNITS[:3])
    assert (index[:3] > 0.5).all()
    means = onnxray.activations(model, [planted("red", PLACES["red"])], ["detect"])["detect"].max((2, 3))
    row = found.class_means("detect")[found.classes.index("red")]
    np.testing.assert_allclose(row, np.maximum(means[0], 0), rtol=1e-5)


def test_without_labels_the_models_own_answers_are_taken(model):
    found = top(model, [*noise(4), Picture("r", planted("red", (5, 5), spot=9))], "detect", 1)
    assert found.labelled == "predicted"
    assert "red" in found.classes
    assert sum(found.class_counts) == 5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"images": []}, ShapeError, "no image"),
        ({"images": ["cat.jpg"]}, ShapeError, "image 0 is a str"),
        ({"images": [np.zeros((4, 4, 3))]}, ShapeError, "uint8"),
        ({"layers": "detcet"}, UnknownName, "detect"),
        ({"layers": ["detect", "detect"]}, MethodError, "twice"),
        ({"layers": "w"}, TargetError, "the same for every image"),
        ({"k": 0}, MethodError, "at least 1"),
        ({"labels": "given"}, MethodError, "the images have none"),
        ({"labels": "folders"}, MethodError, "none of given"),
        ({"sise": 3}, UnknownName, "size"),
    ],
)
def test_misuse_is_said_in_one_line(model, call, error, message):
    given_ = {"images": noise(2), "layers": "detect", **call}
    with pytest.raises(error, match=message) as caught:
        top(model, **given_)
    assert "\n" not in str(caught.value)


def test_questions_that_have_no_answer(model):
    found = top(model, noise(2), "detect", 1)
    with pytest.raises(TargetError, match="units 0 to 4"):
        found.strongest("detect", 5)
    with pytest.raises(UnknownName, match="fire"):
        found.strongest("fire", 0)
    with pytest.raises(TargetError, match="0 to 1"):
        found.quantiles("detect", 0, [1.5])


def test_other_results_are_not_merged(model):
    one = top(model, noise(3), "detect", 2)
    for other in (
        top(model, noise(3), "fire", 2),
        top(model, noise(3), "detect", 3),
        top(detectors(resize="letterbox"), noise(3), "detect", 2),
        top(detectors(stride=2), noise(3), "detect", 2),
    ):
        with pytest.raises(MethodError, match="cannot be merged"):
            merge_tops([one, other])
    with pytest.raises(MethodError, match="no result"):
        merge_tops([])


def test_damaged_results_are_refused(model, tmp_path):
    with pytest.raises(OutputError, match="holds no result of onnxray top"):
        load_top(tmp_path)
    paths = top(model, noise(2), "detect", 1).save(tmp_path)
    paths["arrays"].write_bytes(paths["arrays"].read_bytes()[:100])
    with pytest.raises(OutputError, match="damaged"):
        load_top(tmp_path)
    manifest = json.loads(paths["manifest"].read_text())
    paths["manifest"].write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(OutputError, match="format 1"):
        load_top(tmp_path)


@pytest.mark.parametrize("card", [{"resize": "letterbox"}, {"resize": "crop", "crop_fraction": 0.875}, {}], ids=str)
def test_looks_show_what_was_planted(card):
    """The crop holds the spot, the heat is greatest on it, the effective field is inside the exact one."""
    at = dict.fromkeys(UNITS, (40, 70))
    model, spot = detectors(**card), 12
    images = {p.name: p.pixels for p in pictures((96, 160), at, spot)}
    found = top(model, [Picture(n, p) for n, p in images.items()], ["detect", "classes"], 1)
    looks = Looks(model, ["detect", "classes"])
    for unit, name in enumerate(UNITS[:3]):
        example = found.strongest("detect", unit)[0]
        pixels = images[example.image.name]
        exact = looks.look("detect", unit, example, pixels, project=("guided-backprop", "deconvnet"))
        colour = [0, 0, 0]
        colour[unit] = 255
        assert (exact.crop == colour).all(-1).any(), name
        assert exact.heat is not None
        assert exact.heat.shape == exact.crop.shape[:2]
        assert (exact.crop[np.unravel_index(np.nanargmax(exact.heat), exact.heat.shape)] == colour).all()
        # The only weight above 0 is that of the unit's own colour.
        middle = exact.projections["guided-backprop"][tuple(n // 2 for n in exact.crop.shape[:2])].astype(int)
        assert middle.argmax() == unit
        assert middle[unit] > 128
        effective = looks.look("detect", unit, example, pixels, field="effective")
        assert exact.example.box[0] <= effective.example.box[0] < effective.example.box[2] <= exact.example.box[2]
        assert effective.crop.size < exact.crop.size
        whole = looks.look("classes", unit, found.strongest("classes", unit)[0], pixels)
        assert whole.heat is None
        y0, x0, y1, x1 = onnxray.engine.preprocess.geometry.place(found.card, (96, 160)).box
        assert whole.crop.shape == (round(y1) - int(y0) + (y1 > round(y1)), round(x1) - int(x0) + (x1 > round(x1)), 3)


def test_looks_refuse_what_they_do_not_know(model):
    looks = Looks(model, "detect")
    example = top(model, pictures(), "detect", 1).strongest("detect", 0)[0]
    with pytest.raises(UnknownName, match="projection"):
        looks.look("detect", 0, example, planted("red", (3, 4)), project=("lrp",))
    with pytest.raises(UnknownName, match="looked at"):
        looks.look("fire", 0, example, planted("red", (3, 4)))
    with pytest.raises(UnknownName, match="field"):
        looks.look("detect", 0, example, planted("red", (3, 4)), field="whole")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(32, 32), (64, 128)])
def test_tokens_show_their_patch(size):
    """The class token is no place; patches lie in reading order."""
    model, images = tokens(), {p.name: p.pixels for p in pictures(size, dict.fromkeys(UNITS, (size[0] // 4, 0)), 8)}
    found = top(model, images.items(), "tokens", 2)
    layer = found.layers["tokens"].layer
    assert (layer.kind, layer.grid, layer.units) == ("tokens", (4, 4), 3)
    looks = Looks(model, "tokens")
    for unit, name in enumerate(UNITS[:3]):
        best = found.strongest("tokens", unit)[0]
        assert best.image.name == f"{name}.png"
        assert best.place == (1, 0)
        height, width = size[0] / 4, size[1] / 4
        assert best.box == (height, 0, 2 * height, width)
        values = onnxray.activations(model, images[best.image.name], "tokens")["tokens"]
        assert best.value == pytest.approx(values[0, 1 + 4, unit])
        look = looks.look("tokens", unit, best, images[best.image.name], field="effective", project=("deconvnet",))
        # A patch's gradient is the same everywhere in it.
        assert look.example.box[0] >= height
        assert look.example.box[2] <= 2 * height
        assert look.example.box[3] <= width
        assert look.heat is not None


def test_values_whose_first_axis_is_not_the_batch_are_refused():
    with pytest.raises(TargetError, match="not the batch"):
        top(tokens(), noise(2), "turned")
