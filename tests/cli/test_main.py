"""What all commands have in common: exit codes, one-line errors, what is imported, and outputs that go away."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from lcspeech import __version__, errors
from lcspeech.cli import COMMANDS, main, models
from tests.cli.process import TIMEOUT, lcspeech, python, run

SPOT = "import sys; from lcspeech.cli import main; code = main(sys.argv[1:]); print(*sys.modules); sys.exit(code)"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lcspeech {__version__}\n"


def test_python_m_is_the_same_program() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"lcspeech {__version__}\n", "")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(re.search(rf"\n    {command.__name__.rpartition('.')[2]}\s", listed) for command in COMMANDS)


@pytest.mark.parametrize("argv", [[], ["sing"], ["spot", "a.wav", "--louder"], ["models", "--json=yes"]])
def test_wrong_usage_is_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "error: " in output.err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.UsageError("no such word"), 2, "no such word"),
        (errors.UnknownModelError("no such model"), 2, "no such model"),
        (errors.AudioError("no such\nsound"), 1, "no such sound"),
        (errors.MicrophoneError("deaf"), 1, "deaf"),
        (errors.ModelError("damaged"), 1, "damaged"),
        (PermissionError(13, "Permission denied", "model"), 1, "[Errno 13] Permission denied: 'model'"),
    ],
)
def test_errors_are_one_line(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(models, "run", fail)
    assert main(["models"]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == f"lcspeech: error: {said}\n"


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "run", interrupt)
    assert main(["models"]) == 130
    output = capsys.readouterr()
    assert output.out == output.err == ""


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_help_and_version_import_nothing_heavy(argument: str) -> None:
    imported = set(python(SPOT, argument).stdout.split())
    assert "lcspeech.cli.spot" in imported
    assert not imported & {"numpy", "onnxruntime", "soundfile", "soxr", "sounddevice", "rich", "torch"}


def test_spotting_imports_no_library_of_training(silence: Path) -> None:
    result = python(SPOT, "spot", silence, "--json")
    assert result.returncode == 0
    imported = set(result.stdout.split())
    assert {"onnxruntime", "soundfile"} <= imported
    assert not imported & {"torch", "torchaudio", "librosa", "matplotlib", "scipy", "onnx", "lcspeech.train"}
    assert not imported & {"rich", "sounddevice"}  # a bar that is not shown, a microphone that is not used


def test_spotting_leaves_nothing_in_the_home_folder(silence: Path, tmp_path: Path) -> None:
    """onnxruntime would: an identity, and a queue of reports."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY" and not k.startswith("XDG_")}
    result = run("spot", silence, env={**environment, "HOME": str(home)})
    assert result.returncode == 0
    assert [*home.rglob("*")] == []


def test_importing_the_package_imports_next_to_nothing() -> None:
    imported = set(python("import sys, lcspeech; print(*sys.modules)").stdout.split())
    assert "lcspeech" in imported
    assert not imported & {"numpy", "onnxruntime", "torch", "torchaudio", "librosa", "matplotlib"}


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["verify"], ["spot", "--help"]])
def test_a_reader_that_leaves_is_no_error(arguments: list[str]) -> None:
    """`lcspeech ... | head -1`: exit code 0, and not a word when the interpreter ends."""
    reader, writer = os.pipe()
    os.close(reader)
    result = run(*arguments, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["models"], ["verify"]])
def test_a_full_disk_is_one_line_and_exit_code_1(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        result = run(*arguments, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert result.stderr == "lcspeech: error: [Errno 28] No space left on device\n"


def test_a_closed_output_is_one_line_and_exit_code_1() -> None:
    command = ["bash", "-c", 'exec "$@" >&-', "bash", *lcspeech("models")]
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
    assert result.returncode == 1
    assert result.stderr == "lcspeech: error: standard output is closed\n"


def test_a_closed_standard_error_disturbs_nothing(silence: Path) -> None:
    command = ["bash", "-c", 'exec "$@" 2>&-', "bash", *lcspeech("spot", silence, "none.wav")]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
    assert (result.returncode, result.stdout) == (1, "")
