"""onnxray: what a neural network has learned, and why it answers as it does, for any ONNX model.

Every public name is imported on first use, so that `import onnxray` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "__version__": "engine.version",
    "OnnxrayError": "engine.errors",
    "Model": "engine.graph.model",
    "load": "engine.load",
    "save": "engine.graph.model",
    "Layer": "engine.inspect.layers",
    "activations": "cli.facade",
    "expose": "engine.graph.split",
    "split": "engine.graph.split",
    "vjp": "engine.autodiff.vjp",
    "Explanation": "engine.attribution.explanation",
    "Explanations": "engine.attribution.explanations",
    "Target": "engine.targets.target",
    "compile": "engine.compile",
    "explain": "cli.facade",
    "Text": "engine.text.given",
    "Table": "engine.tables.given",
    "Series": "engine.series.given",
    "Sound": "engine.sound.given",
    "Volume": "engine.volumes.given",
    "dream": "cli.facade",
    "Dream": "engine.dream",
    "visualize": "cli.facade",
    "job": "cli.job_facade",
    "merge": "cli.job_facade",
    "microscope": "cli.page_facade",
    "report": "cli.page_facade",
    "export": "cli.page_facade",
    "Visualization": "engine.visualize",
    "Pipeline": "cli.facade",
    "Drift": "cli.facade",
    "top": "cli.facade",
    "Top": "engine.survey.top",
    "health": "cli.facade",
    "Health": "engine.survey.health",
    "Novelty": "cli.facade",
    "NoveltyScore": "engine.novelty.memory",
    "evaluate": "cli.judge_facade",
    "Evaluation": "engine.evaluate.results",
    "choose": "cli.judge_facade",
    "Choice": "engine.choose",
    "trust": "cli.judge_facade",
    "Trust": "engine.evaluate.trust",
    "Prediction": "engine.predict",
    "predict": "cli.facade",
    "Detection": "engine.detection.detections",
    "Detections": "engine.detection.detections",
    "detect": "cli.facade",
    "inspect": "engine.inspection",
    "filters": "engine.inspection",
    "methods": "engine.methods",
    "samples": "models",
    "doctor": "cli.tasks.doctor",
    "Diagnosis": "cli.tasks.doctor",
}

__all__ = [*_WHERE]

if TYPE_CHECKING:
    from .cli.facade import Drift as Drift
    from .cli.facade import Novelty as Novelty
    from .cli.facade import Pipeline as Pipeline
    from .cli.facade import activations as activations
    from .cli.facade import dream as dream
    from .cli.facade import health as health
    from .cli.facade import top as top
    from .cli.facade import visualize as visualize
    from .cli.job_facade import job as job
    from .cli.job_facade import merge as merge
    from .cli.judge_facade import choose as choose
    from .cli.judge_facade import evaluate as evaluate
    from .cli.judge_facade import trust as trust
    from .cli.page_facade import export as export
    from .cli.page_facade import microscope as microscope
    from .cli.page_facade import report as report
    from .cli.signatures import compile as compile
    from .cli.signatures import detect as detect
    from .cli.signatures import explain as explain
    from .cli.signatures import inspect as inspect
    from .cli.signatures import load as load
    from .cli.signatures import predict as predict
    from .cli.tasks.doctor import Diagnosis as Diagnosis
    from .cli.tasks.doctor import doctor as doctor
    from .engine.attribution.explanation import Explanation as Explanation
    from .engine.attribution.explanations import Explanations as Explanations
    from .engine.autodiff.vjp import vjp as vjp
    from .engine.choose import Choice as Choice
    from .engine.detection.detections import Detection as Detection
    from .engine.detection.detections import Detections as Detections
    from .engine.dream import Dream as Dream
    from .engine.errors import OnnxrayError as OnnxrayError
    from .engine.evaluate.results import Evaluation as Evaluation
    from .engine.evaluate.trust import Trust as Trust
    from .engine.graph.model import Model as Model
    from .engine.graph.model import save as save
    from .engine.graph.split import expose as expose
    from .engine.graph.split import split as split
    from .engine.inspect.layers import Layer as Layer
    from .engine.inspection import filters as filters
    from .engine.methods.registry import methods as methods
    from .engine.novelty.memory import NoveltyScore as NoveltyScore
    from .engine.predict import Prediction as Prediction
    from .engine.series.given import Series as Series
    from .engine.sound.given import Sound as Sound
    from .engine.survey.health import Health as Health
    from .engine.survey.top import Top as Top
    from .engine.tables.given import Table as Table
    from .engine.targets.target import Target as Target
    from .engine.text.given import Text as Text
    from .engine.version import __version__ as __version__
    from .engine.visualize import Visualization as Visualization
    from .engine.volumes.given import Volume as Volume
    from .models import samples as samples


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'onnxray' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
