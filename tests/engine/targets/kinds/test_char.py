"""Characters of the text that a recogniser reads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target
from onnxray.engine.errors import TargetError
from onnxray.engine.targets.reading import best_path

Parse = Callable[..., onnx.ModelProto]
X = np.random.default_rng(3).standard_normal((1, 3, 8, 24)).astype(np.float32)
STEPS, CLASSES = 12, 5


def reader(parse: Parse, first: str = "N", softmax: bool = True, blank: int = 0) -> onnx.ModelProto:
    """A line in twelve steps: (N, T, C), or (T, N, C)."""
    random = np.random.default_rng(1)
    w = random.standard_normal((CLASSES, 3, 3, 3)).astype(np.float32)
    b = np.zeros(CLASSES, np.float32)
    b[blank] = 1.0
    perm = "[0, 2, 1]" if first == "N" else "[2, 0, 1]"
    shape = f"N, {STEPS}, {CLASSES}" if first == "N" else f"{STEPS}, N, {CLASSES}"
    end = "y = Softmax <axis = 2> (z)" if softmax else "y = Identity (z)"
    return parse(
        f"""m (float[N, 3, 8, 24] image) => (float[{shape}] y) {{
            c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w, b)
            line = ReduceMean <axes = [2], keepdims = 0> (c)
            z = Transpose <perm = {perm}> (line)
            {end} }}""",
        w=w, b=b,
    )  # fmt: skip


def by_hand(z: np.ndarray, blank: int) -> list[tuple[int, list[int]]]:
    """Class and steps of each character, step by step."""
    found: list[tuple[int, list[int]]] = []
    last = -1
    for t, code in enumerate(z.argmax(axis=1)):
        if code != last and code != blank:
            found.append((int(code), []))
        if code != blank:
            found[-1][1].append(t)
        last = code
    return found


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("first", ["N", "T"])
def test_the_score_is_that_of_the_steps_of_the_character(parse: Parse, first: str, softmax: bool) -> None:
    model = onnxray.load(reader(parse, first, softmax), labels=list("abcd"))
    z = onnxray.activations(model, X, ["line"])["line"][0].T.astype(float)
    path = by_hand(z, 0)
    text = "".join("abcd"[code - 1] for code, _ in path)
    assert len(path) > 2
    found = onnxray.explain(model, X, "gradient", "char:all")
    assert len(found) == len(path)
    for k, (e, (code, steps)) in enumerate(zip(found, path, strict=True), 1):
        others = np.delete(z, code, axis=1)
        score = z[:, code] - np.log(np.exp(others).sum(axis=1)) if softmax else z[:, code]
        assert e.score == pytest.approx(float(score[steps].mean()), rel=1e-4, abs=1e-5)
        assert e.label == f"{'abcd'[code - 1]!r} ({k}) of {text!r}"
        alone = onnxray.explain(model, X, "gradient", f"char:{k}")
        np.testing.assert_allclose(alone.values, e.values, rtol=1e-4, atol=1e-6)


def test_repetitions_are_one_and_blanks_part_them() -> None:
    codes = [1, 1, 0, 1, 2, 2, 0, 0, 3]
    path = best_path(np.eye(4)[codes], 0)
    assert [(read.code, read.start, read.end) for read in path] == [(1, 0, 2), (1, 3, 4), (2, 4, 6), (3, 8, 9)]


def test_the_blank_may_be_the_last_class(parse: Parse) -> None:
    model = onnxray.load(reader(parse, blank=CLASSES - 1))
    e = onnxray.explain(model, X, "gradient", "char:1")
    assert e.details["target"].endswith(f"class {CLASSES - 1} is the blank")


def test_what_is_not_there_is_said(parse: Parse) -> None:
    model = onnxray.load(reader(parse), labels=list("abcd"))
    with pytest.raises(TargetError, match="there is no character 40: the model reads '[abcd]+', [0-9]+ characters"):
        onnxray.explain(model, X, "gradient", "char:40")
    with pytest.raises(TargetError, match="the first one is 1"):
        onnxray.explain(model, X, "gradient", "char:0")
    silent = onnxray.load(reader(parse, softmax=False))
    with pytest.raises(TargetError, match="the model reads no character"):
        onnxray.explain(silent, np.zeros_like(X), "gradient", "char:1")
    with pytest.raises(TargetError, match="in a way that no graph here chooses"):
        onnxray.compile(model, "gradient", target="char:1")
    other = onnxray.load(
        parse("m (float[N, 3, 8, 24] image) => (float[N, 3, 1, 1] y) { y = GlobalAveragePool (image) }")
    )
    with pytest.raises(TargetError, match="no output scores characters step by step"):
        onnxray.explain(other, X, "gradient", "char:1")


def test_texts_read_back() -> None:
    for text in ("char:3", "char:all"):
        assert str(Target.parse(text)) == text
    assert Target.char(3) == Target.parse("char:3")
    with pytest.raises(TargetError):
        Target.parse("char:x")


def test_all_characters_are_explained_without_a_target(parse: Parse) -> None:
    model = onnxray.load(reader(parse), labels=list("abcd"))
    found = onnxray.explain(model, X, "gradient")
    assert [str(e.target) for e in found] == [f"char:{k}" for k in range(1, len(found) + 1)]
    assert len(found) > 2
