"""What is told of a live input, and when; and its rate, whatever a busy machine does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lcspeech.health import Problem
from lcspeech.watch import RateMeter, Watch
from tests.test_health import RATE, room


def feed(watch: Watch, samples: NDArray[np.float32], measured: float | None = None) -> list[Problem]:
    blocks = np.array_split(samples, 250)
    return [finding.problem for block in blocks for finding in watch.hear(block, lambda: measured)]


def test_a_watch_tells_news_only() -> None:
    watch, nothing, good = Watch(RATE), np.zeros(10 * RATE, np.float32), room(10.0)
    assert feed(watch, good) == []
    assert feed(watch, nothing) == [Problem.SILENCE]
    assert feed(watch, nothing) == []
    assert feed(watch, good, 44_100) == [Problem.WRONG_RATE]
    assert feed(watch, nothing, 44_100) == [Problem.SILENCE]


def test_a_pause_is_no_silence() -> None:
    watch = Watch(RATE)
    pause = np.concatenate([room(1.0), np.zeros(9 * RATE, np.float32)])
    assert feed(watch, pause) == []
    watch.hear(np.zeros(9 * RATE, np.float32))
    watch.reset()
    assert watch.hear(np.zeros(9 * RATE, np.float32)) == ()


def test_a_watch_keeps_no_more_than_it_judges() -> None:
    watch = Watch(RATE)
    for _ in range(100):
        watch.hear(room(0.5))
        assert watch._samples <= 10 * RATE


@pytest.mark.parametrize("rate", [44_100, 48_000, 52_000])
def test_the_rate_is_measured_whatever_a_busy_machine_does(rate: int) -> None:
    random = np.random.default_rng(rate)
    meter = RateMeter(RATE, 0.04)
    assert meter.rate is None
    now = 1_000.0
    for block in range(400):
        while now < 1_000 + (block + 1) * 1_920 / rate:
            now += random.uniform(0.01, 0.45)  # all that was held up until here comes in a burst
        meter.add(now, 1_920)
        if block in {75, 399}:
            assert meter.rate == pytest.approx(rate, rel=0.01 if block == 399 else 0.03)
    assert len(meter._arrivals) == 250


def test_a_moment_measures_no_rate() -> None:
    meter = RateMeter(RATE, 0.04)
    for block in range(49):
        meter.add(block * 0.04, 1_920)
    assert meter.rate is None
