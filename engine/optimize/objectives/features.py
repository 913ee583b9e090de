"""An image's own features: inversion, staying near an image, and textures by Gram matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MethodError
from ...inspect.layers import value_of
from ...methods.options import option
from ...targets.units import unit_axes
from ..build import Build
from ..objective import Objective, objective


class _OfImage(Objective):
    """Base of objectives about a reference image."""

    image: NDArray[Any] | None

    @classmethod
    def parse(cls, text: str) -> Objective:
        return cls(text)  # type: ignore[call-arg]

    def __str__(self) -> str:
        return f"{self.name}:{self.layer}"

    def _reference(self, build: Build) -> tuple[str, NDArray[np.float64]]:
        """The layer's value, and what it is for the reference image, (1, ...)."""
        if self.image is None:
            raise MethodError(f"{self} compares with an image: give one with reference=")
        name = value_of(build.model, self.layer)
        return name, build.evaluate(name, np.asarray(self.image)).astype(np.float64)


@objective("features")
@dataclass(frozen=True)
class Features(_OfImage):
    """Minus the distance of a layer's activations from those of an image (A. Mahendran and A. Vedaldi, CVPR 2015).

    It is the square of the distance, divided by the square of the image's activations: 0 where they are the same.
    """

    layer: str = option("", "The layer.")
    image: np.ndarray | None = option(None, "The image, uint8 (H, W, 3).")  # noqa: RUF009

    def emit(self, build: Build) -> str:
        name, wanted = self._reference(build)
        away = build.op("Sub", name, build.parameter(wanted))
        share = build.constant(np.float32(-1 / max(float(np.square(wanted).sum()), 1e-30)))
        score = build.op("Mul", build.total(build.op("Mul", away, away), wanted.ndim), share)
        build.report(score, score)
        return score


@objective("gram")
@dataclass(frozen=True)
class Gram(_OfImage):
    """Minus the distance of a layer's Gram matrix from an image's: its texture (L. Gatys et al., NeurIPS 2015)."""

    layer: str = option("", "The layer.")
    image: np.ndarray | None = option(None, "The image, uint8 (H, W, 3).")  # noqa: RUF009

    def emit(self, build: Build) -> str:
        name, wanted = self._reference(build)
        _, channel, _ = unit_axes(build.model, self.layer)
        flat = np.moveaxis(wanted, channel, 1).reshape(1, wanted.shape[channel], -1)
        goal = flat @ flat.transpose(0, 2, 1) / flat.shape[2]
        away = build.op("Sub", gram(build, name, channel), build.parameter(goal))
        share = build.constant(np.float32(-1 / max(float(np.square(goal).sum()), 1e-30)))
        score = build.op("Mul", build.total(build.op("Mul", away, away), 3), share)
        build.report(score, score)
        return score


def gram(build: Build, name: str, channel: int) -> str:
    """The Gram matrix (N, C, C) of a value, the mean over its places."""
    shape = build.shape(name)
    order = [0, channel, *(a for a in range(1, len(shape)) if a != channel)]
    moved = build.op("Transpose", name, perm=order) if order != list(range(len(shape))) else name
    places = int(np.prod(shape, dtype=float)) // (shape[0] * shape[channel])
    flat = build.op("Reshape", moved, build.constant(np.array([build.rows, shape[channel], places], np.int64)))
    product = build.op("MatMul", flat, build.op("Transpose", flat, perm=[0, 2, 1]))
    return build.op("Mul", product, build.constant(np.float32(1 / places)))
