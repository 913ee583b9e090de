"""`explain` of volumes: NIfTI and DICOM, heat with the affine, slices, the slider, and no name of a patient anywhere."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import read
from onnxray.cli.files.nifti import nifti_of
from onnxray.tests.cli.files.test_dicom import PATIENT, dataset, nibabel, saved, series
from onnxray.tests.engine.volumes.test_volumes import lesions, planted

Run = Callable[..., Result]
AFFINE = np.array([[-1.0, 0, 0, 20], [0, -1, 0, 30], [0, 0, 3, 5], [0, 0, 0, 1]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(lesions(), tmp_path / "lesions.onnx")
    onnx.save(lesions(None), tmp_path / "free.onnx")
    x, _ = planted(np.random.default_rng(5))
    (tmp_path / "scan.nii.gz").write_bytes(nifti_of(x, AFFINE))
    return tmp_path


def test_everything_is_written_and_equals_python(run: Run, folder: Path) -> None:
    out = folder / "out"
    given = ("explain", folder / "lesions.onnx", folder / "scan.nii.gz", "-t", "1", "-m", "grad-cam,gradient")
    result = run(*given, "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    (entry,) = json.loads(result.stdout)["images"]
    assert entry["volume"]["shape"] == [24, 32, 40]
    for found in entry["maps"]:
        e = onnxray.explain(folder / "lesions.onnx", folder / "scan.nii.gz", found["method"], 1)
        np.testing.assert_array_equal(np.load(out / found["files"][0]), e.values)
        heat = nibabel.load(out / found["files"][1])
        np.testing.assert_allclose(heat.affine, AFFINE)
        np.testing.assert_allclose(np.asarray(heat.dataobj).T, e.volume.values, atol=1e-7)
        assert found["hottest"]["voxel"] == list(e.volume.hottest)
        x, y, z = found["hottest"]["mm"]
        slot = np.linalg.inv(AFFINE) @ [x, y, z, 1]
        np.testing.assert_allclose(slot[:3][::-1], e.volume.hottest, atol=1e-9)
        assert read(out / found["files"][2]).shape[1] > 1000
        assert read(out / found["files"][3]).shape[0] >= 24 * 200
    page = (out / "index.html").read_text()
    named = re.findall(r'(?:src="|url\(|href=")([^")]+)', page)
    assert len(named) == 2 * 4
    assert all((out / name).is_file() for name in named)


def test_no_written_file_names_the_patient(run: Run, folder: Path) -> None:
    """Names of patients stand in the tags and in the name of the folder; in no file that is written, packed or not."""
    scans = folder / "Mustermann^Erika ERIKA-4711"
    series(scans, 8)
    out = folder / "out"
    result = run("explain", folder / "free.onnx", scans, "-t", "1", "-m", "grad-cam,occlusion", "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) >= 10
    for path in written:
        data = path.read_bytes()
        data += gzip.decompress(data) if path.name.endswith(".gz") else b""
        for word in (*PATIENT.split("^"), "4711", "19640812", "Seltsam", "Klinikum"):
            assert word.lower().encode() not in data.lower(), (path, word)
            assert word.lower() not in str(path.relative_to(out)).lower()
    for word in ("Mustermann", "Erika", "4711"):
        assert word not in result.stdout
        assert word not in result.stderr


def test_no_failing_scan_names_the_patient(run: Run, folder: Path) -> None:
    scans, colours = folder / "Mustermann^Erika ERIKA-4711", folder / "Mustermann.dcm"
    series(scans, 8)
    made = dataset(np.zeros((8, 8, 3), np.uint8), SamplesPerPixel=3, PhotometricInterpretation="RGB")
    made.PlanarConfiguration = 0
    saved(made, colours)
    out = folder / "out"
    result = run("explain", folder / "free.onnx", scans, colours, "-t", "1", "-m", "grad-cam", "-o", out)
    assert "the DICOM file holds colours" in result.stderr
    texts = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    for text in (*texts, result.stdout.encode(), result.stderr.encode()):
        assert b"Mustermann" not in text


@pytest.mark.parametrize(("more", "names"), [(("--limit", "1"), "a"), (("--every", "2"), "ac")])
def test_a_part_of_the_volumes(run: Run, folder: Path, more: tuple[str, ...], names: str) -> None:
    data = (folder / "scan.nii.gz").read_bytes()
    scans = [folder / f"{name}.nii.gz" for name in "abc"]
    for path in scans:
        path.write_bytes(data)
    given = ("-t", "1", "-m", "grad-cam", "--format", "npy", "-o", folder / "out")
    result = run("explain", folder / "lesions.onnx", *scans, *more, *given)
    assert result.exit_code == 0, result.stderr
    assert [name for name in "abc" if f"{name}.nii.gz: grad-cam" in result.stderr] == list(names)


def test_single_pictures_are_explained_as_images(run: Run, tmp_path: Path) -> None:
    path = saved(dataset(np.random.default_rng(0).integers(0, 4000, (160, 160)).astype(np.uint16)), tmp_path / "x.dcm")
    result = run("explain", "builtin", path, "-o", tmp_path / "out", "-q")
    assert result.exit_code == 0, result.stderr
    for written in (p for p in (tmp_path / "out").rglob("*") if p.is_file()):
        assert b"Mustermann" not in written.read_bytes()
    e = onnxray.explain("builtin", path)
    np.testing.assert_array_equal(np.load(next((tmp_path / "out").rglob("*.npy"))), e.values)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--volume", "order=abc"), "volume"),
        (("--trust",), "volumes are given"),
        (("--at", "r"), "leave --at out"),
        (("--resume",), "--force in place of --resume"),
        (("--crop", "0,0,5,5"), "--crop is about images"),
        (("--max-failures", "1"), "--max-failures is about images"),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Run, folder: Path, more: tuple[str, ...], words: str) -> None:
    result = run("explain", folder / "lesions.onnx", folder / "scan.nii.gz", *more, "-o", folder / "out", "-q")
    assert result.exit_code
    assert words in result.stderr


def test_a_nifti_file_and_a_model_of_images(run: Run, folder: Path) -> None:
    result = run("explain", "builtin", folder / "scan.nii.gz", "-o", folder / "out", "-q")
    assert result.exit_code
    assert "no three axes of space" in result.stderr
