"""Streams: the plan is drawn once, the levels are those asked for, and the times are those of the words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from lcspeech.errors import DataError
from lcspeech.evaluation.levels import active_level, peak_frame_level, rms
from lcspeech.evaluation.streams import (
    LONG,
    PEAK_LEVEL,
    PICOVOICE,
    SPEECH_LEVEL,
    STREAM_SECONDS,
    Kind,
    Segment,
    StreamPlan,
    excerpt,
    plan_streams,
    render,
)
from tests.evaluation.corpus import RATE, noise

Floats = NDArray[np.float32]


def tone(path: Path, seconds: float, silence: float = 0.0, level: float = 0.1) -> Path:
    """A word: a tone between two silences."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)
    quiet = np.zeros(round(silence * RATE))
    soundfile.write(path, np.concatenate([quiet, sound, quiet]).astype(np.float32), RATE, subtype="FLOAT")
    return path


@pytest.fixture
def clips(tmp_path: Path) -> list[tuple[str, Path]]:
    return [(word, tone(tmp_path / word / f"{i}.wav", 0.5, 0.25)) for word in ("yes", "no") for i in range(5)]


@pytest.fixture
def speech(tmp_path: Path) -> list[Path]:
    return [tone(tmp_path / "speech" / f"{i}.wav", 2.0 + i) for i in range(3)]


@pytest.fixture
def hiss(tmp_path: Path) -> list[Path]:
    return [noise(tmp_path / "noise" / f"{i}.wav", 1.5, level=0.01 * (i + 1), seed=i) for i in range(2)]


def plan(segments: list[Segment], hiss: list[Path], snr_db: float, mixing: object = LONG) -> StreamPlan:
    return StreamPlan(tuple(segments), tuple(hiss), snr_db, mixing, (0, 0))  # type: ignore[arg-type]


