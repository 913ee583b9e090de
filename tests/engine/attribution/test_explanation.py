"""Explanations: reduction to a picture, ranges, warnings, files."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution.explanation import Explanation
from onnxray.engine.attribution.explanations import Explanations
from onnxray.engine.attribution.maps import problems, reduced
from onnxray.engine.errors import MethodError, OutputError, UnknownName
from onnxray.engine.explain import problem_of, solve
from onnxray.engine.methods.grad_cam import GradCam
from onnxray.engine.preprocess.image import luminance

RNG = np.random.default_rng(0)


@pytest.fixture
def picture() -> np.ndarray:
    return RNG.integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture
def saliency(cnn: onnx.ModelProto, picture: np.ndarray) -> Explanation:
    found = onnxray.explain(
        cnn, picture, "gradient", 2, size=16, mean=127.5, std=60, resize="stretch", labels=list("abcde")
    )
    assert isinstance(found, Explanation)
    return found


@pytest.fixture
def cam(cnn: onnx.ModelProto, picture: np.ndarray) -> Explanation:
    found = onnxray.explain(cnn, picture, size=16, mean=127.5, std=60, resize="crop", crop_fraction=1.0)
    assert isinstance(found, Explanation)
    return found


def test_channels_become_one_number_per_pixel() -> None:
    values = np.array([[[1.0, -2.0]], [[-3.0, 1.0]]], np.float32)
    assert reduced(values, 0, "max-abs").tolist() == [[-3.0, -2.0]]
    assert reduced(values, 0, "sum").tolist() == [[-2.0, -1.0]]
    assert reduced(np.moveaxis(values, 0, -1), 2, "max-abs").tolist() == [[-3.0, -2.0]]
    assert reduced(values[0], None, "max-abs").tolist() == values[0].tolist()


@pytest.mark.parametrize("channel", [0, 2])
def test_of_equally_strong_channels_the_first_counts_and_nan_is_strongest(channel: int) -> None:
    values = np.random.default_rng(0).integers(-2, 3, (4, 4, 4)).astype(np.float32)
    values[1, 2, 3] = values[3, 2, 1] = np.nan
    chosen = np.expand_dims(np.abs(values).argmax(axis=channel), channel)
    expected = np.take_along_axis(values, chosen, channel).squeeze(channel)
    np.testing.assert_array_equal(reduced(values, channel, "max-abs"), expected)


def test_values_and_heatmap_have_the_shapes_promised(saliency: Explanation, cam: Explanation) -> None:
    assert (saliency.values.shape, saliency.values.dtype) == ((3, 16, 16), np.float32)
    assert (cam.values.shape, cam.values.dtype) == ((8, 8), np.float32)
    for e in (saliency, cam):
        assert (e.heatmap.shape, e.heatmap.dtype) == ((40, 60), np.float32)
        assert (e.overlay().shape, e.overlay().dtype) == ((40, 60, 3), np.uint8)
        assert e.picture().shape == (40, 60, 3)
    assert (str(saliency.target), saliency.label, saliency.scores.shape) == ("2", "c (2)", (5,))
    assert saliency.score == pytest.approx(float(saliency.scores[2]))
    assert cam.score == pytest.approx(float(cam.scores.max()))
    assert "gradient of c (2)" in repr(saliency)
    assert "grad-cam at features" in repr(cam)


def test_what_the_model_does_not_see_is_zero_and_veiled(cam: Explanation, picture: np.ndarray) -> None:
    outside = np.ones((40, 60), bool)
    outside[:, 10:50] = False
    assert not cam.heatmap[outside].any()
    assert cam.heatmap[~outside].any()
    shown = cam.overlay(0)
    assert np.array_equal(shown[~outside], picture[~outside])
    assert (np.ptp(shown[outside].astype(int), axis=-1) == 0).all()
    assert np.ptp(shown[outside].astype(int)) < 0.5 * np.ptp(luminance(picture)[outside].astype(int))
    for value in (0, 255):  # seen on black and on white
        flat = replace(cam, underneath=lambda value=value: np.full((40, 60, 3), value, np.uint8))
        assert (np.abs(flat.overlay(0)[outside].astype(int) - value) > 40).all()
    assert len(np.unique(cam.picture()[outside], axis=0)) == 1


def test_channels_are_shown_around_gray(cnn: onnx.ModelProto, picture: np.ndarray) -> None:
    card = {"size": 16, "mean": 127.5, "std": 60, "resize": "stretch"}
    found = onnxray.explain(cnn, np.ascontiguousarray(picture[:16, :16]), "guided-backprop", 2, **card)
    assert found.colormap == "rgb"
    shown, most = found.picture(), found.range[1]
    expected = np.floor(128 + 127.5 * np.clip(np.moveaxis(found.values, 0, -1) / most, -1, 1)).clip(0, 255)
    assert np.abs(shown.astype(int) - expected).max() <= 1
    assert np.array_equal(found.overlay(), shown)
    assert found.manifest()["display"]["colormap"] == "rgb"
    assert np.array_equal(found.picture("polar"), replace(found, in_colours=False).picture())
    swapped = onnxray.explain(cnn, np.ascontiguousarray(picture[:16, :16, ::-1]), "deconvnet", 2, order="BGR", **card)
    assert np.array_equal(swapped.channels, swapped.values[::-1])


def test_a_map_without_channels_has_no_colours_of_its_own(cam: Explanation, saliency: Explanation) -> None:
    assert saliency.colormap == "polar"
    assert saliency.picture("rgb").shape == (40, 60, 3)
    with pytest.raises(MethodError, match="has no red, green and blue"):
        cam.picture("rgb")


def test_the_heatmap_is_the_map_upsampled(cam: Explanation) -> None:
    expected = cv2.resize(cam.values, (40, 40), interpolation=cv2.INTER_LINEAR)
    assert np.abs(cam.heatmap[:, 10:50] - expected).max() < 1e-5 * np.abs(expected).max()


def test_ranges_are_stated(saliency: Explanation, cam: Explanation) -> None:
    low, high = saliency.range
    assert low == -high
    assert high == pytest.approx(float(np.percentile(np.abs(saliency.heatmap), 99.5)), rel=1e-6)
    assert cam.range == (0.0, float(np.abs(cam.heatmap).max()))
    shown = saliency.manifest()["display"]
    assert (shown["lowest"], shown["highest"], shown["colormap"]) == (low, high, "polar")
    assert cam.colormap == "lagoon"


def test_colours_of_positive_maps_end_at_what_is_above_zero(cam: Explanation) -> None:
    """However deep the map goes below 0, which is not shown."""
    above = float(cam.heatmap.max())
    deep = replace(cam, map=cam.values - 3 * np.abs(cam.values).max() * (cam.values == cam.values.min()))
    assert -deep.heatmap.min() > above
    assert deep.range == (0.0, float(deep.heatmap.max()))
    nothing = replace(cam, map=-np.abs(cam.values) - 1)
    assert nothing.range == (0.0, -float(nothing.heatmap.min()))


def test_overlays_let_the_image_through_where_there_is_no_heat(
    saliency: Explanation, cam: Explanation, picture: np.ndarray
) -> None:
    for e in (saliency, cam):
        # Under a signed map the image is gray: its reds and blues would be taken for the map's.
        under = np.repeat(luminance(picture)[..., None], 3, axis=2) if e.display == "signed" else picture
        box = e.geometry.box if e.geometry else (0, 0, 40, 60)
        seen = np.zeros((40, 60), bool)
        seen[:, int(box[1]) : int(box[3])] = True
        assert np.array_equal(e.overlay(alpha=0)[seen], under[seen])
        cold = (np.abs(e.heatmap) < 1e-3 * e.range[1]) & seen
        assert (np.abs(e.overlay(0.6)[cold].astype(int) - under[cold]) <= 2).all()
        hottest = np.unravel_index(e.heatmap.argmax(), e.heatmap.shape)
        full = e.overlay(1.0, range=(-1e-9, 1e-9) if e.display == "signed" else (0, 1e-9))
        assert (np.abs(full[hottest].astype(int) - e.picture(range=(0, 1e-9))[hottest]) <= 1).all()
    assert not np.array_equal(cam.overlay(colormap="ember"), cam.overlay())
    with pytest.raises(UnknownName, match=r"no colour map named 'jet'"):
        cam.overlay(colormap="jet")
    for alpha in (-0.1, 1.5, float("nan")):
        with pytest.raises(MethodError, match="alpha"):
            cam.overlay(alpha)


@pytest.mark.parametrize(
    ("values", "display", "words"),
    [
        (np.zeros((4, 4)), "signed", "zero everywhere"),
        (np.array([[1.0, np.nan], [0, np.inf]]), "signed", "2 of 4 values are NaN or infinite"),
        (-np.ones((4, 4)) * np.arange(4), "positive", "nothing speaks for the target"),
        (np.full((8, 8), 3.0), "positive", "the same everywhere"),
        (np.where(np.arange(100) < 60, 5.0, -1.0), "signed", "saturated: 60%"),
    ],
)
def test_maps_that_say_nothing_are_called_that(values: np.ndarray, display: str, words: str) -> None:
    (text,) = problems(values.astype(np.float32), display)  # type: ignore[arg-type]
    assert words in text


def test_good_maps_have_no_warning() -> None:
    assert problems(RNG.standard_normal((20, 20)).astype(np.float32), "signed") == ()
    assert problems(RNG.random((7, 7)).astype(np.float32), "positive") == ()


def test_saved_files_say_what_they_are(saliency: Explanation, picture: np.ndarray, tmp_path: Path) -> None:
    paths = saliency.save(tmp_path / "new", "cat")
    assert {p.name for p in (tmp_path / "new").iterdir()} == {p.name for p in paths.values()}
    assert np.array_equal(np.load(paths["values"]), saliency.values)
    for kind, shown in (("overlay", saliency.overlay()), ("heatmap", saliency.picture())):
        squares = np.kron(shown, np.ones((3, 3, 1), np.uint8))  # 40 x 60 pixels: too small to be looked at
        assert np.array_equal(cv2.imread(str(paths[kind]))[..., ::-1], squares)
    manifest = json.loads(paths["manifest"].read_text())
    assert manifest["enlarged"] == 3
    assert manifest["method"] == "gradient"
    assert manifest["target"] == {"asked": "2", "explained": "2", "label": "c (2)"}
    assert manifest["geometry"]["original"] == [40, 60]
    assert manifest["preprocessing"]["mean"] == [127.5] * 3
    assert manifest["model"]["sha256"] == saliency.model.sha256  # type: ignore[union-attr]
    assert manifest["versions"]["onnxray"] == onnxray.__version__
    again = saliency.save(tmp_path / "again", "cat")
    for kind, path in again.items():
        assert path.read_bytes() == paths[kind].read_bytes()
    assert {p.name for p in saliency.save(tmp_path).values()} == {
        "gradient.npy",
        "gradient-heatmap.png",
        "gradient-overlay.png",
        "gradient.json",
    }
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        saliency.save(tmp_path / "file")
    with pytest.raises(OutputError, match="not a file name"):
        saliency.save(tmp_path, "../cat")


def test_a_manifest_with_nan_is_valid_json(saliency: Explanation) -> None:
    broken = replace(saliency, score=float("nan"), details={"error": float("inf"), "steps": np.int64(3)})
    text = json.dumps(broken.manifest(), allow_nan=False)
    assert json.loads(text)["score"] is None
    assert json.loads(text)["details"] == {"error": None, "steps": 3}


def test_notebooks_get_a_picture_and_no_markup_of_strangers(saliency: Explanation) -> None:
    page = replace(saliency, label="<script>x</script>", warnings=("a < b",))._repr_html_()
    assert page.count("data:image/png;base64,") == 3
    assert "<script>" not in page
    assert "a &lt; b" in page


def test_several_explanations_are_a_sequence(cnn: onnx.ModelProto, tmp_path: Path) -> None:
    x = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
    found = onnxray.explain(cnn, x, "gradient", "top:2")
    assert isinstance(found, Explanations)
    assert len(found) == 4
    assert found.values.shape == (4, 3, 16, 16)
    assert found.heatmap.shape == (4, 16, 16)
    assert np.array_equal(found[1].values, found.values[1])
    assert len(found[1:3]) == 2
    assert [e.label for e in found] == [e.label for e in found.parts]
    assert found.overlay().shape == (16, 64, 3)
    assert found.scores.shape == (4, 5)
    assert found.score.shape == (4,)
    assert len(found.target) == 4
    assert found.method == "gradient"
    assert found.layer is None
    assert [list(part) for part in found] == [[part] for part in found]
    assert len(found[0]) == 1
    assert found[0][0] is found[0]
    assert found._repr_html_().count("<figure>") == 4
    assert [p["values"].name for p in found.save(tmp_path)] == [f"gradient-{i}.npy" for i in range(4)]


def test_tabular_values_are_a_strip_and_volumes_no_picture(parse: object) -> None:
    table = parse("m (float[N, 6] x) => (float[N, 3] y) { y = MatMul (x, w) }", w=RNG.random((6, 3)).astype(np.float32))  # type: ignore[operator]
    e = onnxray.explain(table, np.ones((1, 6), np.float32), "gradient")
    assert e.values.shape == (6,)
    assert e.heatmap.shape == (1, 6)
    assert e.overlay().shape == (1, 6, 3)
    text = "m (float[N, 1, 2, 2, 2] x) => (float[N, 3] y) { f = Flatten (x) y = MatMul (f, w) }"
    volume = parse(text, w=RNG.random((8, 3)).astype(np.float32))  # type: ignore[operator]
    e = onnxray.explain(volume, np.ones((1, 1, 2, 2, 2), np.float32), "gradient")
    assert e.values.shape == (1, 2, 2, 2)
    with pytest.raises(MethodError, match="make no picture"):
        _ = e.heatmap
    assert "figure" not in e._repr_html_()


def test_of_a_large_image_pictures_are_made_in_bands(
    saliency: Explanation, cam: Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for e in (saliency, cam):
        whole = e.range, e.picture(), e.overlay(0.6)
        monkeypatch.setattr("onnxray.engine.attribution.explanation._WHOLE", 300)
        in_bands = replace(e)
        assert in_bands.range == whole[0]
        assert np.array_equal(in_bands.picture(), whole[1])
        assert np.array_equal(in_bands.overlay(0.6), whole[2])
        assert "heatmap" not in vars(in_bands)
        monkeypatch.undo()


def test_an_image_of_a_batch_keeps_itself_alone(cnn: onnx.ModelProto) -> None:
    """Its picture, not the tensors of the whole batch, for as long as the explanation lives."""
    images = list(np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8))
    prepared: list[weakref.ref[np.ndarray]] = []
    problem = problem_of(onnxray.load(cnn), images)
    prepared.append(weakref.ref(problem.input.x))
    found = solve(problem, GradCam())
    del problem
    assert prepared[0]() is None
    for e, image in zip(found, images, strict=True):
        np.testing.assert_array_equal(e.image, image)
