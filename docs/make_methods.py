"""Writes docs/methods.md from the registry of attribution methods: python docs/make_methods.py"""

from pathlib import Path

from onnxray.engine.methods.page import page

if __name__ == "__main__":
    Path(__file__).with_name("methods.md").write_text(page(), encoding="utf-8")
