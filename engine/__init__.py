"""The engine: rooms in one order, drawn in CONTRIBUTING.md; no Click, no OpenCV, no printing."""