def test_every_clip_comes_once_and_the_background_lasts_as_asked(
    clips: list[tuple[str, Path]], speech: list[Path], hiss: list[Path]
) -> None:
    plans = plan_streams(clips, speech, hiss, 0.5, [20.0, 0.0], LONG, seed=3)
    for snr in (20.0, 0.0):
        segments = [segment for one in plans if one.snr_db == snr for segment in one.segments]
        words = [(segment.keyword, segment.path) for segment in segments if segment.kind is Kind.KEYWORD]
        assert sorted(words, key=str) == sorted(clips, key=str)
        background = sum(segment.seconds for segment in segments if segment.kind is not Kind.KEYWORD)
        assert background == pytest.approx(1800, abs=60)
        talk = sum(segment.seconds for segment in segments if segment.kind is Kind.SPEECH)
        assert talk / background == pytest.approx(0.5 * 3 / 3.5, abs=0.12)  # pauses of 1 s before those of 3 s
    assert [one.segments for one in plans[: len(plans) // 2]] == [one.segments for one in plans[len(plans) // 2 :]]
    assert all(one.seconds < STREAM_SECONDS + 60 for one in plans[:-1])


def test_the_seed_decides(clips: list[tuple[str, Path]], speech: list[Path], hiss: list[Path]) -> None:
    first, again, other = (plan_streams(clips, speech, hiss, 0.1, [10.0], LONG, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_public_benchmark_plays_one_utterance_in_five(
    clips: list[tuple[str, Path]], speech: list[Path], hiss: list[Path]
) -> None:
    plans = plan_streams(clips, speech, hiss, 3.0, [10.0], PICOVOICE, seed=0)
    segments = [segment for one in plans for segment in one.segments if segment.kind is not Kind.KEYWORD]
    share = sum(s.seconds for s in segments if s.kind is Kind.SPEECH) / sum(s.seconds for s in segments)
    assert share == pytest.approx(0.2, abs=0.04)
    assert {segment.seconds for segment in segments} == {2.0, 3.0, 4.0}  # no pauses


def test_without_speech_there_is_silence(clips: list[tuple[str, Path]], hiss: list[Path]) -> None:
    plans = plan_streams(clips, [], hiss, 0.1, [10.0], LONG, seed=0)
    assert {segment.kind for one in plans for segment in one.segments} == {Kind.KEYWORD, Kind.SILENCE}


def test_clips_and_noise_are_needed(clips: list[tuple[str, Path]], hiss: list[Path]) -> None:
    for some, others in (([], hiss), (clips, [])):
        with pytest.raises(DataError, match="needs keyword clips and noise"):
            plan_streams(some, [], others, 0.1, [10.0], LONG, 0)


def test_the_label_is_where_the_word_is(tmp_path: Path, hiss: list[Path]) -> None:
    word = tone(tmp_path / "word.wav", 0.5, silence=0.25)
    segments = [Segment(Kind.SILENCE, None, 2.0), Segment(Kind.KEYWORD, word, 1.0, "yes")]
    silence, keyword = render(plan(segments, hiss, 10.0), RATE)
    assert silence.label is None
    assert (silence.start, keyword.start) == (0.0, 2.0)
    assert keyword.label is not None
    assert (keyword.label.start, keyword.label.end) == pytest.approx((2.25, 2.75), abs=0.02)
    *_, published = render(plan(segments, hiss, 10.0, PICOVOICE), RATE)
    assert published.label is not None
    assert published.label.end == pytest.approx(3.25, abs=0.02)


def test_a_silent_clip_holds_no_word(tmp_path: Path, hiss: list[Path]) -> None:
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(RATE, np.float32), RATE)
    (piece,) = render(plan([Segment(Kind.KEYWORD, path, 1.0, "yes")], hiss, 10.0), RATE)
    assert piece.label is None
    assert np.isfinite(piece.samples).all()


@pytest.mark.parametrize("snr_db", [20.0, 0.0])
@pytest.mark.parametrize("level", [0.5, 0.001])
def test_the_level_of_speech_over_noise(tmp_path: Path, hiss: list[Path], snr_db: float, level: float) -> None:
    word = tone(tmp_path / "word.wav", 1.0, level=level)
    mixed, alone = (
        next(iter(render(plan([segment], hiss, snr_db), RATE))).samples
        for segment in (Segment(Kind.KEYWORD, word, 1.0, "yes"), Segment(Kind.SILENCE, None, 1.0))
    )
    assert active_level(mixed - alone, RATE) == pytest.approx(SPEECH_LEVEL, rel=1e-3)
    assert 20 * np.log10(SPEECH_LEVEL / rms(alone)) == pytest.approx(snr_db, abs=0.3)


def test_the_public_benchmark_goes_by_the_loudest_frames(tmp_path: Path, hiss: list[Path]) -> None:
    word = tone(tmp_path / "word.wav", 1.0)
    mixed, alone = (
        next(iter(render(plan([segment], hiss, 10.0, PICOVOICE), RATE))).samples
        for segment in (Segment(Kind.KEYWORD, word, 1.0, "yes"), Segment(Kind.SILENCE, None, 1.0))
    )
    ratio = peak_frame_level(mixed - alone, 512) / peak_frame_level(alone, 512)
    assert 20 * np.log10(ratio) == pytest.approx(10, abs=1e-3)
    long = next(iter(render(plan([Segment(Kind.SILENCE, None, 3.0)], hiss, 10.0, PICOVOICE), RATE))).samples
    assert np.abs(long).max() == pytest.approx(PEAK_LEVEL, rel=1e-3)


def test_an_excerpt_is_a_part_of_the_whole(clips: list[tuple[str, Path]], speech: list[Path], hiss: list[Path]) -> None:
    (one,) = plan_streams(clips, speech, hiss, 0.05, [10.0], LONG, seed=0)
    whole = np.concatenate([piece.samples for piece in render(one, RATE)])
    assert np.array_equal(excerpt(one, RATE, 40.0, 41.5), whole[40 * RATE : round(41.5 * RATE)])
    assert np.array_equal(excerpt(one, RATE, -1.0, 0.5), whole[: RATE // 2])


def test_noise_has_no_gaps_and_repeats(hiss: list[Path]) -> None:
    pieces = list(render(plan([Segment(Kind.SILENCE, None, 0.7)] * 10, hiss, 10.0), RATE))
    (whole,) = render(plan([Segment(Kind.SILENCE, None, 7.0)], hiss, 10.0), RATE)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), whole.samples)
    assert (np.abs(whole.samples) > 0).mean() > 0.999


def test_what_cannot_be_read_is_left_out_and_told(tmp_path: Path, hiss: list[Path], speech: list[Path]) -> None:
    word, bad = tone(tmp_path / "word.wav", 0.5), tmp_path / "bad.wav"
    bad.write_bytes(b"no audio")
    (one,) = plan_streams([("yes", word), ("yes", bad)], [*speech, bad], hiss, 0.02, [10.0], LONG, seed=0)
    pieces = list(render(one, RATE))
    broken = [piece for piece in pieces if piece.error]
    assert broken
    assert all("bad.wav" in piece.error and not len(piece.samples) and piece.label is None for piece in broken)
    assert sum(piece.label is not None for piece in pieces) == 1
