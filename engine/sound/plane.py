"""The plane of time and frequency: a sound as coefficients that a linear layer in front of the model turns back.

The virtual inspection layer of Vielhaben et al., "Explainable AI for time series via virtual inspection layers"
(Pattern Recognition, 2024): x = S c, where c are the coefficients of the short-time Fourier transform and S its
inverse. A model with S in front answers the same, and whatever explains it by c explains it in time and frequency. As
S is linear, relevance that adds up over samples adds up to the same over coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..graph.model import Model

# Of a window: seconds at least, samples at least and at most; windows that a short input has at least.
_SECONDS, _LEAST, _MOST, _WINDOWS = 0.023, 32, 4096, 4
_OVERLAP = 4


@dataclass(frozen=True)
class Plane:
    """The short-time Fourier transform of `length` samples, by square roots of Hann windows: the same on the way back.

    window: samples of a window; hop: between the starts of two; rate: samples per second.
    """

    length: int
    rate: int
    window: int
    hop: int

    @property
    def lead(self) -> int:
        """Samples of silence in front, so that every sample lies in as many windows."""
        return self.window - self.hop

    @property
    def shape(self) -> tuple[int, int]:
        """(frequencies, times)."""
        return self.window // 2 + 1, (self.length - 1 + self.lead) // self.hop + 1

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """(F,): in Hz."""
        return np.arange(self.shape[0]) * self.rate / self.window

    @property
    def times(self) -> NDArray[np.float64]:
        """(M,): the middle of each window, in seconds from the first sample."""
        return (np.arange(self.shape[1]) * self.hop - self.lead + self.window / 2) / self.rate

    @cached_property
    def taper(self) -> NDArray[np.float64]:
        """(window,): its square adds up to 1 over the windows that a sample lies in."""
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        return np.sqrt(hann * 2 * self.hop / self.window)

    def coefficients(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """(T,) -> (2, F, M): real and imaginary parts."""
        frames = self._frames(np.asarray(x, np.float64))
        found = np.fft.rfft(frames * self.taper, axis=1).T
        return np.stack([found.real, found.imag]).astype(np.float32)

    def samples(self, c: NDArray[np.floating]) -> NDArray[np.float64]:
        """(2, F, M) -> (T,): the inverse."""
        frames = np.fft.irfft((c[0] + 1j * c[1].astype(np.float64)).T, self.window, axis=1) * self.taper
        whole = np.zeros(self._padded)
        for place, frame in enumerate(frames):
            whole[place * self.hop : place * self.hop + self.window] += frame
        return whole[self.lead : self.lead + self.length]

    def _frames(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        whole = np.zeros(self._padded)
        whole[self.lead : self.lead + self.length] = x
        return np.lib.stride_tricks.sliding_window_view(whole, self.window)[:: self.hop]

    @property
    def _padded(self) -> int:
        return (self.shape[1] - 1) * self.hop + self.window


def plane_for(length: int, rate: int, window: int | None = None) -> Plane:
    """The plane of so many samples: windows of 23 ms or a little more, fewer where the sound is short."""
    if window is None:
        usual = 2 ** math.ceil(math.log2(max(_LEAST, _SECONDS * rate)))
        short = 2 ** math.floor(math.log2(max(_LEAST, length / _WINDOWS)))
        window = min(usual, short, _MOST)
    return Plane(length, rate, window, max(1, window // _OVERLAP))


def plane_input(name: str) -> str:
    """The input of coefficients in place of the input `name`."""
    return f"{name}/time-frequency"


def with_plane(model: Model, name: str, plane: Plane, shape: tuple[int, ...], one: bool = False) -> Model:
    """The model with the coefficients of its input as the input (N, 2, F, M); the others stay.

    shape: of the input `name` for one sample, with the batch axis, which holds `plane.length` elements. one: whether
    only one sample goes into a run, as where states have the batch somewhere else.
    """
    bins, times = plane.shape
    given, base = plane_input(name), f"{name}/inspection"
    kernel = _kernel(plane)
    arrays = {
        "kernel": kernel,
        "flat": np.array([0, 2 * bins, times], np.int64),
        "start": np.array([plane.lead], np.int64),
        "stop": np.array([plane.lead + plane.length], np.int64),
        "axis": np.array([2], np.int64),
        "shape": np.array([-1 if i == 0 and len(shape) > 1 and not one else n for i, n in enumerate(shape)], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", [given, f"{base}/flat"], [f"{base}/channels"], name=f"{base}/channels"),
        helper.make_node(
            "ConvTranspose",
            [f"{base}/channels", f"{base}/kernel"],
            [f"{base}/overlapped"],
            name=f"{base}/overlapped",
            strides=[plane.hop],
        ),
        helper.make_node(
            "Slice",
            [f"{base}/overlapped", f"{base}/start", f"{base}/stop", f"{base}/axis"],
            [f"{base}/cut"],
            name=f"{base}/cut",
        ),
        helper.make_node("Reshape", [f"{base}/cut", f"{base}/shape"], [name], name=f"{base}/samples"),
    ]
    if model.opset < 10:  # Slice takes its ends as attributes there
        nodes[2] = helper.make_node(
            "Slice",
            [f"{base}/overlapped"],
            [f"{base}/cut"],
            name=f"{base}/cut",
            starts=[plane.lead],
            ends=[plane.lead + plane.length],
            axes=[2],
        )
        arrays = {key: array for key, array in arrays.items() if key not in ("start", "stop", "axis")}
    dtype = model.value(name).dtype
    cast = dtype is not None and dtype != np.float32
    if cast:
        nodes[3].output[0] = f"{base}/float"
        nodes.append(
            helper.make_node(
                "Cast", [f"{base}/float"], [name], name=f"{base}/cast", to=helper.np_dtype_to_tensor_dtype(dtype)
            )
        )
    with model.edited() as edit:
        graph = edit.graph
        others = [value for value in graph.input if value.name != name]
        old = list(graph.node)
        del graph.input[:], graph.node[:]
        batch = 1 if one or len(shape) == 1 else "N"
        info = helper.make_tensor_value_info(given, TensorProto.FLOAT, [batch, 2, bins, times])
        graph.input.extend([info, *others])
        graph.initializer.extend(numpy_helper.from_array(array, f"{base}/{key}") for key, array in arrays.items())
        graph.node.extend([*nodes, *old])
    kept = {k: v for k, v in model.overrides.items() if k not in ("input", "layout", "kind", "axes", "sound")}
    made = edit.model
    return Model(
        made.untyped,
        path=model.path,
        folder=model.folder,
        overrides={**kept, "input": given, "layout": "NCHW"},
        sha256=model.sha256,
        inferred=False,
    )


def _kernel(plane: Plane) -> NDArray[np.float32]:
    """(2F, 1, window): what each coefficient adds to the samples of its window."""
    bins = plane.shape[0]
    eye = np.eye(bins)
    real = np.fft.irfft(eye, plane.window, axis=1)
    imaginary = np.fft.irfft(1j * eye, plane.window, axis=1)
    return (np.concatenate([real, imaginary]) * plane.taper)[:, None].astype(np.float32)
