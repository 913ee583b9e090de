"""Products of matrices and contractions.

Y = A B        dA = dY B^T        dB = A^T dY
"""

from __future__ import annotations

import string

import numpy as np

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from ..errors import ShapeError
from .registry import Cotangents, gradient


@gradient("MatMul")
def matmul(node: Node, dy: str, op: Emitter) -> Cotangents:
    """A vector on the left counts as a row, on the right as a column; leading axes broadcast."""
    a, b = node.inputs
    rank_a, rank_b = op.rank(a), op.rank(b)
    da = db = None
    if node.wants[0]:
        if rank_b == 1:
            da = op.Mul(op.Unsqueeze(dy, [-1]) if rank_a > 1 else dy, b)
        elif rank_a == 1:
            da = op.reduce_to(op.MatMul(op.Unsqueeze(dy, [-2]), transposed(op, b)), a)
        else:
            da = op.MatMul(dy, transposed(op, b))
            da = op.reduce_to(da, a) if rank_b > 2 else da
    if node.wants[1]:
        if rank_a == 1:
            row = op.Unsqueeze(dy, [-2]) if rank_b > 1 else dy
            db = op.Mul(op.Unsqueeze(a, [-1]) if rank_b > 1 else a, row)
        elif rank_b == 1:
            db = op.reduce_to(op.Mul(a, op.Unsqueeze(dy, [-1])), b)
        elif rank_b == 2:
            db = op.Gemm(_as_matrix(op, a), _as_matrix(op, dy), transA=1)
        else:
            db = op.reduce_to(op.MatMul(transposed(op, a), dy), b)
    return [da, db]


def transposed(op: Emitter, name: str) -> str:
    """The last two axes exchanged."""
    rank = op.rank(name)
    return op.Transpose(name, perm=[*range(rank - 2), rank - 1, rank - 2])


