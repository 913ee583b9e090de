"""The command `onnxray`: finds commands when they are called for, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 drift has crossed a limit of --alarm, 130 interrupted, 143 terminated.
The result goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from ..engine.errors import OnnxrayError, UnknownName
from ..engine.runtime.interrupt import interruptible, terminable
from ..engine.version import __version__
from .commands import COMMANDS
from .terminal.echo import say
from .terminal.help import Group
from .terminal.language import ENGLISH, LANGUAGES, VARIABLE, translated, unknown_language
from .terminal.words import as_options

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
# Set by shells that ask for completions.
_COMPLETING = "_ONNXRAY_COMPLETE"
# Kinds of names that onnxray itself has a list of: an unknown one is wrong usage, whatever the files hold.
_TYPED = ("method", "colour map", "option of")


class LazyGroup(Group):
    """A group whose commands are imported when they run; its help is made from `COMMANDS` alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f".commands.{cmd_name}", __package__).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(str(UnknownName("command", args[0], COMMANDS)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(translated("Commands")):
            formatter.write_dl([(name, translated(text)) for name, text in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As Click's, with every error as one line on stderr and the exit codes of this module.

        It calls itself `onnxray` however it was started.
        """
        if not standalone_mode:
            return super().main(args, "onnxray", complete_var, standalone_mode=False, **extra)
        sys.exit(self._run(args, complete_var, extra))

    def _run(self, args: Sequence[str] | None, complete_var: str | None, extra: dict[str, Any]) -> int:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # names from a model can hold what the terminal's encoding lacks
        if (unknown := unknown_language()) and _COMPLETING not in os.environ:
            known = " or ".join((ENGLISH, *LANGUAGES))
            say(f"warning: {VARIABLE}={unknown} is no language that is known, so texts are in English: give {known}")
        try:
            with interruptible(), terminable(), warnings.catch_warnings():
                # NumPy's, about NaN and infinities: what is wrong with a result is said in the result's own warnings.
                warnings.simplefilter("ignore", RuntimeWarning)
                warnings.showwarning = _show_warning
                code: Any = super().main(args, "onnxray", complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
            return code if isinstance(code, int) else DONE
        except click.ClickException as error:
            return _report(_message(error), error.exit_code)
        except OnnxrayError as error:
            typed = isinstance(error, UnknownName) and error.kind.startswith(_TYPED)
            return _report(as_options(str(error)), USAGE if typed else FAILED)
        except (click.Abort, KeyboardInterrupt):  # Click's name for Ctrl-C, and one between two commands
            return _report("interrupted", INTERRUPTED, kind="")
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            # Whoever read our output has gone (`onnxray inspect m.onnx | head`): nobody is left to read it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED


def _message(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.UsageError) and context is not None:
        return f"{error.format_message().rstrip('.')}; see `{context.command_path} --help`"
    return error.format_message()


def _show_warning(message: Warning | str, *where: object, **more: object) -> None:
    """One line, without the place in our sources."""
    say(f"warning: {as_options(str(message))}")


def _report(message: str, code: int, kind: str = "error: ") -> int:
    say(f"{kind}{message}")
    return code


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", package_name="onnxray", message="%(prog)s %(version)s")
def main() -> None:
    """See what a neural network has learned, and why it answers as it does, for any ONNX model.

    MODEL is the path of an .onnx file or a name from `onnxray models list`; the built-in model is `builtin`. IMAGES are
    files, folders or glob patterns; `samples` are the sample images of the built-in model.
    """


if __name__ == "__main__":
    main()
