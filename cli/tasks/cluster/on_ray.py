"""A job on a Ray cluster: Ray Data hands blocks to actors, which hold the model, and restarts what is killed.

What is lost with an actor, a node or the driver are the blocks in work. Nothing is scheduled here.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ....engine import errors
from ....engine.errors import ImageError, OnnxrayError, OutputError, RuntimeUnavailable
from ....engine.version import __version__
from ...files.output import Output
from ...files.quiet import ours_only
from ...files.remote import inside
from ...parameters.inputs import open_model
from .folder import begin, goes_on, held, left_as_it_was
from .job import Job, Pages, do_block, listing, same_job, try_options, whole
from .store import Outcome, Store

if TYPE_CHECKING:
    from ....engine.graph.model import Model
    from ...parameters.scale import Scale
    from ...terminal.progress import Progress

# Python versions that Ray has wheels for, of onnxray's.
WHEELS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# Rows of Ray Data's own table of blocks: so many tasks at most, each for several blocks.
_TASKS = 4096
# Seconds to wait for an answer of a cluster's head.
_PATIENCE = 5.0
# Images that fail alike, and none done, before the error is taken for one of the model.
_ALIKE = 3
# Messages of failures that are said for each block.
_SAID = 20


@dataclass(frozen=True)
class Result:
    """What a run on a cluster has come to: its folder, how many images there are and how many of them failed.

    processor: seconds of processor time of `timed` images, those of blocks but for the first of each actor, in which it
    reads the model. seconds: of the clock, until the last block was done.
    """

    folder: str
    images: int
    failed: int
    timed: int = 0
    processor: float = 0.0
    seconds: float = 0.0


def on_ray(command: str, options: Any, scale: Scale, pages: Pages, actor: type | None = None) -> Result:
    """Do a command on a cluster; options: those of its task. actor: what does blocks in place of `Actor`.

    Raises RuntimeUnavailable: Ray is not installed, no cluster is at the address, or one of other versions.
    OutputError: a folder that holds something else. ImageError: more images failed than may. What the command itself
    raises.
    """
    ray = _ray()
    output: Output = options.output
    model = open_model(options.model, options.common.card)
    if hasattr(options, "labels"):
        options = _with_labels(options, model)
    size = _block_size(command, options, scale.block)
    store = Store(inside(str(output.folder), "parts"))
    if store.remote and not scale.in_parts:
        raise OutputError("results in a bucket stay in parts: give --parts as well")
    job = Job(command, options, store, size, os.getcwd(), max(1, int(scale.cpus)))
    same = same_job(job, model)
    with _cluster(ray, scale):
        _check_nodes(ray)
        with held(store, output.folder) as leave:
            again = goes_on(job, output, same)
            if not again and store.names():
                _in_a_task(ray, try_options, job)
            begin(job, same, again)
            with left_as_it_was(job, again):
                blocks, total = _in_a_task(ray, listing, job)
                with _progress(total, options.common) as bar:
                    tally = _Tally(scale, bar)
                    _blocks_done(ray, job, actor or Actor, (blocks, total), model, tally)
                    seconds = time.monotonic() - tally.start
            leave()
            images, failed = _in_a_task(ray, whole, job, blocks, output, scale.in_parts, pages)
            if not scale.in_parts:
                store.remove()
    return Result(str(output.folder), images, failed, tally.timed, tally.seconds, seconds)


def _progress(total: int, common: Any) -> Progress:
    from ...terminal.progress import Progress

    return Progress(total, quiet=common.quiet, bar=common.progress)


def _with_labels(options: Any, model: Any) -> Any:
    """Those of `top`, with which labels are meant: a block alone does not say."""
    from ..top import labelled_files

    return replace(options, labels=labelled_files(options, model)[1])


def _block_size(command: str, options: Any, asked: int) -> int:
    """Images of a block: whole batches, so that which images run together does not depend on blocks; pieces of a site
    are done one by one."""
    if command == "microscope":
        return 1
    batch = options.batch if command == "predict" else 1
    return -(-asked // batch) * batch


def _ray() -> Any:
    """The module. Raises RuntimeUnavailable where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        if here not in WHEELS:
            remedy = f"Ray has no wheel for Python {here}: use one of {', '.join(WHEELS)}, or --shard and onnxray merge"
        else:
            remedy = "`pip install 'onnxray[ray]'`, or use --shard and onnxray merge, which need nothing"
        raise RuntimeUnavailable(f"--on ray needs Ray Data, which cannot be imported ({error}): {remedy}") from None


# --- the cluster ---


@contextlib.contextmanager
def _cluster(ray: Any, scale: Scale) -> Iterator[None]:
    """Joined, or started, for as long as the block of code lasts; one that this process has joined already is taken."""
    if ray.is_initialized():
        _check_joined(ray, scale.address or "")
        with _quiet(ray, scale.verbose):
            yield
        return
    about: dict[str, Any] = {"log_to_driver": scale.verbose, "configure_logging": True}
    about["logging_level"] = logging.INFO if scale.verbose else logging.ERROR
    address = scale.address or "local"
    if address == "local":
        about["include_dashboard"] = False
    elif address != "auto":
        _answers(address)
    with _quiet(ray, scale.verbose):
        try:
            ray.init(address, **about)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise RuntimeUnavailable(_refused(address, error)) from None
        try:
            yield
        finally:
            ray.shutdown()


