"""The last seconds of a stream, kept so that an event can hand over the sound around it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcspeech.audio import to_mono
from lcspeech.errors import UsageError
from lcspeech.pretrained import write

Floats = NDArray[np.float32]


class PreRoll:
    """A ring of the last seconds of audio, at the source's own rate. Feed it what the stream is fed, and before it::

    preroll = lcspeech.PreRoll(5.0, microphone.sample_rate)
    for block in microphone:
        preroll.feed(block)
        for event in stream.feed(block):
            samples = preroll.since(event.start - 0.5)  # until now: what follows is not cut
    """

    def __init__(self, seconds: float, sample_rate: int, start: float = 0.0) -> None:
        """Memory for `seconds` of audio at `sample_rate` Hz is taken at once, and no more ever.

        `start` is the time of the stream, in seconds, at which it is first fed: ``stream.seconds`` of one that resumes.

        Raises:
            UsageError: if that is not even one sample, or `start` is before the stream.
        """
        size = round(seconds * sample_rate) if np.isfinite(seconds) and np.isfinite(sample_rate) else 0
        if sample_rate < 1 or sample_rate % 1 or size < 1:
            raise UsageError(f"a pre-roll of {seconds} s at {sample_rate} Hz; give more than 0 of both, and whole Hz")
        if not 0 <= start < np.inf:
            raise UsageError(f"a pre-roll from {start} s on; give the stream's seconds, 0 or more")
        self.sample_rate = int(sample_rate)
        self._ring = np.zeros(size, np.float32)
        self._first = self._samples = round(start * sample_rate)  # of the stream: where it began, and now

    @property
    def seconds(self) -> float:
        """Stream time: seconds of audio heard so far."""
        return self._samples / self.sample_rate

    def feed(self, samples: NDArray[np.generic]) -> None:
        """Keep a block ``[n]`` or ``[n, channels]``, float in [-1, 1] or integer; the oldest makes room.

        Raises:
            AudioError: if a sample is not finite, or far beyond [-1, 1]; nothing is kept then.
        """
        mono = to_mono(samples)
        self._samples += len(mono)
        kept = mono[-len(self._ring) :]
        places = np.arange(self._samples - len(kept), self._samples) % len(self._ring)
        self._ring[places] = kept

    def since(self, start: float) -> Floats:
        """Samples ``[n]`` from stream time `start` in seconds until now, mono; what is too old is no longer there.

        Raises:
            UsageError: if `start` is not a number.
        """
        if np.isnan(start):
            raise UsageError("sound since a time that is not a number; give seconds, -inf for all that there is")
        oldest = max(self._first, self._samples - len(self._ring))
        first = round(min(self._samples, max(oldest, start * self.sample_rate)))
        return self._ring[np.arange(first, self._samples) % len(self._ring)]

    def save(self, path: str | Path, start: float) -> None:
        """Write what `since` gives as a WAV file of 16 bits; no half of it is ever at `path`.

        Raises:
            OSError: if it cannot be written.
            UsageError: if `path` is a folder, or `start` no time.
        """
        import soundfile

        content = io.BytesIO()
        soundfile.write(content, self.since(start), self.sample_rate, subtype="PCM_16", format="WAV")
        write(Path(path), content.getvalue())
