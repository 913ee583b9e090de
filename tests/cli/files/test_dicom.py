"""DICOM and NIfTI: windows are pydicom's, series are sorted, affines are kept, bad files are one line."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxray.cli.files.dicom import is_dicom_file, picture_of, read_series, windowed
from onnxray.cli.files.nifti import is_nifti, nifti_of, read_nifti
from onnxray.cli.files.photos import photo_of, read_photo, size_of
from onnxray.cli.files.volumes import is_volume_path, read_volume
from onnxray.engine.errors import ImageError, VolumeError

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.pixels import apply_modality_lut, apply_voi_lut  # noqa: E402
from pydicom.sequence import Sequence as Items  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid  # noqa: E402

PATIENT = "Mustermann^Erika"


def dataset(pixels: np.ndarray, **tags: Any) -> Dataset:
    """A CT slice of 16 bits with the name of a patient in it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = Dataset()
    made.file_meta = meta
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.PatientName, made.PatientID, made.PatientBirthDate = PATIENT, "ERIKA-4711", "19640812"
    made.ReferringPhysicianName, made.InstitutionName = "Doktor^Seltsam", "Klinikum Nirgendwo"
    made.Rows, made.Columns = pixels.shape[-2:] if pixels.ndim == 2 else pixels.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8 * pixels.itemsize
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def saved(made: Dataset, path: Path) -> Path:
    made.save_as(path, enforce_file_format=True)
    return path


