"""The survey of a site is cut off and goes on; coarse pictures come first, layer by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxray.cli.files.images import write
from onnxray.cli.files.sheet import write_sheet
from onnxray.cli.tasks.site.plan import FIRSTS, first_pieces, pieces, site_layers, superseded
from onnxray.cli.tasks.site.survey import Survey
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.load import load


def test_a_survey_that_was_cut_off_goes_on_to_the_same(model: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    files: list[tuple[Path, str | None]] = [(tmp_path / f"{n}.png", None) for n in range(5)]
    for path, _ in files:
        write(path, random.integers(0, 256, (32, 32, 3)).astype(np.uint8))
    files[1][0].write_bytes(b"no image")
    net, runtime, shown = load(model), RunOptions(batch=1), list[str]()
    layers = site_layers(net, (), "")
    whole = Survey(files, tmp_path / "whole.npz")
    whole.run(net, layers, runtime, shown.append, lambda: False)
    assert len(shown) == 4
    assert whole.part.exists()  # until all is written that is made of it
    looked_at = []
    for _ in range(4):
        part = Survey(files, tmp_path / "part.npz")
        part.run(net, layers, runtime, shown.append, lambda: True)
        looked_at.append(part.at)
    assert looked_at == [1, 3, 4, 5]
    assert part.top is not None
    assert whole.top is not None
    assert part.failures == whole.failures
    assert part.top.manifest() == whole.top.manifest()
    for name, array in whole.top.arrays().items():
        np.testing.assert_array_equal(part.top.arrays()[name], array)


def test_coarse_pictures_come_first_of_classes_and_of_every_layer(tmp_path: Path) -> None:
    layers = site_layers(load("builtin"), (), "")
    first = first_pieces(layers)
    assert {piece.layer.slug for piece in first} == {layer.slug for layer in layers if len(layer.units) > FIRSTS}
    assert all(len(piece.units) == FIRSTS for piece in first)
    order = [(p.kind, 0 if p.layer.classes else p.number + 1, not p.layer.classes) for p in pieces(layers, ["coarse"])]
    assert order == sorted(order)
    piece = first[0]
    tile = np.zeros((1, 16, 16, 3), np.uint8)
    write_sheet(tmp_path / piece.file, tile, 1, {"units": [0]})
    assert not superseded(tmp_path, piece.file)
    write_sheet(tmp_path / piece.file.replace("first-", "coarse-"), tile, 1, {"units": [0]})
    assert superseded(tmp_path, piece.file)
