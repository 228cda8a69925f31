"""Log-mel: librosa's numbers, one stream or many blocks, and nothing of the future."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcspeech.card import FeatureSettings
from lcspeech.features import Floats, LogMelStream, hz_to_mel, log_mel, mel_filters, mel_to_hz, window

DEFAULT = FeatureSettings()
OTHER = FeatureSettings(sample_rate=8_000, window=256, hop=80, n_fft=256, n_mels=24, f_min=0.0, f_max=4_000.0)


def noise(samples: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def streamed(samples: Floats, blocks: list[int], features: FeatureSettings = DEFAULT) -> Floats:
    """Log-mel of `samples` in blocks of the given lengths, the rest in one."""
    stream = LogMelStream(features)
    return np.concatenate([stream.process(block) for block in np.split(samples, np.cumsum(blocks))])


SPLITS = st.lists(st.integers(0, 1_500), max_size=12)


@pytest.mark.parametrize("features", [DEFAULT, OTHER])
def test_filters_are_librosas(features: FeatureSettings) -> None:
    librosa = pytest.importorskip("librosa")
    expected = librosa.filters.mel(
        sr=features.sample_rate,
        n_fft=features.n_fft,
        n_mels=features.n_mels,
        fmin=features.f_min,
        fmax=features.f_max,
        htk=True,
        norm=None,
    ).T
    filters = mel_filters(features)
    assert filters.shape == (features.n_fft // 2 + 1, features.n_mels)
    assert filters.dtype == np.float32
    np.testing.assert_allclose(filters, expected, atol=1e-5)


@pytest.mark.parametrize("features", [DEFAULT, OTHER])
def test_log_mel_is_librosas(features: FeatureSettings) -> None:
    librosa = pytest.importorskip("librosa")
    samples = noise(features.sample_rate)
    side = (features.n_fft - features.window) // 2  # librosa puts the window into the middle of its n_fft samples
    mel = librosa.feature.melspectrogram(
        y=np.pad(samples, side),
        sr=features.sample_rate,
        n_fft=features.n_fft,
        win_length=features.window,
        hop_length=features.hop,
        window="hann",
        center=False,
        power=2.0,
        n_mels=features.n_mels,
        fmin=features.f_min,
        fmax=features.f_max,
        htk=True,
        norm=None,
    )
    expected = np.log(mel.T + features.floor)
    ours = log_mel(samples, features)
    assert ours.shape == expected.shape == (1 + (len(samples) - features.window) // features.hop, features.n_mels)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_mel_scale_is_htks() -> None:
    assert hz_to_mel(0.0) == 0.0
    assert hz_to_mel(700.0) == pytest.approx(2595 * np.log10(2))
    assert hz_to_mel(1_000.0) == pytest.approx(1_000, abs=0.02)  # what the scale was made for
    assert mel_to_hz(np.array([hz_to_mel(hz) for hz in (20.0, 440.0, 8_000.0)])) == pytest.approx([20, 440, 8_000])


def test_window_is_the_periodic_hann() -> None:
    hann = window(DEFAULT)
    assert hann.shape == (400,)
    assert hann.dtype == np.float32
    assert hann[0] == 0.0
    assert hann[200] == 1.0
    np.testing.assert_array_equal(hann[1:200], hann[:200:-1])  # periodic: sample 400 would be the next zero


@given(SPLITS)
@settings(max_examples=40, deadline=None)
def test_a_stream_equals_the_whole(blocks: list[int]) -> None:
    samples = noise(4_000)
    whole = log_mel(samples, DEFAULT)
    parts = streamed(samples, blocks)
    assert parts.shape == whole.shape
    np.testing.assert_allclose(parts, whole, rtol=0, atol=2e-6)


@pytest.mark.parametrize("features", [DEFAULT, OTHER])
def test_a_stream_of_single_samples_equals_the_whole(features: FeatureSettings) -> None:
    samples = noise(2_000)
    parts = streamed(samples, [1] * 2_000, features)
    whole = log_mel(samples, features)
    assert parts.shape == whole.shape
    np.testing.assert_allclose(parts, whole, rtol=0, atol=2e-6)


def test_a_long_block_equals_frames_one_by_one() -> None:
    samples = noise(160 * 2_100)  # more than one batch of the transform
    whole = log_mel(samples, DEFAULT)
    assert whole.shape == (2_098, 40)
    for t in (0, 1_023, 1_024, 2_047, 2_048, 2_097):
        np.testing.assert_allclose(whole[t], log_mel(samples[160 * t :][:400], DEFAULT)[0], rtol=0, atol=2e-6)


@given(SPLITS, st.integers(0, 4_000))
@settings(max_examples=25, deadline=None)
def test_the_future_never_changes_the_past(blocks: list[int], now: int) -> None:
    samples, other = noise(4_000), noise(4_000, seed=1)
    other[:now] = samples[:now]
    past = max(0, 1 + (now - 400) // 160)  # frames that end by now
    whole, changed = log_mel(samples, DEFAULT), log_mel(other, DEFAULT)
    np.testing.assert_array_equal(whole[:past], changed[:past])
    assert past == len(whole) or (whole[past:] != changed[past:]).any()
    np.testing.assert_array_equal(streamed(samples, blocks)[:past], streamed(other, blocks)[:past])


@given(st.integers(0, 10), st.floats(0.01, 1.0))
@settings(max_examples=25, deadline=None)
def test_a_frame_sees_its_window_and_nothing_else(t: int, impulse: float) -> None:
    samples = noise(400 + 160 * 10)
    frame = log_mel(samples, DEFAULT)[t]
    for place in (160 * t - 1, 160 * t + 400):
        if 0 <= place < len(samples):
            outside = samples.copy()
            outside[place] += impulse
            np.testing.assert_array_equal(log_mel(outside, DEFAULT)[t], frame)
    for place in (160 * t + 40, 160 * t + 200, 160 * t + 360):
        inside = samples.copy()
        inside[place] += impulse
        assert (log_mel(inside, DEFAULT)[t] != frame).any()


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)])
def test_number_of_frames(samples: int, frames: int) -> None:
    assert log_mel(noise(samples), DEFAULT).shape == (frames, 40)
    assert log_mel(noise(samples), DEFAULT).dtype == np.float32
    assert LogMelStream(DEFAULT).process(noise(samples)).shape == (frames, 40)


def test_frames_come_in_multiples() -> None:
    stream = LogMelStream(DEFAULT)
    lengths = [len(stream.process(noise(1_280), 16)) for _ in range(8)]
    assert lengths == [0, 0, 16, 0, 16, 0, 16, 0]  # the 16th window ends 15 ms after 160 ms


def test_at_least_so_many_frames_come_at_a_time() -> None:
    stream = LogMelStream(DEFAULT)
    lengths = [len(stream.process(noise(1_280), 4, 20)) for _ in range(10)]
    assert lengths == [0, 0, 20, 0, 0, 24, 0, 0, 24, 0]


def test_silence_that_leads_completes_frames_with_their_block() -> None:
    stream, samples = LogMelStream(DEFAULT, lead=240), noise(1_280 * 8)
    steps = [stream.process(block, 16) for block in np.split(samples, 8)]
    assert [len(step) for step in steps] == [0, 16] * 4
    led = np.concatenate([np.zeros(240, np.float32), samples])
    np.testing.assert_allclose(np.concatenate(steps), log_mel(led, DEFAULT), rtol=0, atol=1e-5)


def test_digital_silence_is_the_floor() -> None:
    np.testing.assert_array_equal(log_mel(np.zeros(16_000, np.float32), DEFAULT), np.log(np.float32(1e-6)))


@pytest.mark.parametrize("hz", [300.0, 1_000.0, 3_000.0])
def test_a_sine_peaks_in_its_band(hz: float) -> None:
    samples = np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000).astype(np.float32)
    step = (hz_to_mel(8_000.0) - hz_to_mel(20.0)) / 41  # 40 triangles, each centre one step on
    band = round((hz_to_mel(hz) - hz_to_mel(20.0)) / step) - 1
    assert (log_mel(samples, DEFAULT).argmax(1) == band).all()


def test_ten_times_the_amplitude_is_twenty_decibels() -> None:
    quiet, loud = log_mel(noise(4_000), DEFAULT), log_mel(10 * noise(4_000), DEFAULT)
    np.testing.assert_allclose(loud - quiet, np.log(100), atol=1e-3)


def test_a_stream_keeps_no_more_than_it_needs() -> None:
    stream, block = LogMelStream(DEFAULT), noise(1_000)
    for _ in range(20):
        stream.process(block)
        assert len(stream.pending) < 400
        assert stream.pending.base is None  # a copy: no view that keeps the whole block alive
    held = stream.pending.copy()
    block[:] = 0
    np.testing.assert_array_equal(stream.pending, held)  # the caller may use its buffer again
