"""The `draw` command: help, version and errors."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from draw.commands.main import COMMANDS, main
from draw.training.presets import PRESETS


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command_and_preset(arguments, capsys):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out for command in COMMANDS)
    assert all(preset in out for preset in PRESETS)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_and_version_do_not_import_torch(arguments):
    code = (
        "import sys; from draw.commands.main import main; status = main(sys.argv[1:]);"
        "print(*sorted({'torch', 'numpy', 'matplotlib', 'tyro', 'PIL'} & set(sys.modules)),"
        " file=sys.stderr); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert result.stdout
    assert result.stderr.split() == []


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"draw {version('draw')}\n"


@pytest.mark.parametrize(
    ("command", "hint"),
    [("nope", ""), ("--nope", ""), ("Train", "did you mean train? "), ("sampel", "did you mean")],
)
def test_unknown_command(command, hint, capsys):
    assert main([command]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"draw: there is no command {command!r} ({hint}")
    assert captured.err.endswith("see draw --help)\n")


def test_python_m_draw_returns_the_status():
    command = [sys.executable, "-m", "draw", "nope"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "draw: there is no command 'nope' (see draw --help)\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_closed_output_pipe_is_no_error(unbuffered):
    read_end, write_end = os.pipe()
    os.close(read_end)
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "draw", "--help"]
    try:
        result = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, env=env)
    finally:
        os.close(write_end)
    assert result.stderr == b""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    try:
        status = main([command, "--help"])
    except SystemExit as end:
        status = end.code
    assert status == 0
    assert f"draw {command}" in capsys.readouterr().out
