"""What a step of gradient ascent on pictures needs besides the network: colours with their adjoint, and the step.

colours     p = sigmoid(M x): from decorrelated values (N, C, H, W) to pictures in 0..1
uncolour    M' (g p (1 - p)): its adjoint at the picture p
adam        the step of Adam (Kingma & Ba 2015, arXiv:1412.6980) or NAdam (Dozat 2016), upwards, in place
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel
from .threads import bands

_BAND = 1 << 17


def colours(values: Any, matrix: ArrayLike, *, threads: int | None = None) -> NDArray[np.float32]:
    """Pictures in 0..1, float32 (N, C, H, W), of values of the same shape; matrix: (C, C).

    Raises ValueError for shapes that do not fit.
    """
    stack, mixing = _checked(values, matrix)
    n, c, height, width = stack.shape
    places = height * width
    flat = stack.reshape(n, c, places)
    out = np.empty_like(flat)
    bands(lambda start, stop: _colours(flat, mixing, out, start, stop), places, threads, least=_BAND // (n * c) + 1)
    return out.reshape(stack.shape)


def uncolour(
    cotangents: Any, pictures: NDArray[np.float32], matrix: ArrayLike, *, threads: int | None = None
) -> NDArray[np.float32]:
    """The cotangents of the values that `colours` made `pictures` of, from those of the pictures.

    Raises ValueError for shapes that do not fit.
    """
    stack, mixing = _checked(cotangents, matrix)
    if stack.shape != pictures.shape:
        raise ValueError(f"cotangents of shape {stack.shape} do not fit pictures of shape {pictures.shape}")
    n, c, height, width = stack.shape
    places = height * width
    shown = np.ascontiguousarray(pictures, np.float32).reshape(n, c, places)
    flat = stack.reshape(n, c, places)
    out = np.empty_like(flat)
    bands(
        lambda start, stop: _uncolour(flat, shown, mixing, out, start, stop),
        places,
        threads,
        least=_BAND // (n * c) + 1,
    )
    return out.reshape(stack.shape)


def adam(
    values: NDArray[np.float32],
    gradient: NDArray[np.float32],
    mean: NDArray[np.float32],
    square: NDArray[np.float32],
    step: int,
    rate: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    nesterov: bool = False,
) -> None:
    """Step number `step` (the first is 1) upwards along `gradient`: `values`, `mean` and `square` change in place.

    All are contiguous float32 of one shape, else ValueError is raised. With `nesterov`, NAdam's look ahead.
    """
    arrays = (values, gradient, mean, square)
    if len({a.shape for a in arrays}) > 1 or any(a.dtype != np.float32 or not a.flags.c_contiguous for a in arrays):
        raise ValueError("values, gradient, mean and square must be contiguous float32 arrays of one shape")
    first, second = betas
    _adam(
        *(a.reshape(-1) for a in arrays),
        np.float32(first),
        np.float32(second),
        np.float32(rate / (1 - first**step)),
        np.float32(1 / (1 - second**step)),
        np.float32(epsilon),
        np.float32((1 - first**step) / (1 - first ** (step + 1)) if nesterov else 0.0),
    )


def _checked(values: Any, matrix: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    stack = np.ascontiguousarray(values, np.float32)
    mixing = np.ascontiguousarray(matrix, np.float32)
    if stack.ndim != 4 or 0 in stack.shape or mixing.shape != (stack.shape[1], stack.shape[1]):
        raise ValueError(f"values of shape {stack.shape} do not fit a matrix of shape {mixing.shape}")
    return stack, mixing


# Each loop below runs over contiguous numbers and writes one array, so that it is vectorised.
_FAST = {"contract", "nsz"}


@kernel(fastmath=_FAST, error_model="numpy")
def _exp(x):  # type: ignore[no-untyped-def]
    """e^x to 3e-7 of its value, for x within -87..87, else that of the nearer end.

    As in Cephes (S. Moshier): a power of two, put into the exponent's bits, times a polynomial. Unlike the library's
    function it is vectorised.
    """
    x = min(max(x, np.float32(-87)), np.float32(87))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - n * np.float32(0.693359375)
    r = r + n * np.float32(2.12194440e-4)
    z = np.float32(1.9875691500e-4)
    z = z * r + np.float32(1.3981999507e-3)
    z = z * r + np.float32(8.3334519073e-3)
    z = z * r + np.float32(4.1665795894e-2)
    z = z * r + np.float32(1.6666665459e-1)
    z = z * r + np.float32(5.0000001201e-1)
    z = z * (r * r) + r + np.float32(1)
    return z * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@kernel(fastmath=_FAST, error_model="numpy")
def _colours(values, matrix, out, start, stop):  # type: ignore[no-untyped-def]
    samples, channels, _ = values.shape
    one, count = np.float32(1), stop - start
    for n in range(samples):
        for c in range(channels):
            made = out[n, c, start:stop]
            if channels == 3:
                r, g, b = matrix[c, 0], matrix[c, 1], matrix[c, 2]
                x, y, z = values[n, 0, start:stop], values[n, 1, start:stop], values[n, 2, start:stop]
                for i in range(count):
                    made[i] = one / (one + _exp(-(r * x[i] + g * y[i] + b * z[i])))
                continue
            made[:] = np.float32(0)
            for k in range(channels):
                factor, plane = matrix[c, k], values[n, k, start:stop]
                if factor != 0:
                    for i in range(count):
                        made[i] += factor * plane[i]
            for i in range(count):
                made[i] = one / (one + _exp(-made[i]))


@kernel(fastmath=_FAST, error_model="numpy")
def _uncolour(cotangents, pictures, matrix, out, start, stop):  # type: ignore[no-untyped-def]
    samples, channels, _ = cotangents.shape
    one, count = np.float32(1), stop - start
    for n in range(samples):
        for k in range(channels):
            made = out[n, k, start:stop]
            made[:] = np.float32(0)
            for c in range(channels):
                factor, g, p = matrix[c, k], cotangents[n, c, start:stop], pictures[n, c, start:stop]
                if factor != 0:
                    for i in range(count):
                        made[i] += factor * g[i] * (p[i] * (one - p[i]))


@kernel(error_model="numpy")
def _adam(values, gradient, mean, square, first, second, rate, correction, epsilon, ahead):  # type: ignore[no-untyped-def]
    one = np.float32(1)
    if ahead > 0:
        for i in range(values.size):
            g = gradient[i]
            m = first * mean[i] + (one - first) * g
            s = second * square[i] + (one - second) * g * g
            mean[i], square[i] = m, s
            # m / (1 - b1^(t+1)) b1 + g (1 - b1) / (1 - b1^t); `rate` holds 1 / (1 - b1^t).
            values[i] += rate * (first * m * ahead + (one - first) * g) / (np.sqrt(s * correction) + epsilon)
        return
    for i in range(values.size):
        g = gradient[i]
        m = first * mean[i] + (one - first) * g
        s = second * square[i] + (one - second) * g * g
        mean[i], square[i] = m, s
        values[i] += rate * m / (np.sqrt(s * correction) + epsilon)
