"""A live input is watched while it is listened to: its health, and its rate by the clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lcspeech.health import Finding, Problem, clipping, silence, wrong_rate

Floats = NDArray[np.float32]

WATCH_SECONDS = 10.0  # of audio that are judged at once
MEASURED_SECONDS = 2.0  # after which the rate by the clock means something


class Watch:
    """Follows a live input, and says once what goes wrong with it: silence, clipping, the rate.

    Ten seconds at a time are judged, so that a pause or a shout is no news. What was good in between is news again.
    """

    def __init__(self, sample_rate: int) -> None:
        """`sample_rate` in Hz is what the input claims."""
        self._sample_rate = sample_rate
        self._blocks: list[Floats] = []
        self._samples = 0
        self._known: set[Problem] = set()

    def reset(self) -> None:
        """Begin a new ten seconds; for when the input was away."""
        self._blocks, self._samples = [], 0

    def hear(self, block: Floats, measure: Callable[[], float | None] = lambda: None) -> tuple[Finding, ...]:
        """Follow a block ``[n]``; returns what is newly wrong. `measure` gives the rate by the clock, in Hz."""
        self._blocks.append(block)
        self._samples += len(block)
        if self._samples < WATCH_SECONDS * self._sample_rate:
            return ()
        samples = np.concatenate(self._blocks)
        self.reset()
        found = [silence(samples), clipping(samples), wrong_rate(self._sample_rate, measure())]
        findings = {finding.problem: finding for finding in found if finding}
        fresh = tuple(finding for problem, finding in findings.items() if problem not in self._known)
        self._known = set(findings)
        return fresh


class RateMeter:
    """The rate of a live input by the clock, over its last ten seconds.

    Blocks come late and in bursts when the machine is busy, but never early: only the most punctual of the first and of
    the last third count.
    """

    def __init__(self, sample_rate: int, block_seconds: float) -> None:
        """`sample_rate` in Hz is what the input claims."""
        self._sample_rate = sample_rate
        self._arrivals: deque[tuple[float, int]] = deque(maxlen=max(2, round(WATCH_SECONDS / block_seconds)))
        self._samples = 0

    def add(self, now: float, samples: int) -> None:
        """A block of so many samples came at this time of the clock, in seconds."""
        self._samples += samples
        self._arrivals.append((now, self._samples))

    @property
    def rate(self) -> float | None:
        """Samples in a second; None before two seconds."""
        arrivals = tuple(self._arrivals)  # the input's thread goes on adding
        if len(arrivals) < 2 or arrivals[-1][0] - arrivals[0][0] < MEASURED_SECONDS:
            return None
        third = max(1, len(arrivals) // 3)
        late = [(time - samples / self._sample_rate, time) for time, samples in arrivals]
        (late_1, time_1), (late_2, time_2) = min(late[:third]), min(late[-third:])
        if time_2 <= time_1:  # a clock that ticks so coarsely tells nothing
            return None
        return self._sample_rate * (1 - (late_2 - late_1) / (time_2 - time_1))
