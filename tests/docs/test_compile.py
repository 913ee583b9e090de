"""The snippets of docs/compile.md are run, in their order, on the built-in model."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import onnxray
from onnxray.cli.pages.browser_page import VERSION

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "compile.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, code in SNIPPETS if kind == "sh" for line in code.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds model.onnx with its card."""
    for suffix in ("onnx", "json"):
        shutil.copy(ROOT / "models" / f"surface.{suffix}", tmp_path / f"model.{suffix}")
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Callable[..., str]:
    def call(*command: object) -> str:
        ran = subprocess.run([str(c) for c in command], cwd=folder, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran.stdout

    return call


def onnxray_command(line: str) -> list[str]:
    words = shlex.split(line)
    assert words[0] == "onnxray"
    return [sys.executable, "-c", "from onnxray.cli.main import main; main()", *words[1:]]


def modules(package: str) -> Path:
    places = [Path(p) for p in (os.environ.get("ONNXRAY_NODE"), ROOT / "tests" / "cli", ROOT) if p]
    found = next((p / "node_modules" for p in places if (p / "node_modules" / package).is_dir()), None)
    return found or pytest.skip(
        f"no node_modules with {package}: `npm install --ignore-scripts` in tests/cli makes one"
    )


def test_commands_and_python(folder: Path, run: Callable[..., str]) -> None:
    for kind, code in SNIPPETS:
        if kind == "sh":
            for line in code.splitlines():
                if line.startswith("onnxray") and "--html" not in line:
                    run(*onnxray_command(line))
        elif kind == "python":
            told = run(sys.executable, "-c", code)
    assert told == "grad-cam at stage4/relu2\n"
    assert (folder / "repository" / "model" / "1" / "model.onnx").is_file()
    assert (folder / "repository" / "model" / "config.pbtxt").is_file()


def test_the_page(folder: Path, run: Callable[..., str]) -> None:
    install, build = (line for line in COMMANDS if "npm" in line or "--html" in line)
    assert install.split()[-1] == f"onnxruntime-web@{VERSION}"
    (folder / "node_modules").symlink_to(modules("onnxruntime-web"))
    run(*onnxray_command(build))
    assert (folder / "site" / "index.html").is_file()


def test_javascript(folder: Path, run: Callable[..., str]) -> None:
    node = shutil.which("node") or pytest.skip("node is not installed")
    (folder / "node_modules").symlink_to(modules("onnxruntime-node"))
    run(*onnxray_command(next(line for line in COMMANDS if "--preprocess" in line)))
    (code,) = (code for kind, code in SNIPPETS if kind == "js")
    (folder / "snippet.mjs").write_text(code)
    assert run(node, "snippet.mjs") == "[ 1, 8 ] [ 1, 1, 480, 640 ]\n"


def test_what_cannot_be_compiled_is_named(folder: Path) -> None:
    """The methods that the page calls refused are, and say so."""
    (line,) = (line for line in TEXT.splitlines() if "score-cam`, `ablation-cam" in line)
    names = re.findall(r"`([a-z-]+)`", line)
    assert len(names) >= 5
    for name in names:
        with pytest.raises(onnxray.OnnxrayError, match="cannot be compiled"):
            onnxray.compile(folder / "model.onnx", name)


def test_the_options_are_those_of_the_command() -> None:
    from onnxray.cli.commands.compile import command

    known = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) <= known
