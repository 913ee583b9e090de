"""docs/make.py knows every script that writes pages; docs/make_versions.py lists the versions of the site."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_one_command_writes_all_pages() -> None:
    make = module("make")
    scripts = {Path(command[-1]).name for command in make.commands(pictures=True)}
    there = {path.name for path in DOCS.glob("make_*.py")} - {f"make_{name}.py" for name in make.OTHERS}
    assert scripts == {"onnxray.cli.reference", *there}
    assert all((DOCS / f"make_{name}.py").is_file() for name in make.PAGES)
    assert len(make.commands(pictures=False)) == 1 + len(make.PAGES)


def test_versions_of_the_site(tmp_path: Path) -> None:
    for name in ("0.2.0", "0.10.0", "latest", "assets"):
        (tmp_path / name).mkdir()
    module("make_versions").main(tmp_path)
    found = json.loads((tmp_path / "versions.json").read_text(encoding="utf-8"))
    assert [entry["version"] for entry in found] == ["0.10.0", "0.2.0"]
    assert [entry["aliases"] for entry in found] == [["latest"], []]
    assert "latest/index.html" in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["ci.yml", "release.yml", "docs.yml"])
def test_workflows_are_yaml(name: str) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    found = yaml.safe_load((DOCS.parent / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    assert found["jobs"]
    for job in found["jobs"].values():
        assert job["runs-on"]
        assert all("uses" in step or "run" in step for step in job["steps"])
