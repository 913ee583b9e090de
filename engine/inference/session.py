"""Running models: the only importer of onnxruntime.

Execution providers are chosen by what really works on this machine, which is tried once, quietly; sessions are cached
by the content of the model and their options. A model whose batch size is fixed runs over a larger batch with its batch
size made dynamic where that is provably the same (see `graph/dynamic_batch/`), else in pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from onnx import ModelProto

from ..caches import Kept
from ..errors import ShapeError, UnknownName
from ..graph.dynamic_batch.make_dynamic import make_dynamic
from ..graph.model import Model
from ..proto.values import Value, from_info
from ..runtime.capabilities import capability
from ..runtime.empty_maps import EmptyMaps
from ..runtime.feeds import check_names, fit, join, pieces
from ..runtime.interrupt import stoppable
from ..runtime.layer_norms import with_plain_layer_norms
from ..runtime.memory import shared_arena
from ..runtime.ort import ORT_ERRORS, create, ort, run_error, session_options
from ..runtime.ort_values import NOT_IN_NUMPY, from_ort_value, to_device, to_ort_value
from ..runtime.own_weights import with_own_weights
from ..runtime.providers import Providers, resolve


class Session:
    """A model ready to run.

    Attributes: `model`, `providers` (full names, in order of preference), `inputs` (name -> Value), `outputs` (names).
    """

    def __init__(
        self,
        model: Model,
        *,
        providers: Providers = None,
        threads: int | None = None,
        optimize: str = "all",
        spin: bool = True,
        pooled: bool = False,
    ) -> None:
        """`pooled`: for many small sessions of one process: they share one arena, and `model` keeps no weights."""
        self.model = model
        chosen = resolve(providers)
        self.providers = tuple(provider.name for provider in chosen)
        self.inputs: dict[str, Value] = {v.name: v for v in model.inputs}
        self.defaults = {v.name: v for v in map(from_info, model.untyped.graph.input) if v.name not in self.inputs}
        self.outputs = tuple(v.name for v in model.untyped.graph.output)
        self._made_with: dict[str, Any] = {
            "providers": chosen,
            "threads": threads,
            "optimize": optimize,
            "spin": spin,
        }
        folder = str(model.folder) if model.folder else None
        options = session_options(threads, optimize, spin, folder)
        with shared_arena(options) if pooled else nullcontext():
            proto = _for(self.providers[0], model.untyped)
            self._ort = create(proto, [provider.given for provider in chosen], options)
        if pooled:
            self.model = _without_weights(model)
        elements = (*self._ort.get_inputs(), *self._ort.get_outputs())
        # Pooled ones run crops of maps that a checked model has.
        self._empty_maps = None if pooled else EmptyMaps(model.untyped)
        self._plain = not any(e.type.removeprefix("tensor(").rstrip(")") in NOT_IN_NUMPY for e in elements)

    @property
    def device(self) -> str:
        """ "cuda" or "cpu": where tensors given as OrtValue should lie."""
        return capability(self._ort.get_providers()[0]).memory

    @property
    def device_number(self) -> int:
        """Which of several devices of that kind: the provider's option `device_id`."""
        return int(dict(self._made_with["providers"][0].options).get("device_id", 0))

    def upload(self, array: np.ndarray) -> Any:
        """`array` as an OrtValue on the session's device, for any number of `run_on_device`. Raises OutOfMemory."""
        try:
            return to_device(array, self.device, self.device_number)
        except ORT_ERRORS as error:
            raise run_error(error) from error

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Outputs by name, as arrays. `feeds` holds an array per input, shape as the model declares it.

        Arrays of another precision of the same kind (float64 for float32, int32 for int64) are converted. Where the
        model fixes the batch size and more samples are given, it runs with its batch size made dynamic if it is certain
        that samples do not mix (`batch.make_dynamic`), 32 times its batch size at once; else piece by piece. Outputs
        are joined along axis 0.

        Raises UnknownName (no such input or output), ShapeError (missing input, wrong type or shape), ModelError (the
        run itself failed).
        """
        names = list(self.outputs if outputs is None else outputs)
        for name in names:
            if name not in self.outputs:
                raise UnknownName("output", name, self.outputs, "onnxray.expose makes any value an output")
        check_names(feeds, self.inputs, self.defaults)
        known = {**self.defaults, **self.inputs}
        ready = {name: fit(x, known[name]) for name, x in feeds.items()}
        if not names:
            return {}
        single = pieces(ready, known)
        if single is None:
            return dict(zip(names, self._call(names, ready), strict=True))
        larger = self._dynamic
        if larger is None:
            runs = [self._call(names, piece) for piece in single]
            return join(names, runs, [self._batch] * len(single))
        parts = pieces(ready, known, at_once=_MOST_AT_ONCE) or []
        runs = [larger._call(names, part) for part in parts]
        leading = next(iter(self.inputs))
        return join(names, runs, [part[leading].shape[0] for part in parts])

    @property
    def _batch(self) -> int:
        """The batch size that the model fixes; asked for only where it does."""
        return next(v.shape[0] for v in self.inputs.values() if v.shape and isinstance(v.shape[0], int))

    @cached_property
    def _dynamic(self) -> Session | None:
        """The same with a dynamic batch size, None where that is not certain to give the same results."""
        try:
            model = make_dynamic(self.model)
        except ShapeError:
            return None
        return Session(model, **self._made_with)

    def run_on_device(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Like `run` with IO binding: feeds may be OrtValues, results are OrtValues that stay on the session's device.

        Pass them to another session's `run_on_device`, or read one with `.numpy()`. Batches are not cut into pieces.
        """
        names = list(self.outputs if outputs is None else outputs)
        for name in names:
            if name not in self.outputs:
                raise UnknownName("output", name, self.outputs, "onnxray.expose makes any value an output")
        check_names(feeds, self.inputs, self.defaults)
        known = {**self.defaults, **self.inputs}
        if self._empty_maps is not None:
            self._empty_maps.check(feeds)
        binding = self._ort.io_binding()
        try:
            for name, x in feeds.items():
                binding.bind_ortvalue_input(
                    name, x if isinstance(x, ort.OrtValue) else to_ort_value(fit(x, known[name]))
                )
            for name in names:
                binding.bind_output(name, self.device, self.device_number)
            with stoppable(ort.RunOptions) as options:
                self._ort.run_with_iobinding(binding, options)
        except ORT_ERRORS as error:
            raise run_error(error) from error
        return dict(zip(names, binding.get_outputs(), strict=True))

    def _call(self, names: list[str], feeds: Mapping[str, Any]) -> list[Any]:
        if self._empty_maps is not None:
            self._empty_maps.check(feeds)
        try:
            with stoppable(ort.RunOptions) as options:
                if self._plain:
                    result: list[Any] = self._ort.run(names, dict(feeds), options)
                    return result
                values = {name: to_ort_value(array) for name, array in feeds.items()}
                return [from_ort_value(v) for v in self._ort.run_with_ort_values(names, values, options)]
        except ORT_ERRORS as error:
            raise run_error(error) from error


