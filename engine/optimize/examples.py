"""What real images excite: the objectives of a scan over a dataset, one run per image for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError
from ..graph.float_input import with_real_input
from ..graph.model import Model
from ..graph.widen import widened
from ..inference.session import Session
from ..runtime.providers import Providers
from .build import PREFIX, Build, apply
from .canvas import canvas_of, labels_of
from .network import head_at
from .objective import Objective


class Scorer:
    """The linear values that objectives are about, for images prepared as the model's card says.

    Raises what objectives raise.
    """

    def __init__(
        self,
        model: Model,
        objectives: Sequence[Objective],
        *,
        providers: Providers = None,
        threads: int | None = None,
    ) -> None:
        self.canvas = canvas_of(model)
        real = with_real_input(widened(model), self.canvas.input)
        reads = tuple(dict.fromkeys(name for o in objectives for name in o.reads(real)))
        head = head_at(real, self.canvas, reads, 1)
        build = Build(real, head, 1, labels_of(model), _no_image)
        self.names = [f"{PREFIX}{n}" for n in range(len(objectives))]
        values = []
        for part in objectives:
            build.linear = None
            score = part.emit(build)
            values.append(build.linear or score)
        scoring = apply(head, build, dict(zip(self.names, values, strict=True)))
        self._feeds = dict(build.parameters)
        self._session = Session(scoring, providers=providers, threads=threads)

    def __call__(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """(objectives,) for the tensor of one image. Raises ShapeError, ModelError."""
        got = self._session.run({self.canvas.input: np.asarray(tensor, np.float32), **self._feeds})
        return np.array([got[name][0] for name in self.names], np.float32)


def _no_image(value: str, image: NDArray[Any]) -> NDArray[Any]:
    raise MethodError("objectives that compare with an image have no examples in a dataset: leave the images out")
