"""`lcspeech devices`."""

from __future__ import annotations

import json

import pytest

from lcspeech.cli import main
from tests.cli.conftest import fake_sounddevice, no_microphone

DEVICES = (
    {"name": "Loudspeaker", "max_input_channels": 0, "default_samplerate": 48000.0},
    {"name": "Headset", "max_input_channels": 1, "default_samplerate": 44100.0},
    {"name": "Room array", "max_input_channels": 4, "default_samplerate": 48000.0},
)


def test_inputs_are_listed_and_the_default_is_marked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_sounddevice(monkeypatch, *DEVICES, default=2)
    assert main(["devices"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "    1  Headset        1 channel  44100 Hz",
        "*   2  Room array    4 channels  48000 Hz",
    ]


def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake_sounddevice(monkeypatch, *DEVICES, default=1)
    assert main(["devices", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"index": 1, "name": "Headset", "channels": 1, "sample_rate": 44100, "default": True},
        {"index": 2, "name": "Room array", "channels": 4, "sample_rate": 48000, "default": False},
    ]


@pytest.mark.parametrize("command", ["devices", "listen"])
def test_no_microphone_is_one_line_and_exit_code_1(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_microphone(monkeypatch)
    assert main([command]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("lcspeech: error: no microphone found; plug one in")
    assert output.err.count("\n") == 1


def test_an_unknown_device_lists_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_sounddevice(monkeypatch, *DEVICES)
    assert main(["listen", "--device", "Gramophone"]) == 2
    assert capsys.readouterr().err == (
        "lcspeech: error: unknown device 'Gramophone'; there are: 1 Headset, 2 Room array\n"
    )
