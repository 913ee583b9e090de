"""The PyTorch module that a node came from, as both of its exporters leave it in the file.

`torch.onnx.export(dynamo=True)` writes the scopes into the node's metadata, `pkg.torch.onnx.name_scopes`:
"['', 'layer4', 'layer4.1', 'layer4.1.conv2', 'conv2d_19']", the last one the name of the operation. The exporter before
it (TorchScript) puts them into the node's name: "/layer4/layer4.1/conv2/Conv".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from onnx import NodeProto

SCOPES = "pkg.torch.onnx.name_scopes"
# Characters of the metadata that are read: a path of a hundred modules is far shorter.
_MOST = 10_000
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def module_of(node: NodeProto) -> str:
    """The path of the module, "layer4.1.conv2"; "" where the file does not say."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            scopes = [first or second for first, second in _QUOTED.findall(entry.value[:_MOST])]
            return next((_plain(scope) for scope in reversed(scopes[:-1]) if scope), "")
    return _joined(node.name.split("/")[1:-1]) if node.name.startswith("/") else ""


def parents(module: str) -> Iterable[str]:
    """The module and those that hold it, from the inside: a.b.c, a.b, a."""
    parts = module.split(".")
    return (".".join(parts[:count]) for count in range(len(parts), 0, -1)) if module else ()


def _plain(scope: str) -> str:
    """Without the counts of modules that are called several times, "relu@1"."""
    return re.sub(r"@\d+", "", scope)


def _joined(scopes: list[str]) -> str:
    """The names of scopes as one path: those of a container repeat its own name ("layer4", "layer4.1")."""
    path: list[str] = []
    for scope in scopes:
        if path and scope.startswith(f"{path[-1]}."):
            path[-1] = scope
        else:
            path.append(scope)
    return ".".join(path)
