"""Each command hands its task one object, whose fields are its parameters; what has a function has its parameters."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import click
import pytest

import onnxray
from onnxray.cli.commands import activations, compile, demo, dream, explain, filters, grad, predict, visualize
from onnxray.cli.tasks.activations import ActivationsOptions
from onnxray.cli.tasks.compile import CompileOptions
from onnxray.cli.tasks.demo import DemoOptions
from onnxray.cli.tasks.explain import ExplainOptions
from onnxray.cli.tasks.filters import FiltersOptions
from onnxray.cli.tasks.grad import GradOptions
from onnxray.cli.tasks.predict import PredictOptions
from onnxray.engine.dream import dream as engine_dream
from onnxray.engine.optimize.request import Request
from onnxray.engine.visualize import visualize as engine_visualize

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
TEXTS = {"texts", "pairs", "choices", "unit", "spans", "lines", "column", "pair_column", "continued", "generate"}
TEXTS |= {"last", "chat"}
TABLE = {"rows", "columns", "background"}
INSPECTION = {"when", "memory", "part", "mm_per_pixel"}
# Of `--to`, which another task does.
SINKS = {"to", "reference", "drift_layer", "drift_window", "alarm", "metrics"}
SHARE = {"shard", "max_failures", "on", "actors", "cpus", "gpus", "block", "in_parts", "verbose"}
SHARED = {"provider", "threads", "devices", "quiet", "progress", "as_json"}
# Fields that say how a parameter was given.
HOW = {"top_given"}


@pytest.mark.parametrize("options", COMMANDS, ids=lambda options: options.__name__)
def test_fields_are_parameters(options: type) -> None:
    fields = {field.name for field in dataclasses.fields(options)}
    known = {str(parameter.name) for parameter in COMMANDS[options].params}
    own = {name for name in known if not name.startswith(CARD)} - {"help", "list_methods"}
    objects = {"output": OUTPUT, "common": SHARED, "card": set(), "selection": SELECTION, "inspection": INSPECTION}
    objects["texts"], objects["share"], objects["table"] = TEXTS, SHARE, TABLE
    for name in objects.keys() & fields:
        own -= objects[name]
    assert own - SHARED - SINKS == fields - objects.keys() - SHARED - HOW


# Of commands that are functions in Python: parameters of the function that are called otherwise on the command line.
VISUALIZE = {
    "layers": "layer",
    "channels": "channel",
    "neurons": "neuron",
    "classes": "target",
    "objectives": "objective",
    "all_steps": "settle",
    "history": "snapshots",
    "every": "snapshots",
}
DREAM = {
    "images": "image",
    "layers": "layer",
    "classes": "target",
    "objectives": "objective",
    "rainbow": "colours",
    # A function makes one picture: of all that it is given, together; its film is the user's to write.
    "together": "weights",
    "fps": "zoom",
    "card_size": "size",
}
# Output and progress of the command line; a provider is `providers` in Python, a card's fields are `**card`.
COMMAND_ONLY = OUTPUT | {"help", "quiet", "as_json", "provider"}


@pytest.mark.parametrize(
    ("command", "functions", "names"),
    [
        (visualize.command, (onnxray.visualize, engine_visualize, Request), {**VISUALIZE, "card_size": "size"}),
        (dream.command, (onnxray.dream, engine_dream), DREAM),
    ],
    ids=["visualize", "dream"],
)
def test_a_command_and_its_function_are_equals(
    command: click.Command, functions: tuple[Callable[..., Any], ...], names: dict[str, str]
) -> None:
    on_line = {str(parameter.name) for parameter in command.params if parameter.expose_value} - COMMAND_ONLY
    wanted = {names.get(name, name) for name in on_line if not name.startswith(CARD) or name in names}
    parameters = {name for function in functions for name in inspect.signature(function).parameters}
    assert parameters - {"options", "card", "providers"} == wanted
