"""What the sections of the report are about: a model, its card, an image, their activations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..parameters.inputs import fixed_batch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.inspect.layers import Layer
    from ...engine.preprocess.card import Card
    from ..figures.layers import Photo

Values: TypeAlias = "dict[str, NDArray[Any]]"

# Values of one run of the model that are kept in memory at once.
_MOST_VALUES = 1 << 26


class LayerValues:
    """Images in, values of layers out: keeps the model, the card and how to run."""

    def __init__(self, model: Model, card: Card, runtime: Mapping[str, Any]) -> None:
        self.model, self.card, self.runtime = model, card, runtime

    def prepare(self, name: str, pixels: NDArray[Any]) -> tuple[Photo, NDArray[Any]]:
        """The image as `Photo`, and the tensor for the model."""
        import numpy as np

        from ...engine.preprocess.depth import shown
        from ...engine.preprocess.image import prepare
        from ..figures.layers import Photo

        prepared = prepare(pixels, self.card)
        tensor = prepared.tensor
        size = fixed_batch(self.model, self.card) or 1
        if size > 1:
            tensor = np.repeat(tensor, size, axis=0)
        return Photo(name, shown(pixels, self.card), prepared.geometry), tensor

    def values(self, tensor: NDArray[Any], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Values by name, for one image."""
        from ...engine.inference.session import session

        exposed = self._exposed(tuple(names))
        feeds = {v.name: tensor for v in exposed.inputs if v.name == self.card.input}
        found = session(exposed, **self.runtime).run(feeds, list(names))
        size = fixed_batch(self.model, self.card) or 1
        return {name: array[:1] if size > 1 else array for name, array in found.items()}

    def labels_of(self, layer: Layer, count: int) -> tuple[str, ...] | None:
        """Labels for the units of `layer`, where it is the class output."""
        from ...engine.errors import ModelError
        from ...engine.preprocess.answers import answer_of

        labels = self.card.labels
        if labels is None or len(labels) != count:
            return None
        try:
            return labels if answer_of(self.model).value == layer.output else None
        except ModelError:
            return None

    def _exposed(self, names: tuple[str, ...]) -> Model:
        from ...engine.graph.split import expose

        if names not in self._models:
            self._models[names] = expose(self.model, list(names), only=True)
        return self._models[names]

    @cached_property
    def _models(self) -> dict[tuple[str, ...], Model]:
        return {}

    def layers(self, tensor: NDArray[Any], layers: Sequence[Layer], around: bool) -> Iterator[tuple[Layer, Values]]:
        """Each layer with its values for one image, and with `around` those of the activation function it belongs to,
        and what a pooling layer reads.

        The model runs once for as many layers as fit into memory together.
        """
        import math

        from ..figures.layer_view import around_activation
        from ..figures.pooling import pool_of

        groups: list[list[tuple[Layer, tuple[str, ...]]]] = [[]]
        size = 0
        for layer in layers:
            pair = around_activation(self.model, layer) if around else None
            pool = pool_of(self.model, layer) if around else None
            names = tuple(dict.fromkeys((layer.output, *(pair or ()), *((pool.source,) if pool else ()))))
            shapes = [self.model.value(name).shape or () for name in names]
            count = sum(math.prod(d if isinstance(d, int) else 1 for d in shape) for shape in shapes)
            if groups[-1] and size + count > _MOST_VALUES:
                groups.append([])
                size = 0
            groups[-1].append((layer, names))
            size += count
        for group in groups:
            values = self.values(tensor, list(dict.fromkeys(name for _, names in group for name in names)))
            for layer, names in group:
                yield layer, {name: values[name] for name in names}


@dataclass(frozen=True)
class Photos:
    """Image files, by path and sha256, decoded when their turn comes: of hundreds only one is in memory.

    One that has gone or changed since it was first read is left out, which `say` is called to say.
    """

    files: Sequence[tuple[Path, str]]
    say: Callable[[str], None]
    card: Card | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[tuple[Path, NDArray[Any]]]:
        from ...engine.errors import ImageError
        from ..files.images import read_bytes
        from ..files.photos import photo_of

        for path, sha256 in self.files:
            try:
                data = read_bytes(path)
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise ImageError(f"{str(path)!r} has changed: it is left out from here on")
                yield path, photo_of(path, data, self.card)[0]
            except ImageError as error:
                self.say(str(error))


@dataclass(frozen=True)
class OnePhoto:
    """One image in memory, in place of `Photos`."""

    path: Path
    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
        yield self.path, self.pixels


@dataclass(frozen=True)
class Subject:
    """What a report is about: a model, its card, and images; `focused` is the one to look at closely.

    Images are as the card reads them: `picture` is what is seen of one.
    """

    model: Model
    card: Card
    images: Photos | OnePhoto
    focused: tuple[Path, NDArray[Any]]
    work: LayerValues

    def picture(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB of an image."""
        from ...engine.preprocess.depth import shown

        return shown(pixels, self.card)
