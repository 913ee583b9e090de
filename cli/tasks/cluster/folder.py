"""The folder of a run on a cluster: whose it is, what an earlier run of the same job has left there."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ....engine.atomic import leftover
from ....engine.errors import OnnxrayError, OutputError
from ...files.manifest import read_manifest
from ...files.output import Output
from ...files.run import LOCK, lock_folder
from .store import IMAGES, JOB, Store

if TYPE_CHECKING:
    from .job import Job

# Held by the driver until the end: the lock of the folder itself is given to the process that joins the blocks.
DRIVER_LOCK = ".onnxray-driver-lock"
# Files in a folder that are not a run's.
_OWN = ("parts", LOCK, DRIVER_LOCK)
_PARTS = re.compile(rf"{re.escape(JOB)}|{re.escape(IMAGES)}|\d{{8}}\.(tar|parquet|attempts|ends)")


@contextlib.contextmanager
def held(store: Store, folder: Path) -> Iterator[Callable[[], object]]:
    """The folder belongs to this process for as long as the block of code lasts; a bucket has no locks.

    Gives what is called before another process joins the blocks, which takes the folder's own lock. A folder that this
    process has made and that is empty at the end is removed. Raises OutputError while another run has it.
    """
    if store.remote:
        yield lambda: None
        return
    made = not folder.exists()
    own = lock_folder(folder)
    try:
        driver = lock_folder(folder, DRIVER_LOCK)
        try:
            yield own.release
        finally:
            driver.release()
    finally:
        own.release()
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def goes_on(job: Job, output: Output, same: bytes) -> bool:
    """Whether the run goes on with an earlier one of the same job; nothing is changed yet.

    same: what the job is, see `same_job`. Raises OutputError: the folder holds something that stays.
    """
    names = {name for name in job.store.names() if not leftover(name)}
    foreign = sorted(name for name in names if not _PARTS.fullmatch(name))
    if foreign:
        raise OutputError(
            f"{job.store.folder!r} holds {foreign[0]!r}, which no run of onnxray wrote: give another folder with --out"
        )
    if JOB in names and output.resume:
        _check_same(job, output, same)
        return True
    if not output.force and (names or _others(job, output)):
        raise OutputError(_taken(job, output, JOB in names))
    return False


def begin(job: Job, same: bytes, again: bool) -> None:
    """Make the folder of parts ready. again: those that are there stay. Raises OutputError."""
    if not again:
        job.store.remove()
    job.store.make()
    job.store.write(JOB, same)


@contextlib.contextmanager
def left_as_it_was(job: Job, again: bool) -> Iterator[None]:
    """Where the block of code fails before anything is done, such as for wrong options, the parts that this process has
    begun do not stay behind. again: they are those of an earlier one."""
    try:
        yield
    except OnnxrayError:
        with contextlib.suppress(OutputError):
            if not again and not job.store.done():
                job.store.remove()
        raise


def _check_same(job: Job, output: Output, same: bytes) -> None:
    if job.store.read(JOB) != same:
        raise OutputError(
            f"{job.store.folder!r} holds parts of another run (model, preprocessing, options, size of blocks or "
            "versions): give --force to replace it, or another folder with --out"
        )
    found = None if job.store.remote else read_manifest(output.folder)
    if found is not None and found["command"] != job.command:
        raise OutputError(
            f"{str(output.folder)!r} holds another run (onnxray {found['command']}): move its files, then give --resume"
        )


def _others(job: Job, output: Output) -> set[str]:
    if job.store.remote or not output.folder.is_dir():
        return set()
    return {name for name in os.listdir(output.folder) if not leftover(name)} - {*_OWN}


def _taken(job: Job, output: Output, unfinished: bool) -> str:
    """Why a folder is not written to: without --force, and not gone on with."""
    where = job.store.folder.removesuffix("/parts")
    if not output.resume:
        what = "an unfinished run" if unfinished else "files"
        return f"{where!r} holds {what}: give --resume to go on, --force to replace it, or another folder with --out"
    found = None if job.store.remote else read_manifest(output.folder)
    if found is None:
        return (
            f"{where!r} holds files that no run of onnxray wrote, and no run to go on with: give --force to write next "
            "to them, or another folder with --out"
        )
    state = "a finished run" if found.get("complete") else "a run that was not made with --on"
    return f"{where!r} holds {state}: give --force to replace it, or another folder with --out"
