"""The group: help, lazy imports, exit codes, one line per error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli import main as module
from onnxray.cli.commands import COMMANDS
from onnxray.cli.main import main
from onnxray.engine.runtime.ir_version import newest_ir_version

ONNXRAY = [sys.executable, "-m", "onnxray.cli.main"]


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", c) for inner, c in command.commands.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_listed_help_is_the_commands_own(name: str) -> None:
    command = dict(every_command())[name]
    assert (command.help or "").splitlines()[0] == COMMANDS[name]


@pytest.mark.parametrize(("name", "command"), list(every_command()))
def test_every_command_and_option_has_help(run: Callable[..., Result], name: str, command: click.Command) -> None:
    done = run(*name.split(), "--help")
    assert done.exit_code == 0
    assert (command.help or "").splitlines()[0].split()[0] in done.output
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
            assert parameter.help.endswith("."), f"{name} {parameter.opts}"


def test_options_of_the_same_name_say_the_same() -> None:
    # of these the text is its own in the commands named
    apart = {
        "--against": {"health"},
        "--every": {"visualize"},
        "--examples": {"microscope"},
        "--layer": {"report"},
        "--reference": {"visualize"},
        "--threshold": {"watch"},
        "--to": {"export"},
        "--verbose": {"inspect"},
    }
    said: dict[str, set[str]] = {}
    for name, command in every_command():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and name not in apart.get(parameter.opts[-1], ()):
                said.setdefault(parameter.opts[-1], set()).add(parameter.help or "")
    # what a command shows most of, and what it writes where, is its own affair
    differing = {name for name, texts in said.items() if len(texts) > 1}
    own = {"--out", "--force", "--most", "--all", "--batch", "--on", "--seed", "--method", "--target", "--option"}
    assert differing <= own | {"--channel", "--class", "--objective", "--range", "--steps"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_loads_no_heavy_module(arguments: list[str]) -> None:
    code = f"""
import sys
from onnxray.cli.main import main
try:
    main({arguments!r})
except SystemExit:
    pass
print("LOADED", *sorted(m for m in sys.modules if m.split(".")[0] in
      ("onnx", "onnxruntime", "numba", "cv2", "numpy", "google")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_help_of_a_command_loads_no_onnxruntime() -> None:
    code = "import sys; from onnxray.cli.main import main\n"
    code += "try:\n main(['activations', '--help'])\nexcept SystemExit: pass\n"
    code += "print('LOADED', *(m for m in ('onnx', 'onnxruntime', 'numba', 'cv2') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "LOADED", done.stderr


def test_python_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "onnxray", "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"onnxray {onnxray.__version__}\n", done.stderr


def test_version(run: Callable[..., Result]) -> None:
    assert run("--version").output == f"onnxray {onnxray.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspekt", "m.onnx"], ["no command named 'inspekt'", "nearest: 'inspect'", "onnxray --help"]),
        (["inspect"], ["Missing argument 'MODEL'", "onnxray inspect --help"]),
        (["predict", "m.onnx"], ["IMAGES..."]),
        (["inspect", "m.onnx", "--jsn"], ["No such option", "--jsn", "--json"]),
        (["predict", "m.onnx", "a.png", "--top", "0"], ["--top", "0"]),
        (["predict", "m.onnx", "a.png", "--size", "big"], ["--size", "'big'", "HEIGHTxWIDTH"]),
        (["predict", "m.onnx", "a.png", "--mean", "1,x,3"], ["--mean", "'1,x,3'"]),
        (["predict", "m.onnx", "a.png", "--order", "RBG"], ["--order", "RBG"]),
        (["predict", "m.onnx", "a.png", "--force"], ["--out"]),
        (["activations", "m.onnx", "a.png", "--force", "--resume"], ["--force", "--resume"]),
        (["demo", "m.onnx"], ["IMAGES"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    run: Callable[..., Result], arguments: list[str], words: list[str]
) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("onnxray: error: ")
    for word in words:
        assert word in done.stderr


def test_errors_raised_on_purpose_are_one_line_and_exit_code_1(run: Callable[..., Result]) -> None:
    done = run("inspect", "nowhere/model.onnx")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "onnxray: error: no such model file: 'nowhere/model.onnx'\n"


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Result]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    command = dict(every_command())["inspect"]
    monkeypatch.setattr(command, "callback", broken)
    with pytest.raises(ZeroDivisionError):
        run("inspect", "m.onnx")


def test_interruption(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Result]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dict(every_command())["inspect"], "callback", interrupted)
    done = run("inspect", "m.onnx")
    assert done.exit_code == module.INTERRUPTED == 130
    assert done.stderr.strip() == "onnxray: interrupted"


@pytest.mark.usefixtures("interruptible")
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("long", [False, True])
def test_a_signal_to_a_process_leaves_a_manifest(
    model: Path, photo: Path, tmp_path: Path, number: int, code: int, long: bool
) -> None:
    """Between images, and within the many runs of a long method, which go on in other threads."""
    # The loop below interrupts as soon as the run has begun, whenever that is.
    many = [str(photo.with_name(f"p{i}.png")) for i in range(300)]
    for name in many:
        Path(name).write_bytes(photo.read_bytes())
    out = tmp_path / "out"
    command = [*ONNXRAY, "activations", str(model), *many, "--layer", "features", "--out", str(out)]
    if long:
        command = [
            *ONNXRAY,
            "explain",
            str(model),
            *many,
            "-m",
            "gradient,rise",
            "-O",
            "masks=10000000",
            "-o",
            str(out),
        ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(out.glob("p*/*.npy")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    if number == signal.SIGINT:
        assert stderr.strip().splitlines()[-1] == "onnxray: interrupted"
    assert "Traceback" not in stderr
    assert stdout == ""
    assert '"complete": false' in (out / "manifest.json").read_text()
    assert not list(out.rglob("*.part"))


@pytest.mark.skipif(os.name == "nt", reason="pipes break differently on Windows")
def test_a_closed_pipe_is_quiet(model: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*ONNXRAY, "inspect", str(model)], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 1


def test_names_that_the_terminal_cannot_show_are_replaced(model: Path) -> None:
    folder = model.parent / "größe"
    folder.mkdir()
    copy = folder / "модель.onnx"
    copy.write_bytes(model.read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "COLUMNS": "100"}
    done = subprocess.run([*ONNXRAY, "inspect", str(copy)], capture_output=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "größe/??????.onnx".encode("latin-1") in done.stdout.splitlines()[0]


@pytest.mark.filterwarnings("default")
def test_warnings_are_lines_of_ours(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    """They came with a path of our sources and the line of code."""
    proto = onnx.load(model)
    proto.ir_version = onnx.IR_VERSION
    if newest_ir_version() == onnx.IR_VERSION:
        pytest.skip("this ONNX Runtime reads every IR version that onnx writes")
    onnx.save(proto, tmp_path / "newer.onnx")
    said = run("inspect", str(tmp_path / "newer.onnx")).stderr.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"onnxray: warning: the model has IR version {onnx.IR_VERSION}, the installed")
