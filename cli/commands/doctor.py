"""`onnxray doctor`: whether this installation works, and what to do where it does not."""

from __future__ import annotations

import click

from ..parameters import options
from ..terminal.echo import echo, echo_json
from ..terminal.help import Command


@click.command("doctor", cls=Command, example="doctor")
@options.as_json
def command(as_json: bool) -> None:
    """Check the installation: versions, execution providers, kernels, pictures, extras.

    Each execution provider runs a small model. A problem comes with the remedy; a note says what works less well or is
    not installed. The exit code is 1 where there is a problem.
    """
    from ..tasks.doctor import doctor

    found = doctor()
    echo_json(found.to_dict()) if as_json else echo(str(found))
    if not found.good:
        click.get_current_context().exit(1)
