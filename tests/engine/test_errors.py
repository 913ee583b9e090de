"""The error tree, its drawing, and the names offered."""

from __future__ import annotations

import inspect
import re

import pytest

from onnxray.engine import errors


def classes() -> dict[str, type[Exception]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__
    }


def test_one_base() -> None:
    assert all(issubclass(value, errors.OnnxrayError) for value in classes().values())
    assert errors.OnnxrayError.__bases__ == (Exception,)


def test_the_drawing_is_the_tree() -> None:
    """Every class with its parent, as the indentation of the module's docstring says."""
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^([\s│├└─]*)([A-Z]\w+) {2,}\S", line)
        if match is None or not match[1]:
            continue
        depth = len(match[1])
        above = [(d, n) for d, n in above if d < depth]
        if above:
            drawn[match[2]] = above[-1][1]
        above.append((depth, match[2]))
    assert drawn == {n: c.__bases__[0].__name__ for n, c in classes().items() if n != "OnnxrayError"}


def test_every_class_says_what_it_is() -> None:
    assert all(value.__doc__ and value.__doc__ != Exception.__doc__ for value in classes().values())


def test_unknown_name() -> None:
    error = errors.UnknownName("layer", "conv1_rellu", ["conv1", "conv1_relu", "pool"], "see inspect")
    assert str(error) == "no layer named 'conv1_rellu'; nearest: 'conv1_relu', 'conv1'; see inspect"
    assert (error.kind, error.name, error.nearest) == ("layer", "conv1_rellu", ["conv1_relu", "conv1"])
    assert str(errors.UnknownName("label", "zebra", [])) == "no label named 'zebra'"
    assert "\n" not in str(errors.UnknownName("label", "a\nb", []))
    assert str(errors.UnknownName("class", 7, ["1", "77"])) == "no class named '7'; nearest: '77'"


@pytest.mark.parametrize(
    ("name", "choices", "expected"),
    [
        ("relu", ["Relu", "relu", "PRelu"], ["Relu", "PRelu"]),
        ("grad_cam", ["grad-cam", "score-cam", "rise"], ["grad-cam"]),
        ("layer3", ["/model/layer3/conv", "/model/layer4/conv"], ["/model/layer3/conv"]),
        ("zzz", ["alpha", "beta"], []),
        ("", ["alpha"], []),
        ("a", [], []),
        ("conv", [f"conv{i}" for i in range(10)], None),
    ],
)
def test_nearest(name: str, choices: list[str], expected: list[str] | None) -> None:
    found = errors.nearest(name, choices)
    assert len(found) <= 3
    assert set(found) <= set(choices)
    if expected is not None:
        assert found == expected


def test_nearest_is_quick_among_many() -> None:
    choices = [
        f"/model/stage{i}/block{j}/conv{k}/Conv_output_0" for i in range(20) for j in range(20) for k in range(20)
    ]
    assert errors.nearest("/model/stage3/block4/conv5/Conv_output0", choices)[0] == choices[3 * 400 + 4 * 20 + 5]
