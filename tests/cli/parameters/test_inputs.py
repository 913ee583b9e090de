"""MODEL and IMAGES: names, samples, defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from onnxray import models
from onnxray.cli.parameters.inputs import find_images
from onnxray.cli.parameters.options import _CARD
from onnxray.engine.preprocess import card
from onnxray.engine.preprocess.fields import FieldRefused

Run = Callable[..., Result]


def test_the_built_in_model_has_samples_as_images(run: Run, tmp_path: Path) -> None:
    done = run("predict", "builtin")
    assert done.exit_code == 0
    assert done.stderr == "onnxray: no images given: using the 10 sample images of the built-in model\n"
    assert all(str(path) in done.stdout for path in models.samples())
    assert run("predict", "builtin", "--quiet").stderr == ""


def test_samples_can_be_named() -> None:
    assert find_images(["samples"]) == list(models.samples())
    assert find_images(["samples/04-crack-concrete.png"]) == [models.samples()[4]]


def test_a_folder_called_samples_comes_first(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo.parent.rename(photo.parent.with_name("samples"))
    monkeypatch.chdir(photo.parent.parent)
    assert find_images(["samples"]) == [Path("samples/ramp.png")]


@pytest.mark.parametrize("command", ["predict", "explain", "activations"])
def test_other_models_need_images(run: Run, model: Path, command: str) -> None:
    done = run(command, model)
    assert done.exit_code == 2
    assert "Missing argument 'IMAGES...'" in done.stderr


def test_every_field_of_a_card_is_an_option_of_the_same_name_and_choices() -> None:
    assert {name.replace("-", "_") for name in _CARD} == {*card.OPTION_FIELDS, "card"}
    for name, (choices, _) in _CARD.items():
        if isinstance(choices, list) and name != "antialias":
            parse = card._PARSERS[name.replace("-", "_")]
            assert [parse(choice) for choice in choices] == choices
            with pytest.raises(FieldRefused) as refused:
                parse("no such thing")
            assert str(refused.value) == f"one of {', '.join(choices)}"


def test_fields_that_prepare_images_count(run: Run, model: Path, photo: Path) -> None:
    given = ("--resize", "crop", "--crop-fraction", "0.5", "--interpolation", "nearest", "--antialias", "no")
    done = run("predict", model, photo, "--json", *given, "--rounding", "torchvision")
    assert done.exit_code == 0, done.stderr
    import json

    used = json.loads(done.stdout)["card"]
    assert (used["crop_fraction"], used["interpolation"], used["antialias"]) == (0.5, "nearest", False)
    assert used["rounding"] == "torchvision"
