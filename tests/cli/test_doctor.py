"""`lcspeech doctor`: what it says of machines that cannot listen, and of one that can."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from lcspeech import microphone
from lcspeech.cli import doctor, main
from tests.cli.conftest import no_microphone
from tests.cli.process import TIMEOUT, start
from tests.portaudio import FakeStream
from tests.pulse import VirtualMicrophone
from tests.test_health import room


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """The exit code, and what it prints; nothing goes to standard error."""
    code = main(["doctor", *arguments])
    output = capsys.readouterr()
    assert output.err == ""
    lines = output.out.splitlines()
    assert lines[-1] == ("listening will NOT work; see what FAILED" if code else "listening will work")
    return code, lines


def failed(lines: list[str]) -> list[str]:
    return [line.removeprefix("  FAILED  ") for line in lines if line.startswith("  FAILED")]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, lines = examined(capsys)
    assert code == 1
    assert "apt-get install libportaudio2" in failed(lines)[0]


def test_no_microphone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "ALSA", tmp_path)
    no_microphone(monkeypatch)
    code, lines = examined(capsys)
    assert code == 1
    assert failed(lines) == [
        "no microphone: the system has none; plug one in, or allow programs to use it in the system's privacy settings"
    ]


def test_no_permission(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "ALSA", tmp_path)
    monkeypatch.setattr(os, "access", lambda node, _: node.name != "pcmC1D0c")  # root may open everything
    for name in ("controlC0", "pcmC0D0p", "pcmC0D0c", "pcmC1D0c"):
        (tmp_path / name).touch()
    no_microphone(monkeypatch)
    code, lines = examined(capsys)
    assert code == 1
    assert failed(lines)[0].startswith(f"no permission: this user may not open {tmp_path}/pcmC1D0c; add it to")


@pytest.mark.usefixtures("portaudio")
def test_wrong_arguments_are_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["--device", "gramophone"], "unknown device 'gramophone'; there are: 1 USB headset"),
        (["--model", "banana"], "unknown model 'banana'"),
        (["--seconds", "0"], "'0' is not a number of seconds"),
    ):
        assert main(["doctor", *arguments]) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_device_that_refuses_every_rate(portaudio: type[FakeStream], capsys: pytest.CaptureFixture[str]) -> None:
    portaudio.accepts = lambda *_: False
    code, lines = examined(capsys)
    assert code == 1
    assert failed(lines)[0].startswith("'Room array' cannot be opened at 96000, 48000, ")


def test_a_device_that_delivers_nothing(
    portaudio: type[FakeStream], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert portaudio.opened == []
    monkeypatch.setattr(microphone, "START_SECONDS", 0.05)
    code, lines = examined(capsys)
    assert code == 1
    assert failed(lines)[0].startswith("no audio: the device opens at 96000 Hz but delivers nothing; plug it in again")


@pytest.mark.parametrize(
    ("samples", "code", "said"),
    [
        (room(), 0, "neither silent nor overdriven nor noisy"),
        (np.zeros(144_000, np.float32), 1, "FAILED  silence: nothing but digital silence; unmute"),
        (np.ones(144_000, np.float32), 1, "FAILED  clipping: the input is overdriven, 100 % of its samples"),
        (room(noise=0.06), 1, "FAILED  too noisy: the noise never falls below -2"),
        (0.002 * room(), 0, "note    too quiet: the loudest moment has -"),
    ],
)
def test_what_is_recorded_is_judged(
    samples: NDArray[np.float32],
    code: int,
    said: str,
    portaudio: type[FakeStream],
    capsys: pytest.CaptureFixture[str],
) -> None:
    portaudio.sound = samples
    found, lines = examined(capsys, "--device", "headset", "--seconds", "2.9")
    assert found == code
    assert any(said in line for line in lines)
    assert any(line.startswith("  good    hearing takes ") for line in lines)


@pytest.mark.audio_device
@pytest.mark.parametrize("audible", [True, False])
def test_a_virtual_microphone(virtual_microphone: VirtualMicrophone, audible: bool, tmp_path: Path) -> None:
    path = tmp_path / "room.wav"
    soundfile.write(path, room(20.0), 48_000)
    with start("doctor", env=virtual_microphone.env) as process:
        player = virtual_microphone.play(path) if audible else None
        output = process.communicate(timeout=TIMEOUT)[0].decode()
        if player:
            player.kill()
            player.wait()
    assert process.returncode == (0 if audible else 1), output
    assert ("silence: nothing but digital silence" in output) is not audible