def _for(provider: str, proto: ModelProto) -> ModelProto:
    """The model as the provider computes it right."""
    can = capability(provider)
    if not can.layer_norm_statistics:
        proto = with_plain_layer_norms(proto)
    return proto if can.shared_weights else with_own_weights(proto)


def _without_weights(model: Model) -> Model:
    proto = ModelProto()
    for info in model.untyped.graph.input:
        proto.graph.input.add().CopyFrom(info)
    for info in model.untyped.graph.output:
        proto.graph.output.add().CopyFrom(info)
    return Model(proto)


# Samples at once, in batch sizes of the model, once that is dynamic: enough for the kernels, and bounded in memory.
_MOST_AT_ONCE = 32


_devices: WeakKeyDictionary[object, int] = WeakKeyDictionary()
_devices_change = Lock()


def keep_for(user: object, devices: int) -> None:
    """Keep as many sessions for each of so many devices as else for one, as long as `user` lives."""
    with _devices_change:
        _devices[user] = devices


def devices_in_use() -> int:
    """The most devices that anything shares its work among, 1 where nothing does."""
    with _devices_change:
        return max(_devices.values(), default=1)


sessions = Kept[tuple[Any, ...], Session](8, times=devices_in_use)


def session(
    model: Model,
    *,
    providers: Providers = None,
    threads: int | None = None,
    optimize: str = "all",
    spin: bool = True,
    rows: int | None = None,
) -> Session:
    """A session for `model`; the last few are kept, by the model's content and these options.

    `providers`: names ("cuda", "cpu", or ONNX Runtime's own) in order of preference, or (name, {option: value}) pairs;
    None for the best that works here.
    `threads`: of one operator, None for every CPU. `optimize`: "all", "extended", "basic" or "none". `spin`: whether
    idle threads wait actively (off where several sessions take turns). `rows`: the batch size that it is for, where one
    session for each is wanted.
    """
    key = (model.content_key, resolve(providers), threads, optimize, spin, rows)

    def make() -> Session:
        return Session(model, providers=providers, threads=threads, optimize=optimize, spin=spin)

    return sessions.get(key, make)


def run(model: Model, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """`session(model).run(feeds, outputs)` with the default options."""
    return session(model).run(feeds, outputs)
