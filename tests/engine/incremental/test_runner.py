"""Incremental inference against the whole network: the same numbers, whatever the model, window, fill and number of threads."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.incremental import estimates
from onnxray.engine.incremental.runner import HiddenInput, PlainRunner, Runner, make_runner, runner_for, runners
from onnxray.engine.incremental.staged import StagedRunner
from onnxray.engine.incremental.windows import Hidden, Windows
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.inference.session import run
from onnxray.engine.inspect.signature import image_input
from onnxray.tests.rounding import HALF, apart
from onnxray.tests.rounding import ROUNDING as EXACT

Parse = Callable[..., onnx.ModelProto]


pytestmark = pytest.mark.usefixtures("cut_wherever_it_can")


def grid(size: tuple[int, int], patch: tuple[int, int], stride: int) -> np.ndarray:
    rows, columns = (sorted({*range(0, s - p + 1, stride), s - p}) for s, p in zip(size, patch, strict=True))
    return np.array([(y, x, y + patch[0], x + patch[1]) for y in rows for x in columns], np.int64)


def few(size: tuple[int, int], patch: tuple[int, int]) -> np.ndarray:
    """Windows in the corners, at and near the borders, in the middle."""
    (top, left), (low, right) = (0, 0), (size[0] - patch[0], size[1] - patch[1])
    middle, centre = low // 2, right // 2
    at = {(top, left), (top, right), (low, left), (low, right), (middle, centre), (top, centre), (middle, left)}
    at |= {(low, centre), (middle, right), (min(1, low), max(right - 1, 0)), (max(low - 1, 0), min(1, right))}
    return np.array([(y, x, y + patch[0], x + patch[1]) for y, x in sorted(at)], np.int64)


def computed(ready: Runner, x: np.ndarray, hidden: Hidden, **options: Any) -> dict[str, np.ndarray]:
    """The values (P, ...) for every window."""
    found: dict[str, np.ndarray] = {}
    times = np.zeros(len(hidden.boxes), int)

    def consume(windows: np.ndarray, got: Any) -> None:
        times[windows] += 1
        for name, array in got.items():
            found.setdefault(name, np.zeros((len(hidden.boxes), *array.shape[1:]), array.dtype))[windows] = array

    ready.run(x, hidden, consume, **options)
    which = options.get("which")
    assert (times == (1 if which is None else np.isin(np.arange(len(times)), which))).all(), "each once"
    return found


def made(
    model: onnxray.Model,
    x: np.ndarray,
    boxes: np.ndarray,
    threads: int = 2,
    values: tuple[str, ...] = (),
    others: tuple[tuple[str, tuple[int, ...]], ...] = (),
    plain: bool = False,
    cap: float | None = None,
) -> Runner:
    image = image_input(model)
    source = HiddenInput(image.name, image.axes, x.shape, others)
    of = values or (model.outputs[0].name,)
    return make_runner(model, source, of, Windows(boxes), RunOptions(threads=threads), plain=plain, cap=cap)


def by_hand(
    model: onnxray.Model, x: np.ndarray, hidden: Hidden, feeds: dict[str, np.ndarray] | None = None
) -> np.ndarray:
    """The first output for every window, one after the other, copies made by NumPy."""
    image = image_input(model)
    found = []
    for number, (y0, x0, y1, x1) in enumerate(hidden.boxes):
        copy = x.copy()
        place: list[Any] = [slice(None)] * x.ndim
        place[image.axes[0]], place[image.axes[1]] = slice(y0, y1), slice(x0, x1)
        fill = hidden.fill(number) if callable(hidden.fill) else hidden.fill
        copy[tuple(place)] = fill[None][tuple(place)]
        if hidden.segments is not None and hidden.ids is not None:
            inside = hidden.segments == hidden.ids[number]
            shape = [1] * x.ndim
            shape[image.axes[0]], shape[image.axes[1]] = inside.shape
            copy = np.where(inside.reshape(shape), fill[None], x)
        out = model.outputs[0].name
        found.append(run(model, {image.name: copy, **(feeds or {})}, [out])[out][0])
    return np.stack(found)


def sample(model: onnxray.Model, side: int = 64) -> np.ndarray:
    """A random image of the model's type and size."""
    image = image_input(model)
    value = model.value(image.name)
    assert value.shape is not None
    assert value.dtype is not None
    shape = [d if isinstance(d, int) else side if axis in image.axes else 3 for axis, d in enumerate(value.shape)]
    shape[0] = 1
    rng = np.random.default_rng(0)
    if value.dtype.kind == "f":
        return rng.standard_normal(shape).astype(value.dtype)
    return rng.integers(0, 120, shape).astype(value.dtype)


