"""What a user should know of models that were converted to float16."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph.model import Model
from ..graph.narrow import is_measured, is_narrowed

# On the CPU.
SLOW_HALF = "half: the CPU provider converts most of float16 to float32 and back, and takes longer than without half"
# Where no run has shown the range of a model's values.
UNMEASURED_HALF = (
    "half: values of the model may leave the range of float16: it could not be run on noise (sizes of its inputs are "
    "not known, or the run failed); compare with a result without half"
)


def notices(model: Model, on_cpu: bool) -> Iterator[str]:
    """The notices of a model; none of one that was not converted. on_cpu: whether it runs on processors."""
    if is_narrowed(model):
        if on_cpu:
            yield SLOW_HALF
        if not is_measured(model):
            yield UNMEASURED_HALF
