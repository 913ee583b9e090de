"""Masks of rectifiers as steep HardSigmoids, and products with them in place of Where.

HardSigmoid(y) = clip(alpha y + beta, 0, 1) with a huge power of two for alpha is 1 where y exceeds -beta / alpha and 0
where it does not: scaling by a power of two is exact, and the sum of two numbers has the right sign. On the CPU ONNX
Runtime keeps HardSigmoid and Mul in the blocked layout of the convolutions around them, which it leaves for Greater and
Where; and a Where alone takes three passes over memory there.

A product lets infinities of dy through where the mask is 0, as NaN; Where does not. So there is a product only where
dy is known to be finite (`finite.py`), if inputs, weights and given cotangents are. Of y below the smallest normal
number, 2^-126, but above 0 a part of dy passes, as y goes from 0 to there.
"""

from __future__ import annotations

from onnx import TensorProto

from ..emitter.emitter import Emitter
from .finite import is_finite

# alpha of a step at 0, for every normal number; and at other bounds, so that bound times alpha is a float32, too.
STEP_AT_ZERO, _ELSEWHERE = 2.0**126, 2.0**100
# beta of a step at 0, lost in any sum and clipped at 0 itself. OpenVINO takes a beta of 0 for the default, 0.5.
NO_BETA = -(2.0**-126)
_LEAST_BOUND, _LARGEST_BOUND = 2.0**-70, 2.0**26


def number(name: str, op: Emitter) -> float | None:
    """A constant that is one number."""
    nbytes = op.constant_nbytes(name)
    if nbytes is None or nbytes > 8:
        return None
    value = op.constant_value(name)
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def is_step(alpha: float) -> bool:
    """Whether a HardSigmoid has the slope of such a mask, which is not meant as one."""
    return abs(alpha) in (STEP_AT_ZERO, _ELSEWHERE)


def passed_between(op: Emitter, dy: str, y: str, low: float | None, high: float | None) -> str | None:
    """dy where low < y < high, else 0; None where it has to be a Where. Bounds that are None do not bind."""
    steps = [_step(bound, sign) for bound, sign in ((low, 1.0), (high, -1.0)) if bound is not None]
    if op.elem_type(y) != TensorProto.FLOAT or None in steps or not is_finite(op, dy):
        return None
    for step in steps:
        assert step is not None
        dy = op.Mul(dy, op.HardSigmoid(y, alpha=step[0], beta=step[1]))
    return dy


def one_minus(op: Emitter, share: str) -> str:
    """1 - share, for a share between 0 and 1; on the CPU in the blocked layout if the share is.

    Its own derivative is 0 where the share is 0 or 1.
    """
    if op.elem_type(share) != TensorProto.FLOAT:
        return op.Sub(1.0, share)
    return op.HardSigmoid(share, alpha=-1.0, beta=1.0)


def _step(bound: float, sign: float) -> tuple[float, float] | None:
    """alpha and beta of the mask of y > bound (sign 1) or y < bound (-1); None where float32 is too narrow for it."""
    if bound == 0:
        return sign * STEP_AT_ZERO, NO_BETA
    if not _LEAST_BOUND < abs(bound) < _LARGEST_BOUND:
        return None
    return sign * _ELSEWHERE, -sign * _ELSEWHERE * bound
