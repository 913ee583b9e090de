"""Writing the graph of a crop stage: fixed shapes, borders padded as in the whole map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto, helper

from ..graph.model import Model
from ..proto.arguments import pads_of, slice_of
from ..proto.attributes import attributes
from ..proto.nodes import MIN_IR, reads
from ..proto.values import Value, to_info
from ..proto.writer import Writer
from .crop_geometry import Along, CropStage
from .locality import Locality, Step

CROP = "/crop"


def build(model: Model, known: Locality, part: CropStage, rows: Along, row: int, columns: Along, column: int) -> Model:
    """The section for windows of the kinds `row` and `column`: crops of the entry in, crops of the exit out.

    Outputs are called as the values of the exit, with "/crop" behind the name.
    """
    sides = ((rows, row), (columns, column))
    writer = _CropWriter(model, known)
    for node in part.nodes:
        key, step = node.output[0], known.steps[node.output[0]]
        inputs = {}
        for name in step.reaches:
            at = [geometry.reads[kind][key, name] for geometry, kind in sides]
            inputs[name] = writer.crop(name, at, [geometry.length[kind][name] for geometry, kind in sides])
        writer.write(
            step,
            inputs,
            lengths=[geometry.length[kind][key] for geometry, kind in sides],
            taken=[geometry.reads[kind][key, node.input[0]][1] for geometry, kind in sides]
            if node.input[0] in step.reaches
            else [],
            pads=[geometry.pads[kind].get(key, (0, 0)) for geometry, kind in sides],
            skips=[geometry.skips[kind].get(key, 0) for geometry, kind in sides],
        )
    for name in part.exit:
        at = [geometry.handed[kind][name] for geometry, kind in sides]
        found = writer.crop(name, at, [geometry.length[kind][name] for geometry, kind in sides])
        writer.node("Identity", [found], [name + CROP])
    entry = {name: [geometry.length[kind][name] for geometry, kind in sides] for name in part.entry}
    exits = {name: [geometry.handed[kind][name][1] for geometry, kind in sides] for name in part.exit}
    return writer.model_of(entry, exits)


class _CropWriter(Writer):
    """Writes nodes for crops."""

    def __init__(self, model: Model, known: Locality) -> None:
        super().__init__()
        self.model, self.known = model, known

    def const(self, values: Sequence[float], dtype: type = np.int64) -> str:
        return self.initializer(f"crop/constant{len(self.initializers)}", np.array(values, dtype))

    def crop(self, name: str, at: Sequence[tuple[int, int]], length: Sequence[int]) -> str:
        """Offset and number `at` of rows and columns of what is computed of the value, `length` in all."""
        axes = self.known.axes[name]
        cut = [(axis, *place) for axis, place, all_ in zip(axes, at, length, strict=True) if place != (0, all_)]
        if not cut:
            return name
        output = f"{name}/crop{len(self.nodes)}"
        self.slice(name, output, [(axis, offset, offset + taken, 1) for axis, offset, taken in cut])
        return output

    def slice(self, name: str, output: str, places: Sequence[tuple[int, int, int, int]]) -> None:
        """places: axis, start, end, step."""
        axes, starts, ends, steps = (list(column) for column in zip(*places, strict=True))
        if self.model.opset < 10:
            self.node("Slice", [name], [output], axes=axes, starts=starts, ends=ends)
        else:
            self.node("Slice", [name, *(self.const(values) for values in (starts, ends, axes, steps))], [output])

    def write(
        self,
        step: Step,
        inputs: Mapping[str, str],
        lengths: Sequence[int],
        taken: Sequence[int],
        pads: Sequence[tuple[int, int]],
        skips: Sequence[int],
    ) -> None:
        """The node for a part of its output.

        lengths: rows and columns of that part; taken: of what it reads of its first input; pads: before and after;
        skips: what an enlarged crop has before that part.
        """
        node = NodeProto()
        node.CopyFrom(step.node)
        for place, name in enumerate(node.input):
            if name in inputs:
                node.input[place] = inputs[name]
        if step.kind == "window":
            self._put(node, ["pads", "auto_pad", "ceil_mode"], pads=[p[0] for p in pads] + [p[1] for p in pads])
            self.add(node)
        elif step.kind == "pad":
            self._pad(step, node, pads)
        elif step.kind == "slice":
            self._slice(step, node, taken)
        elif step.kind == "reshape":
            shape = list(self._shape(node.output[0]))
            shape[0] = 0
            for axis, size in zip(self.known.axes[node.output[0]], lengths, strict=True):
                shape[axis] = size
            self.node("Reshape", [node.input[0], self.const(shape)], node.output)
        elif step.kind == "resize":
            self._resize(step, node, lengths, skips)
        else:
            self.add(node)

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.known.sizes[name]
        assert shape is not None
        return shape

    def _put(self, node: NodeProto, gone: Sequence[str], **given: object) -> None:
        kept = [a for a in node.attribute if a.name not in gone]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in given.items())

    def _pad(self, step: Step, node: NodeProto, pads: Sequence[tuple[int, int]]) -> None:
        rank = len(self._shape(step.node.input[0]))
        stated = pads_of(step.node, rank, self.model.constant)
        full = [before for before, _ in stated] + [after for _, after in stated]
        for axis, (before, after) in zip(self.known.axes[step.node.input[0]], pads, strict=True):
            full[axis], full[rank + axis] = before, after
        if len(node.input) < 2:
            self._put(node, ["pads"], pads=full)
        else:
            node.input[1] = self.const(full)
            del node.input[3:]
        self.add(node)

    def _slice(self, step: Step, node: NodeProto, taken: Sequence[int]) -> None:
        name = step.node.input[0]
        shape, axes = self._shape(name), self.known.axes[name]
        out = self._shape(node.output[0])
        stated = slice_of(step.node, len(shape), self.model.constant, ends=False)
        if any(cut.axis not in axes for cut in stated):
            stated = slice_of(step.node, len(shape), self.model.constant)
        stepped = len(node.input) > 4 and bool(node.input[4])
        cuts: list[tuple[int, int, int, int]] = []
        for cut in stated:
            if cut.axis in axes:
                stride = step.reaches[name][axes.index(cut.axis)].num
                cuts.append((cut.axis, 0, taken[axes.index(cut.axis)], stride))
            elif out[cut.axis] != shape[cut.axis] or stepped:
                cuts.append(cut)
        self.slice(node.input[0], node.output[0], cuts)

    def _resize(self, step: Step, node: NodeProto, lengths: Sequence[int], skips: Sequence[int]) -> None:
        name, output = step.node.input[0], step.node.output[0]
        axes = self.known.axes[name]
        scales = [1.0] * len(self._shape(name))
        for axis in axes:
            scales[axis] = self._shape(output)[axis] / self._shape(name)[axis]
        larger = output + "/whole"
        node.output[0] = larger
        if node.op_type == "Upsample" and self.model.opset < 9:
            self._put(node, ["scales"], scales=scales)
        elif node.op_type == "Upsample" or self.model.opset < 11:
            node.input[1] = self.const(scales, np.float32)
        else:
            del node.input[1:]
            node.input.extend([self.const([], np.float32), self.const(scales, np.float32)])
            gone = ["keep_aspect_ratio_policy"]
            # A map that is one position long is another thing in PyTorch's coordinates, and a crop may well be.
            if attributes(node).get("coordinate_transformation_mode") == "pytorch_half_pixel":
                self._put(node, [*gone, "coordinate_transformation_mode"], coordinate_transformation_mode="half_pixel")
            else:
                self._put(node, gone)
        self.add(node)
        cuts = [(axis, skip, skip + n, 1) for axis, skip, n in zip(axes, skips, lengths, strict=True)]
        self.slice(larger, output, cuts)

    def model_of(self, entry: Mapping[str, Sequence[int]], exits: Mapping[str, Sequence[int]]) -> Model:
        model = self.model
        given = set(entry)
        needed = {name for node in self.nodes for name in reads(node)}
        constants = []  # what is computed from constants alone
        for node in reversed(model.graph.node):
            if any(name in needed for name in node.output) and not set(node.output) & self.known.reached:
                constants.append(node)
                needed.update(reads(node))
        proto = ModelProto(ir_version=max(model.proto.ir_version, MIN_IR))
        proto.opset_import.extend(model.proto.opset_import)
        graph = proto.graph
        graph.name = model.graph.name
        graph.node.extend([*constants[::-1], *self.nodes])
        graph.initializer.extend(t for t in model.graph.initializer if t.name in needed and t.name not in given)
        graph.initializer.extend(self.initializers.values())
        graph.input.extend(self._info(name, name, sides) for name, sides in entry.items())
        graph.output.extend(self._info(name, name + CROP, sides) for name, sides in exits.items())
        return Model(proto, folder=model.folder)  # every shape is known: nothing is left to infer

    def _info(self, name: str, called: str, sides: Sequence[int]) -> ValueInfoProto:
        shape: list[int | str] = list(self._shape(name))
        declared = self.model.value(name).shape
        shape[0] = self.known.batch if declared and isinstance(declared[0], int) else "batch"
        for axis, size in zip(self.known.axes[name], sides, strict=True):
            shape[axis] = size
        return to_info(Value(called, self.model.value(name).dtype, tuple(shape)))
