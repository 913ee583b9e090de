"""`python -m onnxray` is the command `onnxray`."""

from __future__ import annotations

from .cli.main import main

if __name__ == "__main__":
    main()
