"""What is counted as right, as missed and as false, on a spotter whose hearing is known."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import pytest

from lcspeech.evaluation.metrics import Proportion, Rate
from lcspeech.evaluation.protocols import (
    Validation,
    clip_accuracy,
    false_alarms,
    listen_to,
    measure,
    mixed,
    stream_recall,
)


def test_a_stream_of_recordings_is_one_stream_with_pauses(spotter: Any, record: Any) -> None:
    first, second = listen_to(spotter, [record("yes", "yes"), record("no", seconds=2.0)])
    assert (first.start, first.seconds) == pytest.approx((0.5, 1.5))
    assert (second.start, second.seconds) == pytest.approx((2.0, 2.5))
    assert len(spotter.streams) == 1
    assert max(spotter.streams[0].blocks[1:]) == 1_280  # 80 ms


def test_only_what_the_transcript_does_not_hold_is_false(spotter: Any, record: Any) -> None:
    heard = listen_to(spotter, [record("say yes", "yes"), record("say yes", "no", "yes"), record("nothing", "no")])
    assert [[event.keyword for event in one.events] for one in heard] == [["yes"], ["no", "yes"], ["no"]]
    assert [[event.keyword for event in one.false] for one in heard] == [[], ["no"], ["no"]]


def test_false_alarms_per_hour(spotter: Any, record: Any) -> None:
    heard = listen_to(spotter, [record("nothing", "no", "yes", "no"), record("yes", "yes", seconds=8.0)])
    rate, words = false_alarms(heard)
    assert rate == Rate(3, 10 / 3600)
    assert rate.value == pytest.approx(1080)
    assert words == {"no": 2, "yes": 1}


def test_a_clip_of_another_word_must_be_unknown(spotter: Any, record: Any) -> None:
    clips = [record("yes", "yes"), record("yes", "no"), record("yes"), record("happy", "x"), record("happy", "yes")]
    assert clip_accuracy(spotter, clips) == {"happy": Proportion(1, 2), "yes": Proportion(1, 3)}


def test_recall_is_of_keywords_only_and_needs_the_right_event(spotter: Any, record: Any) -> None:
    clips = [record("yes", "yes"), record("yes", "no"), record("no", "no", "no"), record("happy", "x")]
    heard = listen_to(spotter, clips)
    assert stream_recall(heard, ["yes", "no"]) == {"no": Proportion(1, 1), "yes": Proportion(1, 2)}


def test_clips_speech_and_noise_are_mixed_the_same_way_each_time(record: Any) -> None:
    data = Validation(*(tuple(record(word) for _ in range(20)) for word in ("yes", "talk", "rain")))
    order = mixed(data)
    assert sorted(order, key=str) == sorted((*data.clips, *data.speech, *data.noise), key=str)
    assert order == mixed(data)
    neighbours = {(a.words, b.words) for a, b in itertools.pairwise(order)}
    assert len(neighbours) == 9  # each comes after each


def test_words_and_alarms_are_counted_in_the_same_stream(spotter: Any, record: Any) -> None:
    clips, speech = (record("yes", "yes"), record("no", "no")), (record("nothing", "no"),)
    measure(spotter, Validation(clips, speech, ()), {}, 400)
    assert len(spotter.streams) == 1


def test_all_figures_at_once(spotter: Any, record: Any) -> None:
    clips = (record("yes", "yes"), record("yes"), record("no", "no"), record("happy", "x"))
    speech = (record("nothing", "yes", seconds=3.0), record("yes", "no", "yes", seconds=5.5))
    noise = (dataclasses.replace(record("rain", "yes", "no", seconds=2.5), words=()),)
    trained = {"yes": 500, "no": 10, "happy": 400}
    metrics = measure(spotter, Validation(clips, speech, noise), trained, 400)
    assert metrics["clips"] | {"words": None, "what": None} == {
        "accuracy": pytest.approx(2 / 3),
        "interval": Proportion(2, 3).interval,
        "count": 2,
        "total": 3,
        "words": None,
        "what": None,
    }
    assert metrics["clips"]["words"]["no"]["accuracy"] == 1.0  # a rare word is told, but not summed
    assert (metrics["stream_recall"]["count"], metrics["stream_recall"]["total"]) == (1, 2)
    assert metrics["false_alarms"]["events"] == 1
    assert metrics["false_alarms"]["hours"] == pytest.approx(3.5 / 3600)
    assert metrics["false_alarms_all_speech"]["events"] == 2
    assert metrics["false_alarms_all_speech"]["keywords"] == {"yes": 1, "no": 1}
    assert metrics["false_alarms_noise"]["events"] == 2
    assert metrics["false_alarms_noise"]["hours"] == pytest.approx(3 / 3600)
    json.dumps(metrics)


def test_where_no_word_has_enough_recordings_all_count(spotter: Any, record: Any) -> None:
    metrics = measure(spotter, Validation((record("yes", "yes"), record("no")), (), ()), {"yes": 39, "no": 3}, 400)
    assert (metrics["clips"]["count"], metrics["clips"]["total"]) == (1, 2)
    assert "words with any number (none has 400) of training recordings" in metrics["clips"]["what"]


def test_without_speech_and_noise_nothing_is_said_of_false_alarms(spotter: Any, record: Any) -> None:
    assert set(measure(spotter, Validation((record("yes", "yes"),), (), ()), {"yes": 1}, 1)) == {
        "clips",
        "stream_recall",
    }