def data_of(made: Dataset) -> bytes:
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def series(folder: Path, count: int = 6, **tags: Any) -> np.ndarray:
    """A stack whose files are named out of order; (D, H, W) in Hounsfield units, from the feet up."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    stack = draw.integers(0, 2000, (count, 8, 10)).astype(np.int16)
    uid = generate_uid()
    for number, pixels in enumerate(stack):
        place = {
            "SeriesInstanceUID": uid, "ImagePositionPatient": [-20.0, -30.0, 5.0 + 2.5 * number],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.8, 0.7], "SliceThickness": 2.0,
            "RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400,
        }  # fmt: skip
        saved(dataset(pixels, **{**place, **tags}), folder / f"{(number * 5) % 7:03d}.dcm")
    return stack.astype(np.float32) - 1024


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_windows_are_those_of_pydicom(function: str, kind: type) -> None:
    """apply_modality_lut and apply_voi_lut, brought from their range to 0..1, and from there to 0..255."""
    pixels = np.random.default_rng(1).integers(0, 4000, (20, 30)).astype(kind)
    made = dataset(
        pixels, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=300.0, WindowWidth=900.0, VOILUTFunction=function
    )
    made.BitsStored, made.HighBit = (12, 11) if kind is np.uint16 else (16, 15)
    values = apply_modality_lut(pixels, made)
    shown = apply_voi_lut(values, made).astype(np.float64)
    low = 0 if kind is np.uint16 else -(2**15)
    high = 2**12 - 1 if kind is np.uint16 else 2**15 - 1
    low, high = low * 2 - 1000, high * 2 - 1000
    wanted = (shown - low) / (high - low)
    np.testing.assert_allclose(windowed(values, 300.0, 900.0, function), wanted, atol=1e-6)
    found = picture_of(data_of(made), "'x'")
    np.testing.assert_array_equal(found[..., 0], np.rint(np.clip(wanted, 0, 1) * 255).astype(np.uint8))


def test_monochrome1_is_inverted_and_windows_of_the_card_win(tmp_path: Path) -> None:
    pixels = np.arange(200, dtype=np.uint16).reshape(10, 20)
    plain = picture_of(data_of(dataset(pixels)), "'x'")
    inverted = picture_of(data_of(dataset(pixels, PhotometricInterpretation="MONOCHROME1")), "'x'")
    np.testing.assert_array_equal(plain, 255 - inverted)
    given = picture_of(data_of(dataset(pixels, WindowCenter=5, WindowWidth=2)), "'x'", (0.0, 199.0))
    np.testing.assert_array_equal(given[..., 0], np.rint(pixels / 199 * 255).astype(np.uint8))
    path = saved(dataset(pixels), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_photo(path, None), plain)


def test_a_lut_sequence_is_that_of_pydicom() -> None:
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    table = (np.linspace(0, 1, 64) ** 2 * 255).astype(np.uint16)
    item = Dataset()
    item.LUTDescriptor = [64, 0, 8]
    item.add_new("LUTData", "OW", table.tobytes())
    made = dataset(pixels, VOILUTSequence=Items([item]))
    found = picture_of(data_of(made), "'x'")[..., 0]
    np.testing.assert_array_equal(found, apply_voi_lut(pixels, made))


def test_a_series_is_sorted_by_position_and_knows_where_it_lies(tmp_path: Path) -> None:
    wanted = series(tmp_path / "s")
    volume, notes = read_volume(tmp_path / "s")
    assert notes == ()
    np.testing.assert_array_equal(volume.values, wanted)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.8, 0.7))
    # Column 3, row 2, slice 4: DICOM counts to the left and the back, NIfTI to the right and the front.
    mm = volume.affine @ [3, 2, 4, 1]
    np.testing.assert_allclose(mm[:3], [-(-20 + 3 * 0.7), -(-30 + 2 * 0.8), 5 + 4 * 2.5])
    assert volume.window == (-160, 240)
    assert "Mustermann" not in volume.name


def test_gaps_are_said(tmp_path: Path) -> None:
    series(tmp_path / "s", 7)
    (tmp_path / "s/001.dcm").unlink()
    assert "slices are missing at 1 place of" in read_volume(tmp_path / "s")[1][0]


def item(**tags: Any) -> Dataset:
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def enhanced(places: list[tuple[float, float, float]], **tags: Any) -> tuple[Dataset, np.ndarray]:
    """An enhanced CT of a frame for each place, with its own intercept; (frames, H, W) in Hounsfield units."""
    stack = np.random.default_rng(2).integers(0, 2000, (len(places), 8, 10)).astype(np.int16)
    made = dataset(stack[0], NumberOfFrames=len(places), SeriesInstanceUID=generate_uid())
    made.PixelData = stack.tobytes()
    plane = Items([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])])
    size = Items([item(PixelSpacing=[0.8, 0.7], SliceThickness=2.0)])
    made.SharedFunctionalGroupsSequence = Items([item(PlaneOrientationSequence=plane, PixelMeasuresSequence=size)])
    made.PerFrameFunctionalGroupsSequence = Items(
        item(
            PlanePositionSequence=Items([item(ImagePositionPatient=list(place))]),
            PixelValueTransformationSequence=Items([item(RescaleSlope=1, RescaleIntercept=-1024 - number)]),
            FrameVOILUTSequence=Items([item(WindowCenter=40, WindowWidth=400)]),
        )
        for number, place in enumerate(places)
    )
    for name, value in tags.items():
        setattr(made, name, value)
    return made, stack.astype(np.float32) - 1024 - np.arange(len(places))[:, None, None]


def test_frames_have_their_own_rescale_window_and_place(tmp_path: Path) -> None:
    made, wanted = enhanced([(-20.0, -30.0, z) for z in (10.0, 5.0, 7.5, 12.5)])
    volume, notes = read_volume(saved(made, tmp_path / "a.dcm"))
    assert notes == ()
    np.testing.assert_array_equal(volume.values, wanted[[1, 2, 0, 3]])
    np.testing.assert_allclose(volume.spacing, (2.5, 0.8, 0.7))
    np.testing.assert_allclose(volume.affine[:3, 3], [20, 30, 5])
    assert volume.window == (-160, 240)
    frame = np.clip((wanted[2] - 39.5) / 399 + 0.5, 0, 1)
    np.testing.assert_array_equal(picture_of(data_of(made), "'x'")[..., 0], np.rint(frame * 255))


def test_frames_without_places_are_refused(tmp_path: Path) -> None:
    made, _ = enhanced([(0.0, 0.0, z) for z in (0.0, 1.0, 2.0)])
    del made.PerFrameFunctionalGroupsSequence
    with pytest.raises(VolumeError, match="the DICOM file has frames without places in space"):
        read_volume(saved(made, tmp_path / "a.dcm"))


def test_a_tilted_gantry_is_in_the_affine(tmp_path: Path) -> None:
    made, _ = enhanced([(0.0, float(k), 3.0 * k) for k in range(5)])
    volume, notes = read_volume(saved(made, tmp_path / "a.dcm"))
    assert notes == ()
    np.testing.assert_allclose(volume.affine[:3, 2], [0, -1, 3])
    np.testing.assert_allclose((volume.affine @ [0, 0, 4, 1])[:3], [0, -4, 12])


def test_slices_off_even_steps_are_said(tmp_path: Path) -> None:
    made, _ = enhanced([(0.0, 2.0 if k == 2 else 0.0, 3.0 * k) for k in range(5)])
    (note,) = read_volume(saved(made, tmp_path / "a.dcm"))[1]
    assert note.startswith("slices lie up to 2 mm from even steps")


@pytest.mark.parametrize("name", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
def test_missing_tags_of_places_are_said(tmp_path: Path, name: str) -> None:
    wanted = series(tmp_path / "s")
    for path in (tmp_path / "s").iterdir():
        made = pydicom.dcmread(path)
        made.InstanceNumber = int(made.ImagePositionPatient[2] / 2.5)
        delattr(made, name)
        saved(made, path)
    volume, notes = read_volume(tmp_path / "s")
    assert [note.partition(",")[0] for note in notes] == [f"the file has no {name}"]
    assert "mm are not certain" in notes[0]
    np.testing.assert_array_equal(volume.values, wanted)


def test_colours_of_a_palette(tmp_path: Path) -> None:
    indices = np.arange(64, dtype=np.uint8).reshape(8, 8)
    made = dataset(indices, PhotometricInterpretation="PALETTE COLOR")
    colours = np.random.default_rng(3).integers(0, 256, (3, 64)).astype(np.uint8)
    for name, values in zip(("Red", "Green", "Blue"), colours, strict=True):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [64, 0, 8])
        made.add_new(f"{name}PaletteColorLookupTableData", "OW", values.tobytes())
    np.testing.assert_array_equal(picture_of(data_of(made), "'x'"), colours.T[indices])
    with pytest.raises(VolumeError, match="the DICOM file holds colours"):
        read_volume(saved(made, tmp_path / "a.dcm"))


def test_of_several_frames_one_is_decoded_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = enhanced([(0.0, 0.0, float(z)) for z in range(7)])
    asked = []
    decode = pydicom.pixels.pixel_array

    def counted(source: Any, *, index: int | None = None) -> Any:
        asked.append(index)
        return decode(source, index=index)

    monkeypatch.setattr(pydicom.pixels, "pixel_array", counted)
    data = data_of(made)
    assert photo_of("a.dcm", data, None)[1] == ("the middle frame is read, frame 4 of 7",)
    assert asked == [3]
    assert size_of(tmp_path / "a.dcm", data, None) == 8 * 10


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"SeriesInstanceUID": "1.2.3"}, "2 series"),
        ({"PixelSpacing": [0.8, 0.7], "ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}, "several sizes or directions"),
        ({"ImagePositionPatient": [-20.0, -30.0, 5.0]}, "several slices at one place"),
    ],
)
def test_mixed_slices_are_refused(tmp_path: Path, tags: dict[str, Any], words: str) -> None:
    series(tmp_path / "s")
    first = pydicom.dcmread(sorted((tmp_path / "s").iterdir())[0])
    for name, value in tags.items():
        setattr(first, name, value)
    saved(first, tmp_path / "s/extra.dcm")
    with pytest.raises(VolumeError, match=words):
        read_volume(tmp_path / "s")


def test_bad_files_are_one_line_that_names_nobody(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), np.uint16)
    packed = dataset(pixels)
    packed.file_meta.TransferSyntaxUID = JPEG2000Lossless
    packed["PixelData"].is_undefined_length = True
    packed.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
    whole = data_of(dataset(pixels))
    colours = dataset(np.zeros((8, 8, 3), np.uint8), SamplesPerPixel=3, PhotometricInterpretation="RGB")
    colours.PlanarConfiguration = 0
    cases = {"packed": data_of(packed), "cut": whole[:-60], "head": whole[:140]}
    for name, data in cases.items():
        with pytest.raises(ImageError) as refused:
            picture_of(data, repr(name))
        assert name in str(refused.value)
        assert not {"Mustermann", "4711", "\n"} & {*str(refused.value).split(), *str(refused.value)}
    with pytest.raises(ImageError, match="pylibjpeg"):
        picture_of(cases["packed"], "'x'")
    assert picture_of(data_of(colours), "'x'").shape == (8, 8, 3)
    path = saved(colours, tmp_path / "us.dcm")
    assert is_dicom_file(path)
    with pytest.raises(VolumeError, match="it holds colours"):
        read_series([path], "it")
    with pytest.raises(VolumeError, match="2001 slices"):
        read_series([path] * 2001, "it")


def test_nifti_keeps_its_affine(tmp_path: Path) -> None:
    affine = np.array([[-0.7, 0, 0.1, 20], [0, 0.8, 0, -30], [0.1, 0, 2.5, 5], [0, 0, 0, 1]])
    values = np.random.default_rng(0).standard_normal((5, 6, 7)).astype(np.float32)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nifti_of(values, affine))
    assert nifti_of(values, affine) == path.read_bytes()
    image = nibabel.load(path)
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(image.dataobj), values.transpose(2, 1, 0))
    assert is_nifti(path)
    assert is_volume_path(path)
    volume = read_nifti(path)
    np.testing.assert_array_equal(volume.values, values)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)


def test_bad_nifti(tmp_path: Path) -> None:
    nan = np.full((3, 3, 3), np.nan, np.float32)
    for name, data, words in (
        ("nan.nii.gz", nifti_of(nan, np.eye(4)), "27 of 27 voxels are NaN"),
        ("cut.nii.gz", nifti_of(np.ones((3, 3, 3), np.float32), np.eye(4))[:60], "cannot be read"),
        ("short.nii", gzip.decompress(nifti_of(np.ones((3, 3, 3), np.float32), np.eye(4)))[:-50], "cannot be read"),
        ("no.nii.gz", b"hello", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(data)
        assert is_nifti(tmp_path / name)
        with pytest.raises(VolumeError, match=words) as refused:
            read_nifti(tmp_path / name)
        assert "\n" not in str(refused.value)
