"""Judgements on an input: each fault that a microphone can have, made with numpy, and the good input that has none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lcspeech.audio import Resampler
from lcspeech.health import (
    Finding,
    Problem,
    clipping,
    examine,
    no_audio,
    no_device,
    silence,
    too_slow,
    wrong_rate,
)

RATE = 48_000


def room(seconds: float = 3.0, noise: float = 1e-3, rate: int = RATE) -> NDArray[np.float32]:
    """Bursts of sound at -26 dBFS, as of speech, over the noise of a microphone."""
    random = np.random.default_rng(0)
    time = np.arange(round(seconds * rate)) / rate
    sound = 0.05 * random.standard_normal(len(time)) * (time % 1 < 0.4)
    return (sound + noise * random.standard_normal(len(time))).astype(np.float32)


def problems(samples: NDArray[np.float32], rate: int = RATE, measured: float | None = None) -> list[Problem]:
    return [finding.problem for finding in examine(samples, rate, measured)]


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_good_input_has_no_fault(rate: int) -> None:
    assert examine(room(rate=rate), rate, rate * 1.02) == ()


def test_silence_is_all_that_is_said_of_nothing() -> None:
    assert problems(np.zeros(RATE, np.float32), measured=8_000) == [Problem.SILENCE]
    assert silence(np.full(RATE, 1 / 2**15, np.float32)) is not None  # the last bit flickers
    assert silence(np.full(RATE, 2 / 2**15, np.float32)) is None


@pytest.mark.parametrize(("share", "found"), [(0.0, False), (0.009, False), (0.011, True), (0.5, True)])
def test_clipping_is_a_hundredth_of_the_samples_at_full_scale(share: float, found: bool) -> None:
    samples = room(1.0)
    samples[: round(share * len(samples))] = -1.0
    assert (clipping(samples) is not None) is found
    assert (Problem.CLIPPING in problems(samples)) is found


def test_clipping_of_real_waves() -> None:
    assert problems(np.clip(30 * room(), -1, 1)) == [Problem.CLIPPING]


@pytest.mark.parametrize(
    ("measured", "found"), [(None, False), (48_000, False), (46_000, False), (44_100, True), (96_000, True)]
)
def test_the_rate_is_judged_by_the_clock(measured: float | None, found: bool) -> None:
    assert (wrong_rate(RATE, measured) is not None) is found
    assert problems(room(), measured=measured) == [Problem.WRONG_RATE] * found


def test_noise_and_quiet() -> None:
    assert problems(room(noise=0.05)) == [Problem.NOISE]
    assert problems(room(noise=0.02)) == []
    assert problems(0.002 * room()) == [Problem.QUIET]


def test_a_telephones_band_is_told_and_is_not_fatal() -> None:
    narrow = Resampler(8_000, RATE).process(room(rate=8_000))
    (finding,) = examine(narrow, RATE)
    assert (finding.problem, finding.fatal) == (Problem.NARROW_BAND, False)
    assert problems(room(rate=8_000), 8_000) == [Problem.NARROW_BAND]
    rumble = np.cumsum(room()).astype(np.float32)  # -6 dB an octave
    assert problems(0.3 * rumble / np.abs(rumble).max()) in ([], [Problem.NOISE])


def test_every_finding_says_what_to_do() -> None:
    inputs = (np.zeros(RATE), np.ones(RATE), room(noise=0.05), 0.002 * room())
    for samples in inputs:
        for finding in examine(samples.astype(np.float32), RATE, 40_000):
            assert "; " in finding.message
            assert isinstance(finding, Finding)


def test_a_moment_is_enough_to_answer() -> None:
    assert problems(room(0.01)) == []
    assert problems(np.empty(0, np.float32)) == [Problem.SILENCE]


@pytest.mark.parametrize(("share", "fatal"), [(0.1, None), (0.49, None), (0.6, False), (1.0, True), (2.0, True)])
def test_a_machine_that_is_too_slow(share: float, fatal: bool | None) -> None:
    finding = too_slow(3 * share, 3.0)
    assert (finding and finding.fatal) == fatal


def test_no_device_no_permission_and_no_audio_are_told_apart() -> None:
    assert no_device([]).problem == Problem.NO_DEVICE
    refused = no_device(["/dev/snd/pcmC0D0c"])
    assert refused.problem == Problem.NO_PERMISSION
    assert "may not open /dev/snd/pcmC0D0c; add it to their group with 'sudo usermod -aG audio" in refused.message
    assert no_audio(48_000).problem == Problem.NO_AUDIO
