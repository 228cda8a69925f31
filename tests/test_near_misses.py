"""Near-misses: the highest score of each rise that ended below the threshold."""

from __future__ import annotations

import numpy as np

from lcspeech import Event, Spotter
from lcspeech.decoder import Hits
from lcspeech.near_misses import FAINT, NearMisses
from lcspeech.trigger import Trigger
from tests.words import RATE, spoken


def hits(*columns: list[float]) -> Hits:
    scores = np.array(columns).T
    frames = np.arange(len(scores))[:, None] + np.zeros(len(columns))
    return Hits(scores, frames, frames + 1, 0)


def test_a_rise_is_told_by_its_highest_score_when_it_is_over() -> None:
    follow = NearMisses(Trigger(["yes", "no"], [0.5, 0.8], 0.0, 0.5), [0.5, 0.8])
    assert follow.feed(hits([0.0, 0.2, 0.4], [0.0, 0.0, 0.0])) == []
    assert follow.feed(hits([0.3, 0.0, 0.0], [0.7, 0.0, 0.0])) == [
        Event("no", 0.0, 0.5, 0.7),
        Event("yes", 1.0, 1.5, 0.4),
    ]


def test_what_was_heard_and_what_is_faint_is_no_near_miss() -> None:
    follow = NearMisses(Trigger(["yes"], [0.5], 0.0, 0.04), [0.5])
    assert follow.feed(hits([0.3, 0.5, 0.3, 0.0, FAINT * 0.5 * 0.99, 0.0])) == []
    (miss,) = follow.feed(hits([FAINT * 0.5 * 1.01, 0.0]))
    assert miss.keyword == "yes"


def test_a_stream_tells_what_a_threshold_hides() -> None:
    spotter = Spotter.load().replace(keywords=["zero"])
    (clip, *_) = spoken("zero")
    (event,) = spotter.spot(clip, sample_rate=RATE)
    deaf = spotter.replace(threshold=1.0)
    follow, stream = NearMisses.of(deaf), deaf.stream()
    found = []
    for block in np.split(np.concatenate([clip, np.zeros(RATE - len(clip) % 800, np.float32)])[: 800 * 40], 40):
        assert stream.feed(block) == []
        found += [miss for hits in stream.hits for miss in follow.feed(hits)]
    best = max(found, key=lambda miss: miss.score)
    assert best.keyword == "zero"
    assert best.score >= event.score - 1e-6
