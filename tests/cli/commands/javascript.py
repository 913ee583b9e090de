"""What tests in Node and Chromium need: where the programs and packages are, and a server of files."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
EXAMPLE = ROOT / "examples" / "node"


def modules(*packages: str) -> Path:
    """A folder with node_modules that holds the packages: ONNXRAY_NODE, this one, or the example's."""
    places = [Path(p) for p in (os.environ.get("ONNXRAY_NODE"), HERE.parent, ROOT, EXAMPLE) if p]
    for place in places:
        if all((place / "node_modules" / name / "package.json").is_file() for name in packages):
            return place
    pytest.skip(f"no node_modules with {', '.join(packages)}: `npm install --ignore-scripts` in tests/cli makes one")


def program(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    return found or pytest.skip(f"{names[0]} is not installed")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address under which tmp_path is served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()
