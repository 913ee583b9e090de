"""Writes docs/operators.md from the registry of gradients: python docs/make_operators.py"""

from pathlib import Path

from onnxray.engine.gradients.coverage import page

if __name__ == "__main__":
    Path(__file__).with_name("operators.md").write_text(page(), encoding="utf-8")
