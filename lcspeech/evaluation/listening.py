"""Hearing long streams: events as they come out live, and what any other threshold would have given.

The network and the search run once. What the search gave wherever any score is worth a thought is kept, and the
trigger runs over it again for each threshold: its refractory time and the competition between keywords depend on the
threshold, so that leaving out events with a low score would not be the same.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcspeech.audio import read_blocks
from lcspeech.decoder import Hits, joined
from lcspeech.errors import AudioError
from lcspeech.evaluation.detection import THRESHOLDS, Counts, Label, match
from lcspeech.evaluation.protocols import LIVE_BLOCK_SECONDS
from lcspeech.evaluation.streams import Kind, Piece, StreamPlan, excerpt, render
from lcspeech.spotter import Spotter
from lcspeech.trigger import LONG_PATIENCE, Event


@dataclass(frozen=True)
class RecordingPlan:
    """A recording with its truth."""

    path: Path
    labels: tuple[Label, ...]
    seconds: float


Plan = StreamPlan | RecordingPlan
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class ListeningTask:
    """A stream to be heard, and the seconds by which an event may be off."""

    plan: Plan
    tolerance: float


@dataclass(frozen=True)
class Miss:
    """A word that was not found, and the score that it reached, below the threshold."""

    label: Label
    score: float
    plan: Plan


@dataclass(frozen=True)
class Alarm:
    """An event for which nothing was said."""

    event: Event
    during: Kind | None
    plan: Plan


@dataclass(frozen=True, eq=False)
class StreamResult:
    """What was heard in one stream. Counts are ``[thresholds, keywords]``; the lists are of the spotter's threshold."""

    labels: tuple[Label, ...]
    found: Counts
    false: Counts
    seconds: dict[Kind | None, float]
    latencies: tuple[float, ...]  # seconds from a word's end to its event
    misses: tuple[Miss, ...]
    alarms: tuple[Alarm, ...]
    compute: float = field(compare=False)  # CPU seconds
    errors: tuple[str, ...] = ()  # of recordings that could not be read, and are not in it


def hear(spotter: Spotter, task: ListeningTask) -> StreamResult:
    """The task of a worker: render a stream, listen to it, and compare."""
    heard = _Heard(spotter)
    rate = spotter.card.features.sample_rate
    if isinstance(task.plan, StreamPlan):
        heard.listen(render(task.plan, rate))
        labels = heard.labels
    else:
        try:
            heard.listen(Piece(Kind.SILENCE, block, 0.0) for block in read_blocks(task.plan.path, rate))
            labels = list(task.plan.labels)
        except AudioError as error:  # all of it is left out: nobody knows what was in the rest
            heard, labels = _Heard(spotter), []
            heard.errors.append(str(error))
    found, false = heard.sweep(labels, task.tolerance)
    live = [event for event, _ in heard.events]
    answers = match(labels, live, task.tolerance)
    ends = {i: labels[i].end - _after_end(task.plan) for i in answers if i is not None}
    best = heard.best_scores(labels, task.tolerance)
    known_kind = isinstance(task.plan, StreamPlan)
    return StreamResult(
        tuple(labels),
        found,
        false,
        dict(heard.seconds.items()) if known_kind else {None: sum(heard.seconds.values())},
        tuple(raised - ends[i] for i, (_, raised) in zip(answers, heard.events, strict=True) if i is not None),
        tuple(Miss(label, best[i], task.plan) for i, label in enumerate(labels) if i not in ends),
        tuple(
            Alarm(event, heard.kind_at(event.end) if known_kind else None, task.plan)
            for event, i in zip(live, answers, strict=True)
            if i is None
        ),
        heard.compute,
        tuple(heard.errors),
    )


def _after_end(plan: Plan) -> float:
    return plan.mixing.after_end if isinstance(plan, StreamPlan) else 0.0


