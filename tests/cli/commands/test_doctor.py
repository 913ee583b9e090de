"""`onnxray doctor`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

import onnxray
from onnxray.cli.tasks import doctor
from onnxray.kernels import jit

Run = Callable[..., Result]


def test_as_text_and_as_json(run: Run) -> None:
    done = run("doctor")
    found = onnxray.doctor()
    assert done.exit_code == (0 if found.good else 1)
    assert done.stdout == f"{found}\n"
    data = json.loads(run("doctor", "--json").stdout)
    assert data == found.to_dict()
    assert [check["name"] for check in data["checks"]][:2] == ["onnxray", "libraries"]


def test_a_problem_is_exit_code_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("libLLVM is missing")

    monkeypatch.setattr(jit, "probe", broken)
    done = run("doctor")
    assert done.exit_code == 1
    assert "PROBLEM  kernels" in done.stdout
    assert "-> pip install" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("found")
    assert isinstance(onnxray.doctor(), doctor.Diagnosis)
