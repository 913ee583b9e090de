"""From what a caller asks for, in texts, numbers and arrays, to a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.resize import resize
from ..errors import MethodError, ShapeError
from ..graph.model import Model
from ..inference.batches import RunOptions
from ..inspect.layers import cam_layer
from .canvas import Canvas, canvas_of, picture_of
from .loop import CLASS_SIDE, CLASS_TRANSFORMS, DEFAULT_TRANSFORMS, SMALL_JITTER, SMALL_SIDE, Recipe, Start
from .objective import Objective
from .objectives.diversity import Diversity
from .objectives.features import Features
from .optimiser import OPTIMISERS, Optimiser, schedule
from .paint import Job, about_classes, check_job
from .parametrisation import PARAMETRISATIONS, Parametrisation
from .regulariser import REGULARISERS, Regulariser
from .transform import TRANSFORMS, Transform
from .transforms.moves import Jitter
from .units import objectives_of

# How much staying near the image counts, where pictures begin with one and nothing else is said.
_KEEP = 10.0


@dataclass(frozen=True)
class Request:
    """What is asked for, in the words of `onnxray.visualize`; images as uint8 (H, W, 3), masks as (H, W)."""

    layer: str | Sequence[str] | None = None
    channel: Any = None
    neuron: Any = None
    target: Any = None
    direction: Any = None
    objective: Any = None
    steps: int = 128
    size: Any = None
    seed: int = 0
    minimise: bool = False
    count: int = 1
    diversity: float = 0.0
    strip: int | None = None
    image: NDArray[Any] | None = None
    mask: NDArray[Any] | None = None
    keep: float | None = None
    reference: NDArray[Any] | None = None
    spectrum: Any = None
    parametrisation: str | Parametrisation | None = None
    transforms: Sequence[str | Transform] | None = None
    optimiser: str | Optimiser | None = None
    regularisers: Sequence[str | Regulariser] = ()
    schedule: str = "constant"
    views: int | None = None
    settle: bool = True
    batch: int | None = None


def job_of(model: Model, asked: Request, runtime: RunOptions | None = None) -> Job:
    """The job. Raises MethodError, TargetError, UnknownName, ShapeError."""
    objectives = objectives_of(
        model,
        layer=asked.layer,
        channel=asked.channel,
        neuron=asked.neuron,
        target=asked.target,
        direction=asked.direction,
        objective=asked.objective,
    )
    objectives = [with_reference(o, asked.reference) for o in objectives]
    if asked.strip is not None:
        objectives = strip_between(objectives, asked.strip)
    if asked.diversity:
        objectives = [o + asked.diversity * Diversity(layer_near(model, o)) for o in objectives]
    if asked.image is not None and (keep := _KEEP if asked.keep is None else asked.keep):
        objectives = [o + keep * Features(layer_near(model, o), np.asarray(asked.image)) for o in objectives]
    if asked.image is None and (asked.mask is not None or asked.keep is not None):
        raise MethodError("a mask, or staying near an image (keep), needs the image to begin with: give image=")
    size = asked.size
    job = Job(
        model,
        tuple(objectives),
        recipe_of(asked, transforms_of(model, asked.size, objectives)),
        size=(int(size), int(size)) if isinstance(size, int | np.integer) else size,
        count=asked.count,
        minimise=asked.minimise,
        batch=asked.batch,
        start=start_of(asked.image, asked.mask),
        runtime=runtime or RunOptions(),
    )
    check_job(job)
    return job


def transforms_of(model: Model, size: Any, objectives: Sequence[Objective]) -> tuple[Transform, ...]:
    """What suits the objectives by default: stronger ones for classes on large pictures, less jitter on small ones.

    size: a side, or (height, width); None: the model's.
    """
    least = int(np.min(canvas_of(model).size if size is None else size))
    strong = least >= CLASS_SIDE and all(about_classes(o) for o in objectives)
    if least < SMALL_SIDE:
        return (Jitter(float(max(1, int(least * SMALL_JITTER)))), *DEFAULT_TRANSFORMS[1:])
    return CLASS_TRANSFORMS if strong else DEFAULT_TRANSFORMS


def recipe_of(asked: Request, transforms: tuple[Transform, ...]) -> Recipe:
    """How the pictures are made; `transforms`: those by default. Raises UnknownName, MethodError."""
    schedule(asked.schedule)
    painter = PARAMETRISATIONS.make(asked.parametrisation or ("maco" if asked.spectrum is not None else "fourier"))
    if asked.spectrum is not None:
        if "spectrum" not in {f.name for f in fields(painter)}:  # type: ignore[arg-type]
            raise MethodError(f"{painter.name} takes no spectrum: leave it out, or choose maco")
        painter = replace(painter, spectrum=asked.spectrum)  # type: ignore[type-var]
    given = tuple(TRANSFORMS.make(t) for t in asked.transforms) if asked.transforms is not None else painter.transforms
    return Recipe(
        steps=asked.steps,
        seed=asked.seed,
        parametrisation=painter,
        transforms=transforms if given is None else given,
        optimiser=OPTIMISERS.make(asked.optimiser if asked.optimiser is not None else painter.optimiser),
        regularisers=tuple(REGULARISERS.make(r) for r in asked.regularisers),
        schedule=asked.schedule,
        views=asked.views or painter.views,
        settle=asked.settle,
    )


def with_reference(objective: Objective, image: NDArray[Any] | None) -> Objective:
    """The objective with the image in all parts that compare with one and have none."""
    if image is None:
        return objective
    changed: dict[str, Any] = {}
    for name, value in vars(objective).items():
        if isinstance(value, Objective):
            changed[name] = with_reference(value, image)
        elif name == "image" and value is None:
            changed[name] = np.asarray(image)
    return replace(objective, **changed) if changed else objective  # type: ignore[type-var]


def strip_between(objectives: Sequence[Objective], count: int) -> list[Objective]:
    """`count` objectives from the first of two to the second. Raises MethodError."""
    if len(objectives) != 2 or count < 2:
        raise MethodError(
            f"a strip of {count} between {len(objectives)} objectives: give two objectives and at least 2"
        )
    first, last = objectives
    return [(1 - t) * first + t * last for t in (i / (count - 1) for i in range(count))]


def layer_near(model: Model, objective: Objective) -> str:
    """The layer that the objective is about, else the last feature map. Raises MethodError where there is none."""
    for value in vars(objective).values():
        if isinstance(value, Objective):
            return layer_near(model, value)
    named = getattr(objective, "layer", None)
    if named:
        return str(named)
    last = cam_layer(model)
    if last is None:
        raise MethodError("the model has no feature map to compare pictures at: name a layer")
    return last.name


def start_of(image: NDArray[Any] | None, mask: NDArray[Any] | None) -> Callable[[Canvas], Start] | None:
    """How pictures begin with an image, uint8 (H, W, 3) or (C, H, W) of numbers in 0..1, of any size."""
    if image is None:
        return None

    def start(canvas: Canvas) -> Start:
        picture = picture_of(np.asarray(image), canvas)
        return Start(picture, None if mask is None else mask_of(np.asarray(mask), canvas.size))

    return start


def mask_of(mask: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) in 0..1 of `size`, of a mask of any size: booleans, 0..255 or 0..1. Raises ShapeError."""
    if mask.ndim == 3:
        mask = mask.max(axis=2)
    if mask.ndim != 2 or mask.dtype.kind not in "buif":
        raise ShapeError(f"a mask is (H, W), not {mask.dtype} {list(mask.shape)}")
    scale = 255.0 if mask.dtype == np.uint8 else 1.0
    resized = resize(np.ascontiguousarray(mask, np.float32) / np.float32(scale), size)
    return np.asarray(np.clip(resized, 0, 1), np.float32)