class _Heard:
    """A spotter's stream, by its stages: what the search gives is needed beside the events."""

    def __init__(self, spotter: Spotter) -> None:
        self._spotter = spotter
        self.events: list[tuple[Event, float]] = []  # and when it was raised, in seconds of the stream
        self.labels: list[Label] = []
        self.seconds = dict.fromkeys(Kind, 0.0)
        self.compute = 0.0
        self.errors: list[str] = []
        self._starts: list[float] = []  # of the pieces
        self._kinds: list[Kind] = []
        self._hits: list[Hits] = []  # of the steps in which a score is worth a thought
        self._undecided_until = -1  # frame
        self._names = [keyword.name for keyword in spotter.keywords]

    def listen(self, pieces: Iterable[Piece]) -> None:
        """Hear a stream to its end, in a microphone's blocks."""
        stream = self._spotter.stream()
        for block in self._blocks(pieces, round(LIVE_BLOCK_SECONDS * stream.sample_rate)):
            before = time.process_time()
            events = stream.flush() if block is None else stream.feed(block)
            self.compute += time.process_time() - before
            for hits in stream.hits:
                self._keep(hits)
            self.events += [(event, stream.seconds) for event in events]

    def _blocks(self, pieces: Iterable[Piece], size: int) -> Iterator[Samples | None]:
        rate = self._spotter.card.features.sample_rate
        rest = np.empty(0, np.float32)
        for piece in pieces:
            self.seconds[piece.kind] += len(piece.samples) / rate
            self.errors += [piece.error] if piece.error else []
            self._starts.append(piece.start)
            self._kinds.append(piece.kind)
            if piece.label is not None and piece.label.keyword in self._names:
                self.labels.append(piece.label)
            rest = np.concatenate([rest, piece.samples])
            whole = len(rest) // size * size
            yield from np.split(rest[:whole], range(size, whole, size)) if whole else ()
            rest = rest[whole:]
        yield rest
        yield None  # the stream's end

    def _keep(self, hits: Hits) -> None:
        """Keep the steps in which something happens at the lowest threshold, or is still waiting to be decided."""
        loud = np.flatnonzero(hits.scores.max(1) >= THRESHOLDS[0])
        if len(loud) or hits.first_frame <= self._undecided_until:
            self._hits.append(hits)
        if len(loud):
            self._undecided_until = hits.first_frame + int(loud[-1]) + LONG_PATIENCE

    def replay(self, threshold: float) -> list[Event]:
        """The events that this threshold would have given."""
        trigger = self._spotter.trigger.with_threshold(threshold)
        state, events = trigger.initial_state(), []
        for hits in self._hits:
            new, state = trigger.run(hits.scores, hits.starts, hits.ends, hits.first_frame, state)
            events += new
        return events + trigger.finish(state)

    def sweep(self, labels: Sequence[Label], tolerance: float) -> tuple[Counts, Counts]:
        """Words found and false alarms at each threshold, ``[thresholds, keywords]``."""
        self._hits = _join(self._hits)
        found, false = np.zeros((2, len(THRESHOLDS), len(self._names)), np.int64)
        place = {name: i for i, name in enumerate(self._names)}
        for row, threshold in enumerate(THRESHOLDS):
            events = self.replay(threshold)
            for event, answer in zip(events, match(labels, events, tolerance), strict=True):
                (false if answer is None else found)[row, place[event.keyword]] += 1
        return found, false

    def best_scores(self, labels: Sequence[Label], tolerance: float) -> list[float]:
        """The score that each label's word reached at the lowest threshold, 0 if it did not reach even that."""
        events = self.replay(THRESHOLDS[0])
        scores = [0.0] * len(labels)
        for event, answer in zip(events, match(labels, events, tolerance), strict=True):
            if answer is not None:
                scores[answer] = event.score
        return scores

    def kind_at(self, seconds: float) -> Kind:
        """What was played then."""
        return self._kinds[bisect.bisect_right(self._starts, seconds) - 1]


def _join(hits: Sequence[Hits]) -> list[Hits]:
    """Steps that follow one another as one: the trigger takes as long for a long one as for a short one."""
    runs: list[list[Hits]] = []
    for step in hits:
        if runs and runs[-1][-1].first_frame + len(runs[-1][-1].scores) == step.first_frame:
            runs[-1].append(step)
        else:
            runs.append([step])
    return [joined(run) for run in runs]


def heard_between(plan: Plan, sample_rate: int, start: float, end: float) -> Samples:
    """What is heard in a plan's stream from `start` to `end` seconds, ``[n]``."""
    if isinstance(plan, StreamPlan):
        return excerpt(plan, sample_rate, start, end)
    parts, position, first, last = [], 0, max(0, round(start * sample_rate)), round(end * sample_rate)
    for block in read_blocks(plan.path, sample_rate):
        parts.append(block[max(0, first - position) : max(0, last - position)])
        position += len(block)
        if position >= last:
            break
    return np.concatenate([np.empty(0, np.float32), *parts])
