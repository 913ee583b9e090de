"""`onnxray methods`."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

from onnxray.engine.methods.registry import methods, options_of

Run = Callable[..., Result]


def test_all_are_listed(run: Run) -> None:
    lines = run("methods").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == list(methods())


def test_one_is_described_with_its_options(run: Run) -> None:
    done = run("methods", "ig")
    assert done.stdout.splitlines()[0] == "integrated-gradients (also ig)"
    for option in options_of(methods()["integrated-gradients"]):
        assert f"  {option.name}=" in done.stdout


def test_json(run: Run) -> None:
    assert [entry["name"] for entry in json.loads(run("methods", "--json").stdout)] == list(methods())
    one = json.loads(run("methods", "LRP", "--json").stdout)
    assert one["name"] == "lrp"
    assert [option["name"] for option in one["options"]] == [o.name for o in options_of(methods()["lrp"])]


def test_an_unknown_one(run: Run) -> None:
    done = run("methods", "grad-can")
    assert done.exit_code == 2
    assert "nearest: 'grad-cam'" in done.stderr
