"""Levels by their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from lcspeech.evaluation.levels import active_level, loud_seconds, peak_frame_level, rms, voiced

RATE = 16_000


def test_a_word_is_where_it_is_loud() -> None:
    samples = np.full(RATE, 1e-4, np.float32)
    samples[4_000:9_000] = 0.1
    assert voiced(samples, RATE) == pytest.approx((0.25, 0.5625), abs=0.011)
    assert voiced(np.zeros(1_600, np.float32), RATE) == pytest.approx((0, 0.1), abs=1e-4)


@pytest.mark.parametrize("length", [0, 1, 100, 319])
def test_less_than_a_frame(length: int) -> None:
    samples = np.full(length, 0.1, np.float32)
    assert active_level(samples, RATE) == pytest.approx(0.1 if length else 0, rel=0.01)
    if length:
        assert voiced(samples, RATE) == pytest.approx((0, (length - 1) / RATE))


def test_pauses_do_not_lower_the_active_level() -> None:
    samples = np.zeros(RATE, np.float32)
    samples[:4_000] = samples[12_000:] = 0.2
    assert active_level(samples, RATE) == pytest.approx(0.2, rel=0.05)
    assert rms(samples) == pytest.approx(0.2 / np.sqrt(2))


def test_pauses_are_not_loud() -> None:
    samples = np.full(2 * RATE, 1e-4, np.float32)
    samples[4_000:8_000] = samples[20_000:28_000] = 0.1
    assert loud_seconds(samples, RATE) == pytest.approx(0.75, abs=0.05)
    assert loud_seconds(samples[:0], RATE) == 0


def test_the_loudest_frame() -> None:
    samples = np.full(2_000, 0.1, np.float32)
    samples[512:1_024] = 0.4
    samples[1_900:] = 0.9  # no whole frame
    assert peak_frame_level(samples, 512) == pytest.approx(0.4)


def test_nothing_has_no_level() -> None:
    nothing = np.empty(0, np.float32)
    assert (rms(nothing), active_level(nothing, RATE), peak_frame_level(nothing, 512)) == (0, 0, 0)
