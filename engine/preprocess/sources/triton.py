"""config.pbtxt of the Triton Inference Server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..labels import read_text
from . import pbtxt
from .base import Found, folders, found_in, to_number

if TYPE_CHECKING:
    from ...graph.model import Model

# Triton


def triton(model: Model) -> Iterator[Found]:
    for folder in folders(model, "#"):
        path = folder / "config.pbtxt"
        if not path.is_file():
            continue
        config = pbtxt.parse(read_text(path, "the file"))
        names = [v.name for v in model.inputs]
        fields: dict[str, Any] = {}
        for entry in pbtxt.messages(config, "input"):
            name = pbtxt.text(entry, "name")
            layout = pbtxt.text(entry, "format").removeprefix("FORMAT_")
            if name not in names or layout not in ("NCHW", "NHWC"):
                continue
            fields |= {"input": name, "layout": layout}
            dims = [int(to_number(d, 0)) for d in entry.get("dims", []) if isinstance(d, (int, float))]
            dims = dims[1:] if len(dims) == 4 else dims
            sides = (dims[1:] if layout == "NCHW" else dims[:2]) if len(dims) == 3 else []
            if sides and min(sides) > 0:
                fields["size"] = sides
            break
        for entry in pbtxt.messages(config, "output"):
            if pbtxt.text(entry, "label_filename"):
                fields["labels"] = pbtxt.text(entry, "label_filename")
                break
        if fields:
            yield found_in(path.name, fields, folder)
        return
