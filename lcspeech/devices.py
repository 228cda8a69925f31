"""The input devices of this machine, as PortAudio sees them, and finding one among them."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcspeech.errors import MicrophoneError, MissingDependencyError, UnknownDeviceError

_CARD = re.compile(r" \(hw:\d+,\d+\)$")  # what ALSA adds to a name; it changes when a device is plugged in again

_stderr_lock = threading.Lock()


@dataclass(frozen=True)
class InputDevice:
    """A device that records."""

    index: int
    name: str
    channels: int
    sample_rate: int  # Hz, the device's own
    default: bool


def input_devices() -> tuple[InputDevice, ...]:
    """The devices that can record, none if there are none.

    Raises:
        MissingDependencyError: if PortAudio is not installed.
    """
    sounddevice = load_sounddevice()
    with quiet():
        devices = sounddevice.query_devices()
        default = sounddevice.default.device[0]
    return tuple(
        InputDevice(index, d["name"], d["max_input_channels"], round(d["default_samplerate"]), index == default)
        for index, d in enumerate(devices)
        if d["max_input_channels"] > 0
    )


def find_device(name_or_index: str | int | None = None) -> InputDevice:
    """A device by its index or a part of its name; None is the system's default.

    Raises:
        MicrophoneError: if there is no device at all.
        UnknownDeviceError: if none fits, or several do; the message lists them.
    """
    devices = input_devices()
    if not devices:
        raise MicrophoneError("no microphone found; plug one in, or spot a file with 'lcspeech spot FILE'")
    if name_or_index is None:
        return next((device for device in devices if device.default), devices[0])
    text = str(name_or_index).lower()
    if text.isdecimal():
        found = [device for device in devices if device.index == int(text)]
    else:
        found = [device for device in devices if device.name.lower() == text]
        found = found or [device for device in devices if text in device.name.lower()]
    if len(found) != 1:
        problem = f"{len(found)} devices fit" if found else "unknown device"
        listed = ", ".join(f"{device.index} {device.name}" for device in found or devices)
        raise UnknownDeviceError(f"{problem} '{name_or_index}'; there are: {listed}")
    return found[0]


def find_again(device: InputDevice) -> InputDevice | None:
    """The same device wherever it is now, None while it is away. `rescan` first: PortAudio looks only once."""
    return next((found for found in input_devices() if _CARD.sub("", found.name) == _CARD.sub("", device.name)), None)


def rescan() -> None:
    """Let PortAudio look which devices there are; it ends every stream of this process, so none may be open.

    PortAudio has no other way (its issue 11), and sounddevice's author names these two functions for it (issue 125).
    """
    sounddevice = load_sounddevice()
    with quiet():
        with contextlib.suppress(sounddevice.PortAudioError):  # it was not running: an earlier start failed
            sounddevice._terminate()
        with contextlib.suppress(sounddevice.PortAudioError):  # no sound system; the next rescan tries again
            sounddevice._initialize()


def load_sounddevice() -> Any:
    """The module, which loads PortAudio.

    Raises:
        MissingDependencyError: if one of them is not installed.
    """
    try:
        with quiet():
            import sounddevice
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"live listening needs sounddevice and PortAudio ({error}): pip install sounddevice, on Debian also "
            "apt-get install libportaudio2; files can be spotted without them"
        ) from error
    return sounddevice


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what ALSA and its kin print on standard error while they look around."""
    with _stderr_lock:  # two threads at once would restore each other's
        try:
            saved = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            with Path(os.devnull).open("wb") as sink:
                os.dup2(sink.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
