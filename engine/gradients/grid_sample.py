"""GridSample, in the plane and in space."""

from __future__ import annotations

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .normalization import wide
from .registry import Cotangents, gradient
from .sampling import Kernel, Reading, extent, taps

# Names until and from opset 20.
_KERNELS: dict[str, Kernel] = {
    "bilinear": "linear",
    "bicubic": "cubic",
    "linear": "linear",
    "cubic": "cubic",
    "nearest": "nearest",
}


@gradient("GridSample")
def grid_sample(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The grid's last axis holds coordinates from -1 to 1, that of x's last axis first.

    Under "nearest" the output depends on the grid by jumps only: its gradient is zero.
    """
    x, grid = node.inputs[:2]
    spatial = op.rank(x) - 2
    kernel = _KERNELS[node.attribute("mode", "linear")]
    padding, aligned = node.attribute("padding_mode", "zeros"), bool(node.attribute("align_corners", 0))
    points = op.Reshape(wide(op, grid, grid), [0, -1, spatial])
    axes, scales = [], []
    for axis in range(spatial):
        g = op.Gather(points, spatial - 1 - axis, axis=2)
        size = extent(op, x, 2 + axis, g)
        # -1 and 1 are the centres of the outermost positions if aligned, else their outer edges.
        scale = op.Mul(op.Sub(size, 1.0) if aligned else size, 0.5)
        position = op.Mul(op.Add(g, 1.0), scale)
        position = position if aligned else op.Sub(position, 0.5)
        axes.append(taps(op, position, size, kernel, padding, aligned))
        scales.append(scale)
    d = op.Reshape(op.cast(dy, points), op.Concat(op.shape_of(x, 0, 2), [-1], axis=0))
    reading = Reading.of(op, x, axes)
    result: list[str | None] = [None, None]
    if node.wants[0]:
        result[0] = op.cast(reading.gradient_of_x(d), x)
    if node.wants[1] and kernel != "nearest":
        positions = reading.gradient_of_positions(d)
        parts = [op.Unsqueeze(op.Mul(p, s), [2]) for p, s in zip(positions, scales, strict=True)]
        result[1] = op.cast(op.reshape_like(op.Concat(*parts[::-1], axis=2), grid), grid)
    elif node.wants[1]:
        result[1] = op.zeros_like(grid)
    return result
