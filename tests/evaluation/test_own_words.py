"""Figures of typed and recorded words: where clips lie in their stream, and what counts as found and as false."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from lcspeech.errors import MissingDependencyError
from lcspeech.evaluation import own_words
from lcspeech.evaluation.levels import rms
from lcspeech.evaluation.own_words import OwnWord
from lcspeech.evaluation.peers import pocketsphinx_detections
from lcspeech.trigger import Event
from lcspeech.units import Keyword

RATE = 16_000


@pytest.fixture
def streams(tmp_path: Path) -> OwnWord:
    """Three clips of 1, 1.5 and 2 s; two pieces of talk of 8 s; noise."""
    random = np.random.default_rng(0)
    files = []
    for name, seconds in (("a", 1.0), ("b", 1.5), ("c", 2.0), ("talk1", 8.0), ("talk2", 8.0), ("noise", 3.0)):
        files.append(tmp_path / f"{name}.wav")
        soundfile.write(files[-1], random.normal(0, random.uniform(0.01, 0.1), int(seconds * RATE)), RATE)
    return OwnWord.of(files[:3], files[3:5], files[5:], 10.0, RATE)


def test_streams_hold_clips_and_talk_at_their_levels(streams: OwnWord) -> None:
    assert streams.starts.tolist() == [1.0, 3.0, 5.5]
    assert streams.ends.tolist() == [2.0, 4.5, 7.5]
    assert len(streams.clips) == 8.5 * RATE
    assert streams.hours * 3600 == 18.0
    speech, noisy = streams.talk["speech"], streams.talk["speech and noise"]
    assert not speech[:RATE].any()
    assert rms(speech[RATE : 9 * RATE]) == pytest.approx(0.05, rel=0.02)
    assert 20 * np.log10(rms(speech[RATE : 9 * RATE]) / rms(noisy - speech)) == pytest.approx(10, abs=0.2)
    assert rms(streams.noise) == pytest.approx(0.05, rel=0.02)


class Sound:
    """What was heard, of frames of 640 samples: in clips each word of the first hearing, and in each the first word."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples

    def events(self, threshold: float) -> list[Event]:
        seconds = len(self.samples) / RATE
        ends = [1.0] if threshold < 0.5 else []
        if 33 < seconds < 36:  # the clips
            ends = [1.9, 4.9, 7.4, *(1.9 + hearing * seconds / 4 for hearing in (1, 2, 3))]
        return [Event("athena", end - 0.5, end, 0.9) for end in ends]

    def threshold(self, per_hour: float, lowest: float) -> float:
        assert (per_hour, lowest) == (0.5, 0.0)
        return 0.6


def test_all_is_heard_several_times_at_other_places_in_the_frames(
    streams: OwnWord, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds: list[Sound] = []

    def hear(_spotter: object, _keyword: Keyword, blocks: Iterable[np.ndarray]) -> Sound:
        sounds.append(Sound(np.concatenate(list(blocks))))
        return sounds[-1]

    monkeypatch.setattr(own_words.Heard, "of", hear)
    spotter: Any = SimpleNamespace(card=SimpleNamespace(frame_seconds=0.04))
    own, best = streams.measure(spotter, Keyword("athena", ((1,),), threshold=0.4))
    assert own == {
        "threshold": 0.4,
        "found": 6 / 12,
        "clips": 3,
        "hearings": 4,
        "false_alarms_per_hour": {name: pytest.approx(3600 / 18 / 4) for name in ("speech", "speech and noise")},
        "alarms_in_noise": 1,
    }
    quiet = dict.fromkeys(("speech", "speech and noise"), 0.0)
    assert best == own | {"threshold": 0.6, "false_alarms_per_hour": quiet, "alarms_in_noise": 0}
    for sound, samples in zip(sounds, (streams.clips, streams.noise, *streams.talk.values()), strict=True):
        lap = len(sound.samples) // 4
        assert lap % 640 == 160
        assert 0 <= lap - len(samples) < 640
        for begin in range(0, 4 * lap, lap):
            assert np.array_equal(sound.samples[begin : begin + len(samples)], samples)


class Decoder:
    """PocketSphinx that hears four things in clips, and in talk two."""

    def __init__(self, **settings: object) -> None:
        assert settings["keyphrase"] == "athena"
        self.samples = 0

    def start_utt(self) -> None: ...

    def end_utt(self) -> None: ...

    def process_raw(self, pcm: bytes, *_: bool) -> None:
        self.samples += len(pcm) // 2

    def seg(self) -> list[SimpleNamespace]:
        clips = ((190, 1e-3), (250, 1e-4), (700, 1e-9), (840, 0.5))  # found, late, too faint, in the last pause
        talk = ((100, 1e-5), (400, 1e-12))
        return [SimpleNamespace(end_frame=e, prob=p) for e, p in (clips if self.samples < 10 * RATE else talk)]


def test_pocketsphinx_is_measured_where_it_raises_no_false_alarm(
    streams: OwnWord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", SimpleNamespace(Decoder=Decoder))
    figures = streams.measure_pocketsphinx("athena")
    assert figures == {
        "threshold": 1e-5,
        "found": pytest.approx(1 / 3),
        "clips": 3,
        "hearings": 1,
        "false_alarms_per_hour": {"speech": 0.0, "speech and noise": 0.0},
    }


def test_without_pocketsphinx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(MissingDependencyError, match="pip install pocketsphinx"):
        pocketsphinx_detections(np.zeros(RATE, np.float32), "athena")
