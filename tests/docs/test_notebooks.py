"""examples/*.ipynb: they are the tutorials, and they run; both languages have the same code."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_notebooks", ROOT / "docs" / "make_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_are_those_of_the_pages(maker: ModuleType) -> None:
    made = dict(maker.notebooks())
    assert set(made) == set((ROOT / "examples").rglob("*.ipynb"))
    stale = [place.name for place, text in made.items() if place.read_text(encoding="utf-8") != text]
    assert stale == [], "run python docs/make_notebooks.py"


def test_they_lead_to_what_is_there(maker: ModuleType) -> None:
    for place, text in maker.notebooks():
        for cell in json.loads(text)["cells"]:
            if cell["cell_type"] == "markdown":
                for match in maker._LINK.finditer("".join(cell["source"])):
                    assert (place.parent / match[1]).exists(), f"{place.name}: {match[1]}"


def test_they_are_small() -> None:
    for place in (ROOT / "examples").rglob("*.ipynb"):
        assert place.stat().st_size < 20_000
        cells = json.loads(place.read_text(encoding="utf-8"))["cells"]
        assert all(not cell.get("outputs") for cell in cells)
        assert len({cell["id"] for cell in cells}) == len(cells)


def test_the_list_names_all() -> None:
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert all(f"({place.name})" in text and f"(es/{place.name})" in text for place in NOTEBOOKS)


@pytest.mark.slow
@pytest.mark.parametrize("place", NOTEBOOKS, ids=lambda place: place.stem)
@pytest.mark.filterwarnings("default")  # of Jupyter's packages
def test_they_run(place: Path, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.read(place, as_version=4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(tmp_path)}}
    ran = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    code = [cell for cell in ran.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.execution_count for cell in code)
    assert len(json.dumps(ran)) < 200_000