def exact_on(file: Path, patches: tuple[float, ...]) -> None:
    model = onnxray.load(file)
    try:
        image = image_input(model)
    except onnxray.OnnxrayError:
        pytest.skip("takes no images")
    if len(model.inputs) > 1:
        pytest.skip("several inputs: judged below")
    x = sample(model)
    size = (x.shape[image.axes[0]], x.shape[image.axes[1]])
    boxes = np.concatenate([few(size, (max(1, int(size[0] * p)), max(1, int(size[1] * p) - 1))) for p in patches])
    hidden = Hidden(boxes, np.full(x.shape[1:], 0.3).astype(x.dtype))
    got = computed(made(model, x, boxes), x, hidden)
    plain = computed(made(model, x, boxes, plain=True), x, hidden)
    for name, values in got.items():
        limit = HALF if model.value(name).dtype == np.float16 or x.dtype == np.float16 else EXACT
        if np.ptp(plain[name].astype(np.float64)) > 0:
            assert apart(values, plain[name]) <= limit


def test_every_framework_s_model(zoo_case: Path) -> None:
    exact_on(zoo_case / "model.onnx", (0.15, 0.4))


@pytest.mark.slow
def test_every_trained_network(zoo_model: Path) -> None:
    exact_on(zoo_model, (0.15,))


# --- one network of known parts ---

NETWORK = """
    net (float[N, 3, 40, 48] image) => (float[N, 4] y)
    {
      c1 = Conv <pads = [1, 1, 1, 1]> (image, w1)
      r1 = Relu (c1)
      p1 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r1)
      c2 = Conv <pads = [1, 1, 1, 1]> (p1, w2)
      r2 = Relu (c2)
      c3 = Conv <pads = [1, 1, 1, 1]> (r2, w3)
      s = Add (c3, p1)
      r3 = Relu (s)
      g = GlobalAveragePool (r3)
      f = Flatten (g)
      y = Gemm (f, head)
    }
"""


@pytest.fixture(scope="module")
def network(parse: Parse) -> onnxray.Model:
    rng = np.random.default_rng(3)
    weights = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 8, 3, 3), "head": (8, 4)}
    return onnxray.load(
        parse(NETWORK, **{n: (rng.standard_normal(s) / np.sqrt(s[0])).astype(np.float32) for n, s in weights.items()})
    )


X = np.random.default_rng(1).standard_normal((1, 3, 40, 48)).astype(np.float32)
FILL = np.random.default_rng(2).standard_normal((3, 40, 48)).astype(np.float32)


@pytest.mark.parametrize(
    ("patch", "stride"),
    [((1, 1), 7), ((5, 9), 3), ((13, 2), 5), ((40, 3), 4), ((8, 48), 6), ((39, 47), 1), ((40, 48), 1)],
)
def test_patches_and_strides(network: onnxray.Model, patch: tuple[int, int], stride: int) -> None:
    boxes = grid((40, 48), patch, stride)
    hidden = Hidden(boxes, FILL)
    got = computed(made(network, X, boxes), X, hidden)["y"]
    assert apart(got, by_hand(network, X, hidden)) <= EXACT


def test_it_does_run_on_crops(network: onnxray.Model) -> None:
    ready = made(network, X, grid((40, 48), (5, 5), 5))
    assert len(ready.plan.stages) >= 1
    assert ready.plan.reason.startswith(f"exact: {len(ready.plan.stages)} stages on crops, whole maps from")
    assert ready.plan.seconds < ready.plan.plain


def test_the_fill_may_depend_on_the_window(network: onnxray.Model) -> None:
    boxes = grid((40, 48), (6, 7), 9)
    hidden = Hidden(boxes, lambda number: FILL * (number + 1))
    got = computed(made(network, X, boxes), X, hidden)["y"]
    assert apart(got, by_hand(network, X, hidden)) <= EXACT


