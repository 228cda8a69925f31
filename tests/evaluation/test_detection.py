"""Matching and curves, by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcspeech.evaluation.detection import THRESHOLDS, Label, Point, at_rate, curve, match
from lcspeech.evaluation.metrics import Proportion, Rate
from lcspeech.trigger import Event


def heard(*ends: float, keyword: str = "yes") -> list[Event]:
    return [Event(keyword, end - 0.3, end, 0.9) for end in ends]


def said(*times: tuple[float, float], keyword: str = "yes") -> list[Label]:
    return [Label(keyword, *time) for time in times]


@pytest.mark.parametrize(
    ("labels", "events", "tolerance", "answers"),
    [
        (said((1, 2)), heard(1.5), 0.0, [0]),
        (said((1, 2)), heard(2.4), 0.5, [0]),
        (said((1, 2)), heard(2.6), 0.5, [None]),
        (said((1, 2)), heard(0.6), 0.5, [0]),
        (said((1, 2)), heard(0.4), 0.5, [None]),
        (said((1, 2)), heard(1.5, keyword="no"), 0.5, [None]),
        (said((1, 2)), heard(1.5, 1.9), 0.5, [0, None]),  # a second event for one word is false
        (said((1, 2), (2.2, 3)), heard(2.1, 2.2), 0.5, [0, 1]),  # each fits both
        (said((1, 2), (2.2, 3)), heard(2.2, 2.1), 0.5, [1, 0]),  # whatever their order
        (said((1, 9), (2, 3)), heard(2.5, 8.0), 0.0, [1, 0]),  # the one that runs out first
        ([], heard(1.0), 0.5, [None]),
        (said((1, 2)), [], 0.5, []),
    ],
)
def test_match(labels: list[Label], events: list[Event], tolerance: float, answers: list[int | None]) -> None:
    assert match(labels, events, tolerance) == answers


times = st.lists(st.integers(0, 12), max_size=5)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=4), times, st.integers(0, 2))
def test_as_many_are_matched_as_can_be(spans: list[tuple[int, int]], ends: list[int], tolerance: int) -> None:
    labels, events = said(*((start, start + length) for start, length in spans)), heard(*map(float, ends))
    fits = [
        [label.start - tolerance <= event.end <= label.end + tolerance for label in labels] + [False] * len(events)
        for event in events
    ]
    places = range(len(labels) + len(events))
    best = max(
        sum(fits[i][place] for i, place in enumerate(order)) for order in itertools.permutations(places, len(events))
    ) if len(places) <= 7 else None  # fmt: skip
    answers = [answer for answer in match(labels, events, float(tolerance)) if answer is not None]
    assert len(set(answers)) == len(answers)
    assert best is None or len(answers) == best


def test_a_curve_counts_misses_and_alarms() -> None:
    found, false = np.zeros((2, len(THRESHOLDS)), np.int64)
    found[:2], false[:3] = (9, 6), (8, 2, 1)
    points = curve(found, false, 10, 2.0)
    assert points[0] == Point(THRESHOLDS[0], Proportion(1, 10), Rate(8, 2.0))
    assert points[1] == Point(THRESHOLDS[1], Proportion(4, 10), Rate(2, 2.0))
    assert points[-1] == Point(1.0, Proportion(10, 10), Rate(0, 2.0))
    assert at_rate(points, 1.0) == points[1]
    assert at_rate(points, 0.5) == points[2]
    assert at_rate(points, 0.1) == points[3]
    assert at_rate(points, 4.0) == points[0]


def test_the_thresholds_rise() -> None:
    assert all(low < high for low, high in itertools.pairwise(THRESHOLDS))
    assert THRESHOLDS[0] == pytest.approx(0.018, abs=1e-3)


def test_a_rate_must_hold_from_its_threshold_on() -> None:
    alarms = [5, 0, 3, 0, 0]  # a refractory time can hide an alarm at a lower threshold
    points = [Point(i / 4, Proportion(i, 4), Rate(n, 1.0)) for i, n in enumerate(alarms)]
    assert at_rate(points, 1.0) == points[3]
    assert at_rate([Point(1.0, Proportion(4, 4), Rate(9, 1.0))], 1.0).misses.value == 1.0
