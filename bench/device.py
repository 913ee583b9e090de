"""onnxray on every provider that works here: the same results as on the CPU, how fast, what is copied, what falls back.

    python bench/device.py [--seconds 440] [--out device] [--zoo FOLDER] [--only equality,speed] [--quick]

The best provider that works here gets all sections, each further one (TensorRT, OpenVINO, CoreML, DirectML, WebGPU)
`equality`, `speed` and `visualization`; the CPU is measured where there is no other.

Writes OUT.json and OUT.md as it goes, each under a temporary name first. Sections run in order of importance, each in a
process of its own that is stopped at its deadline; a row says what was not reached. Without a GPU it runs in the same
form on the CPU provider; `--quick` ends in 90 seconds on two free processors. FOLDER is the zoo (else $ONNXRAY_ZOO);
PyTorch, captum and grad-cam are compared with where they are installed. The sections are in `bench/_device/`.

equality    every method, compiled models and gradients on the provider against the CPU, without TF32 and with it
placement   the gradient graphs of all framework cases: results, nodes on the CPU by gradient rule, copies
speed       forward, forward and gradient against PyTorch on the same card: batch 1, 8, 64, fp32, fp16, CUDA graphs
methods     methods of `onnxray.explain` against captum and pytorch-grad-cam, occlusion against plain batches as well
rows        rows, masks and maps that stay on the device, against the host in between: time, distance, what crosses
copies      copies between host and device in a method, from CUPTI's activity record; memory
visualization  steps per second against Lucent's loop on the same card; the same picture as on the CPU
experiments occluded copies made on the device, values that stay there, provider options
throughput  `onnxray.Pipeline` against the bare compiled model
folder      `onnxray explain` on a folder of images against the bare forward pass
"""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

from _device.run import SECTIONS, Run
from _device.speed import CASES, NO_COMPILE, warm

warnings.filterwarnings("ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=None, help="of the whole run (default 440; 84 with --quick)")
    parser.add_argument("--out", type=Path, default=Path("device"), help="stem of the two files (default: device)")
    parser.add_argument("--zoo", type=Path, default=os.environ.get("ONNXRAY_ZOO"))
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma separated")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--cases", default="", help="of the section speed: NETWORK:float16:8,...")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--warm", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    NO_COMPILE.extend([True] * asked.no_compile)
    CASES.extend((n, d, int(b)) for n, d, b in (case.split(":") for case in asked.cases.split(",") if case))
    if asked.warm:
        warm(asked.warm)
        return
    asked.seconds = asked.seconds or (84 if asked.quick else 440)
    Run(asked).all()


if __name__ == "__main__":
    main()
