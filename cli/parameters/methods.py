"""Methods and their options as they are written on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...engine.methods.registry import Method

ALL, DEFAULT = "all", "grad-cam"

BOXES = "hires-cam"

# Methods that take minutes on a large network: not what `all` should surprise with, nor a report wait for.
PATIENT = ("d-rise", "kernel-shap", "lime", "rise", "score-cam", "sobol")


def option_names(settings: Sequence[str]) -> list[str]:
    """The names of options as Python has them, of settings [METHOD:]NAME=VALUE."""
    return [setting.partition("=")[0].rpartition(":")[2].strip().replace("-", "_") for setting in settings]


def chosen_methods(names: Sequence[str], settings: Sequence[str]) -> tuple[list[Method], bool]:
    """The methods asked for, with their options, and whether `all` were.

    Raises UnknownName (nearest names); click.UsageError for a setting that is none or does not fit its method.
    """
    from ...engine.errors import MethodError, UnknownName
    from ...engine.methods.registry import find, make, methods, options_of, parse

    parts = [part.strip() for name in names for part in name.split(",") if part.strip()]
    wanted = list(dict.fromkeys(part if part == ALL else find(part).name for part in parts))
    every = ALL in wanted
    if every:
        wanted = [name for name in methods() if name not in PATIENT or name in wanted]
    if not wanted:
        raise click.UsageError("--method names no method")
    given: dict[str, dict[str, str]] = {name: {} for name in wanted}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"--option {setting!r} is not [METHOD:]NAME=VALUE")
        method, colon, key = key.strip().rpartition(":")
        key = key.replace("-", "_")
        if colon:
            method = find(method).name
            if method not in given:
                raise UnknownName("method asked for", method, wanted)
            given[method][key] = value
            continue
        having = [name for name in wanted if key in {o.name for o in options_of(find(name))}]
        if not having:
            known = {o.name for name in wanted for o in options_of(find(name))}
            raise UnknownName(f"option of {', '.join(wanted)}", key, sorted(known), "see `onnxray methods`")
        for name in having:
            given[name][key] = value
    try:
        return [make(name, _arrays(name, parse(name, texts))) for name, texts in given.items()], every
    except MethodError as error:
        raise click.UsageError(str(error)) from None


def named_values(settings: Sequence[str]) -> dict[str, str]:
    """The texts NAME=VALUE of --option by name. Raises click.BadParameter for one that is none."""
    return dict(_named_value(text) for text in settings)


def _named_value(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="'--option'")
    return name, value


def _arrays(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values whose text is the path of an .npy file, read."""
    from ...engine.errors import MethodError
    from ...engine.methods.registry import find, options_of
    from ...engine.preprocess.arrays import read_array

    found = dict(values)
    for option in options_of(find(name)):
        value = found.get(option.name)
        if option.free and isinstance(value, str) and value not in option.choices and value.endswith(".npy"):
            try:
                found[option.name] = read_array(value)
            except ValueError as error:
                raise MethodError(
                    f"option {option.name} of {name}: {value!r} cannot be read as an array: {error}"
                ) from None
    return found


def plain_options(method: Method) -> dict[str, Any]:
    """The options of a method for a manifest; arrays by shape and hash."""
    import numpy as np

    from ...engine.attribution.plain import described

    found: dict[str, Any] = {}
    for name, value in method.options().items():
        if isinstance(value, np.ndarray):
            found[name] = described(value)
        else:
            found[name] = value
    return found


def listing() -> str:
    """The methods with their options, as text."""
    from ...engine.methods.options import describe
    from ...engine.methods.registry import help_of, methods, options_of

    lines = []
    for name, cls in methods().items():
        lines.append(f"{name}: {help_of(cls)}")
        for option in options_of(cls):
            default = "none" if option.default is None else option.default
            lines.append(f"    -O {option.name}={default}  {option.help} {describe(option).capitalize()}.")
    return "\n".join(lines)
