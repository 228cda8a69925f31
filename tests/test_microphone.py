"""Microphones that refuse, vanish, overrun or are not there; and a virtual one that works."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from lcspeech import MicrophoneError, MissingDependencyError, UnknownDeviceError, microphone
from lcspeech.microphone import InputDevice, Microphone, find_device, input_devices
from tests.pulse import VirtualMicrophone

DEVICES = (
    {"name": "Loudspeaker", "max_input_channels": 0, "default_samplerate": 48_000.0},
    {"name": "USB headset", "max_input_channels": 1, "default_samplerate": 44_100.0},
    {"name": "USB", "max_input_channels": 2, "default_samplerate": 48_000.0},
    {"name": "Room array", "max_input_channels": 8, "default_samplerate": 96_000.0},
)
HEADSET = InputDevice(1, "USB headset", 1, 44_100, False)
ARRAY = InputDevice(3, "Room array", 8, 96_000, True)


class PortAudioError(Exception):
    pass


class FakeStream:
    """An input stream that opens where `accepts` says so, and delivers what a test puts into its callback."""

    opened: list[FakeStream]
    tried: list[tuple[int, int]]
    accepts: Callable[[int, int], bool]

    def __init__(self, **options: Any) -> None:
        self.options, self.closed = options, False
        rate, channels = options["samplerate"], options["channels"]
        type(self).tried.append((rate, channels))
        if not type(self).accepts(rate, channels):
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        type(self).opened.append(self)

    def start(self) -> None:
        pass

    def close(self, ignore_errors: bool) -> None:
        assert ignore_errors
        self.closed = True

    def deliver(self, block: Any, overflow: bool = False) -> None:
        block = np.asarray(block, np.float32)
        self.options["callback"](block, len(block), None, SimpleNamespace(input_overflow=overflow))
        block[:] = 99  # PortAudio uses its buffer again


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> type[FakeStream]:
    FakeStream.opened, FakeStream.tried, FakeStream.accepts = [], [], lambda *_: True
    module = SimpleNamespace(
        query_devices=lambda: list(DEVICES),
        default=SimpleNamespace(device=[3, 0]),
        InputStream=FakeStream,
        PortAudioError=PortAudioError,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return FakeStream


def mono(*values: float) -> Any:
    return np.array(values, np.float32)[:, None]


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


def test_it_opens_at_the_devices_own_rate(portaudio: type[FakeStream]) -> None:
    with Microphone(HEADSET) as mic:
        assert (mic.sample_rate, mic.channels) == (44_100, 1)
        assert portaudio.opened[0].options["device"] == 1
        assert portaudio.opened[0].options["blocksize"] == 1_764  # 40 ms
    assert portaudio.opened[0].closed


def test_a_refused_rate_is_followed_by_the_next(portaudio: type[FakeStream]) -> None:
    portaudio.accepts = lambda rate, _: rate == 32_000
    with Microphone(HEADSET) as mic:
        assert mic.sample_rate == 32_000
    assert [rate for rate, _ in portaudio.tried] == [44_100, 48_000, 16_000, 32_000]


def test_two_channels_do_unless_the_device_gives_all_or_nothing(portaudio: type[FakeStream]) -> None:
    with Microphone(ARRAY) as mic:
        assert mic.channels == 2
    portaudio.accepts = lambda _, channels: channels == 8
    with Microphone(ARRAY) as mic:
        assert mic.channels == 8


def test_a_device_that_refuses_everything_is_named(portaudio: type[FakeStream]) -> None:
    portaudio.accepts = lambda *_: False
    with pytest.raises(MicrophoneError) as error:
        Microphone(HEADSET)
    assert str(error.value) == (
        "'USB headset' cannot be opened at 44100, 48000, 16000, 32000, 96000, 8000 Hz "
        "(Invalid sample rate [PaErrorCode -9997]); close other programs that use it, or choose another with "
        "'lcspeech devices'"
    )


def test_blocks_are_copies_and_the_mean_of_the_channels(portaudio: type[FakeStream]) -> None:
    with Microphone(ARRAY) as mic:
        portaudio.opened[0].deliver([[0.5, 0.0], [1.0, -1.0]])
        portaudio.opened[0].deliver([[0.25, 0.25]])
        np.testing.assert_array_equal(mic.read(), [0.25, 0])
        np.testing.assert_array_equal(mic.read(), [0.25])
        assert mic.overflows == 0


def test_overflows_are_counted(portaudio: type[FakeStream]) -> None:
    with Microphone(HEADSET) as mic:
        portaudio.opened[0].deliver(mono(0.1), overflow=True)
        portaudio.opened[0].deliver(mono(0.1))
        assert mic.overflows == 1


def test_no_block_is_lost_while_the_caller_stalls_for_seconds(portaudio: type[FakeStream]) -> None:
    with Microphone(HEADSET) as mic:
        for i in range(250):  # 10 s
            portaudio.opened[0].deliver(mono(i))
        assert mic.overflows == 0
        for i in range(250, 253):
            portaudio.opened[0].deliver(mono(i))
        assert mic.overflows == 3
        assert [float(mic.read()[0]) for _ in range(250)] == list(range(3, 253))  # the oldest made room


def test_a_device_that_falls_silent_is_told(portaudio: type[FakeStream], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "SILENT_SECONDS", 0.05)
    with Microphone(HEADSET) as mic:
        portaudio.opened[0].deliver(mono(0.5))
        blocks = iter(mic)
        assert next(blocks) == [0.5]
        with pytest.raises(MicrophoneError, match="'USB headset' delivers no audio any more; is it unplugged"):
            next(blocks)


def test_closing_ends_an_iteration_in_another_thread(portaudio: type[FakeStream]) -> None:
    mic = Microphone(HEADSET)
    blocks: list[Any] = []
    thread = threading.Thread(target=lambda: blocks.extend(mic))
    thread.start()
    portaudio.opened[0].deliver(mono(0.5))
    while not blocks:
        time.sleep(0.001)
    mic.close()
    mic.close()
    thread.join(5)
    assert not thread.is_alive()
    assert blocks == [[0.5]]
    with pytest.raises(MicrophoneError, match="'USB headset' was closed; open it again"):
        mic.read()


# On a virtual microphone; PortAudio reads its environment when it is loaded, so each runs in a process of its own


def in_process(virtual_microphone: VirtualMicrophone, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from lcspeech.microphone import *\nimport numpy as np\n" + program],
        env=virtual_microphone.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


RECORD = """
with Microphone(find_device()) as mic:
    print("open", flush=True)
    sound = []
    for block in mic:
        sound.append(block)
        if len(np.concatenate(sound)) > 2 * mic.sample_rate:
            break
    sound = np.concatenate(sound)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    print(mic.sample_rate, spectrum.argmax() * mic.sample_rate / len(sound), np.abs(sound).max(), mic.overflows)
"""


@pytest.mark.audio_device
def test_what_is_played_is_recorded(virtual_microphone: VirtualMicrophone, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * 48_000) / 48_000), 48_000)
    with in_process(virtual_microphone, RECORD) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with virtual_microphone.play(path) as player:
            output, errors = process.communicate(timeout=30)
            player.wait(30)
    assert errors == ""  # nothing of what ALSA says
    rate, hz, level, overflows = map(float, output.split())
    assert rate in microphone.RATES
    assert hz == pytest.approx(440, abs=2)
    assert level == pytest.approx(0.5, abs=0.05)
    assert overflows == 0


@pytest.mark.audio_device
def test_an_unplugged_device_is_told(virtual_microphone: VirtualMicrophone) -> None:
    program = """
try:
    with Microphone(find_device("pulse")) as mic:
        mic.read()
        print("open", flush=True)
        for block in mic:
            pass
except MicrophoneError as error:
    print(error)
"""
    with in_process(virtual_microphone, program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        virtual_microphone.unplug()
        virtual_microphone.stop()
        output, _ = process.communicate(timeout=30)
    assert "'pulse' delivers no audio any more; is it unplugged? Plug it in and start again" in output
