"""Nodes in float32 that read values of a detector as tables (N, candidates, columns)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..proto.writer import Writer
from .layout import Read

PREFIX = "onnxray/boxes"
# Probabilities whose logits cannot be found are kept away from 0 and 1 by this.
_LEAST = 1e-7
FLOAT = 1  # ONNX's number of float32


@dataclass
class Nodes:
    """A writer of nodes in float32."""

    writer: Writer

    def one(self, op_type: str, *inputs: str, **options: object) -> str:
        return self.writer.node(op_type, list(inputs), [self.writer.numbered(PREFIX)], **options)

    def const(self, numbers: object, kind: type = np.float32) -> str:
        return self.writer.initializer(self.writer.numbered(PREFIX), np.array(numbers, kind))

    def ints(self, *numbers: int) -> str:
        return self.const(numbers, np.int64)

    def columns(self, table: str, first: int, end: int) -> str:
        return self.one("Slice", table, self.ints(first), self.ints(end), self.ints(2))

    def joined(self, tables: Sequence[str], axis: int) -> str:
        return tables[0] if len(tables) == 1 else self.one("Concat", *tables, axis=axis)

    def read(self, read: Read, value: str | None = None) -> str:
        """(N, A, columns) of a value in float32."""
        table = self.one("Cast", value or read.value, to=FLOAT)
        if read.axes == "NKA":
            table = self.one("Transpose", table, perm=[0, 2, 1])
        elif read.axes == "AK":
            table = self.one("Unsqueeze", table, self.ints(0))
        elif read.axes == "A":
            table = self.one("Reshape", table, self.ints(1, -1, 1))
        elif read.axes == "NA":
            table = self.one("Unsqueeze", table, self.ints(2))
        elif read.axes == "NKHW":
            table = self._anchored(self.one("Transpose", table, perm=[0, 2, 3, 1]), read.anchors)
        elif read.axes == "NHWK":
            table = self._anchored(table, read.anchors)
        elif read.axes == "APK":
            table = self.one("Unsqueeze", self.one("Flatten", table, axis=1), self.ints(0))
        elif read.axes == "A1HW":
            table = self.one("Transpose", table, perm=[1, 0, 2, 3])
        elif read.axes == "NaHWK":
            last = self.one("Shape", table, start=4, end=5)
            table = self.one("Reshape", table, self.one("Concat", self.ints(0, -1), last, axis=0))
        return table if read.columns is None else self.columns(table, *read.columns)

    def _anchored(self, table: str, anchors: int) -> str:
        """(N, H, W, anchors * K) as (N, H * W * anchors, K)."""
        wide = self.one("Div", self.one("Shape", table, start=3, end=4), self.ints(anchors))
        return self.one("Reshape", table, self.one("Concat", self.ints(0, -1), wide, axis=0))

    def log_odds(self, p: str) -> str:
        """log(p / (1 - p)) of probabilities."""
        p = self.one("Clip", p, self.const(_LEAST), self.const(1 - _LEAST))
        return self.one("Log", self.one("Div", p, self.one("Sub", self.const(1.0), p)))
