"""PortAudio without a sound card: devices from a list, and streams that deliver what a test puts in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

DEVICES = (
    {"name": "Loudspeaker", "max_input_channels": 0, "default_samplerate": 48_000.0},
    {"name": "USB headset", "max_input_channels": 1, "default_samplerate": 44_100.0},
    {"name": "USB", "max_input_channels": 2, "default_samplerate": 48_000.0},
    {"name": "Room array", "max_input_channels": 8, "default_samplerate": 96_000.0},
)


class PortAudioError(Exception):
    pass


class FakeStream:
    """An input stream that opens where `accepts` says so, and delivers what a test puts into its callback."""

    opened: list[FakeStream]
    tried: list[tuple[int, int]]
    accepts: Callable[[int, int], bool]
    devices: list[dict[str, Any]]  # as they are; PortAudio knows those of its last look
    rescans: int
    sound: NDArray[np.float32] | None  # that a stream of one channel delivers as soon as it starts

    def __init__(self, **options: Any) -> None:
        self.options, self.closed = options, False
        rate, channels = options["samplerate"], options["channels"]
        type(self).tried.append((rate, channels))
        if not type(self).accepts(rate, channels):
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        type(self).opened.append(self)

    def start(self) -> None:
        for block in [] if type(self).sound is None else np.array_split(type(self).sound, 50):
            self.deliver(block[:, None].copy())

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
    FakeStream.devices, FakeStream.rescans, FakeStream.sound = list(DEVICES), 0, None
    known = list(DEVICES)

    def terminate() -> None:
        assert all(stream.closed for stream in FakeStream.opened), "PortAudio would end a stream that is in use"
        known.clear()

    def initialize() -> None:
        FakeStream.rescans += 1
        known.extend(FakeStream.devices)

    module = SimpleNamespace(
        query_devices=lambda: list(known),
        default=SimpleNamespace(device=[3, 0]),
        InputStream=FakeStream,
        PortAudioError=PortAudioError,
        _terminate=terminate,
        _initialize=initialize,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return FakeStream
