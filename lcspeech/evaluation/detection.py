"""Events against the truth: one-to-one matching, and misses against false alarms per hour as the threshold moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcspeech.evaluation.metrics import Proportion, Rate
from lcspeech.trigger import Event

Counts = NDArray[np.int64]

# Evenly spaced in log-odds, where scores are; the last one lets nothing pass
THRESHOLDS = (*(round(1 / (1 + math.exp(-x / 10)), 6) for x in range(-40, 101)), 1.0)
RATES = (0.1, 0.5, 1.0, 4.0)  # false alarms per hour at which misses are stated


@dataclass(frozen=True)
class Label:
    """A keyword that was said, in seconds of the stream."""

    keyword: str
    start: float
    end: float


def match(labels: Sequence[Label], events: Sequence[Event], tolerance: float) -> list[int | None]:
    """For each event the index of the label that it answers, or None: a false alarm. No label is answered twice.

    An event answers a label of its keyword if it ends between the label's start and end, or within `tolerance`
    seconds of one of them. Events are taken in the order of their ends, each answering the label that runs out first,
    which answers as many as can be (Glover 1967).
    """
    answers: list[int | None] = [None] * len(events)
    free: dict[str, list[int]] = {}  # labels of each keyword, in the order of their ends
    for i in sorted(range(len(labels)), key=lambda i: labels[i].end):
        free.setdefault(labels[i].keyword, []).append(i)
    for place in sorted(range(len(events)), key=lambda i: events[i].end):
        end, waiting = events[place].end, free.get(events[place].keyword, [])
        fits = (i for i in waiting if labels[i].start - tolerance <= end <= labels[i].end + tolerance)
        answer = answers[place] = next(fits, None)
        if answer is not None:
            waiting.remove(answer)
    return answers


@dataclass(frozen=True)
class Point:
    """One threshold: how many were missed, and how often there was a false alarm."""

    threshold: float
    misses: Proportion
    alarms: Rate


def curve(found: Counts, false: Counts, total: int, hours: float) -> tuple[Point, ...]:
    """Points for all `THRESHOLDS`, from how many of `total` words were found and how many alarms were false at each."""
    counts = zip(THRESHOLDS, found.tolist(), false.tolist(), strict=True)
    return tuple(Point(t, Proportion(total - right, total), Rate(wrong, hours)) for t, right, wrong in counts)


def at_rate(points: Sequence[Point], per_hour: float) -> Point:
    """The point of the lowest threshold from which on there are never more false alarms per hour."""
    chosen = points[-1]
    for point in reversed(points):
        if point.alarms.value > per_hour:
            break
        chosen = point
    return chosen
