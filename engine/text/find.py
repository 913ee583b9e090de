"""Where a model's tokenizer lies: named by an option or the card, else next to the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..caches import of_model
from ..errors import CardError, TextError
from ..graph.model import Model
from ..preprocess.labels import parse_json, read_text
from .hugging_face import from_json, from_wordpieces
from .reader import Reader, simple

# Files that are looked for, best first; those of sentencepiece are named in the error only.
FILES = ("tokenizer.json", "vocab.txt")
_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model")
_CONFIGS = ("config.json", "special_tokens_map.json", "tokenizer_config.json")
_GENERATION = "generation_config.json"
_TEMPLATE = "chat_template.jinja"
_KINDS = ("bytes", "characters", "words")
# The library's longest tokenizers have 20 MB.
_MOST_BYTES = 256 << 20
# Ids are int32 or int64 in models; no table has more rows.
_MOST_IDS = 1 << 31


@of_model
def reader_of(model: Model) -> Reader:
    """The tokenizer of a model. Raises TextError where there is none, or it cannot be read, RuntimeUnavailable where
    the library `tokenizers` is missing."""
    said = model.overrides.get("tokenizer")
    if isinstance(said, Mapping):
        return _described(said, model)
    if said is not None:
        return _from_file(_named(str(said), model))
    looked = _folders(model)
    for folder in looked:
        for name in FILES:
            if (folder / name).is_file():
                return _from_file(folder / name)
    raise TextError(_nowhere(looked))


def _folders(model: Model) -> list[Path]:
    """Next to the model, in a folder of its own there, and above (transformers keeps models in `onnx/`)."""
    if model.path is None:
        return [] if model.folder is None else [Path(model.folder)]
    here = Path(model.path).resolve().parent
    return [here, here / "tokenizer", here.parent]


def _nowhere(looked: list[Path]) -> str:
    where = ", ".join(map(str, looked)) or "nowhere, as the model is no file"
    pieces = [folder / name for folder in looked for name in _SENTENCEPIECE if (folder / name).is_file()]
    if pieces:
        return (
            f"{pieces[0]} is sentencepiece's, which is not read: convert it with transformers, "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER), which writes tokenizer.json"
        )
    return (
        f"no tokenizer found for the text: looked for {' and '.join(FILES)} in {where}; name one with tokenizer=FILE "
        "(--tokenizer), or describe it in the model card"
    )


def _named(name: str, model: Model) -> Path:
    """A tokenizer that is named: a file, or a folder that holds one; relative to the current folder or the model's."""
    beside = [] if model.path is None else [Path(model.path).resolve().parent / name]
    for path in (Path(name), *beside):
        if path.is_file():
            return path
        for file in FILES if path.is_dir() else ():
            if (path / file).is_file():
                return path / file
    raise TextError(f"no tokenizer {name!r}: give the path of a tokenizer.json or a vocab.txt")


def _from_file(path: Path) -> Reader:
    if path.suffix == ".model":
        raise TextError(_nowhere([path.parent]))
    text = _read(path)
    if path.suffix.lower() == ".json":
        content = parse_json(text, repr(str(path)))
        if isinstance(content, dict) and "model" in content:
            return from_json(text, str(path), _said(path.parent))
        if isinstance(content, dict) and any(isinstance(code, int) for code in content.values()):
            return simple({"kind": "words"}, _codes(content, str(path)), str(path))
        raise TextError(f"{str(path)!r} is neither a tokenizer.json nor a vocabulary {{word: id}}")
    vocab = vocabulary(text, str(path))
    if "[UNK]" in vocab or any(piece.startswith("##") for piece in vocab):
        return from_wordpieces(vocab, str(path), _said(path.parent))
    return simple({"kind": "words"}, vocab, str(path))


def vocabulary(text: str, where: str) -> dict[str, int]:
    """One piece a line, or `piece id` on every line. Raises TextError."""
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    lines = [line.rstrip("\r") for line in lines]
    pairs = [line.rsplit(" ", 1) if " " in line else line.rsplit("\t", 1) for line in lines]
    if lines and all(len(pair) == 2 and pair[1].isascii() and pair[1].isdigit() for pair in pairs):
        found = {piece: int(code) for piece, code in pairs}
    else:
        found = {}
        for number, piece in enumerate(lines):
            found.setdefault(piece, number)
    if not found:
        raise TextError(f"the vocabulary {where!r} is empty")
    return found


def _codes(content: Any, where: str) -> dict[str, int]:
    """Pieces and their ids, from {piece: id} or a list of pieces. Raises TextError."""
    if isinstance(content, list):
        content = {str(piece): number for number, piece in enumerate(content)}
    if not isinstance(content, Mapping):
        raise TextError(f"the vocabulary of {where} is neither {{piece: id}} nor a list of pieces: write one of them")
    for piece, code in content.items():
        if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code < _MOST_IDS:
            raise TextError(f"the id of {piece!r} in the vocabulary of {where} is {code!r}: give a whole number from 0")
    return {str(piece): code for piece, code in content.items()}


def _described(said: Mapping[str, Any], model: Model) -> Reader:
    where = "the model card"
    kind = str(said.get("kind", "words"))
    if kind not in _KINDS:
        raise TextError(f"the tokenizer of {where} is of kind {kind!r}: known are {', '.join(_KINDS)}")
    given = said.get("vocab")
    vocab: dict[str, int] = {}
    if isinstance(given, Mapping | list):
        vocab = _codes(given, where)
    elif isinstance(given, str) and kind == "characters" and not _is_file(given, model):
        vocab = {char: number for number, char in enumerate(given)}
    elif isinstance(given, str):
        path = _named(given, model)
        text = _read(path)
        json = path.suffix.lower() == ".json"
        vocab = _codes(parse_json(text, repr(str(path))), str(path)) if json else vocabulary(text, str(path))
    if kind != "bytes" and not vocab:
        raise TextError(f"the tokenizer of {where} has no vocabulary: give `vocab`, a file or a list")
    return simple(said, vocab, where)


def _is_file(name: str, model: Model) -> bool:
    try:
        return _named(name, model).is_file()
    except (TextError, OSError):
        return False


def _said(folder: Path) -> dict[str, Any]:
    """What the configurations next to a tokenizer, or above it, say; later files override earlier ones."""
    found: dict[str, Any] = {}
    for name in _CONFIGS:
        for place in (folder, folder.parent):
            if (place / name).is_file():
                content = parse_json(_read(place / name), repr(str(place / name)))
                found |= content if isinstance(content, dict) else {}
                break
    for place in (folder, folder.parent):
        if (place / _GENERATION).is_file():
            content = parse_json(_read(place / _GENERATION), repr(str(place / _GENERATION)))
            begin = content.get("decoder_start_token_id") if isinstance(content, dict) else None
            found |= {} if begin is None else {"decoder_start_token_id": begin}
            break
    for place in (folder, folder.parent):
        if (place / _TEMPLATE).is_file():
            found["chat_template"] = _read(place / _TEMPLATE)
            break
    return found


def _read(path: Path) -> str:
    try:
        return read_text(path, "the tokenizer's file", _MOST_BYTES)
    except CardError as error:
        raise TextError(str(error)) from None
    except OSError as error:
        raise TextError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
