"""The command `draw` itself: help, errors, and how soon it answers."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from draw import cli
from draw.training.presets import PRESETS


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "draw", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, **options)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command_and_preset(arguments, capsys):
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"draw {command}" in out for command in cli.COMMANDS)
    assert all(preset in out for preset in PRESETS)


@pytest.mark.parametrize("arguments", [["--help"], [], ["--version"]])
def test_help_and_version_do_not_wait_for_torch(arguments):
    code = (
        "import sys; from draw import cli; status = cli.main(sys.argv[1:]);"
        "print(*sorted({'torch', 'numpy', 'matplotlib', 'tyro', 'PIL'} & set(sys.modules)),"
        " file=sys.stderr); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert result.stdout
    assert result.stderr.split() == []


def test_version_is_that_of_the_distribution(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"draw {version('draw')}\n"


def test_a_copy_that_is_not_installed_knows_its_version():
    """-S leaves out what is installed, and the version with it."""
    source = str(Path(__file__).parent.parent / "src")
    command = [sys.executable, "-S", "-m", "draw", "--version"]
    env = os.environ | {"PYTHONPATH": source}
    assert subprocess.check_output(command, env=env, text=True) == f"draw {version('draw')}\n"


@pytest.mark.parametrize("command", ["nope", "--nope", "Train", "commands"])
def test_an_unknown_command_is_refused_in_one_line(command, capsys):
    assert cli.main([command]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"draw: there is no command {command!r}; see draw --help\n"


def test_python_m_draw_is_the_command_and_hands_on_its_status():
    result = run("nope", stdout=subprocess.PIPE)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "draw: there is no command 'nope'; see draw --help\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_reason_to_complain(unbuffered):
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        result = run("--help", stdout=write_end, env=os.environ | {"PYTHONUNBUFFERED": unbuffered})
    finally:
        os.close(write_end)
    assert result.stderr == ""


@pytest.mark.parametrize("command", ["train", "evaluate", "sample", "reconstruct", "figure"])
def test_every_command_explains_its_options(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: draw {command}" in out
    assert "--seed" in out
    assert "--device" in out
