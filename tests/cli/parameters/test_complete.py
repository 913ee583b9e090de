"""What a shell is offered."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from onnxray.cli.main import main


def offered(*words: str) -> list[str]:
    *before, incomplete = words
    return [
        item.value
        for item in ShellComplete(main, {}, "onnxray", "_ONNXRAY_COMPLETE").get_completions(before, incomplete)
    ]


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (("exp",), "explain"),
        (("explain", "buil"), "builtin"),
        (("models", "info", "squee"), "squeezenet1.1-7"),
        (("methods", "integ"), "integrated-gradients"),
        (("explain", "builtin", "-m", "grad-cam,l"), "grad-cam,lrp"),
        (("explain", "builtin", "-m", "al"), "all"),
        (("compile", "builtin", "-m", "hires"), "hires-cam"),
        (("explain", "builtin", "-m", "lrp", "-O", "comp"), "composite=epsilon-plus-flat"),
        (("explain", "builtin", "--colormap", "em"), "ember"),
        (("explain", "builtin", "-t", "cra"), "crack"),
        (("explain", "builtin", "-t", "to"), "top:"),
    ],
)
def test_names_that_begin_alike(words: tuple[str, ...], some: str) -> None:
    found = offered(*words)
    assert some in found
    last = words[-1].casefold()
    assert all(name.casefold().startswith(last) for name in found)


def test_layers_of_the_model() -> None:
    import onnxray

    names = [layer.name for layer in onnxray.load("builtin").layers]
    assert offered("explain", "builtin", "--layer", "") == names
    assert offered("explain", "no-such.onnx", "--layer", "") == []


def test_files_stand_beside_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("builtin-of-mine.onnx").write_bytes(b"")
    assert offered("inspect", "built") == ["builtin", "builtin-of-mine.onnx"]
