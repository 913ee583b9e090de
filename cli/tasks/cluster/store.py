"""The folder `parts` of a run: the list of images, and what each block has come to.

    parts/job.json            what the run was asked for: another run does not go on with these parts
    parts/images.parquet      path, class and name of every image, a row group for each block
    parts/00000017.tar        the files of a block, by the names that they have in the whole run
    parts/00000017.parquet    its records; written last, so that a block is done or is not

The folder lies on a disk that all processes see, or in a bucket.
"""

from __future__ import annotations

import importlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ....engine.errors import OutputError
from ...files.manifest import indented
from ...files.remote import Remote, filesystem_of, path_of, uri_of
from ...files.run import LOCK
from ...sources.share import Block
from ..joined import JOINED, RunPart

JOB, IMAGES = "job.json", "images.parquet"
# Keys of the head of a block's manifest, and of the number of images, in its records' schema.
_HEAD, _COUNT = b"onnxray", b"onnxray.images"
_LIST = ("path", "label", "name")
_PIECE = 1 << 20  # bytes that are copied at once


@dataclass(frozen=True)
class Outcome:
    """What a block has come to: how many images it had, the messages of those that failed, and the seconds of
    processor time that it took, 0 where they were not measured."""

    number: int
    images: int
    errors: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass
class Store:
    """The parts in a folder, which may be a URI. Every method raises OutputError for what cannot be read or written."""

    folder: str
    _opened: tuple[Any, str] | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_opened": None}

    @property
    def remote(self) -> bool:
        """Whether it lies in a bucket."""
        return isinstance(path_of(self.folder), Remote)

    def _fs(self) -> tuple[Any, str]:
        if self._opened is None:
            self._opened = filesystem_of(uri_of(self.folder), OutputError)
        return self._opened

    # --- files ---

    def _path(self, name: str) -> str:
        base = self._fs()[1]
        return f"{base.rpartition('/')[0]}/{name[3:]}" if name.startswith("../") else f"{base}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Whole or not at all; `../NAME` is next to the folder."""
        fs, path = self._fs()[0], self._path(name)
        try:
            if self.remote:  # a bucket shows a file when it is whole
                with fs.open_output_stream(path) as file:
                    file.write(data)
                return
            from ....engine.atomic import atomic

            with atomic(Path(path)) as temporary:
                temporary.write_bytes(data)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot write {f'{self.folder}/{name}'!r}: {_said(error)}") from None

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        fs, _ = self._fs()
        try:
            with fs.open_input_stream(self._path(name)) as file:
                data: bytes = file.read()
                return data
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot read {f'{self.folder}/{name}'!r}: {_said(error)}") from None

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        fs, base = self._fs()
        kinds = importlib.import_module("pyarrow.fs")
        try:
            return bool(fs.get_file_info(f"{base}/{name}").type == kinds.FileType.File)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot look for {f'{self.folder}/{name}'!r}: {_said(error)}") from None

    def names(self) -> set[str]:
        """The names of all files; none where there is no folder."""
        fs, base = self._fs()
        kinds = importlib.import_module("pyarrow.fs")
        try:
            found = fs.get_file_info(kinds.FileSelector(base, allow_not_found=True))
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot look into {self.folder!r}: {_said(error)}") from None
        return {entry.base_name for entry in found}

    def make(self) -> None:
        """The folder, where there is none."""
        fs, base = self._fs()
        try:
            fs.create_dir(base, recursive=True)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot write into {self.folder!r}: {_said(error)}") from None

    def remove(self) -> None:
        """The folder with all that is in it."""
        fs, base = self._fs()
        try:
            if self.names():
                fs.delete_dir(base)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot remove {self.folder!r}: {_said(error)}") from None

    # --- the list of images ---

    def write_list(self, images: Iterable[tuple[Path, str | None, str]], block: int) -> tuple[int, int]:
        """Write the list, a row group for each block; how many blocks and images there are.

        Raises OutputError as well where blocks of another list are done.
        """
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
        schema = arrow.schema([(name, arrow.string()) for name in _LIST])
        data = io.BytesIO()
        blocks = total = 0
        with parquet.ParquetWriter(data, schema) as writer:
            for rows in _chunks(images, block):
                columns = zip(*((str(path), label, name) for path, label, name in rows), strict=True)
                writer.write_table(arrow.table([arrow.array(c, arrow.string()) for c in columns], schema=schema))
                blocks, total = blocks + 1, total + len(rows)
        if self.done() and self.exists(IMAGES) and self.read(IMAGES) != data.getvalue():
            raise OutputError(
                f"{self.folder!r} holds parts of a run over other images: give the same ones, --force to replace it, "
                "or another folder with --out"
            )
        self.write(IMAGES, data.getvalue())
        return blocks, total

    def images(self) -> list[tuple[Path, str | None]]:
        """All images of the list with their classes."""
        parquet = importlib.import_module("pyarrow.parquet")
        try:
            rows = parquet.read_table(io.BytesIO(self.read(IMAGES))).to_pydict()
        except ValueError as error:
            raise OutputError(f"{f'{self.folder}/{IMAGES}'!r} is damaged ({_said(error)}): give --force") from None
        return list(zip(map(path_of, rows["path"]), rows["label"], strict=True))

    def block(self, number: int, size: int, total: int, lenient: bool = False) -> Block:
        """The images of a block. size: of a block."""
        parquet = importlib.import_module("pyarrow.parquet")
        fs, base = self._fs()
        try:
            with fs.open_input_file(f"{base}/{IMAGES}") as file:
                rows = parquet.ParquetFile(file).read_row_group(number).to_pydict()
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot read {f'{self.folder}/{IMAGES}'!r}: {_said(error)}") from None
        paths = tuple(map(path_of, rows["path"]))
        return Block(paths, tuple(rows["label"]), tuple(rows["name"]), number * size, total, lenient)

    # --- blocks ---

    def has(self, number: int) -> bool:
        """Whether a block is done."""
        return self.exists(f"{_name(number)}.parquet")

    def done(self) -> set[int]:
        """The numbers of blocks that are done."""
        names = (name.removesuffix(".parquet") for name in self.names() if name.endswith(".parquet"))
        return {int(name) for name in names if name.isdecimal()}

    def put(
        self, number: int, folder: Path, head: dict[str, Any], entries: Sequence[dict[str, Any]], images: int
    ) -> None:
        """A block is done: the files in `folder`, its records, and how many images it has."""
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
        if files:
            self._write_tar(f"{_name(number)}.tar", folder, files)
        columns = {
            **{key: [entry.get(key) for entry in entries] for key in ("path", "status", "sha256", "error")},
            "entry": [indented(entry) for entry in entries],
        }
        schema = arrow.schema([(key, arrow.string()) for key in columns]).with_metadata(
            {_HEAD: indented(head), _COUNT: str(images)}
        )
        table = arrow.table([arrow.array(column, arrow.string()) for column in columns.values()], schema=schema)
        data = io.BytesIO()
        parquet.write_table(table, data)
        self.write(f"{_name(number)}.parquet", data.getvalue())
        for name in (f"{_name(number)}.attempts", f"{_name(number)}.ends"):
            self._forget(name)

    def _write_tar(self, name: str, folder: Path, files: Sequence[Path]) -> None:
        """The files as a tar, which is never in memory as a whole."""
        try:
            with tempfile.TemporaryFile() as packed:
                with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    for path in files:
                        about = tarfile.TarInfo(path.relative_to(folder).as_posix())
                        about.size = path.stat().st_size
                        with path.open("rb") as file:
                            tar.addfile(about, file)
                packed.seek(0)
                self._write_from(name, packed)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot write {f'{self.folder}/{name}'!r}: {_said(error)}") from None

    def _write_from(self, name: str, source: IO[bytes]) -> None:
        """What a file holds, whole or not at all. Raises OSError, ValueError, OutputError."""
        fs, path = self._fs()[0], self._path(name)
        if self.remote:
            with fs.open_output_stream(path) as file:
                shutil.copyfileobj(source, file, _PIECE)
            return
        from ....engine.atomic import atomic

        with atomic(Path(path)) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(source, file, _PIECE)

    def _forget(self, name: str) -> None:
        """Remove a file, where there is one."""
        if not self.exists(name):
            return
        try:
            self._fs()[0].delete_file(self._path(name))
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot remove {f'{self.folder}/{name}'!r}: {_said(error)}") from None

    def outcome(self, number: int) -> Outcome:
        """What a block that is done has come to."""
        table = self._records(number)
        errors = tuple(text for text in table["error"].to_pylist() if text)
        return Outcome(number, int((table.schema.metadata or {})[_COUNT]), errors)

    def part(self, number: int) -> RunPart:
        """A block as a part of a run."""
        table = self._records(number)
        head = json.loads((table.schema.metadata or {})[_HEAD])

        def entries() -> Iterator[dict[str, Any]]:
            return map(json.loads, table["entry"].to_pylist())

        packed: dict[str, bytes] = {}

        def read(name: str) -> bytes:
            if not packed:
                packed.update(self._files(number))
            if name not in packed:
                raise OutputError(f"{f'{self.folder}/{_name(number)}.tar'!r} lacks {name!r}: remove that block's files")
            return packed[name]

        return RunPart(f"{self.folder}/{_name(number)}", head, entries, read)

    def unpack(self, number: int, folder: Path) -> None:
        """The files of a block, into a folder."""
        for name, data in self._files(number):
            goal = (folder / name).resolve()
            if goal.is_relative_to(folder.resolve()):
                goal.parent.mkdir(parents=True, exist_ok=True)
                goal.write_bytes(data)

    def _files(self, number: int) -> Iterator[tuple[str, bytes]]:
        """The names of a block's files, and what they hold."""
        where = f"{_name(number)}.tar"
        try:
            with tarfile.open(fileobj=io.BytesIO(self.read(where))) as tar:
                for member in tar.getmembers():
                    file = tar.extractfile(member)
                    if file is not None:
                        yield member.name, file.read()
        except tarfile.TarError as error:
            raise OutputError(f"{f'{self.folder}/{where}'!r} is damaged ({_said(error)}): remove that block") from None

    def _records(self, number: int) -> Any:
        parquet = importlib.import_module("pyarrow.parquet")
        name = f"{_name(number)}.parquet"
        try:
            return parquet.read_table(io.BytesIO(self.read(name)))
        except ValueError as error:
            raise OutputError(f"{f'{self.folder}/{name}'!r} is damaged ({_said(error)}): remove it") from None


def finished(store: Store) -> list[int]:
    """The numbers of all blocks, to be joined. Raises OutputError: the command's are not joined, or some are left."""
    try:
        command = str(json.loads(store.read(JOB))["command"])
    except (ValueError, KeyError, TypeError):
        raise OutputError(f"{f'{store.folder}/{JOB}'!r} is damaged: do the run again with --force") from None
    where = store.folder.removesuffix("/parts")
    remedy = f"go on with `onnxray {command} ... --on ... --resume`, with the options that it was begun with"
    if command not in JOINED:
        raise OutputError(f"{where!r} holds an unfinished run (onnxray {command}), which ends without merge: {remedy}")
    numbers = sorted(store.done())
    blocks = int(store.part(numbers[0]).head["options"]["shard"][1]) if numbers else 0
    if len(numbers) != blocks or not numbers:
        left = f"{blocks - len(numbers)} of {blocks} blocks are" if numbers else "all blocks are"
        raise OutputError(f"{where!r} holds an unfinished run (onnxray {command}), {left} left: {remedy}")
    return numbers


def _name(number: int) -> str:
    return f"{number:08d}"


def _said(error: Exception) -> str:
    return " ".join(str(error).split())


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
