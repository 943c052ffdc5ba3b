"""The `draw` command: help, version and errors."""

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

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


# ---------------------------------------------------------------------- the environment


@pytest.fixture
def encoded(monkeypatch):
    """Return a function that runs `draw` with an encoding of standard output, and its output."""

    def call(encoding: str, *arguments: str) -> str:
        written = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
            assert main([*arguments]) == 0
            return written.getvalue().decode(encoding)

    return call


@pytest.mark.parametrize(
    ("encoding", "name", "shown"),
    [("ascii", "bücher", r"b\xfccher"), ("utf-8", os.fsdecode(b"\xff"), r"\udcff")],
)
def test_output_that_the_encoding_lacks_is_escaped(run, encoded, encoding, name, shown):
    lines = encoded(encoding, "sample", str(run), "--count", "4", "--out", name).splitlines()
    assert lines[-2:] == [f"{shown}/samples.png", f"{shown}/drawing.gif"]
    assert Path(name, "samples.png").is_file()


def test_results_in_a_table_need_no_unicode(encoded, capsys):
    assert "ELBO" in encoded("ascii", "evaluate", "quick", "--images", "8")
    assert capsys.readouterr().err == ""


HOSTILE = """
import os, sys, pathlib, pwd
os.environ.pop("HOME", None)
os.environ.pop("XDG_CACHE_HOME", None)
def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
from draw.commands.main import main
assert "torch" not in sys.modules  # which must see the settings of threads
sys.exit(max(main(command.split()) for command in sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_waiting_threads_sleep_unless_the_user_decides(monkeypatch, given, expected):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(["models"]) == 0
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_commands_run_without_a_home_folder_and_the_named_plotting_backend(tmp_path):
    env = os.environ | {"TMPDIR": str(tmp_path), "MPLBACKEND": "missing"}
    env["CUDA_VISIBLE_DEVICES"] = ""
    commands = ["sample quick --count 1", "data fetch digits5k", "evaluate quick --images 8"]
    commands += ["train quick --steps 1 --eval-images 8 --model.glimpses 2 --model.hidden-size 8"]
    program = [sys.executable, "-c", HOSTILE, *commands]
    result = subprocess.run(program, capture_output=True, text=True, timeout=300, env=env)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("~").exists()


def test_a_user_without_a_home_folder_cannot_use_a_tilde(refused, monkeypatch):
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    message = "draw: ~/x: there is no such home folder; use a path without ~"
    assert refused("sample", "quick", "--out=~/x") == message


def test_only_json_is_printed_although_colour_is_forced(draw, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = draw("evaluate", "quick", "--images", "8", "--json")
    assert json.loads(result.out)["images"] == 8
    assert result.err == ""  # no progress bar where no terminal shows it


@pytest.mark.parametrize("redirected", [False, True])
def test_progress_goes_to_the_terminal_and_results_to_standard_output(
    training, monkeypatch, redirected
):
    """The terminal is standard error and maybe standard output."""
    monkeypatch.setattr("draw.commands.train._save_figures", lambda *_: None)
    ours, theirs = pty.openpty()

    def read() -> str:
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(ours, 1 << 16):
                shown += part
        os.close(ours)
        return shown.decode()

    with ThreadPoolExecutor(1) as thread, monkeypatch.context() as patch:
        shown = thread.submit(read)
        with open(theirs, "w") as terminal, open("out", "w") as file:  # noqa: PTH123
            patch.setattr(sys, "stderr", terminal)
            patch.setattr(sys, "stdout", file if redirected else terminal)
            assert main([*training, "--out", "run"]) == 0
    printed = Path("out").read_text() if redirected else shown.result()
    assert "images/s" in shown.result()
    assert "validation loss" in printed
    assert ("validation loss" in shown.result()) != redirected
    assert ("images/s" in printed) != redirected


@pytest.mark.parametrize("closed", ["1>&-", "1>&- 2>&-"])
def test_closed_standard_streams_are_no_error(closed):
    command = f"{sys.executable} -m draw --help {closed}"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_full_disk_behind_standard_output_is_one_line():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "draw", "--help"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert result.stderr == "draw: No space left on device\n"


# ---------------------------------------------------------------------- the home folder


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_tilde_in_an_option_is_the_home_folder(run, home, draw):
    assert draw("sample", run, "--count", 1, "--out=~/x", "--trace=~/t.json").status == 0
    assert draw("sample", run, "--count", 1, "--film=~/y.gif", "--out", "~/x").status == 0
    assert draw("page", "--export=~/site").status == 0
    assert draw("figure", "3", "--out=~/f.png").status == 0
    for name in ("x/samples.png", "t.json", "y.gif", "site/index.html", "f.png"):
        assert (home / name).is_file()
    run.rename(home / "run")
    assert draw("evaluate", "~/run", "--images", 2, "--out=~/results").status == 0
    assert (home / "results").is_dir()
    assert draw("train", "--resume", "--out=~/run").status == 0
    assert not Path("~").exists()
