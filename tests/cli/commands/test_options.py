"""Each command hands its task one object: its fields are the command's parameters."""

from __future__ import annotations

import dataclasses

import pytest

from onnxray.cli.commands import activations, compile, demo, explain, filters, grad, predict
from onnxray.cli.tasks.activations import ActivationsOptions
from onnxray.cli.tasks.compile import CompileOptions
from onnxray.cli.tasks.demo import DemoOptions
from onnxray.cli.tasks.explain import ExplainOptions
from onnxray.cli.tasks.filters import FiltersOptions
from onnxray.cli.tasks.grad import GradOptions
from onnxray.cli.tasks.predict import PredictOptions

COMMANDS = {
    ActivationsOptions: activations.command,
    CompileOptions: compile.command,
    DemoOptions: demo.command,
    ExplainOptions: explain.command,
    FiltersOptions: filters.command,
    GradOptions: grad.command,
    PredictOptions: predict.command,
}
# Parameters of the command line that come as one object, or stay with the command.
OUTPUT, CARD = {"out", "force", "resume"}, "card_"
SELECTION = {"recursive", "every_image", "limit", "duration", "crop"}
INSPECTION = {"when", "memory", "part", "mm_per_pixel"}
# Of `--to`, which another task does.
SINKS = {"to", "reference", "drift_layer", "drift_window", "alarm", "metrics"}
SHARED = {"provider", "threads", "quiet", "progress", "as_json"}


@pytest.mark.parametrize("options", COMMANDS, ids=lambda options: options.__name__)
def test_fields_are_parameters(options: type) -> None:
    fields = {field.name for field in dataclasses.fields(options)}
    known = {str(parameter.name) for parameter in COMMANDS[options].params}
    own = {name for name in known if not name.startswith(CARD)} - {"help", "list_methods"}
    objects = {"output": OUTPUT, "common": SHARED, "card": set(), "selection": SELECTION, "inspection": INSPECTION}
    for name in objects.keys() & fields:
        own -= objects[name]
    assert own - SHARED - SINKS == fields - objects.keys() - SHARED
