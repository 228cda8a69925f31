"""Microphones that refuse, vanish, overrun or are not there; and a virtual one that works."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from lcspeech import Microphone, MicrophoneError, microphone
from lcspeech.devices import InputDevice
from tests.portaudio import DEVICES, FakeStream
from tests.pulse import VirtualMicrophone

HEADSET = InputDevice(1, "USB headset", 1, 44_100, False)
ARRAY = InputDevice(3, "Room array", 8, 96_000, True)


def mono(*values: float) -> Any:
    return np.array(values, np.float32)[:, None]


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
            portaudio.opened[0].deliver(mono(i / 256))
        assert mic.overflows == 0
        for i in range(250, 253):
            portaudio.opened[0].deliver(mono(i / 256))
        assert mic.overflows == 3
        assert [float(mic.read()[0]) for _ in range(250)] == [i / 256 for i in range(3, 253)]  # the oldest made room


def test_what_is_no_sample_is_heard_as_silence(portaudio: type[FakeStream]) -> None:
    with Microphone(HEADSET) as mic:
        portaudio.opened[0].deliver(mono(0.5, np.nan, np.inf, -np.inf, 500.0, -0.25))
        assert mic.read().tolist() == [0.5, 0.0, 0.0, 0.0, 0.0, -0.25]


def test_what_waited_can_be_discarded(portaudio: type[FakeStream]) -> None:
    with Microphone(HEADSET) as mic:
        portaudio.opened[0].deliver(mono(0.1))
        portaudio.opened[0].deliver(mono(0.2))
        mic.discard()
        portaudio.opened[0].deliver(mono(0.3))
        assert mic.read() == mono(0.3)
        mic.close()
        mic.discard()
        assert list(mic) == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of a second is long."""
    for name in ("START_SECONDS", "SILENT_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(microphone, name, 0.05)


def deliver(portaudio: type[FakeStream], value: float) -> None:
    portaudio.opened[-1].deliver(mono(value))


@pytest.mark.usefixtures("impatient")
def test_an_unplugged_device_is_waited_for_and_opened_again(
    portaudio: type[FakeStream], caplog: pytest.LogCaptureFixture
) -> None:
    portaudio.devices = [*DEVICES[:1], *DEVICES[2:]]  # the next look won't find the headset
    with Microphone(HEADSET) as mic:
        deliver(portaudio, 0.5)
        assert mic.read() == [0.5]
        began = time.monotonic()
        silence = [mic.read() for _ in range(4)]
        away = time.monotonic() - began
        assert not mic.present
        assert np.abs(np.concatenate(silence)).max() == 0
        assert sum(map(len, silence)) / 44_100 == pytest.approx(away, abs=0.02)  # the stream's time goes on
        assert portaudio.rescans >= 2
        assert len(portaudio.opened) == 1
        portaudio.devices = [*portaudio.devices, {**DEVICES[1]}]  # at another place
        while len(portaudio.opened) == 1:
            mic.read()
        assert portaudio.opened[-1].options["device"] == 3
        time.sleep(0.04)  # it takes a moment to begin
        deliver(portaudio, 0.25)
        block = mic.read()
        assert block[-1] == 0.25
        assert len(block) / 44_100 == pytest.approx(0.04, abs=0.02)
        assert mic.present
    assert caplog.messages == [
        "'USB headset' delivers no audio any more; is it unplugged? It is waited for",
        "'USB headset' is back",
    ]
    assert all(stream.closed for stream in portaudio.opened)


@pytest.mark.usefixtures("impatient")
def test_it_comes_back_at_the_rate_that_the_caller_counts_on(portaudio: type[FakeStream]) -> None:
    with Microphone(HEADSET) as mic:
        portaudio.accepts = lambda rate, _: rate != 44_100
        for _ in range(4):
            mic.read()
        assert {rate for rate, _ in portaudio.tried} == {44_100}
        portaudio.accepts = lambda *_: True
        while len(portaudio.opened) == 1:
            mic.read()
        assert mic.sample_rate == 44_100


@pytest.mark.usefixtures("impatient")
def test_looking_for_one_microphone_leaves_another_alone(portaudio: type[FakeStream]) -> None:
    with Microphone(HEADSET) as lost, Microphone(ARRAY) as other:
        headset, array = portaudio.opened
        while len(portaudio.opened) == 2:
            lost.read()
        assert portaudio.rescans == 0
        assert headset.closed
        assert not array.closed
        array.deliver([[0.5, 0.5]])
        assert other.read() == [0.5]


@pytest.mark.usefixtures("impatient")
def test_closing_ends_the_waiting_for_a_device(portaudio: type[FakeStream]) -> None:
    portaudio.devices = []
    mic = Microphone(HEADSET)
    thread = threading.Thread(target=lambda: list(mic))
    thread.start()
    while mic.present:
        time.sleep(0.001)
    mic.close()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.usefixtures("impatient")
def test_a_machine_that_slept_is_not_flooded_with_silence(
    portaudio: type[FakeStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Microphone(HEADSET) as mic:
        now = time.monotonic()
        monkeypatch.setattr(microphone.time, "monotonic", lambda: now + 3_600)
        assert len(mic.read()) == 10 * 44_100
    assert len(portaudio.opened) == 1


def test_what_is_wrong_with_the_input_is_told_once(
    portaudio: type[FakeStream], caplog: pytest.LogCaptureFixture
) -> None:
    with Microphone(HEADSET) as mic:
        for value in [0.0] * 20 + [1.0] * 10 + [0.1] * 10 + [0.0] * 10:
            portaudio.opened[0].deliver(np.full((44_100, 1), value))
            mic.read()
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "'USB headset': nothing but digital silence",
        "'USB headset': the input is overdriven, 100 % of its samples are at full scale",
        "'USB headset': nothing but digital silence",
    ]


def test_a_device_that_lies_about_its_rate_is_told(
    portaudio: type[FakeStream], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.monotonic()
    monkeypatch.setattr(microphone.time, "monotonic", lambda: clock)
    with Microphone(ARRAY) as mic:
        assert mic.measured_rate is None
        for _ in range(11):
            clock += 1.0
            portaudio.opened[0].deliver(np.full((48_000, 2), 0.1))  # 48 thousand a second
            mic.read()
        assert mic.measured_rate == 48_000
        for _ in range(12):
            clock += 1.0
            portaudio.opened[0].deliver(np.full((48_000, 2), 0.1))
            mic.read()
    (message,) = caplog.messages
    assert message.startswith("'Room array': the device claims 96000 Hz but delivers 48000 samples a second")


def test_lost_audio_is_told_with_its_amount(portaudio: type[FakeStream], caplog: pytest.LogCaptureFixture) -> None:
    with Microphone(HEADSET) as mic:
        for overflow in (True, True, False, True):
            portaudio.opened[0].deliver(mono(0.1), overflow)
        for _ in range(4):
            mic.read()
        assert mic.overflows == 3
        assert mic.measured_rate is None  # it would be too low
    assert caplog.messages == [
        "3 blocks of audio lost so far: this machine cannot keep up, and words may be missed; end other programs"
    ]


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


STALL = """
import time
with Microphone() as mic:
    print("open", flush=True)
    blocks = []
    for block in mic:
        blocks.append(block)
        if len(blocks) == 60:
            time.sleep(1.0)
        if len(blocks) == 120:
            break
    sound = np.concatenate(blocks)
    heard = np.abs(sound) > 0.1
    first, last = np.flatnonzero(heard)[[0, -1]]
    time = np.arange(len(sound)) / mic.sample_rate
    turned = (sound * np.exp(-2j * np.pi * 440 * time))[first:last]
    angles = np.unwrap(np.angle(turned[: len(turned) // 4410 * 4410].reshape(-1, 4410).sum(1)))
    print((last - first) / mic.sample_rate, np.abs(np.diff(angles)).max(), mic.overflows)
"""


@pytest.mark.audio_device
def test_no_block_is_lost_while_the_caller_stalls_for_a_second(
    virtual_microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    """The phase of a tone would jump: 40 ms are 17.6 of its waves."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(8 * 48_000) / 48_000), 48_000)
    with in_process(virtual_microphone, STALL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with virtual_microphone.play(path) as player:
            output, _ = process.communicate(timeout=30)
            player.kill()
    heard, jump, overflows = map(float, output.split())
    assert heard > 2.0
    assert jump < 0.2
    assert overflows == 0


UNPLUGGED = """
import logging
logging.basicConfig(format="%(message)s", level="WARNING")
with Microphone() as mic:
    mic.read()
    print("open", flush=True)
    sound = []
    for block in mic:
        if not mic.present:
            print("away", flush=True)
        elif np.abs(block).max() > 0.1:
            sound.append(block)
            if sum(map(len, sound)) > mic.sample_rate:
                break
    sound = np.concatenate(sound)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    print(spectrum.argmax() * mic.sample_rate / len(sound), flush=True)
"""


@pytest.mark.audio_device
def test_an_unplugged_device_is_heard_again_when_it_is_back(
    virtual_microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(4 * 48_000) / 48_000), 48_000)
    with in_process(virtual_microphone, UNPLUGGED) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        virtual_microphone.unplug()
        assert process.stdout.readline() == "away\n"
        virtual_microphone.plug_in()
        while process.poll() is None and virtual_microphone.play(path).wait(30) == 0:
            pass
        output, errors = process.communicate(timeout=30)
    assert float(output.splitlines()[-1]) == pytest.approx(440, abs=2)
    assert "delivers no audio any more; is it unplugged? It is waited for" in errors
    assert "is back" in errors
