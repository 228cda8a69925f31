"""Microphone -> blocks of samples, at the device's own rate; resampling is the stream's work.

Devices that refuse a rate, vanish, fall silent or overrun are what live listening is made of: each is handled here,
and told as a warning of the logger ``lcspeech.microphone``.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech.devices import InputDevice, find_again, find_device, load_sounddevice, quiet, rescan
from lcspeech.errors import MicrophoneError, UsageError
from lcspeech.watch import RateMeter, Watch

Floats = NDArray[np.float32]

RATES = (48_000, 44_100, 16_000, 32_000, 96_000, 8_000)  # Hz; tried in turn when the device refuses its own rate
SILENT_SECONDS = 2.0  # without a block after which a device counts as gone
START_SECONDS = 5.0  # that a device may take to begin
RETRY_SECONDS = 0.5  # between two looks for a device that is gone
REMIND_SECONDS = 60.0  # between two warnings of lost audio
_FAR = 100.0  # beyond it floats are no samples in [-1, 1], nor are NaNs
_BLOCK_SECONDS = 0.001, 1.0  # shortest, longest: PortAudio divides by too short a one, and a longer one counts as gone
_QUEUE_SECONDS = 10.0  # of audio that may wait for the caller
_BUFFER_BLOCKS = 3  # in PortAudio's buffer; with two, its own choice, a PulseAudio device gives nothing for 2 s

_log = logging.getLogger(__name__)
_recording: set[Microphone] = set()  # those with an open stream, which a look for new devices would end
_opening = threading.RLock()  # whoever is interrupted while he holds it may close


class Microphone:
    """An open input device: iterate over its blocks, mono float32 ``[n]`` at `sample_rate`, until it is closed.

    A device that is unplugged is waited for and opened again. Meanwhile it is heard as silence, so that the stream's
    time goes on with the clock. To find it, PortAudio has to be started anew, which ends a program's own streams of
    sounddevice. While another `Microphone` records that is not done, and the lost one is found only at its old place.
    """

    def __init__(self, device: InputDevice | str | int | None = None, block_seconds: float = 0.04) -> None:
        """Open `device` (an index, a part of a name; None: the system's) at its own rate, or the next it accepts.

        Raises:
            UnknownDeviceError: if there is no such device; the message lists those there are.
            MicrophoneError: if there is none at all, or it accepts no rate.
            MissingDependencyError: if PortAudio is not installed.
            UsageError: if blocks are shorter than a millisecond or longer than a second.
        """
        if not _BLOCK_SECONDS[0] <= block_seconds <= _BLOCK_SECONDS[1]:
            raise UsageError(f"blocks of {block_seconds} s; give {_BLOCK_SECONDS[0]} to {_BLOCK_SECONDS[1]:g}")
        self.device = device if isinstance(device, InputDevice) else find_device(device)
        self.sample_rate = 0  # Hz, at which it opened
        self.channels = 0  # that it delivers; blocks hold their mean
        self.overflows = 0  # blocks lost because the caller or the machine was too slow
        self.present = True  # False while it is waited for
        self._block_seconds = block_seconds
        self._blocks: queue.Queue[Floats | None] = queue.Queue(max(1, round(_QUEUE_SECONDS / block_seconds)))
        self._closed = False
        self._told, self._told_at = 0, -REMIND_SECONDS  # overflows
        self._began = False  # to deliver, since it was opened
        with _opening:  # another one may be looking for new devices
            self._stream = self._open((self.device.sample_rate, *RATES))
        self._watch = Watch(self.sample_rate)
        self._heard_at = time.monotonic()  # when the caller got its last block

    def _open(self, rates: tuple[int, ...]) -> Any:
        sounddevice = load_sounddevice()
        rates = tuple(dict.fromkeys(rates))
        # virtual devices offer 32 channels and more, of which two will do; some hardware gives all or nothing
        channels = dict.fromkeys((min(2, self.device.channels), self.device.channels))
        refusals = []
        for self.sample_rate, self.channels in itertools.product(rates, channels):
            stream = None
            self._meter = RateMeter(self.sample_rate, self._block_seconds)
            try:
                with quiet():
                    stream = sounddevice.InputStream(
                        samplerate=self.sample_rate,
                        blocksize=max(1, round(self.sample_rate * self._block_seconds)),
                        device=self.device.index,
                        channels=self.channels,
                        dtype="float32",
                        latency=_BUFFER_BLOCKS * self._block_seconds,
                        callback=self._receive,
                    )
                    stream.start()
                _recording.add(self)
                self._began = False
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
            MicrophoneError: if it was closed.
        """
        block = self._next()
        if block is None:
            raise MicrophoneError(f"'{self.device.name}' was closed; open it again")
        return block

    def discard(self) -> None:
        """Forget the blocks that wait: what is read next was heard from now on, but for the device's own buffer."""
        self._forget()
        self._heard_at = time.monotonic()

    def _forget(self) -> None:
        with contextlib.suppress(queue.Empty):
            while self._blocks.get_nowait() is not None:
                pass
            self._put(None)  # closed meanwhile: whoever waits has to be told

    def close(self) -> None:
        """Stop recording; again is no error. An iteration, in whichever thread, ends."""
        if self._closed:
            return
        self._closed = True
        with _opening:
            self._end()
        self._tell_overflows()
        self._put(None)

    @property
    def measured_rate(self) -> float | None:
        """Samples that come in a second by this machine's clock; None in the first two, and if some were lost."""
        return None if self.overflows else self._meter.rate

    def _next(self) -> Floats | None:
        """The next block, None once closed."""
        if self._closed:
            return None
        patience = RETRY_SECONDS if self._stream is None else SILENT_SECONDS if self._began else START_SECONDS
        try:
            block = self._blocks.get(timeout=patience)
        except queue.Empty:
            return self._missing()
        if block is None:
            return None
        self._began = True
        if not self.present:  # an open device takes a second or so to begin
            block = np.concatenate([self._silence(len(block) / self.sample_rate), block])
        self._heard_at = time.monotonic()
        self._tell(block)
        return block

    def _tell(self, block: Floats) -> None:
        """Warn of what is wrong with the input."""
        if not self.present:
            self.present = True
            self._watch.reset()
            _log.warning("'%s' is back", self.device.name)
        for finding in self._watch.hear(block, lambda: self.measured_rate):
            _log.warning("'%s': %s", self.device.name, finding.message)
        if self._heard_at - self._told_at >= REMIND_SECONDS:
            self._tell_overflows()

    def _tell_overflows(self) -> None:
        if self.overflows > self._told:
            self._told, self._told_at = self.overflows, self._heard_at
            lost = f"{self._told} block{'s' * (self._told > 1)} of audio lost so far"
            _log.warning("%s: this machine cannot keep up, and words may be missed; end other programs", lost)

    def _missing(self) -> Floats | None:
        """There was no block for a while: look after the device, and fill the time with silence."""
        with _opening:
            if self._closed:
                return None
            if self._stream is None:
                self._reopen()
            else:  # it has gone deaf
                self._end()
                self._forget()  # what came at the last moment, and would seem to come from a device that is back
        if self.present:
            self.present = False
            _log.warning("'%s' delivers no audio any more; is it unplugged? It is waited for", self.device.name)
        return self._silence()

    def _silence(self, less: float = 0.0) -> Floats:
        """As long as the caller has heard nothing, but for `less` seconds."""
        now = time.monotonic()
        seconds, self._heard_at = min(now - self._heard_at - less, _QUEUE_SECONDS), now
        return np.zeros(max(0, round(seconds * self.sample_rate)), np.float32)

    def _reopen(self) -> None:
        """Open the device again if it is there, at the rate that the caller counts on."""
        if not _recording:
            rescan()
        with contextlib.suppress(MicrophoneError, load_sounddevice().PortAudioError):
            found = find_again(self.device)
            if found is not None:
                self.device = found
                self._stream = self._open((self.sample_rate,))
                if self._closed:  # meanwhile
                    self._end()

    def _end(self) -> None:
        """Close PortAudio's stream, if there is one."""
        stream, self._stream = self._stream, None
        _recording.discard(self)
        if stream is not None:
            with quiet():
                stream.close(ignore_errors=True)

    def _receive(self, block: Floats, _frames: int, _time: Any, status: Any) -> None:
        """PortAudio's thread: copy the block, which is reused, and go."""
        if status.input_overflow:
            self.overflows += 1
        self._meter.add(time.monotonic(), len(block))
        mono: Floats = block.mean(1)
        self._put(np.where(abs(mono) < _FAR, mono, np.float32(0)))  # a driver's mistake must not end the listening

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
    sounddevice = load_sounddevice()
    try:
        with quiet():
            sounddevice.play(samples, sample_rate, blocking=True)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MicrophoneError(f"cannot play the recording ({error}); choose a loudspeaker in the system") from error
