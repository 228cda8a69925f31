"""The last seconds of audio: which samples, how much memory, and as a file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from lcspeech import AudioError, PreRoll, UsageError

RATE = 100  # Hz


def ramp(samples: int) -> np.ndarray:
    return np.arange(samples, dtype=np.float32) / 1_000


@given(st.lists(st.integers(0, 250), max_size=20), st.floats(-1, 12))
def test_it_hands_over_the_last_samples_from_a_moment_on(sizes: list[int], start: float) -> None:
    preroll = PreRoll(2.0, RATE)
    heard = ramp(sum(sizes))
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        preroll.feed(heard[end - size : end])
    first = max(0, len(heard) - 2 * RATE, round(start * RATE))
    assert preroll.seconds == len(heard) / RATE
    found = preroll.since(start)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, heard[first:])


def test_what_it_hands_over_stays_as_it_is() -> None:
    preroll = PreRoll(1.0, RATE)
    preroll.feed(ramp(RATE))
    found = preroll.since(0.0)
    preroll.feed(np.ones(RATE, np.float32))
    np.testing.assert_array_equal(found, ramp(RATE))


def test_it_goes_on_in_the_middle_of_a_stream() -> None:
    preroll = PreRoll(5.0, RATE, start=20.0)
    preroll.feed(ramp(2 * RATE))
    assert preroll.seconds == 22.0
    np.testing.assert_array_equal(preroll.since(21.5), ramp(2 * RATE)[150:])
    np.testing.assert_array_equal(preroll.since(0.0), ramp(2 * RATE))  # nothing is there of what was before
    with pytest.raises(UsageError, match="0 or more"):
        PreRoll(5.0, RATE, start=-1.0)


def test_all_that_there_is_is_since_ever() -> None:
    preroll = PreRoll(1.0, RATE)
    preroll.feed(np.arange(100, dtype=np.float32) / 100)
    assert len(preroll.since(-math.inf)) == 100
    assert len(preroll.since(math.inf)) == 0
    with pytest.raises(UsageError, match="not a number"):
        preroll.since(math.nan)


def test_memory_is_bounded() -> None:
    preroll = PreRoll(2.0, RATE)
    before = preroll._ring.nbytes
    for _ in range(1_000):
        preroll.feed(ramp(333))
    assert preroll._ring.nbytes == before == 4 * 2 * RATE


def test_channels_and_integers_are_taken_as_the_stream_takes_them() -> None:
    preroll = PreRoll(1.0, RATE)
    preroll.feed(np.array([[2**14, 0], [-(2**14), 0]], np.int16))
    np.testing.assert_array_equal(preroll.since(0.0), [0.25, -0.25])
    with pytest.raises(AudioError, match="not finite"):
        preroll.feed(np.array([np.nan], np.float32))
    assert preroll.seconds == 2 / RATE


def test_a_clip_is_a_wav_file_at_the_sources_rate(tmp_path: Path) -> None:
    preroll = PreRoll(2.0, 44_100)
    sound = np.sin(np.arange(44_100) / 20).astype(np.float32) / 2
    preroll.feed(sound)
    preroll.save(tmp_path / "clip.wav", 0.25)
    samples, rate = soundfile.read(tmp_path / "clip.wav", dtype="float32")
    assert rate == 44_100
    np.testing.assert_allclose(samples, sound[11_025:], atol=1 / 2**15)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]  # no temporary file


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PreRoll(1.0, RATE).save(tmp_path / "nowhere" / "clip.wav", 0.0)


@pytest.mark.parametrize(
    ("seconds", "rate"),
    [(0.0, RATE), (-1.0, RATE), (math.nan, RATE), (math.inf, RATE), (1.0, 0), (1.0, math.nan), (1.0, 44.1)],
)
def test_no_room_is_refused(seconds: float, rate: int) -> None:
    with pytest.raises(UsageError, match="give more than 0 of both"):
        PreRoll(seconds, rate)
