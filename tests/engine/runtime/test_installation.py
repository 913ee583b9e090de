"""Exactly one onnxruntime, or one line that says how to get there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onnxray.engine.errors import RuntimeUnavailable
from onnxray.engine.runtime import installation


def test_exactly_one_onnxruntime() -> None:
    installation.check_installation(["numpy", "onnxruntime-gpu"])
    with pytest.raises(RuntimeUnavailable, match="pip install onnxruntime-gpu"):
        installation.check_installation([])
    with pytest.raises(RuntimeUnavailable, match="onnxruntime and onnxruntime-gpu are installed together") as raised:
        installation.check_installation(["onnxruntime", "onnxruntime-gpu"])
    assert "pip uninstall -y onnxruntime onnxruntime-gpu`, then `pip install onnxruntime-gpu`" in str(raised.value)
    assert len(installation.installed_distributions()) == 1


@pytest.mark.parametrize("broken", ["missing", "half", "two"])
def test_the_import_guard(tmp_path: Path, broken: str) -> None:
    """What a user sees, in a process where the module is missing, is an empty folder, or comes from two distributions."""
    if broken == "missing":
        (tmp_path / "onnxruntime.py").write_text("raise ImportError('no such library')")
    elif broken == "half":
        (tmp_path / "onnxruntime.py").write_text("")
    else:
        for name in ("onnxruntime", "onnxruntime_gpu", "onnxruntime_directml"):
            folder = tmp_path / f"{name}-1.0.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from onnxray.engine.errors import RuntimeUnavailable\n"
        "try:\n    import onnxray.engine.inference.session\nexcept RuntimeUnavailable as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.stderr == ""
    expected = {
        "missing": "cannot be imported (no such library)",
        "half": "half installed",
        "two": "installed together",
    }
    assert expected[broken] in done.stdout
    assert len(done.stdout.splitlines()) == 1
