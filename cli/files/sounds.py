"""Files of sounds: WAV, FLAC, OGG and MP3, by libsndfile; WAV also without it."""

from __future__ import annotations

import glob
import io
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import SoundError
from ...engine.sound.given import MOST_SAMPLES, Frames, Sound
from .find import natural

if TYPE_CHECKING:
    from collections.abc import Iterable

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")
_HEAD = 12


def is_sound_file(path: Path) -> bool:
    """Whether a file holds a sound, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):
        return False  # said when it is read
    riff = head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE"
    aiff = head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")
    mp3 = head[:3] == b"ID3" or (head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE6 in (0xE2,))
    return riff or aiff or head[:4] in (b"fLaC", b"OggS") or mp3


def sound_files(items: Sequence[str], recursive: bool = False) -> list[Path]:
    """The files that files, folders and glob patterns name, those of a folder in natural order. Raises SoundError."""
    found: dict[Path, None] = {}
    for item in items:
        path = Path(item)
        if path.is_dir():
            inside = path.rglob("*") if recursive else path.iterdir()
            files = _sounds_in(inside)
            if not files:
                raise SoundError(f"the folder {item!r} has no sound in it ({', '.join(SUFFIXES)})")
        elif path.exists() or not glob.has_magic(item):
            files = [path]
        else:
            files = _sounds_in(map(Path, glob.glob(item, recursive=True)))
            if not files:
                raise SoundError(f"the pattern {item!r} matches no sound ({', '.join(SUFFIXES)})")
        found.update(dict.fromkeys(files))
    return list(found)


def _sounds_in(paths: Iterable[Path]) -> list[Path]:
    return sorted((p for p in paths if p.suffix.lower() in SUFFIXES and p.is_file()), key=natural)


def read_sound(path: Path, frames: Frames = "strongest") -> Sound:
    """The sound in a file, its channels averaged. Raises SoundError for one that cannot be read, or is too long."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SoundError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    try:
        import soundfile
    except ImportError:
        samples, rate = _wave(data, repr(str(path)))
    else:
        samples, rate = _decoded(soundfile, data, repr(str(path)))
    try:
        return Sound(samples, rate, frames)
    except SoundError as error:
        raise SoundError(f"{str(path)!r}: {error}") from None


def _decoded(soundfile: Any, data: bytes, where: str) -> tuple[NDArray[Any], int]:
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > MOST_SAMPLES:
                raise SoundError(
                    f"{where} lasts {file.frames / max(1, file.samplerate) / 3600:.1f} h, {file.frames} samples, more "
                    f"than the limit of {MOST_SAMPLES}: cut it"
                )
            return file.read(dtype="float32", always_2d=True), int(file.samplerate)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        said = getattr(error, "error_string", str(error))
        raise SoundError(f"{where} cannot be read as a sound: {' '.join(said.split())[:160]}") from None


def _wave(data: bytes, where: str) -> tuple[NDArray[Any], int]:
    """A WAV file of whole numbers, by the standard library."""
    if data[:4] != b"RIFF":
        raise SoundError(f"{where} is no WAV file: pip install 'onnxray[audio]' reads FLAC, OGG and MP3")
    try:
        with wave.open(io.BytesIO(data)) as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            if file.getnframes() > MOST_SAMPLES:
                raise SoundError(f"{where} has {file.getnframes()} samples, more than {MOST_SAMPLES}: cut it")
            raw = np.frombuffer(file.readframes(file.getnframes()), np.uint8)
    except (wave.Error, EOFError) as error:
        raise SoundError(
            f"{where} cannot be read as a WAV file of whole numbers ({error}): pip install 'onnxray[audio]'"
        ) from None
    raw = raw[: len(raw) // (width * channels) * width * channels]
    if width == 1:
        return raw.reshape(-1, channels), rate
    wide = np.zeros((len(raw) // width, 4), np.uint8)
    wide[:, 4 - width :] = raw.reshape(-1, width)
    return wide.view("<i4").reshape(-1, channels), rate


def wav_of(samples: NDArray[np.floating], rate: int, gain: float = 1.0) -> bytes:
    """A WAV file of 16 bits and one channel; what is louder than full scale is cut."""
    whole = np.clip(np.rint(samples.astype(np.float64) * gain * 32767), -32768, 32767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())
    return out.getvalue()
