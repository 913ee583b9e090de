"""The filters of units as small pictures: in colour where they read the image, else the slice they use most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .plan import SiteLayer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ....engine.graph.model import Model

# Side of a filter's picture.
SIDE = 64


def filter_tiles(model: Model, layer: SiteLayer, units: Sequence[int]) -> NDArray[np.uint8] | None:
    """(units, SIDE, SIDE, 3); None for layers without filters of more than one place."""
    import numpy as np

    from ....engine.errors import MethodError
    from ....engine.inspect.weights import weights

    try:
        found = weights(model, layer.entry.first)
    except MethodError:
        return None
    if found.spatial != 2 or max(found.kernel) < 2 or len(found.values) != layer.count:
        return None
    image = {value.name for value in model.inputs}
    coloured = found.values.shape[1] == 3 and bool(image & set(layer.entry.first.inputs))
    return np.stack([_enlarged(_coloured(found.values[u]) if coloured else _slice(found.values[u])) for u in units])


def _coloured(kernel: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(h, w, 3) of (3, h, w): gray is 0."""
    import numpy as np

    most = float(np.abs(kernel).max()) or 1.0
    return np.asarray(np.rint(127.5 + 127.5 * kernel.transpose(1, 2, 0) / most), np.uint8)


def _slice(kernel: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Of (in, h, w) the input with the largest weights, in colours for signs."""
    import numpy as np

    from ....kernels import colormap

    best = kernel[int(np.argmax((kernel.astype(np.float64) ** 2).sum(axis=(1, 2))))]
    most = float(np.abs(best).max()) or 1.0
    return np.asarray(colormap.apply(best, colormap.table(colormap.DIVERGING), -most, most))


def _enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each weight as a square, all of them as large as there is room."""
    import numpy as np

    rows, columns = (np.arange(SIDE) * length // SIDE for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[rows][:, columns])
