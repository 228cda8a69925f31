"""What another voice, a room, a noise or a microphone makes of a sound: samples ``[n]`` in and out, randomly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lcspeech.audio import resampled
from lcspeech.evaluation.levels import LEVEL, rms

Floats = NDArray[np.float32]

_GAIN_DB, _TILT_DB = 12.0, 8.0  # of a microphone: its level, and its slope to either end
_LOW_HZ, _HIGH_HZ = (50.0, 400.0), (3000.0, 7900.0)  # where a narrow band begins and ends
_RT60, _TAIL_DB = (0.1, 0.6), (-15.0, 0.0)  # of a room: its seconds, and the loudness of what it adds
_HUMMING, _HZ = 0.4, (60.0, 800.0)  # chance that noise hums, and its pitch
_EVEN = 1600


def even(samples: float) -> int:
    """So many or somewhat more, of which a Fourier transform is quick: it is slow where they have large factors."""
    return math.ceil(samples / _EVEN) * _EVEN


def faster(samples: Floats, rate: int, speed: float) -> Floats:
    """As a tape that runs faster, or slower: other formants, another pitch and pace."""
    return resampled(samples, round(rate * speed), rate)


def loudness(x: Floats, rate: int) -> float:
    """RMS of the loudest tenth of a second: a short word in a long pause counts as it sounds."""
    power = np.add.reduceat(x.astype(np.float64) ** 2, np.arange(0, len(x), rate // 10))
    return math.sqrt(power.max() / (rate // 10))


def in_a_room(x: Floats, rate: int, random: np.random.Generator) -> Floats:
    """With a synthetic room's decaying noise behind every sound."""
    count = round(random.uniform(*_RT60) * rate)
    tail = random.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    tail *= 10 ** (random.uniform(*_TAIL_DB) / 20) / math.sqrt((tail**2).sum())
    size = even(len(x) + count)
    wet = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(tail, size), size)[: len(x)]
    return np.asarray(x + wet, np.float32)


def by_a_microphone(x: Floats, rate: int, narrow: float, random: np.random.Generator) -> Floats:
    """At another level, with a slope over the (logarithmic) spectrum; `narrow` is the chance that its ends are cut."""
    hz = np.fft.rfftfreq(len(x), 1 / rate)
    octaves = np.log(np.maximum(hz, 60) / 60) / math.log(rate / 2 / 60)  # 0 to 1
    gain = random.uniform(-_GAIN_DB, _GAIN_DB) + random.uniform(-_TILT_DB, _TILT_DB) * (2 * octaves - 1)
    if random.random() < narrow:
        low, high = random.uniform(*_LOW_HZ), random.uniform(*_HIGH_HZ)
        gain -= 60 * np.clip(1 - hz / low, 0, 1) + 60 * np.clip((hz - high) / 1000, 0, 1)
    return np.asarray(np.fft.irfft(np.fft.rfft(x) * 10 ** (gain / 20), len(x)), np.float32)


def made_up_noise(count: int, rate: int, random: np.random.Generator) -> Floats:
    """Noise of any colour, ``[count]``, with a few broad tones in it, louder and quieter by turns; some of it hums."""
    hz = np.fft.rfftfreq(count, 1 / rate)
    samples = random.standard_normal(count)
    if random.random() < _HUMMING:  # as an engine or a cry does: all harmonics of a pitch that goes up and down
        turns = random.integers(2, 20)
        pitch = np.exp(np.interp(np.arange(count), np.linspace(0, count, turns), np.log(random.uniform(*_HZ, turns))))
        samples += random.uniform(1, 8) * (np.cumsum(pitch) / rate % 1 - 0.5)
    spectrum = np.fft.rfft(samples) / np.maximum(hz, 50) ** random.uniform(0, 1)
    for _ in range(random.integers(0, 4)):
        centre, width = np.exp(random.uniform(np.log(80), np.log(7000))), random.uniform(0.05, 0.5)
        bump = np.exp(-((np.log(np.maximum(hz, 1) / centre) / width) ** 2))
        spectrum *= 1 + random.uniform(0, 6) * bump
    turns = random.integers(2, 40)
    loudness = np.interp(
        np.arange(count), np.linspace(0, count, turns), random.standard_normal(turns) * random.uniform(0, 1.5)
    )
    samples = np.fft.irfft(spectrum, count) * np.exp(loudness)
    return np.asarray(samples * (LEVEL / rms(samples.astype(np.float32))), np.float32)
