"""Sizes as expressions over symbolic dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Size: TypeAlias = "int | str | None"


class Expressions:
    """Arithmetic on sizes: numbers are computed, names combined."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[str, int]] = {}
        self._products: dict[str, tuple[str, int]] = {}

    def add(self, a: Size, b: Size) -> Size:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a is None or b is None:
            return None
        if isinstance(a, str) and isinstance(b, str):
            return f"({min(a, b)} + {max(a, b)})"
        name, number = (a, b) if isinstance(a, str) else (str(b), a)
        base, offset = self._sums.get(name, (name, 0))
        offset += int(number)
        if not offset:
            return base
        result = f"({base} {'-' if offset < 0 else '+'} {abs(offset)})"
        self._sums[result] = (base, offset)
        return result

    def multiply(self, a: Size, b: Size) -> Size:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if a == 0 or b == 0:
            return 0
        if a is None or b is None:
            return None
        if isinstance(a, str) and isinstance(b, str):
            return f"({min(a, b)} * {max(a, b)})"
        name, number = (a, b) if isinstance(a, str) else (str(b), a)
        base, factor = self._products.get(name, (name, 1))
        factor *= int(number)
        if factor == 1:
            return base
        result = f"({base} * {factor})"
        self._products[result] = (base, factor)
        return result

    def divide(self, a: Size, b: Size) -> Size:
        """Rounded down."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b if b else None
        if a is None or b is None:
            return None
        if b == 1:
            return a
        if a == b:
            return 1
        if isinstance(a, str) and isinstance(b, int) and b:
            base, factor = self._products.get(a, (a, 1))
            if factor % b == 0:
                return self.multiply(base, factor // b)
        return f"({a} // {b})"

    def product(self, sizes: Sequence[Size]) -> Size:
        total: Size = 1
        for size in sorted(sizes, key=str):
            total = self.multiply(total, size)
        return total

    def quotient(self, above: Sequence[Size], below: Sequence[Size]) -> Size:
        """The product of `above` by that of `below`, equal names cancelled."""
        left, right = list(above), list(below)
        for size in below:
            if isinstance(size, str) and size in left:
                left.remove(size)
                right.remove(size)
        return self.divide(self.product(left), self.product(right))

    def window(self, size: Size, kernel: int, stride: int, dilation: int, pads: int, ceil: bool = False) -> Size:
        """How often a window fits: (size + pads - extent) // stride + 1."""
        room = self.add(size, pads - (kernel - 1) * dilation - 1 + (stride - 1 if ceil else 0))
        return self.add(self.divide(room, stride), 1)
