"""The site in a headless Chromium, opened from disk: it fits, nothing fails, search finds."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

import onnxray
from onnxray.tests.cli.chromium import FLAGS, measured, program


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scope") / "site"
    onnxray.microscope("builtin", out=folder, units="0-5", steps=2, picture_size=48, diverse=False)
    return folder


def opened(page: Path, profile: Path, *flags: str) -> tuple[str, str]:
    """What the page is after its scripts, and what the browser says meanwhile."""
    command = [program(), *FLAGS, *flags, "--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}"]
    command += ["--virtual-time-budget=4000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr


@pytest.mark.slow
def test_pages_fit_and_are_dark_in_dark_mode(site: Path, tmp_path: Path) -> None:
    pages = (
        "index.html",
        "layers/013-stage4-relu2/index.html",
        "layers/013-stage4-relu2/3.html",
        "layers/016-head/2.html",
    )
    for n, page in enumerate(pages):
        flags = ("--blink-settings=preferredColorScheme=0",) if n == 2 else ()
        for found in measured(site, page, tmp_path / str(n), *flags):
            assert found["page"] <= found["width"], (page, found)
            assert found["outside"] == [], (page, found)
            assert found["paper"] == ("rgb(20, 23, 28)" if flags else "rgb(255, 255, 255)")


@pytest.mark.slow
def test_from_disk_nothing_fails_and_search_finds(site: Path, tmp_path: Path) -> None:
    """A copy of the first page types into its search box by itself."""
    script = site / "assets" / "typed.js"
    script.write_text(
        """addEventListener("load", () => {
             const input = document.querySelector(".search input"), found = {};
             for (const words of ["stage3 4", "crack", "relu2", "nothing like it"]) {
               input.value = words;
               input.dispatchEvent(new Event("input"));
               found[words] = [...document.querySelectorAll(".results a")].map((a) => a.getAttribute("href"));
             }
             document.title = JSON.stringify(found);
           });"""
    )
    page = site / "typed.html"
    text = (site / "index.html").read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", '<script src="assets/typed.js"></script></body>'), encoding="utf-8")
    dom, said = opened(page, tmp_path / "profile")
    script.unlink()
    page.unlink()
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title, dom[:500]
    found = json.loads(title[1].replace("&quot;", '"'))
    assert found["crack"] == ["layers/016-head/2.html"]
    assert found["stage3 4"] == ["layers/007-stage3-relu1/4.html", "layers/009-stage3-relu2/4.html"]
    assert "layers/013-stage4-relu2/index.html" in found["relu2"]
    assert found["nothing like it"] == []
    assert all((site / address).is_file() for addresses in found.values() for address in addresses)
    assert "CONSOLE" not in said, said


@pytest.mark.slow
def test_a_page_of_a_unit_says_nothing_on_the_console(site: Path, tmp_path: Path) -> None:
    dom, said = opened(site / "layers" / "013-stage4-relu2" / "3.html", tmp_path / "profile")
    assert "Images that excite it most" in dom
    assert "CONSOLE" not in said, said
    assert "ERR_" not in said
    tiles = re.findall(r'class="tile([^>]*)>(.*?)</(?:li|figure)>', dom, re.DOTALL)
    assert len(tiles) > 15
    silent = [re.sub("<[^>]*>", " ", rest).strip() for tile, rest in tiles if "aria-label=" not in tile]
    assert all(silent), "a tile without words has no text next to it"