@pytest.mark.parametrize("per_window", [False, True])
def test_segments(network: onnxray.Model, per_window: bool) -> None:
    """Parts of any form: only the pixels of a box that belong to the segment are hidden."""
    y, x = np.indices((40, 48))
    labels = ((y // 9 + x // 11) % 3 + 3 * (y > 20)).astype(np.int32)
    ids = np.arange(6, dtype=np.int32)
    boxes = np.array(
        [[*np.argwhere(labels == i).min(0), *(np.argwhere(labels == i).max(0) + 1)] for i in ids], np.int64
    )
    fill: Any = (lambda number: FILL * (number + 1)) if per_window else FILL
    hidden = Hidden(boxes, fill, labels, ids)
    for ready in (made(network, X, boxes), made(network, X, boxes, plain=True)):
        assert apart(computed(ready, X, hidden)["y"], by_hand(network, X, hidden)) <= EXACT


def test_some_of_the_windows(network: onnxray.Model) -> None:
    boxes = grid((40, 48), (5, 9), 6)
    hidden, which = Hidden(boxes, FILL), np.array([3, 17, 0, 21])
    ready = made(network, X, boxes)
    every = computed(ready, X, hidden)["y"]
    for one in (ready, made(network, X, boxes, plain=True)):
        got = computed(one, X, hidden, which=which)["y"]
        assert apart(got[which], every[which]) <= EXACT
        assert not np.delete(got, which, axis=0).any()


def test_one_model_made_ready_serves_many_images(network: onnxray.Model) -> None:
    boxes = grid((40, 48), (8, 8), 8)
    ready = made(network, X, boxes)
    assert isinstance(ready, StagedRunner)
    graphs: set[int] = set()
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal(X.shape).astype(np.float32)
        assert apart(computed(ready, x, Hidden(boxes, FILL))["y"], by_hand(network, x, Hidden(boxes, FILL))) <= EXACT
        now = {id(session) for session in ready._graphs.values()}
        assert graphs <= now
        assert not seed or graphs == now, "nothing is made twice"
        graphs = now


@pytest.mark.parametrize("plain", [False, True])
def test_threads_change_no_byte(network: onnxray.Model, plain: bool) -> None:
    boxes = grid((40, 48), (7, 6), 3)
    found = [
        computed(made(network, X, boxes, threads, plain=plain), X, Hidden(boxes, FILL))["y"] for threads in (1, 2, 3, 1)
    ]
    assert len({array.tobytes() for array in found}) == 1


def test_several_values_at_once(network: onnxray.Model) -> None:
    """The scores and a map from the middle of the network."""
    boxes = grid((40, 48), (9, 9), 10)
    hidden = Hidden(boxes, FILL)
    values = ("y", "r2")
    got = computed(made(network, X, boxes, values=values), X, hidden)
    plain = computed(made(network, X, boxes, values=values, plain=True), X, hidden)
    for name in values:
        assert apart(got[name], plain[name]) <= EXACT


def test_a_network_that_is_local_to_its_end(parse: Parse) -> None:
    """Its maps are the answer: crops are pasted into the clean ones, and nothing runs behind them."""
    rng = np.random.default_rng(0)
    proto = parse(
        """
        net (float[N, 3, 40, 48] image) => (float[N, 2, 40, 48] y)
        {
          c = Conv <pads = [1, 1, 1, 1]> (image, w1) r = Relu (c)
          d = Conv <pads = [2, 2, 2, 2]> (r, w2) y = Softmax <axis = 1> (d)
        }
        """,
        w1=rng.standard_normal((6, 3, 3, 3)).astype(np.float32),
        w2=rng.standard_normal((2, 6, 5, 5)).astype(np.float32),
    )
    model = onnxray.load(proto)
    boxes = grid((40, 48), (4, 4), 11)
    ready = made(model, X, boxes)
    assert ready.plan.ends
    assert apart(computed(ready, X, Hidden(boxes, FILL))["y"], by_hand(model, X, Hidden(boxes, FILL))) <= EXACT


def test_bytes_with_channels_last(parse: Parse) -> None:
    rng = np.random.default_rng(0)
    proto = parse(
        """
        net (uint8[N, 30, 36, 3] image) => (float[N, 4] y)
        {
          real = Cast <to = 1> (image) t = Transpose <perm = [0, 3, 1, 2]> (real)
          c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (t, w1) r = Relu (c)
          d = Conv <pads = [1, 1, 1, 1]> (r, w2) e = Relu (d)
          g = GlobalAveragePool (e) y = Flatten (g)
        }
        """,
        w1=rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        w2=rng.standard_normal((4, 8, 3, 3)).astype(np.float32),
    )
    model = onnxray.load(proto, layout="NHWC")
    x = rng.integers(0, 256, (1, 30, 36, 3)).astype(np.uint8)
    boxes = grid((30, 36), (5, 6), 8)
    hidden = Hidden(boxes, np.full((30, 36, 3), 117, np.uint8))
    ready = made(model, x, boxes)
    assert ready.plan.stages
    assert apart(computed(ready, x, hidden)["y"], by_hand(model, x, hidden)) <= EXACT


def test_other_inputs(parse: Parse) -> None:
    """A row for the sample, joined behind the local part, and one that is the same for all."""
    rng = np.random.default_rng(0)
    proto = parse(
        """
        net (float[N, 3, 24, 24] image, float[N, 4] meta, float scale) => (float[N, 4] y)
        {
          c = Conv <pads = [1, 1, 1, 1]> (image, w1) r = Relu (c) d = Conv <pads = [1, 1, 1, 1]> (r, w2) e = Relu (d)
          g = GlobalAveragePool (e) f = Flatten (g) h = Mul (f, scale) y = Mul (h, meta)
        }
        """,
        w1=rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        w2=rng.standard_normal((4, 8, 3, 3)).astype(np.float32),
    )
    model = onnxray.load(proto)
    x = rng.standard_normal((1, 3, 24, 24)).astype(np.float32)
    others = {"meta": rng.standard_normal((1, 4)).astype(np.float32)}
    shared = {"scale": np.float32(2.5)}
    boxes = grid((24, 24), (4, 4), 7)
    fill = np.zeros(x.shape[1:], np.float32)
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = (("meta", (1, 4)), ("scale", ()))
    expected = by_hand(model, x, Hidden(boxes, fill), {**others, "scale": np.asarray(2.5, np.float32)})
    for plain in (False, True):
        ready = made(model, x, boxes, others=shapes, plain=plain)
        assert bool(ready.plan.stages) is not plain
        got = computed(ready, x, Hidden(boxes, fill), others=others, shared=shared)["y"]
        assert apart(got, expected) <= EXACT


# --- what is run whole, and why ---


def test_reasons_to_run_the_whole_network(
    parse: Parse, network: onnxray.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = grid((40, 48), (9, 9), 9)
    assert "asked for" in made(network, X, boxes, plain=True).plan.reason
    mixing = onnxray.load(
        parse(
            "net (float[N, 3, 8, 8] image) => (float[N, 2] y) { f = Flatten (image) y = MatMul (f, w) }",
            w=np.ones((192, 2), np.float32),
        )
    )
    ready = made(mixing, np.zeros((1, 3, 8, 8), np.float32), grid((8, 8), (2, 2), 2))
    assert not ready.plan.stages
    assert ready.plan.reason == "nothing of the network is local: it is run whole"
    everything = np.array([[0, 0, 40, 48]], np.int64)
    assert "no cut pays" in made(network, X, everything).plan.reason
    monkeypatch.setattr(estimates, "SMALL", 1e9)
    assert "too few windows" in made(network, X, boxes).plan.reason


def test_a_model_of_one_sample_only(parse: Parse) -> None:
    """A batch of one baked into a Reshape: run plainly, one by one, and the same."""
    rng = np.random.default_rng(0)
    proto = parse(
        """
        net (float[1, 3, 12, 12] image) => (float[1, 4] y)
        { c = Conv <pads = [1, 1, 1, 1]> (image, w1) r = Relu (c) f = Reshape (r, shape) y = MatMul (f, w2) }
        """,
        w1=rng.standard_normal((2, 3, 3, 3)).astype(np.float32),
        w2=rng.standard_normal((288, 4)).astype(np.float32),
        shape=np.array([1, 288]),
    )
    model = onnxray.load(proto)
    x = rng.standard_normal((1, 3, 12, 12)).astype(np.float32)
    boxes = grid((12, 12), (3, 3), 4)
    hidden = Hidden(boxes, np.zeros((3, 12, 12), np.float32))
    assert apart(computed(made(model, x, boxes), x, hidden)["y"], by_hand(model, x, hidden)) <= EXACT


def test_a_value_that_does_not_exist(network: onnxray.Model) -> None:
    with pytest.raises(onnxray.OnnxrayError, match="nothing"):
        made(network, X, grid((40, 48), (9, 9), 9), values=("nothing",))


# --- runners that are kept ---


def test_runners_are_kept_for_the_next_image(network: onnxray.Model) -> None:
    image, runtime, boxes = image_input(network), RunOptions(threads=2), grid((40, 48), (9, 9), 9)
    source = HiddenInput(image.name, image.axes, X.shape)

    def kept(boxes: np.ndarray = boxes, share: float = 1.0, **how: Any) -> Runner:
        return runner_for(network, source, ["y"], Windows(boxes, share), runtime, **how)

    runners.clear()
    first = kept()
    assert isinstance(first, StagedRunner)
    assert kept(boxes.copy()) is first
    others = [kept(boxes[:-1]), kept(share=0.5), kept(cap=0.5), kept(plain=True)]
    assert isinstance(others[-1], PlainRunner)
    assert len({id(runner) for runner in (first, *others)}) == 5
    assert kept() is not first, "of those that hold sessions, two are kept"
    for stride in range(1, 12):
        kept(grid((40, 48), (9, 9), stride), plain=True)
    assert len(runners.values()) == 8
    runners.clear()


# --- stopping ---


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("enough"), KeyboardInterrupt()])
def test_what_goes_wrong_stops_all_workers(network: onnxray.Model, plain: bool, error: BaseException) -> None:
    boxes = grid((40, 48), (5, 5), 2)
    ready, seen = made(network, X, boxes, threads=3, plain=plain), []

    def consume(windows: np.ndarray, got: Any) -> None:
        seen.append(len(windows))
        if sum(seen) > 20:
            raise error

    before = set(threading.enumerate())
    with pytest.raises(type(error)):
        ready.run(X, Hidden(boxes, FILL), consume)
    assert sum(seen) < len(boxes)
    assert not {t for t in threading.enumerate() if t not in before and t.is_alive()}
    done = computed(ready, X, Hidden(boxes, FILL))["y"]  # and the next run is whole
    assert np.isfinite(done).all()


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_all_workers(network: onnxray.Model) -> None:
    """The signal reaches the main thread while it waits for the workers."""
    boxes = grid((40, 48), (3, 3), 1)
    ready, seen = made(network, X, boxes, threads=3), []

    def consume(windows: np.ndarray, got: Any) -> None:
        if not seen:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        seen.append(len(windows))

    before = set(threading.enumerate())  # the kernels keep threads of their own
    with pytest.raises(KeyboardInterrupt):
        ready.run(X, Hidden(boxes, FILL), consume)
    assert sum(seen) < len(boxes)
    assert not {t for t in threading.enumerate() if t not in before and t.name.startswith("onnxray-occlusion")}


def test_consume_is_never_called_twice_at_once(network: onnxray.Model) -> None:
    boxes = grid((40, 48), (5, 5), 4)
    inside = threading.Semaphore(1)
    progress: list[int] = []

    def consume(windows: np.ndarray, got: Any) -> None:
        assert inside.acquire(blocking=False)
        inside.release()

    for plain in (False, True):
        progress.clear()
        made(network, X, boxes, threads=3, plain=plain).run(X, Hidden(boxes, FILL), consume, progress=progress.append)
        assert sum(progress) == len(boxes)
        assert len(progress) > 1


# --- an approximation, asked for ---


def test_a_cap_is_near_and_says_so(network: onnxray.Model) -> None:
    boxes = grid((40, 48), (6, 6), 5)
    hidden = Hidden(boxes, FILL)
    exact = computed(made(network, X, boxes, plain=True), X, hidden)["y"]
    ready = made(network, X, boxes, cap=0.3)
    assert ready.plan.reason.startswith("approximate, no more than 0.3 of a map's sides changes")
    near = computed(ready, X, hidden)["y"]
    clean = run(network, {"image": X}, ["y"])["y"]
    assert 0 < apart(near, exact) < 0.2
    for k in range(4):
        assert np.corrcoef(near[:, k] - clean[0, k], exact[:, k] - clean[0, k])[0, 1] > 0.9
    whole = computed(made(network, X, boxes, cap=1.0), X, hidden)["y"]
    assert apart(whole, exact) <= EXACT
