"""What an import costs and which way imports run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import onnxray

ROOT = Path(onnxray.__file__).parent
HEAVY = ("onnx", "onnxruntime", "numba", "cv2", "numpy", "click", "google.protobuf")


def modules_after(statement: str) -> set[str]:
    """Names of all modules loaded by `statement` in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT.anchor,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def engine_modules() -> list[str]:
    return sorted(
        ".".join(("onnxray", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for file in (ROOT / "engine").rglob("*.py")
    )


def test_the_package_itself_loads_nothing_heavy() -> None:
    loaded = modules_after("import onnxray; onnxray.__version__; dir(onnxray)")
    assert not loaded.intersection(HEAVY)
    assert {name for name in loaded if name.startswith("onnxray")} == {"onnxray"}


def test_the_error_tree_loads_nothing_heavy() -> None:
    assert not modules_after("import onnxray.engine.errors").intersection(HEAVY)


def test_kernels_load_no_onnx() -> None:
    names = sorted(f.stem for f in (ROOT / "kernels").glob("*.py") if f.stem != "__init__")
    assert names
    loaded = modules_after("\n".join(f"import onnxray.kernels.{name}" for name in names))
    assert not loaded.intersection({"onnx", "onnxruntime", "cv2", "click", "google.protobuf"})
    assert "onnxray.engine" not in loaded


def test_engine_loads_no_cv2_and_no_click() -> None:
    names = engine_modules()
    assert "onnxray.engine.graph.model" in names
    loaded = modules_after("\n".join(f"import {name}" for name in names))
    assert set(names) <= loaded
    assert not loaded.intersection({"cv2", "click", "onnxray.cli"})


def imported(file: Path) -> set[str]:
    """Top-level names of the absolute imports of `file`, and `kernels`, `engine`, `cli`, ... of its relative ones."""
    package = file.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1]
            target = (*above, *(node.module or "").split(".")) if node.module else above
            found.update({target[0]} if target else {alias.name for alias in node.names})
    return found


def sources(*folders: str) -> list[Path]:
    return sorted(f for folder in folders for f in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    ("folder", "banned"),
    [
        ("kernels", {"engine", "cli", "models", "onnx", "onnxruntime", "cv2", "click"}),
        ("engine", {"cli", "cv2", "click"}),
    ],
)
def test_imports_run_one_way(folder: str, banned: set[str]) -> None:
    files = sources(folder)
    assert files
    wrong = {str(f.relative_to(ROOT)): sorted(imported(f) & banned) for f in files if imported(f) & banned}
    assert not wrong


@pytest.mark.parametrize(
    ("module", "only"), [("onnxruntime", {Path("engine/runtime/ort.py")}), ("cv2", {Path("cli/files/images.py")})]
)
def test_one_importer(module: str, only: set[Path]) -> None:
    users = {f.relative_to(ROOT) for f in sources("kernels", "engine", "cli", "models") if module in imported(f)}
    assert {u for u in users if u.parts[:2] != ("models", "make")} <= only


@pytest.mark.parametrize("folder", ["kernels", "engine", "cli"])
def test_own_modules_are_imported_relatively(folder: str) -> None:
    wrong = [str(f.relative_to(ROOT)) for f in sources(folder) if imported(f) & {"onnxray"}]
    assert not wrong


def test_the_tests_import_the_package_once() -> None:
    """Run from the repository's root, which is the package, pytest must not import its modules under a second name."""
    import onnxray.engine.graph.model

    files: dict[str, list[str]] = {}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        # Not the tests, nor what a virtual environment inside the folder holds.
        if not file or not Path(file).is_relative_to(ROOT):
            continue
        if not {"tests", "site-packages"} & {*Path(file).relative_to(ROOT).parts}:
            files.setdefault(file, []).append(name)
    assert files[onnxray.engine.graph.model.__file__] == ["onnxray.engine.graph.model"]
    assert {tuple(names) for names in files.values() if len(names) > 1} == set()
    strange = {"engine", "kernels", "cli", "models", ROOT.name, f"{ROOT.name}.engine"} & set(sys.modules)
    assert not strange