def _check_joined(ray: Any, address: str) -> None:
    """Raises RuntimeUnavailable where this process has joined a cluster at another address than HOST:PORT."""
    joined = str(ray.get_runtime_context().gcs_address)
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not port.isdecimal():  # auto, or local
        return
    there, _, open_port = joined.rpartition(":")
    if port != open_port or _number(host) not in (_number(there), "127.0.0.1"):
        raise RuntimeUnavailable(
            f"this process has joined the Ray cluster at {joined!r}, not that at {address!r}: give ray:auto, or call "
            "ray.shutdown() before"
        )


def _number(host: str) -> str:
    """The IP address of a host; its name where it has none."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


def _answers(address: str) -> None:
    """Raises RuntimeUnavailable where nothing listens at HOST:PORT: Ray itself would try for long."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not host or not port.isdecimal():
        raise RuntimeUnavailable(f"{address!r} is no address of a Ray cluster: give ray:HOST:PORT, or ray:auto")
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise RuntimeUnavailable(_refused(address, error)) from None


def _refused(address: str, error: Exception) -> str:
    """One line on why a cluster cannot be joined."""
    text = " ".join(str(error).split())
    versions = re.search(r"Ray: (\S+) Python: (\S+).*?Ray: (\S+) Python: (\S+)", text)
    if versions is not None:
        there, here = (f"Python {versions[n + 1]} and Ray {versions[n]}" for n in (1, 3))
        return f"the cluster at {address!r} has {there}, this process {here}: use the same versions in both places"
    if address == "local":
        return f"Ray cannot be started on this machine ({text[:200]}): see the logs in /tmp/ray"
    hint = "start one with `ray start --head`, or give the address that it printed"
    return f"there is no Ray cluster at {address!r} ({text[:160]}): {hint}"


@contextlib.contextmanager
def _quiet(ray: Any, verbose: bool) -> Iterator[None]:
    """Ray without its own bars and lines."""
    context = ray.data.DataContext.get_current()
    names = ("enable_progress_bars", "enable_operator_progress_bars", "print_on_execution_start")
    before = {name: getattr(context, name) for name in names if hasattr(context, name)}
    logger = logging.getLogger("ray.data")
    level, passed = logger.level, logger.propagate
    if not verbose:
        for name in before:
            setattr(context, name, False)
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False
    try:
        with contextlib.nullcontext() if verbose else ours_only():
            yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)
        logger.propagate = passed


def _check_nodes(ray: Any) -> None:
    """Raises RuntimeUnavailable for a node of another Python or onnxray than this process's."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def about() -> tuple[str, str]:  # pickled by value: a node may lack onnxray
        import importlib
        import platform

        try:
            return platform.python_version(), str(importlib.import_module("onnxray.engine.version").__version__)
        except ImportError:
            return platform.python_version(), ""

    task = ray.remote(num_cpus=0, max_retries=0)(about)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = {
        node["NodeManagerAddress"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in nodes
    }
    here = ".".join(map(str, sys.version_info[:3])), __version__
    for address, answer in asked.items():
        with _one_line(ray):
            python, version = ray.get(answer)
        if not version:
            remedy = f"`pip install 'onnxray[ray]=={__version__}'` there"
            raise RuntimeUnavailable(f"the node {address} has no onnxray: {remedy}")
        if (python.rpartition(".")[0], version) != (here[0].rpartition(".")[0], here[1]):
            raise RuntimeUnavailable(
                f"the node {address} has Python {python} and onnxray {version}, this process Python {here[0]} and "
                f"onnxray {here[1]}: use the same versions in both places"
            )


# --- the job ---


def _in_a_task(ray: Any, work: Any, *given: Any) -> Any:
    """What a function gives, done in a process of the cluster: this one's memory does not grow with the run."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    near = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    task = ray.remote(num_cpus=0, max_retries=2, scheduling_strategy=near)(_safely)
    with _one_line(ray):
        found, problem = ray.get(task.remote(work, given))
    if problem is not None:
        raise _error(*problem)
    return found


def _safely(work: Any, given: tuple[Any, ...]) -> tuple[Any, tuple[str, str] | None]:
    """What a function gives, or the class and the text of an error that was raised on purpose or is the machine's."""
    try:
        return work(*given), None
    except OnnxrayError as error:
        return None, (type(error).__name__, str(error))
    except OSError as error:
        where = socket.gethostname()
        return None, ("OutputError", f"cannot read or write on {where}: {error}: look at its disks, then give --resume")
    except MemoryError:
        where = socket.gethostname()
        return None, ("OnnxrayError", f"{where} has not enough memory: give fewer --actors, then --resume")


