"""`onnxray compile`: a model together with its explanation, as an .onnx file, a Triton model, a web page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..parameters import complete, options
from ..terminal.echo import echo, echo_json
from ..terminal.help import OUTPUT, Command


@click.command("compile", cls=Command, example="compile model.onnx -m grad-cam -o explained.onnx")
@options.model
@options.option(
    "-m",
    "--method",
    default="grad-cam",
    show_default=True,
    metavar="NAME",
    help="Explanation method; none adds no explanation, where --novelty is given.",
    shell_complete=complete.methods,
)
@options.layers
@options.option(
    "-t",
    "--target",
    default="predicted",
    show_default=True,
    metavar="TARGET",
    help="What is explained: predicted, runtime (a class index that is an input), a class index, a label, ...",
    shell_complete=complete.targets,
)
@options.option(
    "-O",
    "--option",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="Option of the method; see `onnxray methods NAME`.",
    shell_complete=complete.settings,
)
@options.option(
    "--upsample",
    type=click.Choice(["input", "none"]),
    default="input",
    show_default=True,
    help="Resize the map to the input image, or keep the method's own resolution.",
)
@options.option(
    "--normalize",
    type=click.Choice(["none", "minmax", "uint8"]),
    default="none",
    show_default=True,
    help="Keep the method's values, or scale each map to 0..1 (minmax) or 0..255 (uint8).",
)
@options.option(
    "--preprocess",
    is_flag=False,
    flag_value="HWC",
    default=None,
    type=click.Choice(["HWC", "NHWC", "UNIT"], case_sensitive=False),
    help="Accept RGB images of any size: uint8, one (HWC, the default of the bare option) or several (NHWC); or "
    "float32 (N, 3, H, W) in 0..1 (UNIT).",
)
@options.option(
    "--novelty",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also output how unlike the good images of a memory an image is: what `onnxray novelty fit` wrote.",
)
@options.option(
    "--novelty-outputs",
    type=click.Choice(["own", "anomalib"], case_sensitive=False),
    default="own",
    show_default=True,
    help="Names of the outputs of --novelty; with anomalib, and --method none, those of its deployments and no others.",
)
@options.option(
    "--visualize",
    metavar="LAYER:CHANNEL",
    help="Write a model that draws what a channel looks for, or an objective (logit:CLASS), in place of explaining.",
)
@options.option(
    "--dream", metavar="LAYER", help="Write a model that dreams of an image (DeepDream), in place of explaining."
)
@options.out_file()
@options.option(
    "--triton",
    type=click.Path(path_type=Path),
    metavar="DIR",
    section=OUTPUT,
    help="Triton model repository to add the model to.",
)
@options.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    metavar="DIR",
    section=OUTPUT,
    help="Folder for a web page that runs the model.",
)
@options.option(
    "--web-runtime",
    type=click.Path(path_type=Path),
    metavar="DIR",
    section=OUTPUT,
    help="Folder of the npm package onnxruntime-web for --html; default: node_modules here or in a parent folder.",
)
@options.replace("Replace existing files.")
@options.card
@options.half
@options.as_json
@options.quiet
def command(as_json: bool, progress: bool, **asked: Any) -> None:
    """Write a model that also outputs its explanation, in standard ONNX operators.

    The new model has the outputs of MODEL, equal up to rounding, and `saliency_map`. With `--target runtime` it has
    one more input, `target_class`, an int64 class index; a negative one means the predicted class. `--triton` and
    `--html` write the same model for a server and for a browser; the page accepts images of any size.

    `--novelty` adds `novelty_score` and `anomaly_map`, distances from the good images, on the pixels of what is fed.
    With `--novelty-outputs anomalib` the outputs are `pred_score`, `pred_label`, `anomaly_map` and `pred_mask`.

    `--visualize` and `--dream` write a model that optimises an image in a loop inside the graph: `image`, (1, C, H, W)
    in 0..1, and `steps` in, `picture` out. `-O` then takes seed, and for dreams rate, jitter and blurs.
    """
    from ..pages.browser_page import write_compiled
    from ..tasks.compile import CompileOptions, as_text, compile_files

    wanted = CompileOptions(**asked)
    if wanted.out is None and wanted.triton is None and wanted.page is None:
        raise click.UsageError("nothing to write: give --out FILE, --triton DIR or --html DIR")
    if wanted.web_runtime is not None and wanted.page is None:
        raise click.UsageError("--web-runtime has no effect without --html: give both")
    result = compile_files(wanted, write_compiled)
    echo_json(result) if as_json else echo(as_text(result))
