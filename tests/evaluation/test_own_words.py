"""Figures of typed and recorded words: where clips lie in their stream, and what counts as found and as false."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from lcspeech.errors import MissingDependencyError
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


class Listener:
    """A spotter and its stream, with frames of 640 samples: what it was fed, and events half a second after words."""

    card = SimpleNamespace(frame_seconds=0.04)

    def __init__(self) -> None:
        self.streams: list[np.ndarray] = []

    def replace(self, *, keywords: list[Keyword]) -> Listener:
        assert [keyword.name for keyword in keywords] == ["athena"]
        return self

    def stream(self) -> Listener:
        self.streams.append(np.empty(0, np.float32))
        return self

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None: ...

    def feed(self, block: np.ndarray) -> list[Event]:
        self.streams[-1] = np.concatenate([self.streams[-1], block])
        return []

    def flush(self) -> list[Event]:
        # In clips, the first word of each hearing, and the second in the last; elsewhere one in all
        seconds = len(self.streams[-1]) / RATE
        lap = seconds / 4
        ends = [1.9, 1.9 + lap, 1.9 + 2 * lap, 1.9 + 3 * lap, 4.9 + 3 * lap] if 33 < seconds < 36 else [1.0]
        return [Event("athena", end - 0.5, end, 0.9) for end in ends]


def test_all_is_heard_several_times_at_other_places_in_the_frames(streams: OwnWord) -> None:
    listener = Listener()
    figures = streams.measure(listener, Keyword("athena", ((1,),), threshold=0.4))  # type: ignore[arg-type]
    assert figures == {
        "threshold": 0.4,
        "found": 5 / 12,
        "clips": 3,
        "hearings": 4,
        "false_alarms_per_hour": {name: pytest.approx(3600 / 18 / 4) for name in ("speech", "speech and noise")},
        "alarms_in_noise": 1,
    }
    for heard, samples in zip(listener.streams, (*streams.talk.values(), streams.clips, streams.noise), strict=True):
        lap = len(heard) // 4
        assert lap % 640 == 160
        assert 0 <= lap - len(samples) < 640
        for begin in range(0, 4 * lap, lap):
            assert np.array_equal(heard[begin : begin + len(samples)], samples)


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
