"""Explanations in notebooks, browsers and matplotlib."""

from __future__ import annotations

import re
import sys
import types
import webbrowser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import OutputError


@pytest.fixture
def e(cnn: onnx.ModelProto) -> onnxray.Explanation:
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    found = onnxray.explain(cnn, image, "gradient", labels=["a", "b<i>", "c", "d", "e"], target=1)
    assert isinstance(found, onnxray.Explanation)
    return found


def test_pictures_have_alternative_texts_and_a_colour_scale(e: onnxray.Explanation) -> None:
    page = e._repr_html_()
    texts = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    lo, hi = (f"{end:.4g}" for end in e.range)
    assert texts == ["the image", "gradient map of b&lt;i&gt; (1) over the image", f"colours from {lo} to {hi}"]
    assert e.score_text in page


@pytest.mark.parametrize("several", [False, True])
def test_show_opens_the_browser(e: onnxray.Explanation, monkeypatch: pytest.MonkeyPatch, several: bool) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    shown = onnxray.Explanations([e, e]) if several else e
    assert shown.show() is None
    file = Path(unquote(urlparse(opened[0]).path))
    try:
        assert file.read_text(encoding="utf-8").endswith(e._repr_html_() * (1 + several))
    finally:
        file.unlink()


def test_without_a_browser_show_says_so(e: onnxray.Explanation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with pytest.raises(OutputError, match=r"open .*\.html, or use save") as caught:
        e.show()
    Path(re.findall(r"open (.*?),", str(caught.value))[0]).unlink()


def test_in_a_notebook_it_is_displayed(e: onnxray.Explanation, monkeypatch: pytest.MonkeyPatch) -> None:
    displayed: list[Any] = []
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    display = types.SimpleNamespace(display=displayed.append, HTML=lambda text: ("html", text))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    e.show()
    assert displayed == [("html", e._repr_html_())]


def test_plot_without_matplotlib_says_so(e: onnxray.Explanation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for shown in (e, onnxray.Explanations([e, e])):
        with pytest.raises(OutputError, match="pip install matplotlib"):
            shown.plot()


def test_plot_draws_into_axes(e: onnxray.Explanation) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    assert e.plot(ax) is ax
    np.testing.assert_array_equal(ax.images[0].get_array(), e.overlay())
    assert figure.axes[1].get_ylim() == pytest.approx(e.range)
    assert len(onnxray.Explanations([e, e]).plot().ravel()) == 2
    with pytest.raises(OutputError, match="2 explanations were given 1 axes"):
        onnxray.Explanations([e, e]).plot(ax)
    pyplot.close("all")


def test_nothing_of_it_is_imported_before(e: onnxray.Explanation) -> None:
    assert "matplotlib" not in sys.modules or sys.modules["matplotlib"] is not None
    import subprocess

    code = "import onnxray, sys; onnxray.explain('builtin', onnxray.samples()[0])._repr_html_()"
    code += "; print([m for m in ('matplotlib', 'IPython', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
