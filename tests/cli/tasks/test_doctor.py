"""What `onnxray doctor` tries, on installations that lack something."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

import onnxray
from onnxray.cli.files import images
from onnxray.cli.tasks import doctor
from onnxray.engine.runtime import installation, providers
from onnxray.kernels import jit

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(onnxray.__file__).parent


def named(name: str) -> doctor.Check:
    return next(check for check in doctor.doctor().checks if check.name == name)


def test_extras_are_those_of_the_package() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(known) - set(doctor.DEVELOPMENT)
    assert set(doctor.DEVELOPMENT) <= set(known)
    listed = doctor.extras()
    assert set(listed) == set(known)
    assert listed["watch"] == ("simpleeval", "watchdog")


def test_this_machine() -> None:
    found = doctor.doctor()
    assert found.good is all(check.state != "problem" for check in found.checks)
    assert named("provider CPU") == doctor.Check("provider CPU", "good", "runs a model")
    assert importlib.metadata.version("numba") in named("libraries").text
    assert str(found).count("\n") >= len(found.checks)


def test_two_copies_of_one_module(monkeypatch: pytest.MonkeyPatch) -> None:
    both = ["onnxruntime", "onnxruntime-gpu"]
    monkeypatch.setattr(installation, "installed_distributions", lambda: both)
    check = named("onnxruntime")
    assert (check.state, check.remedy[:30]) == ("problem", "run `pip uninstall -y onnxrunt")
    monkeypatch.undo()
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.9" if "opencv" in name else version(name))
    check = named("OpenCV")
    assert check.state == "problem"
    assert "pip uninstall -y opencv-python opencv-python-headless" in check.remedy


def test_a_provider_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {"CUDAExecutionProvider": "it cannot be loaded (libcudnn.so.9 is missing)"}
    monkeypatch.setattr(providers.ort, "get_available_providers", lambda: [*reasons, "CPUExecutionProvider"])
    monkeypatch.setattr(providers, "unusable_reason", reasons.get)
    found = doctor.doctor()
    assert not found.good
    check = named("provider CUDA")
    assert (check.state, check.text) == ("problem", reasons["CUDAExecutionProvider"])
    assert "PROBLEM  provider CUDA" in str(found)
    reasons["CUDAExecutionProvider"] = "no NVIDIA driver is installed"
    assert named("provider CUDA").state == "note"


@pytest.mark.parametrize(
    ("files", "want"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense\n"}, None),
        ({}, None),
    ],
)
def test_processors_of_a_container(tmp_path: Path, files: dict[str, str], want: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert doctor.quota(tmp_path) == want


def test_a_container_that_may_use_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "available", lambda: 8)
    monkeypatch.setattr(doctor, "quota", lambda: 2.0)
    check = named("processors")
    assert (check.state, check.remedy) == ("note", "give --threads 2 (threads=2 in Python)")


def test_kernels_that_are_not_kept_or_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(named("kernels").text.partition("kept in ")[2]).is_dir()
    monkeypatch.setattr(jit, "probe", lambda: None)
    assert "NUMBA_CACHE_DIR" in named("kernels").remedy

    def broken() -> None:
        raise OSError("libLLVM is missing")

    monkeypatch.setattr(jit, "probe", broken)
    check = named("kernels")
    assert (check.state, check.text) == ("problem", "Numba does not work: libLLVM is missing")


def test_files_that_opencv_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "abilities", lambda: ("4.9", {"png": True, "avif": False}, False))
    assert named("image files").text == "this build does not write and read avif"
    assert named("letters").state == "note"


def test_what_is_missing_is_said_with_what_it_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in ("pyarrow", "numba"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    check = named("extra tables")
    assert (check.state, check.remedy) == ("note", "pip install 'onnxray[tables]'")
    assert "pyarrow" in check.text
    assert "not installed: numba" in named("libraries").text


def test_no_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", full)
    check = named("temporary files")
    assert check.state == "problem"
    assert "No space left" in check.text
