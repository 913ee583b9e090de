"""The numbers as Model Explorer reads them: one file for each, by the ids of the nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto

from ..attribution.inputs import example_input
from ..attribution.problem import Problem
from ..errors import MethodError, OnnxrayError, UnknownName
from ..explain import problem_of
from ..graph.model import Model
from ..health import HealthSurvey
from ..inference.batches import RunOptions
from ..survey.measure import Measure
from ..survey.pictures import Picture
from . import measures
from .keys import graph_key, node_keys
from .timing import node_times

# What can be asked for: -> what it needs.
DATA = {"cost": "nothing", "time": "nothing", "relevance": "an image", "health": "images"}


@dataclass(frozen=True)
class NodeData:
    """A number for each node of a file.

    Attributes: `name`, as Model Explorer lists it; `file`, its name without the folder; `graph`, the id of the graph;
    `values`, the number of each node, by its id; `colour`, that of the greatest number; the least one is white.
    """

    name: str
    file: str
    graph: str
    values: Mapping[str, float]
    colour: str

    def to_mapping(self) -> dict[str, Any]:
        """The JSON of Model Explorer: {graph: {name, results: {node: {value}}, gradient}}."""
        results = {key: {"value": float(f"{value:.6g}")} for key, value in self.values.items()}
        gradient = [{"stop": 0, "bgColor": "#ffffff"}, {"stop": 1, "bgColor": self.colour}]
        return {self.graph: {"name": self.name, "results": results, "gradient": gradient}}


def gather(
    model: Model,
    image: Any = None,
    pictures: Callable[[], Iterable[Picture]] | None = None,
    wanted: Iterable[str] | None = None,
    target: Any = None,
    runtime: RunOptions | None = None,
) -> tuple[list[NodeData], dict[str, str]]:
    """Numbers of every node that has some, and what was left out, with the reason.

    image: what relevance and time are measured on; without it time is measured on zeros. pictures: what health is
    measured on. wanted: names of `DATA`; by default all that can be had, which alone leaves something out. target: what
    relevance is relevant to.

    Raises UnknownName, MethodError (what is wanted needs images), and what the measures raise.
    """
    asked = list(DATA) if wanted is None else list(wanted)
    for name in asked:
        if name not in DATA:
            raise UnknownName("data", name, DATA)
    job = _Job(model, image, pictures, target, runtime or RunOptions())
    found: list[NodeData] = []
    left_out = {}
    for name in dict.fromkeys(asked):
        try:
            found += [job.of(*parts) for parts in job.measured(name)]
        except OnnxrayError as error:
            if wanted is not None:
                raise
            left_out[name] = str(error)
    return found, left_out


@dataclass(frozen=True)
class _Job:
    """What is measured, on what."""

    model: Model
    image: Any
    pictures: Callable[[], Iterable[Picture]] | None
    target: Any
    runtime: RunOptions

    def measured(self, name: str) -> list[tuple[str, str, Mapping[str, float], str]]:
        """(name, file, numbers by value, colour) of what `DATA` names."""
        if name == "cost":
            return [
                ("Multiply-accumulates", "macs", measures.macs(self.model), "#e69f00"),
                ("Parameters", "parameters", measures.parameters(self.model), "#e69f00"),
            ]
        if name == "time":
            times = node_times(self.model, self._feeds(), self.runtime)
            return [("Time (ms, nodes not fused)", "time", times, "#d55e00")]
        if name == "relevance":
            problem = self._problem()
            said = f"Relevance to {self.target or 'the predicted class'} (|activation x gradient|)"
            return [(said, "relevance", measures.relevance(problem), "#009e73")]
        if self.pictures is None:
            raise MethodError("health is measured on images, and none is given: name some")
        survey = HealthSurvey([self.model], [Measure(self.model, None, self.runtime)])
        for _ in survey.run(self.pictures()):
            pass
        health = survey.result()
        return [
            ("Dead units (share)", "dead", measures.dead_share(health), "#cc3311"),
            ("Values not above 0 (share)", "silence", measures.silence(health), "#56b4e9"),
            ("Effective rank (share)", "rank", measures.rank_share(health), "#0072b2"),
        ]

    def _problem(self) -> Problem:
        if self.image is None:
            raise MethodError("relevance is measured on an image, and none is given: name one")
        return problem_of(self.model, self.image, self.target, runtime=self.runtime)

    def _feeds(self) -> dict[str, Any]:
        if self.image is None:
            given = example_input(self.model)
            return {given.name: given.x, **given.others}
        problem = self._problem()
        feeds = problem.runs.feeds(problem.input.x[:1])
        return {value.name: feeds[value.name] for value in self.model.inputs if value.name in feeds}

    def of(self, name: str, file: str, numbers: Mapping[str, float], colour: str) -> NodeData:
        graph = file_graph(self.model)
        values = {
            key: numbers[node_outputs[0]]
            for key, node in zip(node_keys(graph), graph.node, strict=True)
            if (node_outputs := [value for value in node.output if value in numbers])
        }
        return NodeData(name, file, graph_key(graph), values, colour)


def file_graph(model: Model) -> GraphProto:
    """The graph as it is in the file, before it is made ready; of a model in memory, the model's."""
    if model.path is None or not Path(model.path).is_file():
        return model.untyped.graph
    try:
        return onnx.load(model.path, load_external_data=False).graph
    except (DecodeError, OSError, ValueError):
        return model.untyped.graph  # another format than ONNX's own
