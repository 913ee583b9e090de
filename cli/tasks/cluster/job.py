"""A run that is done block by block: what each command does with a block, and how blocks become the whole.

The work on a block is the command's own task on the images of the block: a run on one machine, a part made with
--shard and an actor on a cluster differ only in who calls it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....engine.errors import (
    CardError,
    ImageError,
    MethodError,
    ModelError,
    OnnxrayError,
    OutputError,
    RuntimeUnavailable,
    TargetError,
    UnknownName,
)
from ....engine.preprocess.find import find_card
from ...files.manifest import read_manifest
from ...files.output import Output
from ...files.run import describe_card, versions
from ...parameters.inputs import BUILTIN, SAMPLES, find_images, open_model
from ...sources.share import Block, Share, names_of, stem_of
from ..joined import JOINED, RunPart, join
from ..merge_sites import merge_sites
from ..predict_boxes import picture_name
from .attempts import WHOLE, attempt, one_by_one
from .store import Outcome, Store
from .summary import summarise

if TYPE_CHECKING:
    from ....engine.graph.model import Model
    from ..saved_pass import Pass

Listed = tuple[Path, "str | None", str]
# What all parts of a run share, by entry of their manifests.
_SHARED = {"command": "commands", "model": "models", "card": "preprocessing", "layers": "layers"}


@dataclass(frozen=True)
class Job:
    """command: its name; options: those of its task; store: where blocks go; size: images of a block; folder: the
    current one, in which relative paths mean something; threads: of each process."""

    command: str
    options: Any
    store: Store
    size: int
    folder: str
    threads: int

    def at_home(self) -> None:
        """This process works for the job: paths and threads."""
        from ....kernels.threads import limit

        with contextlib.suppress(OSError):
            os.chdir(self.folder)
        limit(self.threads)


def task_of(command: str) -> Callable[[Any], object]:
    """What does the work of a command, with the options of its task."""
    if command == "explain":
        from ..explain import explain

        return explain
    if command == "predict":
        from ..predict import predict

        return predict
    if command == "activations":
        from ..activations import activations

        return activations
    if command == "evaluate":
        from ..evaluate import evaluate

        return functools.partial(evaluate, document=_no_page)
    if command == "top":
        from ..top import top

        return top
    from ..microscope import microscope

    return functools.partial(microscope, write_pages=lambda folder: [])


def _no_page(*_: object) -> str:
    return ""


# --- the list ---


def listing(job: Job) -> tuple[int, int]:
    """Write the list of what is to be done; how many blocks and images, or pieces, there are.

    Raises ImageError, ModelError and what the command raises for its options.
    """
    job.at_home()
    return job.store.write_list(_listed(job), job.size)


def try_options(job: Job) -> None:
    """Do the first image and keep nothing of it: wrong options are found before a run is replaced.

    Raises ImageError, and what the command raises for its options. Of a site, whose pieces take long, only the list of
    pieces is made.
    """
    job.at_home()
    path, label, name = next(iter(_listed(job)))
    if job.command == "microscope":
        return
    block = Block((path,), (label,), (name,), 0, 1, lenient=True)
    model = open_model(job.options.model, job.options.common.card)
    with tempfile.TemporaryDirectory(prefix="onnxray-") as temporary:
        try:
            _work(job, 0, 1, model, block, Path(temporary) / "part")
        except (CardError, MethodError, ModelError, TargetError, UnknownName):
            raise
        except OnnxrayError:
            return  # of the image, or of this machine: others may do it


def _listed(job: Job) -> Iterable[Listed]:
    options = job.options
    if job.command == "microscope":
        return ((Path(str(number)), None, "") for number in range(_pieces(options)))
    if job.command == "top":
        from ..top import labelled_files

        files, _ = labelled_files(options, open_model(options.model, options.common.card))
        return ((path, label, "") for path, label in files)
    given = options.images, "" if options.images else options.model
    paths = find_images(*given, True, options.selection)
    wanted = picture_name if job.command == "predict" else stem_of
    return zip(paths, [None] * len(paths), names_of(paths, wanted), strict=True)


def _pieces(options: Any) -> int:
    """How many pieces of work a site has."""
    from ..microscope import kinds_of
    from ..site.plan import pieces, site_layers

    model = open_model(options.model, options.common.card)
    return len(pieces(site_layers(model, options.layers, options.units), kinds_of(options)))


# --- a block ---


def do_block(job: Job, number: int, blocks: int, total: int, model: Model) -> Outcome:
    """Do a block, unless it is done; what it has come to.

    Raises OutputError, and errors that are not about single images.
    """
    if job.store.has(number):
        return job.store.outcome(number)
    work = functools.partial(_work, job, number, blocks, model)
    block = Block((), (), (), 0, total) if job.command == "microscope" else job.store.block(number, job.size, total)
    with tempfile.TemporaryDirectory(prefix="onnxray-") as temporary:
        folder = Path(temporary) / "part"
        if attempt(job.store, number) > WHOLE and job.command in JOINED:
            head, entries = one_by_one(job.store, number, block, folder, work)
        else:
            head, entries = _at_once(job, block, folder, work)
        job.store.put(number, folder, head, entries, len(block.paths) or 1)
    return job.store.outcome(number)


def _at_once(
    job: Job, block: Block, folder: Path, work: Callable[[Block, Path], None]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Do a block in a folder; the head of the manifest and the entries."""
    try:
        work(block, folder)
    except (OutputError, RuntimeUnavailable):
        raise
    except OnnxrayError as error:
        if job.command == "top" and isinstance(error, ImageError):
            shutil.rmtree(folder, ignore_errors=True)
            return {}, _none_read(block)
        # All images of the block fail alike: it is theirs, where other blocks are done. The whole run decides.
        shutil.rmtree(folder, ignore_errors=True)
        work(replace(block, lenient=True), folder)
    found = read_manifest(folder)
    if found is None:
        raise OutputError(f"a block left no manifest in {str(folder)!r}: is the disk full?")
    entries: list[dict[str, Any]] = found.pop("images")
    if job.command != "microscope":
        (folder / "manifest.json").unlink()
    return found, entries


