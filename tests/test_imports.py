"""What an import costs and which way imports run."""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import onnxray

ROOT = Path(onnxray.__file__).parent

# engine/ from the ground up: a room imports only what stands in an earlier set. CONTRIBUTING.md draws the same list.
ROOMS: list[set[str]] = [
    {"errors", "version"},
    {"atomic", "caches"},
    {"proto"},
    {"runtime"},
    {"graph"},
    {"inference"},
    {"inspect", "emitter"},
    {"gradients", "preprocess"},
    {"autodiff", "relevance"},
    {"detection", "text", "tables", "sound", "volumes", "series"},
    {"targets"},
    {"incremental"},
    {"attribution"},
    {"compiled"},
    {"methods"},
    {"optimize"},
    {"survey"},
    {"evaluate"},
    {"load"},
    {"novelty"},
    {"activations", "explain", "compile", "inspection", "predict", "visualize"},
    {"dream", "top", "health", "evaluation"},
    {"trust", "choose", "explorer"},
    {"pipeline"},
]
# cli/: what each room imports besides itself and the engine.
CLI_ROOMS: dict[str, set[str]] = {
    "terminal": set(),
    "files": set(),
    "sources": {"files"},
    "sinks": {"files"},
    "parameters": {"sources", "files", "terminal"},
    "figures": {"files", "terminal"},
    "tasks": {"figures", "parameters", "sources", "sinks", "files", "terminal"},
    "pages": {"tasks", "figures", "files", "terminal"},
    "explorer": {"tasks", "parameters"},
    "commands": {"tasks", "pages", "parameters", "files", "terminal"},
    "facade": {"files"},
    "judge_facade": {"files"},
    "job_facade": {"files", "tasks", "pages", "main"},
    "page_facade": {"files", "parameters", "tasks", "pages"},
    "reference": {"commands", "main", "terminal"},
    "translations": {"commands", "main", "terminal"},
    "main": {"commands", "terminal"},
}
# The imports that go up, or around, on purpose: each stands in a function.
LATE = {("engine.graph.model", "engine.inspect.layers"), ("engine.graph.model", "engine.inspect.layer_list")}
FACES = {"engine.gradients", "engine.methods", "engine.relevance", "engine.preprocess"}
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
    assert {name for name in loaded if name.startswith("onnxray")} == {
        "onnxray",
        "onnxray.engine",
        "onnxray.engine.version",
    }


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
        ("cli/tasks", {"click"}),
        ("cli/figures", {"click"}),
        ("cli/files", {"click"}),
        ("cli/sources", {"click"}),
    ],
)
def test_imports_run_one_way(folder: str, banned: set[str]) -> None:
    files = sources(folder)
    assert files
    wrong = {str(f.relative_to(ROOT)): sorted(imported(f) & banned) for f in files if imported(f) & banned}
    assert not wrong


@pytest.mark.parametrize(
    ("module", "only"),
    [
        ("onnxruntime", {Path("engine/runtime/ort.py")}),
        ("cv2", {Path("cli/files/images.py"), Path("cli/files/video.py")}),
    ],
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


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


class Import(NamedTuple):
    """One name that a file imports from another file of the package; `kind` is "run" or "annotation"."""

    source: str
    target: str
    name: str
    alias: str | None
    kind: str


@functools.cache
def imports() -> list[Import]:
    """Every import between files of engine/, cli/ and kernels/, wherever in the file it stands."""
    files = {module_of(file): file for file in sources("engine", "cli", "kernels")}
    found = []

    def visit(source: str, package: tuple[str, ...], node: ast.AST, kind: str) -> None:
        for child in ast.iter_child_nodes(node):
            only_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            if isinstance(child, ast.ImportFrom) and child.level:
                base = package[: len(package) - child.level + 1]
                module = ".".join((*base, child.module) if child.module else base)
                for alias in child.names:
                    inner = f"{module}.{alias.name}"
                    target = inner if inner in files else module
                    if target in files and target != source:
                        found.append(Import(source, target, alias.name, alias.asname, kind))
            visit(source, package, child, "annotation" if only_types else kind)

    for name, file in files.items():
        visit(name, file.relative_to(ROOT).parent.parts, ast.parse(file.read_text(encoding="utf-8")), "run")
    assert len(found) > 1000
    return found


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_what_stands_in_engine_is_a_room_a_ground_file_or_a_front_door() -> None:
    there = {file.stem for file in (ROOT / "engine").iterdir() if file.suffix == ".py" and file.stem != "__init__"}
    there |= {file.parent.name for file in (ROOT / "engine").glob("*/__init__.py")}
    assert there == {name for level in ROOMS for name in level}
    assert len([name for name in there if not (ROOT / "engine" / name).is_dir()]) <= 17


def test_long_files_say_why() -> None:
    """At most 450 lines, unless the head of the file says "Longer than 450 lines: " and the reason."""
    long = []
    for file in sources("kernels", "engine", "cli"):
        text = file.read_text(encoding="utf-8")
        head = ast.get_docstring(ast.parse(text)) or ""
        if len(text.splitlines()) > 450 and "Longer than 450 lines: " not in head:
            long.append(str(file.relative_to(ROOT)))
    assert not long


def test_every_room_has_a_sign() -> None:
    signs = [f for f in sources("kernels", "engine", "cli") if f.name == "__init__.py"]
    assert len(signs) > 20
    without = [f for f in signs if not ast.get_docstring(ast.parse(f.read_text(encoding="utf-8")))]
    assert [str(f.relative_to(ROOT)) for f in without] == []


def test_rooms_of_the_engine_import_downwards_only() -> None:
    level = {name: i for i, names in enumerate(ROOMS) for name in names}
    wrong = {
        (i.source, i.target)
        for i in imports()
        if i.source.startswith("engine.") and i.target.startswith("engine.")
        if room_of(i.source) != room_of(i.target) and level[room_of(i.target)] >= level[room_of(i.source)]
    }
    assert wrong == {(source, target) for source, target in LATE if room_of(source) != room_of(target)}


def test_rooms_of_the_command_line_import_as_drawn() -> None:
    wrong = {
        (i.source, i.target)
        for i in imports()
        if i.source.startswith("cli.") and i.target.startswith("cli.")
        if room_of(i.source) != room_of(i.target) and room_of(i.target) not in CLI_ROOMS[room_of(i.source)]
    }
    assert not wrong


def test_no_circle_of_imports() -> None:
    graph: dict[str, set[str]] = {}
    for i in imports():
        # A package's face is imported with every file in it; it imports its registry, not the other way round.
        if i.kind == "run" and (i.source, i.target) not in LATE:
            graph.setdefault(i.source, set()).add(i.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_late_imports_of_the_engine_are_the_drawn_ones() -> None:
    """Inside functions stand only imports of what is dear to load, and those that go up."""
    dear = {"kernels", "png", "FIELDS"}
    wrong = []
    for file in sources("engine"):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom) and node.level:
                    named = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
                    upward = any(
                        module_of(file) == source and target.endswith(node.module or "?") for source, target in LATE
                    )
                    if not named & dear and not upward:
                        wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong


def test_private_names_stay_in_their_file() -> None:
    wrong = {(i.source, i.target, i.name) for i in imports() if i.name.startswith("_") and i.name != "__version__"}
    assert not wrong


def test_only_faces_export_what_stands_elsewhere() -> None:
    wrong = {(i.source, i.name) for i in imports() if i.alias == i.name and i.source not in FACES}
    assert not wrong
