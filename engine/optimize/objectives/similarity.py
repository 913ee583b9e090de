"""Similarity of the model's embedding to that of an image, or to an embedding of one's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import MethodError, TargetError
from ...graph.model import Model
from ...methods.options import option
from ...preprocess.answers import answer_of
from ...preprocess.arrays import read_array
from ..build import Build
from ..objective import Objective, objective

# In place of a file: the image given as reference.
_REFERENCE = "reference"


@objective("like")
@dataclass(frozen=True)
class Like(Objective):
    """The cosine between the model's embedding and another one, as the target `like` explains it.

    The embedding of the image `reference`, or a vector (D,), of a text in a joint space for instance. Places and tokens
    are averaged.
    """

    file: str = option(_REFERENCE, "An .npy file with the embedding, or `reference`: the image given as that.")
    image: np.ndarray | None = option(None, "The image, uint8 (H, W, 3).")  # noqa: RUF009
    vector: np.ndarray | None = option(None, "The embedding, (D,).")  # noqa: RUF009

    def reads(self, model: Model) -> tuple[str, ...]:
        return (answer_of(model).value,)

    def emit(self, build: Build) -> str:
        name = answer_of(build.model).value
        rank = build.rank(name)
        if rank not in (2, 3, 4):
            raise TargetError(f"the output {name!r} has {rank} axes: an embedding is (N, D), (N, T, D) or (N, C, H, W)")
        places = {2: (), 3: (1,), 4: (2, 3)}[rank]
        wanted = self._wanted(build, name, places)
        value = build.op("ReduceMean", name, build.axes(*places), keepdims=0) if places else name
        product = build.total(build.op("Mul", value, build.parameter(wanted[None])), 2)
        length = build.op("Sqrt", build.total(build.op("Mul", value, value), 2))
        score = build.op("Div", product, length)
        build.report(score, score)
        return score

    def _wanted(self, build: Build, name: str, places: tuple[int, ...]) -> NDArray[np.float64]:
        """(D,), of length 1."""
        if self.vector is not None:
            found = np.asarray(self.vector, np.float64)
        elif self.image is not None:
            found = build.evaluate(name, np.asarray(self.image)).astype(np.float64).mean(axis=places)[0]
        else:
            raise MethodError(
                f"{self} compares with an image: give one with reference=, or an .npy file, like:FILE.npy"
            )
        size = build.shape(name)[-1 if len(places) < 2 else 1]
        length = float(np.linalg.norm(found))
        if found.shape != (size,) or not np.isfinite(length) or length == 0:
            raise TargetError(
                f"an embedding of shape {list(found.shape)} does not fit the output {name!r} of {size} numbers, or is "
                "0 or not finite"
            )
        return np.asarray(found / length)

    @classmethod
    def parse(cls, text: str) -> Objective:
        if text.strip() in ("", _REFERENCE):
            return cls()
        try:
            return cls(text, vector=read_array(text))
        except ValueError as error:
            raise MethodError(f"the embedding's file {text!r} cannot be read as a NumPy array: {error}") from None

    @classmethod
    def syntax(cls) -> str:
        return "like:reference or like:FILE.npy"

    def __str__(self) -> str:
        return f"like:{self.file}"
