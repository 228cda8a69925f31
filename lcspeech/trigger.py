"""Scores of every frame -> events: threshold, a moment's patience for a better reading, then a refractory time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
State = dict[str, NDArray[np.generic]]

PATIENCE = 1  # output frames that a crossing waits: its score still rises, and another word may fit better
LONG_PATIENCE = 2  # those that one waits whose score is below LIKELY
LIKELY = 0.5
SURE = 0.7  # below which it waits anew whenever its score rises: scores would hang on the threshold else
_RISE = 1.01  # less is what a sum over several frames gains from a word that is over
_NEVER = -1e18  # a frame before all streams


@dataclass(frozen=True)
class Event:
    """A keyword that was heard. Times in seconds of the stream; the score is a probability in [0, 1]."""

    keyword: str
    start: float
    end: float
    score: float


class Trigger:
    """Immutable: the state goes in and comes out. Time is counted in frames of the stream, never by the clock."""

    def __init__(
        self,
        names: Sequence[str],
        thresholds: Sequence[float],
        refractory: float,
        frame_seconds: float,
        delays: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """`refractory` in seconds: an event's end comes at least so long after the one before.

        `delays` in seconds are what the starts and ends that come in are late; events are put right by them.
        """
        self._names, self._thresholds = tuple(names), np.array(thresholds)
        self._refractory, self._frame_seconds = min(refractory / frame_seconds, -_NEVER / 2), frame_seconds
        self._delays = delays

    def with_threshold(self, threshold: float) -> Trigger:
        """The same, but for this threshold of all keywords."""
        other = copy.copy(self)
        other._thresholds = np.full_like(self._thresholds, threshold)
        return other

    def initial_state(self) -> State:
        """Nothing heard yet. ``pending``: frame to decide at (NaN: none waits), keyword, score, start, end."""
        return {"pending": np.full(5, np.nan), "last_end": np.array(_NEVER)}

    def waits(self, state: State) -> bool:
        """Has a word crossed its threshold, and its event is not decided yet?"""
        return not np.isnan(state["pending"][0])

    def soonest(self, state: State, frame: int, hit: float) -> float:
        """In how many frames after `frame` an event may come, at the soonest, if a hit may come in `hit` frames."""
        return float(state["pending"][0]) + 1 - frame if self.waits(state) else hit + PATIENCE

    def ready(self, state: State) -> float:
        """The first frame at which a word may end."""
        return float(state["last_end"]) + self._refractory

    def run(
        self, scores: Doubles, starts: Doubles, ends: Doubles, first_frame: int, state: State
    ) -> tuple[list[Event], State]:
        """Events among ``[frames, keywords]``, times in frames; `state` is not changed."""
        events: list[Event] = []
        if not self.waits(state) and not (scores >= self._thresholds).any():
            return events, state  # nearly always
        pending, last_end = state["pending"].copy(), float(state["last_end"])
        crossed = (
            (scores >= self._thresholds) & (scores > 0) & (starts >= last_end) & (ends >= last_end + self._refractory)
        )
        busy = np.flatnonzero(crossed.any(1))
        for row in busy:
            frame = first_frame + row
            if frame > pending[0]:  # decided before this frame (never true for NaN)
                events.append(self._event(pending))
                pending, last_end = np.full(5, np.nan), pending[4]
            fits = crossed[row] & (starts[row] >= last_end) & (ends[row] >= last_end + self._refractory)
            if not fits.any():
                continue
            best = int(np.where(fits, scores[row], -1.0).argmax())
            score, until, known = scores[row, best], pending[0], pending[2]  # NaN where nothing waits
            if score <= known:
                continue
            if np.isnan(known) or (known < SURE and score > _RISE * known):
                until = frame + (PATIENCE if score >= LIKELY else LONG_PATIENCE)
            pending = np.array([until, best, score, starts[row, best], ends[row, best]])
        if first_frame + len(scores) > pending[0]:  # its last moment of patience is among these frames
            events.append(self._event(pending))
            pending, last_end = np.full(5, np.nan), pending[4]
        return events, {"pending": pending, "last_end": np.array(last_end)}

    def finish(self, state: State) -> list[Event]:
        """What still waits when the stream ends."""
        return [self._event(state["pending"])] if self.waits(state) else []

    def _event(self, pending: NDArray[np.generic]) -> Event:
        _, keyword, score, first, last = (float(value) for value in pending)
        return self.event(int(keyword), score, first, last)

    def event(self, keyword: int, score: float, first: float, last: float) -> Event:
        """An event of the keyword at this place, heard from the `first` to the `last` frame."""
        start, end = (
            max(0.0, frame * self._frame_seconds - delay)
            for frame, delay in zip((first, last), self._delays, strict=True)
        )
        return Event(self._names[keyword], start, max(start, end), score)