@contextlib.contextmanager
def _one_line(ray: Any) -> Iterator[None]:
    """Errors of Ray itself as one line. Raises RuntimeUnavailable."""
    try:
        yield
    except (ray.exceptions.RayError, ray.data.exceptions.SystemException) as error:
        said = " ".join(str(error).split())
        said = said if len(said) < 300 else f"...{said[-297:]}"
        remedy = "look at the cluster, then go on with --resume; --verbose shows what Ray says"
        raise RuntimeUnavailable(f"Ray has ended the run ({type(error).__name__}: {said}): {remedy}") from None


def _error(name: str, text: str) -> OnnxrayError:
    """The error again. Those with arguments of their own become their base."""
    known = getattr(errors, name, OnnxrayError)
    return OnnxrayError(text) if known is errors.UnknownName else known(text)


class Actor:
    """Does blocks, one after the other, with one model whose sessions stay. sha256: of the model."""

    def __init__(self, job: Job, sha256: str, blocks: int, total: int) -> None:
        self.job, self.sha256, self.blocks, self.total = job, sha256, blocks, total
        self.model: Model | None = None
        self.warm = False

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        found, problem = _safely(self._done, (int(row["id"]),))
        outcome = found or Outcome(int(row["id"]), 0)
        name, text = problem or ("", "")
        counts = {"images": outcome.images, "errors": list(outcome.errors), "seconds": outcome.seconds}
        return {**counts, "name": name, "text": text}

    def _done(self, number: int) -> Outcome:
        if self.model is None:
            self.job.at_home()
            options = self.job.options
            model = open_model(options.model, options.common.card)
            if model.sha256 != self.sha256:
                raise OutputError(f"{str(model.path)!r} on {socket.gethostname()} is another model than the driver's")
            self.model = model
        start, first = time.process_time(), not self.warm
        found = do_block(self.job, number, self.blocks, self.total, self.model)
        self.warm = True
        return found if first else replace(found, seconds=time.process_time() - start)


def _blocks_done(ray: Any, job: Job, actor: type, counts: tuple[int, int], model: Any, tally: _Tally) -> None:
    """Do the blocks that are left. Raises ImageError where too many images fail."""
    (blocks, total), scale = counts, tally.scale
    for number in sorted(job.store.done()):
        tally.add(job.store.outcome(number) if number < blocks else Outcome(number, 0), earlier=True)
    left = [number for number in range(blocks) if not job.store.has(number)]
    if not left:
        return
    actors = _actors(ray, scale, len(left))
    rows = ray.data.from_items([{"id": number} for number in left], override_num_blocks=min(len(left), _TASKS))
    done = rows.map(
        actor,
        fn_constructor_args=(job, model.sha256, blocks, total),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
        num_cpus=scale.cpus,
        **({"num_gpus": scale.gpus} if scale.gpus else {}),
    )
    tally.actors = actors
    with _one_line(ray):
        for row in done.iter_rows():
            if row["name"]:
                raise _error(row["name"], row["text"])
            tally.add(Outcome(0, int(row["images"]), tuple(row["errors"]), float(row["seconds"])))


def _actors(ray: Any, scale: Scale, blocks: int) -> int:
    """How many actors there is room for. Raises RuntimeUnavailable where there is none."""
    room = 0
    for node in (node for node in ray.nodes() if node["Alive"]):
        has = node["Resources"]
        fit = int(has.get("CPU", 0) // scale.cpus)
        room += min(fit, int(has.get("GPU", 0) // scale.gpus)) if scale.gpus else fit
    if not room:
        wanted = f"{scale.cpus:g} processors" + (f" and {scale.gpus:g} GPUs" if scale.gpus else "")
        raise RuntimeUnavailable(f"no node of the cluster has {wanted} for an actor: give other --cpus or --gpus")
    return min(scale.actors or room, room, blocks)


class _Tally:
    """What has come in: for the bar, and to end a run that fails."""

    def __init__(self, scale: Scale, bar: Progress) -> None:
        self.scale, self.bar = scale, bar
        self.images = self.failed = self.now = 0
        self.timed, self.seconds = 0, 0.0
        self.actors = 0
        self.texts: set[str] = set()
        self.start = time.monotonic()

    def add(self, outcome: Outcome, earlier: bool = False) -> None:
        """Another block. Raises ImageError where too many images failed, OnnxrayError where all fail alike."""
        self.images += outcome.images
        self.failed += len(outcome.errors)
        self.seconds += outcome.seconds
        self.timed += outcome.images if outcome.seconds else 0
        self.now += 0 if earlier else outcome.images
        for text in () if earlier else outcome.errors[:_SAID]:
            self.bar.say(text, error=True)
        if len(outcome.errors) > _SAID and not earlier:
            self.bar.say(f"{len(outcome.errors) - _SAID} more images of the block failed", error=True)
        self.texts |= set(outcome.errors[:_ALIKE])
        if outcome.errors:
            self.scale.share.check(self.failed, outcome.errors[-1])
        if self.images == self.failed >= _ALIKE and len(self.texts) == 1:
            raise ImageError(f"no image can be done: {self.texts.pop()}")
        rate = self.now / max(1e-9, time.monotonic() - self.start)
        self.bar.steps(outcome.images, f"{rate:.3g} images/s, {self.actors} actors")
