"""Is an input fit to be listened to? Judgements on a few seconds of samples, with no device in sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SILENT_PEAK = 1.5 / 2**15  # the last bit of 16 may flicker
QUIET_DB = -60.0  # dBFS of the loudest moment, below which speech would drown in rounding and hum
NOISY_DB = -30.0  # dBFS of the quietest moments, above which speech has no room left
FULL_SCALE = 0.999
CLIPPED_SHARE = 0.01  # of the samples
RATE_TOLERANCE = 0.05  # below the 8.8 % between 44.1 and 48 kHz, above what a busy machine's clock shows
NARROW_DB = -50.0  # of the band above that of a telephone, relative to it; a microphone's own noise is flatter
SLOW_SHARE = 0.5  # of a core, above which there is no time left for anything else
_SPEECH_BAND, _UPPER_BAND = (1_000, 3_500), (4_500, 7_500)  # Hz
_MOMENT_SECONDS = 0.05


class Problem(StrEnum):
    """What can be wrong with an input."""

    NO_DEVICE = "no microphone"
    NO_PERMISSION = "no permission"
    NO_AUDIO = "no audio"
    SILENCE = "silence"
    CLIPPING = "clipping"
    WRONG_RATE = "wrong rate"
    NOISE = "too noisy"
    QUIET = "too quiet"
    NARROW_BAND = "telephone band"
    TOO_SLOW = "too slow"


@dataclass(frozen=True)
class Finding:
    """What is wrong, in plain words with the remedy; `fatal` if words will not be heard."""

    problem: Problem
    message: str
    fatal: bool = True


def examine(samples: Floats, sample_rate: int, measured_rate: float | None = None) -> tuple[Finding, ...]:
    """All that is wrong with `samples` ``[n]`` in [-1, 1], which hold a second or more; nothing if they are good.

    `sample_rate` in Hz is what the input claims, `measured_rate` what came in a second by the clock.
    """
    if found := silence(samples):
        return (found,)  # all else follows from it
    checks = (
        wrong_rate(sample_rate, measured_rate),
        clipping(samples),
        level(samples, sample_rate),
        narrow_band(samples, sample_rate),
    )
    return tuple(finding for finding in checks if finding)


def no_device(refused: Sequence[str]) -> Finding:
    """No microphone was found; `refused` are the system's sound devices that this user may not open."""
    if refused:
        return Finding(
            Problem.NO_PERMISSION,
            f"this user may not open {', '.join(refused)}; add it to their group with 'sudo usermod -aG audio $USER', "
            "and log in again",
        )
    return Finding(
        Problem.NO_DEVICE,
        "the system has none; plug one in, or allow programs to use it in the system's privacy settings",
    )


def no_audio(sample_rate: int) -> Finding:
    """A device that opened at `sample_rate` Hz, but delivers nothing."""
    return Finding(
        Problem.NO_AUDIO,
        f"the device opens at {sample_rate} Hz but delivers nothing; plug it in again, end other programs that use "
        "it, or choose another with --device",
    )


def too_slow(cpu_seconds: float, audio_seconds: float) -> Finding | None:
    """Whether hearing `audio_seconds` takes this machine about as long or longer."""
    share = cpu_seconds / audio_seconds
    if share < SLOW_SHARE:
        return None
    return Finding(
        Problem.TOO_SLOW,
        f"listening takes {100 * share:.0f} % of a core; end other programs, or choose a smaller model with --model",
        fatal=share >= 1,
    )


def silence(samples: Floats) -> Finding | None:
    """Not a quiet room but nothing at all: every microphone has some noise."""
    if np.abs(samples).max(initial=0.0) > SILENT_PEAK:
        return None
    return Finding(
        Problem.SILENCE,
        "nothing but digital silence; unmute the microphone in the system's sound settings, and allow programs to "
        "use it in its privacy settings",
    )


def clipping(samples: Floats) -> Finding | None:
    """Samples at full scale, where the wave's tops are cut off."""
    share = float(np.mean(np.abs(samples) >= FULL_SCALE)) if len(samples) else 0.0
    if share < CLIPPED_SHARE:
        return None
    return Finding(
        Problem.CLIPPING,
        f"the input is overdriven, {100 * share:.0f} % of its samples are at full scale; turn down the microphone's "
        "gain or boost, or move away from it",
    )


def wrong_rate(sample_rate: int, measured_rate: float | None) -> Finding | None:
    """More or fewer samples a second than claimed: all words sound too high or too low. None if not measured."""
    if measured_rate is None or abs(measured_rate / sample_rate - 1) <= RATE_TOLERANCE:
        return None
    return Finding(
        Problem.WRONG_RATE,
        f"the device claims {sample_rate} Hz but delivers {measured_rate:.0f} samples a second; set its rate in the "
        "system's sound settings, or update its driver",
    )


def level(samples: Floats, sample_rate: int) -> Finding | None:
    """Noise that leaves speech no room, or a level at which it would not be seen."""
    moments = _moments(samples, sample_rate)
    if not len(moments):
        return None
    decibels = 10 * np.log10(np.mean(np.square(moments, dtype=np.float64), 1) + 1e-12)
    floor, loudest = float(np.quantile(decibels, 0.1)), float(decibels.max())
    if floor > NOISY_DB:
        return Finding(
            Problem.NOISE,
            f"the noise never falls below {floor:.0f} dBFS; end what makes it, move the microphone nearer to the "
            "mouth and turn down its gain",
        )
    if loudest < QUIET_DB:
        return Finding(
            Problem.QUIET,
            f"the loudest moment has {loudest:.0f} dBFS; turn up the microphone's gain, and speak while this is tested",
            fatal=False,
        )
    return None


def narrow_band(samples: Floats, sample_rate: int) -> Finding | None:
    """Nothing above 4 kHz: a headset in telephone mode, or a rate of 8 kHz somewhere on the way."""
    moments = _moments(samples, sample_rate)
    missing = sample_rate < 2 * _UPPER_BAND[1]  # it cannot hold more
    if not missing and len(moments):
        power = np.square(np.abs(np.fft.rfft(moments * np.hanning(moments.shape[1])))).mean(0)
        frequencies = np.fft.rfftfreq(moments.shape[1], 1 / sample_rate)
        speech, upper = (
            power[(frequencies >= low) & (frequencies <= high)].mean() for low, high in (_SPEECH_BAND, _UPPER_BAND)
        )
        missing = bool(upper < speech * 10 ** (NARROW_DB / 10))
    if not missing:
        return None
    return Finding(
        Problem.NARROW_BAND,
        "there is nothing above 4 kHz, as on a telephone, so words are told apart less well; take a headset out of "
        "its call profile (HFP, HSP), or choose another microphone with 'lcspeech devices'",
        fatal=False,
    )


def _moments(samples: Floats, sample_rate: int) -> Floats:
    """``[n]`` -> ``[moments, samples of a moment]``; a rest is dropped."""
    size = max(1, round(_MOMENT_SECONDS * sample_rate))
    return samples[: len(samples) // size * size].reshape(-1, size)
