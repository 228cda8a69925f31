"""The trigger: which frames become events, at what time, and never twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lcspeech.trigger import LIKELY, LONG_PATIENCE, PATIENCE, SURE, Event, Trigger

FRAME = 0.04
Doubles = NDArray[np.float64]
Track = tuple[Doubles, Doubles, Doubles]


def track(frames: int, *marks: tuple[int, int, float, float, float]) -> Track:
    """Scores, starts and ends ``[frames, 2]``, zero but for marks (frame, keyword, score, start, end)."""
    scores, starts, ends = (np.zeros((frames, 2)) for _ in range(3))
    for frame, keyword, score, start, end in marks:
        scores[frame, keyword], starts[frame, keyword], ends[frame, keyword] = score, start, end
    return scores, starts, ends


def run(trigger: Trigger, arrays: Track, blocks: tuple[int, ...] = ()) -> list[Event]:
    state, events, start = trigger.initial_state(), [], 0
    for size in (*blocks, len(arrays[0])):
        scores, starts, ends = (array[start : start + size] for array in arrays)
        found, state = trigger.run(scores, starts, ends, start, state)
        events += found
        start = min(start + size, len(arrays[0]))
    return events + trigger.finish(state)


def make(refractory: float = 0.2, thresholds: tuple[float, float] = (0.5, 0.5)) -> Trigger:
    return Trigger(("yes", "no"), thresholds, refractory, FRAME)


def test_an_event_holds_keyword_times_in_seconds_and_score() -> None:
    assert run(make(), track(30, (10, 1, 0.75, 4.0, 7.5))) == [
        Event("no", pytest.approx(0.16), pytest.approx(0.3), 0.75)
    ]


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(20, 25, (0.5, 0.95)), (5, 10, (0.0, 0.35)), (2, 1, (0.0, 0.0))]
)
def test_events_are_put_right_by_the_delays(start: float, end: float, expected: tuple[float, float]) -> None:
    trigger = Trigger(("yes", "no"), (0.5, 0.5), 0.2, FRAME, delays=(0.3, 0.05))
    (event,) = run(trigger, track(40, (30, 0, 0.9, start, end)))
    assert (event.start, event.end) == pytest.approx(expected)


@pytest.mark.parametrize(("score", "count"), [(0.5, 1), (np.nextafter(0.5, 0), 0)])
def test_the_threshold_itself_counts(score: float, count: int) -> None:
    assert len(run(make(), track(30, (10, 0, score, 4, 7)))) == count


def test_each_keyword_has_its_own_threshold() -> None:
    arrays = track(60, (10, 0, 0.6, 4, 7), (40, 1, 0.6, 34, 37))
    assert [e.keyword for e in run(make(thresholds=(0.7, 0.5)), arrays)] == ["no"]


def test_the_best_reading_within_the_patience_wins() -> None:
    marks = ((10, 0, 0.6, 4, 7), (10 + PATIENCE, 1, 0.9, 5, 8))
    assert [(e.keyword, e.score) for e in run(make(), track(30, *marks))] == [("no", 0.9)]


def test_what_comes_after_the_patience_does_not_replace_it() -> None:
    marks = ((10, 0, 0.8, 4, 7), (11 + PATIENCE, 1, 0.9, 5, 8))  # 5 overlaps what was heard until 7
    assert [(e.keyword, e.score) for e in run(make(), track(30, *marks))] == [("yes", 0.8)]


@pytest.mark.parametrize(("score", "patience"), [(0.4, LONG_PATIENCE), (LIKELY, PATIENCE), (SURE, PATIENCE)])
def test_the_event_comes_as_soon_as_the_patience_is_over(score: float, patience: int) -> None:
    trigger, arrays = make(thresholds=(0.3, 0.3)), track(30, (10, 0, score, 4, 7))
    state = trigger.initial_state()
    for frame in range(30):
        found, state = trigger.run(*(array[frame : frame + 1] for array in arrays), frame, state)
        assert len(found) == (frame == 10 + patience)


def test_what_hardly_rises_does_not_keep_an_event_waiting() -> None:
    """Scores are sums over some frames, which go on growing by nothing once a word is over."""
    trigger, arrays = make(), track(30, *((10 + i, 0, 0.6 + 1e-4 * i, 4.0, 7.0) for i in range(9)))
    state = trigger.initial_state()
    for frame in range(30):
        found, state = trigger.run(*(array[frame : frame + 1] for array in arrays), frame, state)
        assert len(found) == (frame == 10 + PATIENCE)


def test_a_low_threshold_does_not_lower_the_scores_of_events() -> None:
    """Whoever listens once, and asks afterwards what a higher threshold had heard, gets the right answer."""
    rising = [(10 + i, 0, score, 4.0, 7.0 + i / 10) for i, score in enumerate((0.02, 0.1, 0.09, 0.3, 0.6, 0.95))]
    events = {t: run(make(thresholds=(t, t)), track(40, *rising)) for t in (0.01, 0.1, 0.5, 0.65)}
    assert [[event.score for event in found] for found in events.values()] == [[0.95], [0.95], [0.95], [0.95]]


def test_one_word_is_one_event_however_long_it_is_seen() -> None:
    marks = [(frame, 0, 0.9, 4.0, 7.0) for frame in range(10, 18)]
    assert len(run(make(), track(60, *marks))) == 1


@pytest.mark.parametrize(("refractory", "count"), [(0.2, 2), (0.44, 1)])
def test_refractory_time_is_counted_in_the_stream_from_end_to_end(refractory: float, count: int) -> None:
    marks = ((10, 0, 0.9, 4, 7), (20, 0, 0.9, 14, 17))  # ends 10 frames apart: 0.4 s
    assert len(run(make(refractory), track(60, *marks))) == count


def test_overlapping_readings_are_one_word_even_without_a_refractory_time() -> None:
    marks = ((10, 0, 0.9, 4, 8), (14, 1, 0.95, 6, 12))
    assert [e.keyword for e in run(make(0.0), track(60, *marks))] == ["yes"]


def test_what_waits_at_the_end_is_not_lost() -> None:
    trigger = make()
    found, state = trigger.run(*track(11, (10, 0, 0.6, 4, 7)), 0, trigger.initial_state())
    assert found == []
    assert [e.keyword for e in trigger.finish(state)] == ["yes"]
    assert trigger.finish(trigger.initial_state()) == []


@given(st.integers(0, 2**16), st.lists(st.integers(0, 12), max_size=10).map(tuple))
@settings(max_examples=60, deadline=None)
def test_blocks_of_any_size_give_the_same_events(seed: int, blocks: tuple[int, ...]) -> None:
    random = np.random.default_rng(seed)
    ends = np.arange(60)[:, None] - random.uniform(3, 6, (60, 2))
    arrays = random.uniform(0, 1, (60, 2)) ** 3, ends - random.uniform(1, 6, (60, 2)), ends
    assert run(make(), arrays, blocks) == run(make(), arrays)


def test_a_run_leaves_the_state_it_got() -> None:
    trigger = make()
    _, state = trigger.run(*track(11, (10, 0, 0.6, 4, 7)), 0, trigger.initial_state())
    before = {name: array.copy() for name, array in state.items()}
    trigger.run(*track(20, (3, 1, 0.9, 10, 14)), 11, state)
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)


def test_what_was_not_heard_at_all_is_no_event() -> None:
    trigger = Trigger(["yes"], [0.0], 0.3, 0.04)
    nothing = np.zeros((5, 1))
    events, state = trigger.run(nothing, nothing, nothing, 0, trigger.initial_state())
    assert events + trigger.finish(state) == []


@pytest.mark.parametrize("score", [0.6, 0.9])
def test_an_event_comes_when_it_is_foretold(score: float) -> None:
    trigger = make()
    marks, state = (10, 0, score, 4, 7), trigger.initial_state()
    foretold = []
    for frame in range(20):
        scores, starts, ends = (array[frame : frame + 1] for array in track(20, marks))
        events, state = trigger.run(scores, starts, ends, frame, state)
        foretold.append(trigger.soonest(state, frame + 1, hit=math.inf))
        if events:
            break
    assert foretold[:10] == [math.inf] * 10
    assert foretold[10:-1] == [*range(len(foretold) - 11, 0, -1)]
    assert trigger.soonest(state, frame + 1, hit=3.0) == 3 + PATIENCE
    assert trigger.ready(state) == pytest.approx(7 + 0.2 / FRAME)


def test_of_two_words_in_one_frame_the_louder_is_heard() -> None:
    marks = ((10, 0, 0.6, 4, 7), (10, 1, 0.9, 4, 7))
    assert [(event.keyword, event.score) for event in run(make(), track(30, *marks))] == [("no", 0.9)]


def test_a_lower_score_does_not_replace_a_higher_one() -> None:
    marks = ((10, 0, 0.8, 4, 7), (11, 1, 0.6, 5, 8))
    assert [(event.keyword, event.score) for event in run(make(), track(30, *marks))] == [("yes", 0.8)]


def test_a_slow_rise_is_waited_for() -> None:
    rising = [(10 + i, 0, 0.51 + 0.03 * i, 4.0, 7.0) for i in range(7)]
    assert [event.score for event in run(make(), track(40, *rising))] == [pytest.approx(0.69)]


def test_what_is_sure_is_not_waited_for() -> None:
    trigger, arrays = make(), track(30, *((10 + i, 0, 0.8 + 0.02 * i, 4.0, 7.0) for i in range(9)))
    state = trigger.initial_state()
    for frame in range(30):
        found, state = trigger.run(*(array[frame : frame + 1] for array in arrays), frame, state)
        assert len(found) == (frame == 10 + PATIENCE)


@pytest.mark.parametrize("blocks", [(), (15,)])
@pytest.mark.parametrize(("refractory", "start"), [(10 * FRAME, 14), (0.0, 7)])
def test_what_adjoins_and_what_comes_just_after_the_refractory_time_counts(
    refractory: float, start: int, blocks: tuple[int, ...]
) -> None:
    marks = ((10, 0, 0.9, 4, 7), (20, 0, 0.9, start, 17))
    assert len(run(make(refractory), track(60, *marks), blocks)) == 2
