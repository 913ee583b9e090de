"""What a shell is offered for an argument or an option: models, layers, methods, targets, colour maps.

Nothing here fails: a shell has no place for an error, and an unfinished line is often wrong.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ...engine.errors import OnnxrayError

if TYPE_CHECKING:
    from ...engine.graph.model import Model

_MOST = 200


def models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of `onnxray models list`, and files that begin alike; where no name does, files."""
    from ... import models

    known = _starting(models.names(), incomplete)
    if not known:
        return [CompletionItem(incomplete, type="file")]
    here = sorted(Path().glob(f"{glob.escape(incomplete)}*")) if incomplete else []
    return [*known, *(CompletionItem(f"{path}/" if path.is_dir() else str(path)) for path in here[:_MOST])]


def model_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of `onnxray models list`."""
    from ... import models

    return _starting(models.names(), incomplete)


def images(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders."""
    return [CompletionItem(incomplete, type="file")]


def methods(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of methods; behind a comma the next one."""
    from ...engine.methods.registry import help_of, methods

    before, comma, last = incomplete.rpartition(",")
    found = {"all": "every method that fits the model"} if getattr(parameter, "multiple", False) else {}
    found.update({name: help_of(cls) for name, cls in methods().items()})
    return [CompletionItem(before + comma + name, help=text) for name, text in found.items() if name.startswith(last)]


def settings(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """NAME= for the options of the methods chosen, and the choices behind it."""
    from ...engine.methods.registry import find, options_of

    found: dict[str, str] = {}
    for name in _methods_before(context):
        try:
            options = options_of(find(name))
        except OnnxrayError:
            continue
        for option in options:
            found[f"{option.name}="] = option.help
            found.update(dict.fromkeys((f"{option.name}={choice}" for choice in option.choices), option.help))
    return [CompletionItem(text, help=said) for text, said in found.items() if text.startswith(incomplete)]


def _methods_before(context: click.Context) -> list[str]:
    """The methods that the line names so far, or the default."""
    words = [*context.args]
    given = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-m", "--method")]
    chosen: Any = given or context.params.get("methods") or context.params.get("method") or "grad-cam"
    return [part for text in ([chosen] if isinstance(chosen, str) else chosen) for part in text.split(",")]


def layers(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Layers of the model that stands before."""
    return _of_model(context, incomplete, _layer_names)


def _layer_names(model: Model) -> list[str]:
    from ...engine.inspect.layers import layer_of_module

    return [*(layer.name for layer in model.layers), *layer_of_module(model)]


def targets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Labels of the model that stands before, and the other forms of a target."""
    from ...engine.attribution.photos import card_of
    from ...engine.targets.registry import forms

    known = _starting([form.prefix + ":" * (not form.bare) for form in forms().values()], incomplete)
    return [*known, *_of_model(context, incomplete, lambda model: card_of(model).labels or ())]


def colormaps(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of colour maps."""
    from ...engine.attribution.colours import RGB
    from ...kernels import colormap

    return _starting((*colormap.names(), RGB), incomplete)


def _of_model(context: click.Context, incomplete: str, names: Callable[[Model], Iterable[str]]) -> list[CompletionItem]:
    from .inputs import open_model

    # An option without its value ends Click's parsing: MODEL is still the first word.
    name = context.params.get("model") or next(iter(context.args), "")
    try:
        return _starting(names(open_model(name, {})), incomplete)
    except OnnxrayError:
        return []


def _starting(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Those that begin with what is typed; of labels, letters of either case."""
    wanted = incomplete.casefold()
    return [CompletionItem(name) for name in names if name.casefold().startswith(wanted)][:_MOST]
