"""A threshold from the sound of a room."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lcspeech import Spotter
from lcspeech.decoder import Hits
from lcspeech.evaluation.room import Heard, room_threshold
from lcspeech.trigger import Trigger
from lcspeech.units import Keyword
from tests.words import RATE, spoken

FRAME_SECONDS = 0.04


class Room:
    """A spotter for which a block holds the scores of its frames."""

    card = SimpleNamespace(name="open")

    def __init__(self, threshold: float = 0.5) -> None:
        self.trigger = Trigger(["yes"], [threshold], 0.3, FRAME_SECONDS)

    def replace(self, keywords: list[Keyword], threshold: float) -> Room:
        assert [keyword.name for keyword in keywords] == ["yes"]
        return Room(threshold)

    def stream(self) -> Any:
        frames = 0

        def feed(block: NDArray[np.float32]) -> None:
            nonlocal frames
            at = np.arange(frames, frames + len(block))[:, None].astype(float)
            stream.hits = [Hits(block[:, None].astype(float), at, at + 1, frames)]
            frames += len(block)
            stream.seconds = frames * FRAME_SECONDS

        stream: Any = type("Stream", (SimpleNamespace,), {"__enter__": lambda s: s, "__exit__": lambda *_: None})(
            feed=feed, hits=None, seconds=0.0, flush=lambda: setattr(stream, "hits", [])
        )
        return stream


def room(*peaks: float, hours: float = 1.0) -> list[NDArray[np.float32]]:
    frames = np.zeros(round(hours * 3600 / FRAME_SECONDS), np.float32)
    frames[100 : 100 + 50 * len(peaks) : 50] = peaks
    return np.array_split(frames, 7)


@pytest.mark.parametrize(
    ("per_hour", "threshold", "alarms"), [(0, 0.9001, 0), (1, 0.8001, 1), (2.9, 0.7001, 2), (3, 0.3001, 3), (9, 0.1, 4)]
)
def test_the_lowest_threshold_that_keeps_the_rate(per_hour: float, threshold: float, alarms: int) -> None:
    spotter: Any = Room()
    found = room_threshold(spotter, Keyword("yes", ((1, 2),), 0.5), room(0.9, 0.3, 0.7, 0.8), per_hour)
    assert found.threshold == pytest.approx(threshold, abs=1e-4)
    assert (found.false_alarms.events, found.false_alarms.hours) == (alarms, pytest.approx(1.0, abs=1e-4))


def test_a_short_recording_only_raises_the_threshold() -> None:
    spotter: Any = Room()
    keyword = Keyword("yes", ((1, 2),), 0.6)
    quiet, loud = (room_threshold(spotter, keyword, room(peak, hours=0.1), 0.5) for peak in (0.2, 0.8))
    assert quiet.threshold == 0.6
    assert loud.threshold == pytest.approx(0.8001, abs=1e-4)
    low, high = quiet.false_alarms.interval
    assert (low, high) == (0.0, pytest.approx(36.9, abs=0.1))  # 3.69 events in a tenth of an hour


def test_events_are_those_of_any_threshold() -> None:
    spotter: Any = Room()
    heard = Heard.of(spotter, Keyword("yes", ((1, 2),), 0.6), room(0.02, 0.9, hours=0.1))
    assert [len(heard.events(threshold)) for threshold in (0.01, 0.5, 0.95)] == [2, 1, 0]
    assert heard.hours == pytest.approx(0.1)
    assert heard.threshold(0.5, 0.0) == pytest.approx(0.9001, abs=1e-4)


def test_misses_are_the_recordings_below() -> None:
    spotter: Any = Room()
    keyword = Keyword("yes", ((1, 2),), 0.5, scores=(0.2, 0.75, 0.9, 0.95))
    found = room_threshold(spotter, keyword, room(0.8, hours=2.0), 0.0)
    assert (found.misses.count, found.misses.total) == (2, 4)
    assert room_threshold(spotter, Keyword("yes", ((1,),)), room(0.1), 1).misses.total == 0


def test_a_room_is_heard_to_its_end() -> None:
    spotter, clip = Spotter.load(), spoken("zero")[0]
    keyword, clip = spotter.keyword("zero"), clip[: len(clip) - round(0.33 * RATE)]
    heard = Heard.of(spotter, keyword, [clip])
    assert heard.hits.scores.max() == spotter.replace(keywords=[keyword]).peak(clip, RATE) > 0.5


def test_a_recording_at_the_threshold_is_no_miss() -> None:
    spotter: Any = Room()
    keyword = Keyword("yes", ((1, 2),), 0.6, scores=(0.5, 0.6, 0.7))
    assert room_threshold(spotter, keyword, room(0.2, hours=0.1), 0.5).misses.count == 1
