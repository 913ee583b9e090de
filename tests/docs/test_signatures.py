"""cli/signatures.pyi is what the registry says, and what type checkers make of it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import onnxray
from onnxray.docs.make_signatures import _CARD, _RUN, PLACE, page
from onnxray.engine.explain import RUN_OPTIONS
from onnxray.engine.preprocess.card import OPTION_FIELDS

ROOT = Path(onnxray.__file__).parent

# What is right, and after `# error:` what a checker has to say of a line.
CALLS = """
import numpy as np
import onnxray

model = onnxray.load("m.onnx", size=224, order="RGB")
e: onnxray.Explanation = onnxray.explain(model, "cat.jpg")
e = onnxray.explain("m.onnx", np.zeros((8, 8, 3), np.uint8), method="lrp", composite="epsilon", epsilon=1)
e = onnxray.explain(model, "cat.jpg", "integrated-gradients", "tabby", steps=20, baseline="blur", size=224)
e = onnxray.explain(model, "cat.jpg", "ig", steps=20)
e = onnxray.explain(model, "cat.jpg", onnxray.methods()["lrp"], layer=model.layers[3], providers="cpu")
several: onnxray.Explanations = onnxray.explain(model, ["a.png", "b.png"], "rise", masks=100)
name = input()
e = onnxray.explain(model, "cat.jpg", name, target=3, progress=lambda done, total: None)
compiled: onnxray.Model = onnxray.compile(model, "grad-cam", normalize="uint8")
onnxray.compile(model, "integrated-gradients", steps=5)
one: onnxray.Prediction = onnxray.predict(model, "cat.jpg", top=3, batch=2)
all_: list[onnxray.Prediction] = onnxray.predict(model, ["cat.jpg"])
files = [str(path) for path in onnxray.samples()]
found = onnxray.activations(model, "cat.jpg", ["relu"])["relu"].shape
e.show()
e.plot()
weights = onnxray.filters(model, "conv1").values
onnxray.inspect(model).layers

onnxray.explain(model, "cat.jpg", mehtod="lrp")  # error: call-overload
onnxray.explain(model, "cat.jpg", method="lrp", compositte="epsilon")  # error: call-overload
onnxray.explain(model, "cat.jpg", method="lrp", composite="epsilonn")  # error: call-overload
onnxray.explain(model, "cat.jpg", method="grad-cam", steps=3)  # error: call-overload
onnxray.explain(model, "cat.jpg", method=["lrp"])  # error: call-overload
onnxray.explain(model, "cat.jpg", "ig", steps="many")  # error: call-overload
onnxray.explain(model, "cat.jpg", layer=-1)  # error: call-overload
onnxray.explain(model, "cat.jpg", order="RBG")  # error: call-overload
onnxray.compile(model, "grad-cam", normalise="uint8")  # error: call-overload
onnxray.load("m.onnx", sise=3)  # error: call-arg
onnxray.predict(model, "cat.jpg", tops=3)  # error: call-overload
"""


def test_the_stub_is_up_to_date() -> None:
    """If not: python docs/make_signatures.py."""
    assert PLACE.read_text(encoding="utf-8") == page()


def test_options_of_the_card_and_of_runs_are_all_there() -> None:
    assert tuple(_CARD) == OPTION_FIELDS
    assert set(_RUN) == set(RUN_OPTIONS)


def test_the_overloads_have_the_parameters_of_the_functions() -> None:
    """In their order: what stands before the method's own options."""
    text = page()
    for verb in (onnxray.explain, onnxray.compile):
        block = text[text.index(f"def {verb.__name__}(") :]
        block = block[: block.index(") ->")]
        named = [line.split(":")[0].strip() for line in block.splitlines()[1:] if ":" in line]
        wanted = [p for p in inspect.signature(verb).parameters if p != "options"]
        assert [name for name in named if name in wanted] == wanted


@pytest.mark.slow
def test_a_checker_sees_right_and_wrong_calls(tmp_path: Path) -> None:
    file = tmp_path / "calls.py"
    file.write_text(CALLS, encoding="utf-8")
    (tmp_path / "onnxray").symlink_to(ROOT)
    options = ("--strict", "--no-error-summary", "--no-pretty", "--follow-imports=silent", "--allow-untyped-calls")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *options, str(file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert not done.stderr
    found = [(int(line.split(":")[1]), line) for line in done.stdout.splitlines() if ": error: " in line]
    for number, text in enumerate(CALLS.splitlines(), 1):
        said = [line for at, line in found if at == number]
        _, marked, code = text.partition("# error: ")
        assert bool(said) == bool(marked), (text, said)
        if marked:
            assert all(line.endswith(f"[{code}]") for line in said), (text, said)
