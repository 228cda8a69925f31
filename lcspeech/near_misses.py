"""Keywords that were almost heard: the scores that a threshold is chosen by when a word is missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcspeech.trigger import Event

FAINT = 0.02  # of the threshold: below this part of it nothing is worth telling


@dataclass
class _Peak:
    score: float
    start: float
    end: float


class NearMisses:
    """Follows the scores of one stream, and tells the highest of each rise that ended below its threshold."""

    def __init__(self, names: Sequence[str], thresholds: Sequence[float], frame_seconds: float) -> None:
        self._names, self._thresholds = tuple(names), np.array(thresholds)
        self._frame_seconds = frame_seconds
        self._peaks: list[_Peak | None] = [None] * len(self._names)

    def feed(self, scores: NDArray[np.float64], starts: NDArray[np.float64], ends: NDArray[np.float64]) -> list[Event]:
        """Near-misses that end among the frames ``[frames, keywords]``; times of the arguments in frames."""
        found: list[Event] = []
        risen = scores >= FAINT * self._thresholds
        columns = [i for i, peak in enumerate(self._peaks) if peak or risen[:, i].any()]
        for i in columns:
            for row in range(len(scores)):
                peak = self._peaks[i]
                if risen[row, i]:
                    if peak is None or scores[row, i] > peak.score:
                        self._peaks[i] = _Peak(float(scores[row, i]), float(starts[row, i]), float(ends[row, i]))
                elif peak is not None:
                    if peak.score < self._thresholds[i]:
                        times = (peak.start * self._frame_seconds, peak.end * self._frame_seconds)
                        found.append(Event(self._names[i], *times, peak.score))
                    self._peaks[i] = None
        return sorted(found, key=lambda event: event.end)