def _work(job: Job, number: int, blocks: int, model: Model, block: Block, folder: Path) -> None:
    """The command's own task on the images of a block."""
    # The model has its card already.
    common = replace(job.options.common, quiet=True, progress=False, card={})
    given = {"output": Output(folder), "common": common, "model": model}
    if job.command == "microscope":
        options = replace(site_options(job.options), shard=(number + 1, blocks), **given)
    else:
        options = replace(job.options, images=(), share=Share(number + 1, blocks, block), **given)
    task_of(job.command)(options)


def site_options(options: Any) -> Any:
    """Those of `microscope` with what it takes of the built-in model's name."""
    if options.model != BUILTIN:
        return options
    images = options.images or (() if options.examples is not None else (SAMPLES,))
    return replace(options, images=images, name=options.name or "The built-in model")


def _none_read(block: Block) -> list[dict[str, Any]]:
    """The entries of a block of `top` none of whose images can be read."""
    from ...files.photos import read_photo

    entries = []
    for path in block.paths:
        try:
            read_photo(path, None)
        except ImageError as error:
            entries.append({"path": str(path), "status": "failed", "error": " ".join(str(error).split())})
    return entries


# --- the whole ---


def whole(job: Job, blocks: int, output: Output, in_parts: bool, pages: Pages) -> tuple[int, int]:
    """Make the run of its blocks; how many images there are, and how many of them failed.

    pages: what makes pages of an evaluation, and of a site. Raises OutputError, ImageError (none can be read).
    """
    job.at_home()
    parts = _alike(job.store.part(number) for number in range(blocks))
    if job.command == "top":
        return _whole_top(job, parts, output)
    if job.command == "microscope":
        return _whole_site(job, blocks, output, pages)
    if in_parts:
        return summarise(parts, job.store)
    return _counts(join(parts, replace(output, force=True, resume=False), pages.document).entries)


def _alike(parts: Iterable[RunPart]) -> Iterator[RunPart]:
    """The parts, one after the other. Raises OutputError: one is of another model, preprocessing or command."""
    first: RunPart | None = None
    for part in parts:
        if first is None and part.head:
            first = part
        differing = [what for key, what in _SHARED.items() if first and part.head.get(key) != first.head.get(key)]
        if first is not None and part.head and differing:
            raise OutputError(
                f"{part.where!r} and {first.where!r} are parts of different runs: different {differing[0]}: remove the "
                "files of one that is wrong and give --resume, or give --force"
            )
        yield part


@dataclass(frozen=True)
class Pages:
    """document: makes the page of an evaluation; site: writes those of a site."""

    document: Callable[..., str]
    site: Callable[[Path], list[str]]


def _counts(entries: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    states = [entry["status"] for entry in entries]
    return len(states), states.count("failed")


def _whole_top(job: Job, parts: Iterable[RunPart], output: Output) -> tuple[int, int]:
    from ....engine.survey.top import Top, load_top, merge_tops
    from ..top import RESULT, top

    def merged(work: Pass) -> Top:
        found: Top | None = None
        places = {str(path): place for place, (path, _) in enumerate(work.files)}
        for part in parts:
            work.failures |= {places[entry["path"]]: entry["error"] for entry in part.entries()}
            if not part.head:
                continue  # none of its images can be read
            with tempfile.TemporaryDirectory(prefix="onnxray-") as folder:
                for name in ("top.npz", "manifest.json"):
                    (Path(folder) / name).write_bytes(part.read(f"{RESULT}/{name}"))
                one = load_top(folder)
            found = one if found is None else merge_tops([found, one])
        work.end(0 if found is None else found.count)
        assert found is not None
        return found

    common = replace(job.options.common, quiet=True, progress=False)
    options = replace(job.options, output=replace(output, force=True, resume=False), common=common)
    run = top(options, merged, job.store.images())
    return int(run.manifest["given"]["images"]), _counts(run.entries)[1]


def _whole_site(job: Job, blocks: int, output: Output, pages: Pages) -> tuple[int, int]:
    with tempfile.TemporaryDirectory(prefix="onnxray-") as temporary:
        folders = [Path(temporary) / str(number) for number in range(blocks)]
        for number, folder in enumerate(folders):
            folder.mkdir()
            job.store.unpack(number, folder)
        found = merge_sites(folders, output.folder, True, pages.site)
    return max(1, found["options"]["images"]["count"]), _counts(found["images"])[1]


def _card_of(model: Model) -> dict[str, Any] | None:
    """What the card says, wherever it stands; None where the model takes no image."""
    try:
        return describe_card(find_card(model))
    except ModelError:
        return None


def same_job(job: Job, model: Model) -> bytes:
    """What decides the parts of a job, as bytes: another run does not go on with them."""
    options = replace(job.options, output=None, common=replace(job.options.common, quiet=False, progress=False))
    if hasattr(options, "share"):
        options = replace(options, share=Share())
    about = {
        "command": job.command,
        "options": repr(options),
        "model": model.sha256,
        "card": _card_of(model),
        "block": job.size,
        "versions": versions(),
    }
    return (json.dumps(about, indent=1) + "\n").encode("utf-8", "surrogateescape")
