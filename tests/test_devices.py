"""Which devices there are, and finding one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lcspeech import MicrophoneError, MissingDependencyError, UnknownDeviceError
from lcspeech.devices import InputDevice, find_again, find_device, input_devices, rescan
from tests.portaudio import DEVICES, FakeStream


@pytest.mark.usefixtures("portaudio")
def test_only_what_records_is_listed() -> None:
    devices = input_devices()
    assert [(d.index, d.name, d.channels, d.sample_rate) for d in devices] == [
        (1, "USB headset", 1, 44_100),
        (2, "USB", 2, 48_000),
        (3, "Room array", 8, 96_000),
    ]
    assert [d.default for d in devices] == [False, False, True]


@pytest.mark.parametrize(
    ("asked", "index"), [(None, 3), (1, 1), ("2", 2), ("headset", 1), ("ROOM", 3), ("usb", 2), ("USB headset", 1)]
)
@pytest.mark.usefixtures("portaudio")
def test_a_device_is_found_by_index_name_or_part_of_it(asked: str | int | None, index: int) -> None:
    assert find_device(asked).index == index  # a whole name comes before a part of another


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("gramophone", "unknown device 'gramophone'; there are: 1 USB headset, 2 USB, 3 Room array"),
        (0, "unknown device '0'; there are: 1 USB headset, 2 USB, 3 Room array"),
        ("us", "2 devices fit 'us'; there are: 1 USB headset, 2 USB"),
    ],
)
@pytest.mark.usefixtures("portaudio")
def test_what_fits_none_or_several_lists_them(asked: str | int, said: str) -> None:
    with pytest.raises(UnknownDeviceError) as error:
        find_device(asked)
    assert str(error.value) == said


def test_without_a_default_the_first_is_taken(portaudio: type[FakeStream], monkeypatch: pytest.MonkeyPatch) -> None:
    assert portaudio.opened == []
    monkeypatch.setattr(sys.modules["sounddevice"], "default", SimpleNamespace(device=[-1, 0]))
    assert find_device().index == 1


def test_no_microphone_at_all(portaudio: type[FakeStream], monkeypatch: pytest.MonkeyPatch) -> None:
    assert portaudio.opened == []
    monkeypatch.setattr(sys.modules["sounddevice"], "query_devices", lambda: [DEVICES[0]])
    assert input_devices() == ()
    with pytest.raises(MicrophoneError, match="no microphone found; plug one in"):
        find_device()


@pytest.mark.parametrize("missing", [None, "raise OSError('PortAudio library not found')"])
def test_without_portaudio_the_remedy_is_named(
    missing: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if missing is None:
        monkeypatch.setitem(sys.modules, "sounddevice", None)
    else:  # sounddevice is there, its library is not
        (tmp_path / "sounddevice.py").write_text(missing)
        monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError, match=r"apt-get install libportaudio2; files can be spotted without"):
        input_devices()


@pytest.mark.parametrize(("name", "index"), [("USB mic: Audio (hw:3,0)", 1), ("USB mic: Audio", 1), ("Other", None)])
def test_a_device_is_found_again_under_another_card_number(
    name: str, index: int | None, portaudio: type[FakeStream]
) -> None:
    before = InputDevice(5, "USB mic: Audio (hw:1,0)", 1, 48_000, False)
    device = {"name": name, "max_input_channels": 1, "default_samplerate": 48_000.0}
    portaudio.devices = [DEVICES[0], device]
    assert find_again(before) is None  # PortAudio has not looked
    rescan()
    found = find_again(before)
    assert (found and found.index) == index


def test_a_rescan_survives_a_sound_system_that_is_away(
    portaudio: type[FakeStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    sounddevice = sys.modules["sounddevice"]

    def refuse() -> None:
        raise sounddevice.PortAudioError("Error initializing PortAudio")

    with monkeypatch.context() as patch:
        patch.setattr(sounddevice, "_initialize", refuse)
        rescan()
    rescan()
    assert portaudio.rescans == 1
    assert len(input_devices()) == 3
