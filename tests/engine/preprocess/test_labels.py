"""Label files: they stay in the folder, and reading one never blocks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from onnxray.engine.errors import CardError
from onnxray.engine.preprocess.labels import read_labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("password\nb\n")
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_link_out_of_the_folder_is_not_followed(folder: Path) -> None:
    os.symlink("../secret.txt", folder / "l.txt")
    with pytest.raises(CardError, match="link out of the folder"):
        read_labels("l.txt", "a card", folder, confined=True)
    # Named by the user it is read.
    assert read_labels(str(folder / "l.txt"), "the options") == ("password", "b")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_link_inside_the_folder_is(folder: Path) -> None:
    (folder / "names.txt").write_text("a\nb\n")
    os.symlink("names.txt", folder / "l.txt")
    assert read_labels("l.txt", "a card", folder, confined=True) == ("a", "b")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_links_into_the_blobs_of_the_hugging_face_cache_are(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "ab").write_text("a\nb\n")
    os.symlink("../../blobs/ab", snapshot / "l.txt")
    assert read_labels("l.txt", "a card", snapshot, confined=True) == ("a", "b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_refused_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "p.txt")
    with pytest.raises(CardError, match="not a regular file"):
        read_labels("p.txt", "a card", folder, confined=True)


@pytest.mark.parametrize("labels", [[10**5000], {0: 10**5000}, {"9" * 5000: "a"}, {1e400: "a"}, [float("inf")]])
def test_numbers_of_any_size(labels: object) -> None:
    with pytest.raises(CardError):
        read_labels(labels, "the options")
