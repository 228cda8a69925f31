"""Keywords that were almost heard: the scores that a threshold is chosen by when a word is missed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lcspeech.decoder import Hits
from lcspeech.spotter import Spotter
from lcspeech.trigger import Event, Trigger

FAINT = 0.02  # of the threshold: what stays below this part of it is not worth telling


class NearMisses:
    """Follows the scores of one stream, and tells the highest of each rise that ended below its threshold."""

    def __init__(self, trigger: Trigger, thresholds: Sequence[float]) -> None:
        self._trigger, self._thresholds = trigger, tuple(thresholds)
        self._peaks: dict[int, Event] = {}  # of the rises that go on, by keyword

    @classmethod
    def of(cls, spotter: Spotter) -> NearMisses:
        """Those of a stream of this spotter."""
        return cls(spotter.trigger, spotter.thresholds)

    def feed(self, hits: Hits) -> list[Event]:
        """Near-misses that ended among the frames of one of `Stream.hits`; times in seconds."""
        found: list[Event] = []
        risen = hits.scores >= FAINT * np.array(self._thresholds)
        for i in sorted({*self._peaks, *np.flatnonzero(risen.any(0)).tolist()}):
            for row, is_up in enumerate(risen[:, i].tolist()):
                peak, score = self._peaks.get(i), float(hits.scores[row, i])
                if not is_up:
                    if (ended := self._peaks.pop(i, None)) and ended.score < self._thresholds[i]:
                        found.append(ended)
                elif peak is None or score > peak.score:
                    self._peaks[i] = self._trigger.event(i, score, float(hits.starts[row, i]), float(hits.ends[row, i]))
        return sorted(found, key=lambda event: event.end)
