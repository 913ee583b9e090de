"""The registry of gradients: one rule per operator, grouped into files.

Adding an operator
------------------
Write one function in the file where its relatives are (any module of this package is found by itself):

    @gradient("Relu")
    def relu(node, dy, op):
        y = node.outputs[0]
        return [op.Where(op.Greater(y, 0.0), dy, 0.0)]

`node` (`emitter.Node`) is the node being differentiated: `node.inputs`, `node.outputs` (value names, "" where left
out), `node.input(i)` (None where left out), `node.attribute(name, default)`, `node.wants[i]` (is the cotangent of input
i used at all? ask before emitting something expensive).
`dy` is the name of the cotangent of the output. A cotangent always has the type and the shape of its value. A rule with
this parameter is called only if there is one; it is for operators whose first output is the only differentiable one.
A rule for an operator with several is written `(node, cotangents, op)`: `cotangents` holds one name per output, None
where nothing flows back into that output; at least one is a name. Other parameters are refused at registration.
`op` (`emitter.Emitter`) emits nodes: `op.Mul(a, b)` returns the name of the output,
`op.emit_several("Split", x, outputs=3)` a list of names, `op.Conv(x, w, strides=[2, 2])` sets attributes. A bare number
becomes a constant of the type that the slot needs, a list of ints an int64 constant, an array a constant as it is, None
leaves an input out. It also knows types and shapes: `op.dtype(x)`, `op.rank(x)`, `op.shape(x)`, `op.shape_of(x)`,
`op.constant_value(x)`, `op.opset`: see `emitter/emitter.py`.

The rule returns one value name per input, None for inputs without a cotangent (trailing Nones may be left off). What
the driver (`autodiff/vjp.py`) does, rules must not: summing the cotangents of a value that is read several times;
reducing a broadcast, for operators registered with `broadcasts=True` (their output has the shape that all inputs
broadcast to, and a cotangent may keep it); dropping what nobody asked for. A rule whose node captures outer values (If,
Loop) may return a mapping value -> cotangent instead.

Rules see opset 18 or newer (the driver upgrades first); where a later version changed a meaning they look at
`op.opset`. They emit standard operators only, in a form that is valid and means the same in every opset from 18 on;
they read values after an activation rather than before it where they can (the runtime fuses Conv + Relu only if nobody
reads what is between them).

    constant("Shape", "Size", reason="...")     derivative zero or undefined everywhere: the dependence ends there
    refuse("ConvInteger", reason="...")         depends on its inputs, but there is no gradient: an error if on the path
    @decompose("Gelu", domain="com.microsoft")  rewritten into other operators before differentiation: see `decompose`
"""

from __future__ import annotations

from .registry import Constant as Constant
from .registry import Cotangents as Cotangents
from .registry import Decomposition as Decomposition
from .registry import Entry as Entry
from .registry import Gradient as Gradient
from .registry import Refusal as Refusal
from .registry import Rule as Rule
from .registry import constant as constant
from .registry import decompose as decompose
from .registry import entries as entries
from .registry import find as find
from .registry import find_decomposition as find_decomposition
from .registry import gradient as gradient
from .registry import key as key
from .registry import refuse as refuse
