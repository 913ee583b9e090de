"""`s3://bucket/folder`: images on other machines, by the file systems of pyarrow and fsspec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files.find import SUFFIXES, natural
from ..files.remote import is_uri, listed
from .source import Selection, Source


def _paths(item: str, selection: Selection) -> Sequence[Path]:
    return sorted(listed(item, SUFFIXES, selection.recursive), key=natural)


SOURCE = Source("s3://..., gs://..., abfs://...", "a file or folder of a bucket", is_uri, _paths)
