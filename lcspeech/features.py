"""The one front end: log-mel power, the same frame by frame as over a whole recording.

Frame t sees samples ``[hop * t, hop * t + window)`` and nothing else: no padding, no statistics of the utterance
(they cannot stream). Training reads its features through this file too, so there is no twin to keep in step.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import FeatureSettings

Floats = NDArray[np.float32]

_BATCH = 36  # frames transformed at a time, a stream's longest step: more do not fit the cache, nor stay on one core


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """HTK's mel scale, inverted."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def hz_to_mel(hz: float) -> float:
    """HTK's mel scale."""
    return float(2595.0 * np.log10(1.0 + hz / 700.0))


@cache
def mel_filters(settings: FeatureSettings) -> Floats:
    """Triangular filters with a peak of 1, ``[n_fft // 2 + 1, n_mels]``."""
    edges = mel_to_hz(np.linspace(hz_to_mel(settings.f_min), hz_to_mel(settings.f_max), settings.n_mels + 2))
    bins = np.fft.rfftfreq(settings.n_fft, 1.0 / settings.sample_rate)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


@cache
def window(settings: FeatureSettings) -> Floats:
    """The periodic Hann window, ``[window]``."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.window) / settings.window)).astype(np.float32)


def log_mel(samples: Floats, settings: FeatureSettings) -> Floats:
    """Log-mel of a whole piece: ``[n] -> [frames, n_mels]``, frames = 0 if shorter than one window."""
    if len(samples) < settings.window:
        return np.empty((0, settings.n_mels), np.float32)
    count = (len(samples) - settings.window) // settings.hop + 1
    # Overlapping windows as a view; numpy's own sliding_window_view takes as long as half the transform of a step
    samples = np.ascontiguousarray(samples, np.float32)
    step = samples.itemsize
    frames = np.ndarray((count, settings.window), np.float32, samples, strides=(settings.hop * step, step))
    batches = [_transform(frames[start : start + _BATCH], settings) for start in range(0, count, _BATCH)]
    return batches[0] if len(batches) == 1 else np.concatenate(batches)


def _transform(frames: Floats, settings: FeatureSettings) -> Floats:
    padded = np.zeros((len(frames), settings.n_fft), np.float32)
    np.multiply(frames, window(settings), padded[:, : settings.window])
    spectrum = np.fft.rfft(padded)
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    mel = power @ mel_filters(settings)
    mel += np.float32(settings.floor)
    log: Floats = np.log(mel, out=mel)
    return log


class LogMelStream:
    """Log-mel of a stream. Samples that do not complete frames yet wait for the next block."""

    def __init__(self, settings: FeatureSettings, lead: int = 0) -> None:
        """`lead` samples of digital silence come first."""
        self.settings = settings
        self.pending: Floats = np.zeros(lead, np.float32)

    def process(self, samples: Floats, multiple: int = 1, least: int = 1) -> Floats:
        """Frames that `samples` ``[n]`` complete, ``[frames, n_mels]``: a multiple of `multiple`, `least` or more.

        Or none.
        """
        samples = np.concatenate([self.pending, samples])
        hop, window = self.settings.hop, self.settings.window
        frames = max(0, (len(samples) - window) // hop + 1) // multiple * multiple
        if frames < max(1, least):
            self.pending = samples
            return np.empty((0, self.settings.n_mels), np.float32)
        self.pending = samples[frames * hop :].copy()
        return log_mel(samples[: frames * hop + window - hop], self.settings)
