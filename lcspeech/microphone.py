"""Microphone -> blocks of samples, at the device's own rate; resampling is the stream's work.

Devices that refuse a rate, vanish, fall silent or overrun are what live listening is made of: each is handled here.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech.errors import MicrophoneError, MissingDependencyError, UnknownDeviceError

Floats = NDArray[np.float32]

RATES = (48_000, 44_100, 16_000, 32_000, 96_000, 8_000)  # Hz; tried in turn when the device refuses its own rate
SILENT_SECONDS = 2.0  # without a block after which a device counts as gone
_QUEUE_SECONDS = 10.0  # of audio that may wait for the caller
_BUFFER_BLOCKS = 3  # in PortAudio's buffer; with two, its own choice, a PulseAudio device gives nothing for 2 s

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
    sounddevice = _sounddevice()
    with _quiet():
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


class Microphone:
    """An open input device: iterate over its blocks, mono float32 ``[n]`` at `sample_rate`, until it is closed."""

    def __init__(self, device: InputDevice, block_seconds: float = 0.04) -> None:
        """Open `device` at its own rate, or the next that it accepts.

        Raises:
            MicrophoneError: if it accepts none.
        """
        self.device = device
        self.sample_rate = 0  # Hz, at which it opened
        self.channels = 0  # that it delivers; blocks hold their mean
        self.overflows = 0  # blocks lost because the caller or the machine was too slow
        self._blocks: queue.Queue[Floats | None] = queue.Queue(max(1, round(_QUEUE_SECONDS / block_seconds)))
        self._closed = False
        self._stream = self._open(block_seconds)

    def _open(self, block_seconds: float) -> Any:
        sounddevice = _sounddevice()
        rates = tuple(dict.fromkeys((self.device.sample_rate, *RATES)))
        # virtual devices offer 32 channels and more, of which two will do; some hardware gives all or nothing
        channels = dict.fromkeys((min(2, self.device.channels), self.device.channels))
        refusals = []
        for self.sample_rate, self.channels in itertools.product(rates, channels):
            stream = None
            try:
                with _quiet():
                    stream = sounddevice.InputStream(
                        samplerate=self.sample_rate,
                        blocksize=max(1, round(self.sample_rate * block_seconds)),
                        device=self.device.index,
                        channels=self.channels,
                        dtype="float32",
                        latency=_BUFFER_BLOCKS * block_seconds,
                        callback=self._receive,
                    )
                    stream.start()
                return stream
            except (sounddevice.PortAudioError, ValueError) as error:
                refusals.append(str(error))
                if stream is not None:  # opened but not started: it would block the next try
                    stream.close(ignore_errors=True)
        raise MicrophoneError(
            f"'{self.device.name}' cannot be opened at {', '.join(map(str, rates))} Hz ({refusals[0]}); "
            "close other programs that use it, or choose another with 'lcspeech devices'"
        )

    def __enter__(self) -> Microphone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Floats]:
        while (block := self._next()) is not None:
            yield block

    def read(self) -> Floats:
        """The next block, when it is there.

        Raises:
            MicrophoneError: if none comes for two seconds: the device was unplugged, or has gone deaf; or if closed.
        """
        block = self._next()
        if block is None:
            raise MicrophoneError(f"'{self.device.name}' was closed; open it again")
        return block

    def close(self) -> None:
        """Stop recording; again is no error. An iteration, in whichever thread, ends."""
        if self._closed:
            return
        self._closed = True
        with _quiet():
            self._stream.close(ignore_errors=True)
        self._put(None)

    def _next(self) -> Floats | None:
        """The next block, None once closed."""
        if self._closed:
            return None
        try:
            return self._blocks.get(timeout=SILENT_SECONDS)
        except queue.Empty:
            raise MicrophoneError(
                f"'{self.device.name}' delivers no audio any more; is it unplugged? Plug it in and start again"
            ) from None

    def _receive(self, block: Floats, _frames: int, _time: Any, status: Any) -> None:
        """PortAudio's thread: copy the block, which is reused, and go."""
        if status.input_overflow:
            self.overflows += 1
        self._put(block.mean(1))

    def _put(self, block: Floats | None) -> None:
        while True:
            try:
                return self._blocks.put_nowait(block)
            except queue.Full:  # the oldest makes room: late audio is worth less than new
                self.overflows += block is not None
                with contextlib.suppress(queue.Empty):
                    self._blocks.get_nowait()


def play(samples: Floats, sample_rate: int) -> None:
    """Play samples ``[n]`` on the system's loudspeaker, to their end.

    Raises:
        MicrophoneError: if there is none, or it refuses.
    """
    sounddevice = _sounddevice()
    try:
        with _quiet():
            sounddevice.play(samples, sample_rate, blocking=True)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MicrophoneError(f"cannot play the recording ({error}); choose a loudspeaker in the system") from error


def _sounddevice() -> Any:
    try:
        with _quiet():
            import sounddevice
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"live listening needs sounddevice and PortAudio ({error}): pip install sounddevice, on Debian also "
            "apt-get install libportaudio2; files can be spotted without them"
        ) from error
    return sounddevice


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
