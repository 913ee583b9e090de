"""Pages in a headless Chromium, if there is one: how wide they are at the widths of a phone, a tablet and a desk."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (390, 820, 1280)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
_FRAME = """<body><script>
(async () => {{
  const found = [];
  for (const width of {widths}) {{
    const frame = document.createElement("iframe");
    frame.style.cssText = `width:${{width}}px;height:800px;border:0`;
    frame.src = {page};
    document.body.append(frame);
    await new Promise((loaded) => frame.onload = loaded);
    await new Promise((later) => setTimeout(later, 500));
    const inside = frame.contentDocument, root = inside.documentElement;
    const outside = [...inside.querySelectorAll("body *")].filter(
      (part) => part.getBoundingClientRect().right > width + 1 && !part.closest(".scroll"));
    found.push({{ width, page: root.scrollWidth, outside: outside.slice(0, 5).map((part) => part.outerHTML.slice(0, 80)),
      paper: frame.contentWindow.getComputedStyle(inside.body).backgroundColor }});
    frame.remove();
  }}
  document.body.innerHTML = `<pre id="found">${{JSON.stringify(found).replaceAll("<", "&lt;")}}</pre>`;
}})();
</script></body>"""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of a folder on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def program() -> str:
    """Chromium's path. Skips the test where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium: `apt-get install chromium` makes one")
    return found


def measured(folder: Path, page: str, profile: Path, *flags: str) -> list[dict[str, Any]]:
    """For each of WIDTHS how wide the page is, what lies outside, and the colour of its paper."""
    chromium = program()
    (folder / "widths.html").write_text(_FRAME.format(widths=list(WIDTHS), page=json.dumps(page)))
    with served(folder) as address:
        command = [chromium, *FLAGS, *flags, f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom"]
        done = subprocess.run([*command, f"{address}/widths.html"], capture_output=True, text=True, timeout=120)
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text, done.stderr
    found: list[dict[str, Any]] = json.loads(text[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return found
