"""The wheel holds the package and nothing else, and works away from the repository."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cli", "engine", "kernels", "models")


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done


def test_the_list_of_packages_is_the_tree() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {folder for top in PACKAGES for folder in (ROOT / top).rglob("__init__.py")}
    found = {"onnxray"} | {".".join(("onnxray", *f.parent.relative_to(ROOT).parts)) for f in folders}
    assert set(listed) == found


def test_nothing_lies_around() -> None:
    """Only these are kept at the root; results of commands that ran there are not."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    kept = {name.partition("/")[0] for name in run("git", "ls-files", cwd=ROOT).stdout.splitlines()}
    folders = {*PACKAGES, ".ci", ".github", "bench", "conda", "docs", "examples", "tests"}
    files = {
        ".dockerignore",
        ".gitignore",
        ".pre-commit-config.yaml",
        "LICENSE",
        "CITATION.cff",
        "mkdocs.yml",
        "py.typed",
        "pyproject.toml",
    }
    pages = {"README.md", "README.es.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md"}
    assert kept - folders - files - pages == {"__init__.py", "__main__.py"}


def test_the_version_is_said_once() -> None:
    """The citation names the version of the package."""
    from onnxray import __version__

    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited == __version__
    (packed,) = re.findall(r'set version = "(.+)"', (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8"))
    assert packed == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_conda_asks_for_what_pip_asks_for() -> None:
    """By conda-forge's names, with the same versions."""
    renamed = {"onnxruntime-gpu": "onnxruntime", "opencv-python": "py-opencv"}
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"python": asked["requires-python"]}
    for line in asked["dependencies"]:
        name, version = re.findall(r"^([\w-]+)(>=[\d.]+)", line)[0]
        wanted[renamed.get(name, name)] = version
    recipe = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    run = recipe.split("  run:\n")[1].split("\n\n")[0]
    assert dict(re.findall(r"- ([\w-]+) (>=[\d.]+)", run)) == wanted


@pytest.mark.slow
def test_the_wheel_runs_the_demo_from_another_folder(tmp_path: Path) -> None:
    source, wheels, elsewhere = tmp_path / "source", tmp_path / "wheels", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if (ROOT / ".git").exists():
        run("git", "clone", "-q", ROOT, source, cwd=tmp_path)
    else:
        pytest.skip("not a git clone: the wheel is built from one, so that stray files cannot help")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, source, cwd=tmp_path)
    (wheel,) = wheels.glob("onnxray-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "onnxray/models/surface.onnx" in names
    assert "onnxray/py.typed" in names
    assert not [n for n in names if n.startswith(("onnxray/tests", "onnxray/bench", "onnxray/models/make"))]

    run(sys.executable, "-m", "venv", elsewhere / "venv", cwd=elsewhere)
    folder = elsewhere / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    run(folder / "python", "-m", "pip", "install", "-q", wheel, cwd=elsewhere)
    done = run(folder / "onnxray", "demo", "--quiet", cwd=elsewhere)
    report = elsewhere / done.stdout.strip()
    text = report.read_text(encoding="utf-8")
    assert "crack" in text
    assert 'src="http' not in text
    assert 'href="http' not in text
