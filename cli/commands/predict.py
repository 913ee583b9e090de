"""`onnxray predict`: the classes that a classifier finds most probable for images."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from ..parameters import line, options
from ..parameters.inputs import finish
from ..parameters.scale import Scale, scale
from ..parameters.texts import check_texts, texts_alone
from ..terminal.echo import echo, echo_json
from ..terminal.help import Command
from .finishing import finish_on


@click.command("predict", cls=Command, example="predict builtin")
@options.model
@options.images
@options.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, metavar="K", help="Number of classes to print."
)
@options.option(
    "--batch", type=click.IntRange(min=1), default=8, show_default=True, metavar="N", help="Maximum batch size."
)
@options.feeds
@line.rules
@texts_alone
@options.selection
@scale
@options.common(None, resume=True)
def command(common: options.Common, scale: Scale, **asked: Any) -> None:
    """Classify images: print the top classes with their probabilities.

    Probabilities are the softmax of the model's logits, or their sigmoid where classes are independent or one number
    stands for two. Models that answer with numbers have them printed. Detectors have their boxes printed, the most
    certain first, as probability, class and y0,x0,y1,x1 in pixels of the image; with --output they are drawn, and
    --detector threshold=0.4,nms=0.5 says which. Recognisers of text (CTC) whose characters are known, from the file or
    --labels, have the text printed, and the mean probability of its characters. With --when only images for which the
    rule holds are printed; JSON and the manifest have all, and say whether it holds. Preprocessing comes from the
    model's card. Models of texts are given --text, .txt files, or a table with --column.
    """
    from ..tasks.predict import PredictOptions, as_text, predict
    from ..tasks.text_items import takes_texts

    top_given = click.get_current_context().get_parameter_source("top") == ParameterSource.COMMANDLINE
    wanted = PredictOptions(common=common, share=scale.share, top_given=top_given, **asked)
    check_texts(takes_texts(wanted), bool(wanted.images))
    if scale.address is not None:
        finish_on("predict", wanted, scale)
        return
    found = predict(wanted)
    echo_json(found.to_mapping()) if common.as_json else echo(as_text(found), nl=False)
    finish(found.entries)
