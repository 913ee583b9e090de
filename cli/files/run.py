"""One run of a command is one folder with one manifest.

The manifest says what was asked, of which model, how images were prepared and what came out. Nothing in it depends on
the time or on folders beyond the paths that were given: the same run writes the same bytes. A run never touches files
that another run, or somebody else, has put into the folder: that takes --force, and even then only files that the old
manifest lists are removed. Two runs never write to one folder at once: a lock file there says which process does.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import stat
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ...engine.atomic import Lock, atomic, holder_of, leftover, take_lock
from ...engine.errors import ImageError, OutputError
from .manifest import MANIFEST, files_of, indented, listed_files, plain, read_manifest, stays_in
from .names import Names, slug
from .output import Output
from .remote import Remote, read_remote

if TYPE_CHECKING:
    import numpy as np

    from ...engine.graph.model import Model
    from ...engine.preprocess.card import Card

FORMAT = 1
LOCK = ".onnxray-lock"
# Names in a run's folder that no image has.
RESERVED = (MANIFEST, LOCK)
_PACKAGES = (
    "onnxray",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "numpy",
    "numba",
    "opencv-python",
    "opencv-python-headless",
    "scikit-image",
    "scipy",
)
# Entries of the manifest that two runs must share for one to continue the other.
_DECISIVE = {
    "format": "another form of manifest",
    "command": "another command",
    "model": "another model",
    "layers": "other layers",
    "card": "other preprocessing",
    "options": "other options",
}
_FLUSH = 1.0  # seconds between two writings of the manifest while images are done, at least; and how many times as
_FLUSH_TIMES = 20  # long as the last one took: of thousands of images it takes a while


class Run:
    """The folder and the manifest of one run; a context manager, which writes the manifest however the run ends.

    `options` holds whatever decides the results, `about` further entries of the manifest (model, card, layers, ...).
    `images` are all that will be done, in order. With `output.resume`, those that the folder's manifest calls done,
    with the same options and the same content, need not be done again: see `kept`.
    """

    def __init__(
        self,
        output: Output,
        command: str,
        options: Mapping[str, Any],
        about: Mapping[str, Any],
        images: Sequence[Path] = (),
    ) -> None:
        self.folder = output.folder
        self._order = [str(path) for path in images]
        self._known = set(self._order)
        self._entries: dict[str, bytes] = {}
        self.manifest: dict[str, Any] = {
            "format": FORMAT,
            "command": command,
            "complete": False,
            "options": plain(options),
            **plain(about),
            "images": [],
            "files": [],
            "versions": versions(),
        }
        # What a run that ends early, without an error, has not done; it stands in the manifest, which is not complete.
        self.missing: Mapping[str, Any] = {}
        self._earlier: dict[str, dict[str, Any]] = {}
        self._folders: dict[str, str] = {}
        self._due = time.monotonic() + _FLUSH
        self._taken = Names(RESERVED)
        self._lock = lock_folder(self.folder)
        try:
            old = read_manifest(self.folder)
            if output.resume and old is not None:
                self._resume(old)
            elif old is not None or _occupied(self.folder):
                self._replace(old, output.force)
        except BaseException:
            self._lock.release()
            raise

    def _resume(self, old: dict[str, Any]) -> None:
        differing = [what for key, what in _DECISIVE.items() if old.get(key) != self.manifest.get(key)]
        if differing == [_DECISIVE["options"]] and _but_given(old) == _but_given(self.manifest):
            differing = ["other images"]
        if differing[:1] == [_DECISIVE["model"]] and _but_half(old) == _but_half(self.manifest):
            differing = ["float16 (--half)" if "half" in old["model"] else "float32 (without --half)"]
        if differing:
            raise OutputError(
                f"{str(self.folder)!r} holds a run with {differing[0]}, which cannot be continued: "
                "give --force to replace it, or another folder with --out"
            )
        for image in old["images"]:
            files = files_of(image)
            if files is None or image.get("status") != "done" or not isinstance(image.get("path"), str):
                continue
            folder = self._folder_of(files)
            # An image keeps its folder, whatever images have come since; two with one folder cannot both have it.
            if folder is None or folder not in self._taken:
                self._earlier[image["path"]] = plain(image)
            if folder is not None:
                self._folders.setdefault(image["path"], folder)
                self._taken.take(folder)
        _remove_leftovers(self.folder)

    def _folder_of(self, files: Sequence[str]) -> str | None:
        """The folder that holds all files of an image's entry; None where there is none of our naming."""
        folders = {name.partition("/")[0] for name in files if "/" in name}
        folder = folders.pop() if len(folders) == 1 else None
        return folder if folder is not None and slug(folder) == folder and self._owns(folder) else None

    def _replace(self, old: dict[str, Any] | None, force: bool) -> None:
        if not force:
            what = (
                f"another run (onnxray {old['command']})" if old is not None else "files that no run of onnxray wrote"
            )
            remedy = "to replace it" if old is not None else "to write next to them"
            raise OutputError(f"{str(self.folder)!r} holds {what}: give --force {remedy}, or another folder with --out")
        _remove_leftovers(self.folder)
        for name in [*listed_files(old or {}), MANIFEST]:
            file = self.folder / name
            if self._owns(name) and os.path.isfile(file):
                try:
                    file.unlink()
                except OSError as error:
                    raise OutputError(f"cannot replace {str(file)!r}: {error.strerror or error}") from error
        for name in sorted({str(Path(n).parent) for n in listed_files(old or {})}, key=len, reverse=True):
            if (
                name != "."
                and self._owns(name)
                and os.path.isdir(self.folder / name)
                and not any((self.folder / name).iterdir())
            ):
                (self.folder / name).rmdir()

    def _owns(self, name: str) -> bool:
        return stays_in(self.folder, name)

    def __enter__(self) -> Run:
        self.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.manifest["complete"] = error is None and not self.missing
        if self.missing:
            self.manifest["missing"] = plain(self.missing)
        try:
            if not isinstance(error, OutputError):  # the disk is full or gone: no manifest could be written either
                self.flush()
        finally:
            self._lock.release()

    def flush(self) -> None:
        """Write the manifest as it is now."""
        start = time.monotonic()
        # One key stands alone at this indent, and no text inside has a bare line break.
        before, mark, after = indented(plain({**self.manifest, "images": []})).partition('\n  "images": []')
        with atomic(self.folder / MANIFEST) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(before)
            parts = self._packed()
            if parts:
                file.write(mark[:-1])
                for number, part in enumerate(parts):
                    entry = zlib.decompress(part).decode().replace("\n", "\n    ")
                    file.write(f"{',' if number else ''}\n    {entry}")
                mark = "\n  ]"
            file.write(f"{mark}{after}\n")
        self._due = time.monotonic() + max(_FLUSH, _FLUSH_TIMES * (time.monotonic() - start))

    def kept(self, path: Path, sha256: str | None = None) -> dict[str, Any] | None:
        """The entry of an image that an earlier, unfinished run has done, with all its files; None if there is none.

        sha256: of what it holds now, where that is no file.
        """
        entry = self._earlier.get(str(path))
        if entry is None or entry.get("sha256") != (digest_of(path) if sha256 is None else sha256):
            return None
        if not all(self._owns(name) and os.path.isfile(self.folder / name) for name in entry.get("files", ())):
            return None
        return entry

    def folder_for(self, path: Path, wanted: str | None = None) -> str:
        """The name of an image's folder, made of its file's or of `wanted`; that which it had in the run that is
        continued."""
        return self._folders.get(str(path)) or self.name(path.stem if wanted is None else wanted)

    def add(self, entry: dict[str, Any]) -> None:
        """Put an image's entry, see `done` and `failed`, into the manifest."""
        if entry["path"] not in self._known:  # of a stream, whose images are not known beforehand
            self._known.add(entry["path"])
            self._order.append(entry["path"])
        # As they are written, compressed: a run over many thousands of images holds little of each.
        self._entries[entry["path"]] = zlib.compress(indented(entry).encode(), 1)
        if time.monotonic() > self._due:
            self.flush()

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The entries of the images so far, in the order they were given."""
        return [json.loads(zlib.decompress(part)) for part in self._packed()]

    def document(self) -> dict[str, Any]:
        """What the manifest's file holds."""
        return plain({**self.manifest, "images": self.entries})  # type: ignore[no-any-return]

    def _packed(self) -> list[bytes]:
        return [self._entries[path] for path in self._order if path in self._entries]

    def name(self, wanted: str, folder: str = "") -> str:
        """A file or folder name, made of `wanted`, that nothing else of this run has; relative to the run's folder."""
        return self._taken.name(wanted, folder)

    def picture(self, name: str, image: np.ndarray) -> str:
        """Write a picture, in the format of its suffix; `name` is relative to the folder. Returns it."""
        from .images import write

        write(self.folder / name, image)
        return name

    def array(self, name: str, array: np.ndarray) -> str:
        """Write a float32 .npy file."""
        import numpy as np

        with atomic(self.folder / name) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(array, np.float32), allow_pickle=False)
        return name

    def data(self, name: str, data: bytes) -> str:
        """Write a file of bytes."""
        with atomic(self.folder / name) as temporary:
            temporary.write_bytes(data)
        return name

    def text(self, name: str, text: str) -> str:
        with atomic(self.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        return name


def done(path: Path, sha256: str, files: Sequence[str] = (), **results: Any) -> dict[str, Any]:
    """The entry of an image that is done, with its results and the files written for it.

    sha256: of the bytes that it was read from; the file may hold others by now.
    """
    return {"path": str(path), "status": "done", "sha256": sha256, **plain(results), "files": list(files)}


def failed(path: Path, error: Exception) -> dict[str, Any]:
    """The entry of an image that failed."""
    return {"path": str(path), "status": "failed", "error": " ".join(str(error).split())}


def _but_given(manifest: Mapping[str, Any]) -> Any:
    """The options, without those of the images that a part is of."""
    options = manifest.get("options")
    return {key: options[key] for key in options if key != "given"} if isinstance(options, Mapping) else options


def _but_half(manifest: Mapping[str, Any]) -> Any:
    """What is said of the model, without whether it computes in float16."""
    model = manifest.get("model")
    return {key: model[key] for key in model if key != "half"} if isinstance(model, Mapping) else model


def describe(model: Model) -> dict[str, Any]:
    """The manifest's entry about the model."""
    from ...engine.graph.narrow import NOTE

    entry = {"path": str(model.path) if model.path else None, "sha256": model.sha256, "opset": model.opset}
    return {**entry, "half": model.metadata[NOTE]} if NOTE in model.metadata else entry


def describe_card(card: Card) -> dict[str, Any]:
    """The manifest's entry about preprocessing: its fields, their sources, warnings; labels by number and hash."""
    fields = card.to_mapping()
    labels = fields.pop("labels", None)
    if labels is not None:
        text = "\n".join(labels).encode()
        fields["labels"] = {"count": len(labels), "sha256": hashlib.sha256(text).hexdigest()}
    return fields


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def digest_of(path: Path) -> str | None:
    """sha256 of a file; None where it cannot be read, which is said when it is read for good."""
    if isinstance(path, Remote):
        try:
            return hashlib.sha256(read_remote(path)).hexdigest()
        except ImageError:
            return None
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()


def made_by(folder: Path) -> str | None:
    """The command whose run a folder holds, None if there is none."""
    found = read_manifest(folder)
    return None if found is None else str(found["command"])


def lock_folder(folder: Path, name: str = LOCK) -> Lock:
    """The lock of that name in a folder, which is made if need be. Raises OutputError while another run has it."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{str(folder)!r} is a file: give another folder with --out")
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OutputError(f"cannot write {str(path)!r}: {reason}") from error
    if lock is None:
        raise OutputError(
            f"{str(folder)!r} is being written by another run ({holder_of(path)}): wait until it ends, or give another "
            "folder with --out"
        )
    return lock


def _occupied(folder: Path) -> bool:
    """Whether there are files in the folder that no lock and no killed run has left."""
    try:
        return any(not (leftover(name) or name == LOCK) for name in os.listdir(folder))
    except OSError as error:
        raise OutputError(f"cannot look into {str(folder)!r}: {error.strerror or error}") from error


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed runs from the folder and from those in it."""
    try:
        for file in [file for place in _places(folder) for file in os.scandir(place) if leftover(file.name)]:
            os.unlink(file.path)
    except OSError as error:
        raise OutputError(f"cannot remove {error.filename!r}: {error.strerror or error}") from error


def _places(folder: Path) -> Iterator[str]:
    yield str(folder)
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield entry.path
