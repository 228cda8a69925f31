"""`lcspeech spot --workers`: the same output, in the same order, and clean ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lcspeech.cli import main
from lcspeech.evaluation import parallel
from tests.cli.conftest import Recording
from tests.cli.process import lcspeech, run, start


@pytest.fixture
def folder(recording: Recording, silence: Path, tmp_path: Path) -> Path:
    """Two recordings, a damaged one between them, and one without a word."""
    files = tmp_path / "files"
    files.mkdir()
    for name in ("a", "c"):
        shutil.copy(recording.path, files / f"{name}.flac")
    content = recording.path.read_bytes()
    (files / "b.flac").write_bytes(content[: len(content) // 3])
    shutil.copy(silence, files / "d.wav")
    return files


def test_the_output_is_that_of_one_process(folder: Path) -> None:
    alone, together = run("spot", folder, "--json"), run("spot", folder, "--json", "--workers", 3)
    assert together.stdout == alone.stdout != ""
    assert together.stderr == alone.stderr
    assert "b.flac" in alone.stderr
    assert together.returncode == alone.returncode == 1


def test_options_reach_the_processes(folder: Path, recording: Recording) -> None:
    word = recording.truth[0]["keyword"]
    arguments = ("spot", folder / "a.flac", folder / "c.flac", "--json", "--keyword", word, "--threshold", 0.3)
    assert run(*arguments, "--workers", 2).stdout == run(*arguments).stdout


def test_a_warning_is_given_once(folder: Path) -> None:
    result = run("spot", folder / "a.flac", folder / "d.wav", "--keyword", "up=AH P AH", "--workers", 2)
    assert result.stderr.count("is short") == 1


def test_one_file_needs_no_other_process(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", lambda *_: pytest.fail("a process was started"))
    assert main(["spot", str(recording.path), "--workers", "8"]) == 0
    assert capsys.readouterr().out.count("\n") > 3


def test_an_interrupt_ends_all_without_a_word(folder: Path) -> None:
    process = start("spot", *[folder / "a.flac"] * 2_000, "--json", "--workers", 2)
    try:
        process.stdout.readline()  # it is at work
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors == b""
    assert output.count(b"\n") < 1_990 * 10


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by /proc")
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.25])
def test_an_interrupt_while_processes_start_is_not_told_by_them(folder: Path, seconds: float) -> None:
    command = lcspeech("spot", *[folder / "a.flac"] * 200, "--json", "--workers", 2)
    group = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    while len(children(group.pid)) < 3:  # the workers, and what looks after their semaphores
        time.sleep(0.01)
    time.sleep(seconds)
    os.killpg(group.pid, signal.SIGINT)  # as a terminal does
    _, errors = group.communicate(timeout=60)
    assert errors == b""
    assert group.returncode == 130


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(folder: Path, number: signal.Signals) -> None:
    process = start("spot", *[folder / "a.flac"] * 2_000, "--json", "--workers", 2)
    process.stdout.readline()  # it is at work
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(number)
    process.communicate(timeout=60)  # the workers hold its output open
    deadline = time.monotonic() + 20
    while any(path.exists() for path in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [path for path in workers if path.exists()]


def children(process: int) -> set[Path]:
    """Of a process, in /proc."""
    return {path for path in Path("/proc").glob("[0-9]*") if parent(path) == process}


def parent(path: Path) -> int:
    """Of a process in /proc; 0 if it is gone."""
    try:
        return int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_process_that_dies_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parallel, "_begin", _die)
    assert main(["spot", str(folder / "a.flac"), str(folder / "c.flac"), "--workers", "2"]) == 1
    assert "give fewer --workers" in capsys.readouterr().err


def _die(*_: object) -> None:
    os._exit(1)


@pytest.mark.parametrize("workers", ["0", "-1", "many", "257"])
def test_a_number_of_processes_that_makes_no_sense(workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spot", "x.wav", "--workers", workers]) == 2
    assert "processes from 1 to 256" in capsys.readouterr().err