@gradient("Det")
def det(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The derivative by an element is its cofactor: the determinant without its row and column, with a sign.

    ONNX has no inverse; and this holds for singular matrices too. n^2 determinants of size n - 1.
    """
    x = node.inputs[0]
    size = op.shape(x)[-1]
    if not isinstance(size, int):
        raise ShapeError(f"node {node.label!r} (Det) has matrices of a size that is not fixed: declare it in the model")
    dy = op.Unsqueeze(dy, [-2, -1])
    if size == 1:
        return [dy]
    rest = np.array([[k for k in range(size) if k != i] for i in range(size)], np.int64)
    rank = op.rank(x)
    # (..., n, n) -> (..., n, n-1, n): without row i -> (..., n, n-1, n, n-1): without column j
    minors = op.Gather(op.Gather(x, rest, axis=rank - 2), rest, axis=rank)
    minors = op.Transpose(minors, perm=[*range(rank - 2), rank - 2, rank, rank - 1, rank + 1])
    signs = (-1.0) ** np.add.outer(np.arange(size), np.arange(size))
    return [op.Mul(dy, op.Mul(op.Det(minors), op.const(signs, like=x)))]


def _as_matrix(op: Emitter, name: str) -> str:
    """All axes but the last made one."""
    if op.rank(name) == 2:
        return name
    return op.Reshape(name, op.Concat([-1], op.size_of(name, -1), axis=0))


def along_axis(op: Emitter, value: str, matrix: str, axis: int) -> str:
    """Multiply one axis of `value` (..., m, ...) by `matrix` (m, n), which makes it (..., n, ...)."""
    rank = op.rank(value)
    axis %= rank
    if axis == rank - 1:
        return op.MatMul(value, matrix)
    if axis == rank - 2:
        return op.MatMul(op.Transpose(matrix, perm=[1, 0]), value)
    perm = list(range(rank))
    perm[axis], perm[-1] = perm[-1], perm[axis]
    return op.Transpose(op.MatMul(op.Transpose(value, perm=perm), matrix), perm=perm)


@gradient("Gemm")
def gemm(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Y = alpha A' B' + beta C, a prime for an optional transposition."""
    a, b = node.inputs[:2]
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    trans_a, trans_b = node.attribute("transA", 0), node.attribute("transB", 0)
    da = db = dc = None
    if node.wants[0]:
        if trans_a:
            da = op.Gemm(b, dy, alpha=alpha, transA=trans_b, transB=1)
        else:
            da = op.Gemm(dy, b, alpha=alpha, transB=1 - trans_b)
    if node.wants[1]:
        if trans_b:
            db = op.Gemm(dy, a, alpha=alpha, transA=1, transB=trans_a)
        else:
            db = op.Gemm(a, dy, alpha=alpha, transA=1 - trans_a)
    c = node.input(2)
    if c is not None and node.wants[2]:
        dc = op.reduce_to(dy, c)
        dc = dc if beta == 1 else op.Mul(dc, beta)
    return [da, db, dc]


@gradient("Einsum")
def einsum(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The cotangent of an operand is the einsum of dy and the other operands, to the operand's own indices.

    An index that only this operand has was summed: its cotangent is constant along it. An index that the operand has
    twice selects a diagonal: the cotangent is zero off that diagonal.
    """
    terms, output = _terms(node, op)
    result: list[str | None] = []
    for own, term in enumerate(terms):
        if not node.wants[own]:
            result.append(None)
            continue
        others = [(t, x) for i, (t, x) in enumerate(zip(terms, node.inputs, strict=True)) if i != own]
        x, used = node.inputs[own], {*"".join((*terms, output))}
        result.append(op.reduce_to(_operand(op, x, term, [(output, dy), *others], used), x))
    return result


def _operand(op: Emitter, x: str, term: str, operands: list[tuple[str, str]], used: set[str]) -> str:
    spare = (letter for letter in string.ascii_letters if letter not in used)
    target = ""
    for axis, letter in enumerate(term):
        if letter in target:  # a diagonal: a new index, tied to the first by an identity matrix
            other = next(spare)
            operands = [*operands, (letter + other, _eye(op, x, axis))]
            target += other
        else:
            target += letter
    known = {*"".join(t for t, _ in operands)}
    kept = "".join(letter for letter in target if letter in known)
    equation = ",".join(t for t, _ in operands) + "->" + kept
    value = operands[0][1]
    if len(operands) > 1 or operands[0][0] != kept:
        value = op.Einsum(*(v for _, v in operands), equation=equation)
    lonely = [axis for axis, letter in enumerate(target) if letter not in known]
    if lonely:
        value = op.Expand(op.Unsqueeze(value, lonely), op.shape_of(x))
    return value


def _eye(op: Emitter, x: str, axis: int) -> str:
    """The identity matrix of the size of an axis of `x`."""
    size = op.shape(x)[axis]
    if isinstance(size, int):
        return op.const(np.eye(size), like=x)
    length = op.size_of(x, axis)
    square = op.ConstantOfShape(op.Concat(length, length, axis=0))
    return op.EyeLike(square, dtype=op.elem_type(x))


def _terms(node: Node, op: Emitter) -> tuple[list[str], str]:
    """Each operand's indices and the result's, with the ellipsis written out as letters of its own."""
    equation = node.attribute("equation").replace(" ", "")
    left, arrow, output = equation.partition("->")
    terms = left.split(",")
    spare = [letter for letter in string.ascii_letters if letter not in equation]
    widths = [
        op.rank(x) - len(t.replace("...", "")) if "..." in t else 0 for t, x in zip(terms, node.inputs, strict=True)
    ]
    width = max(widths, default=0)
    if width > len(spare) - 8:
        raise ShapeError(f"node {node.label!r} (Einsum) has more axes than there are letters: {equation!r}")
    dots = "".join(spare[:width])
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        single = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
        output = ("..." if "..." in left else "") + "".join(single)
    written = [t.replace("...", dots[width - w :]) for t, w in zip(terms, widths, strict=True)]
    return written, output.replace("...", dots)
