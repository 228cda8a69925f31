"""A keyword's threshold from the sound of the room in which it is to be heard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech.evaluation.metrics import Proportion, Rate
from lcspeech.spotter import Spotter
from lcspeech.units import Keyword

Doubles = NDArray[np.float64]

_DIGITS = 1e4  # to which a threshold is rounded, upwards


LOWEST_THRESHOLD = 0.1  # however quiet the room: in talk, some ten times the false alarms at 0.5


@dataclass(frozen=True)
class RoomThreshold:
    """A threshold, the false alarms that the room's recording raised at it, and the recordings of the word below it."""

    threshold: float
    false_alarms: Rate
    misses: Proportion  # of the keyword's scores by this model; of nothing, if it has none

    def to_json(self) -> dict[str, Any]:
        """What it was found by, as JSON-able data."""
        alarms, misses = self.false_alarms, self.misses
        found: dict[str, Any] = {
            "hours": round(alarms.hours, 4),
            "false_alarms": alarms.events,
            "false_alarms_per_hour": alarms.value,
            "interval": list(alarms.interval),
        }
        if misses.total:
            found |= {"recordings": misses.total, "miss_rate": misses.value, "miss_interval": list(misses.interval)}
        return found


def room_threshold(
    spotter: Spotter,
    keyword: Keyword,
    blocks: Iterable[NDArray[np.float32]],
    per_hour: float,
    lowest: float | None = None,
) -> RoomThreshold:
    """The lowest threshold at which the room, where nobody says the word, raises at most `per_hour` false alarms.

    `blocks` are its samples at the model's rate. A short recording cannot tell rare alarms from none: the interval of
    the rate says how far it is to be trusted. One too short to hold a single alarm at that rate raises the keyword's
    threshold at most; no recording lowers it below `LOWEST_THRESHOLD`. `lowest` replaces both of these bounds.
    """
    alone = spotter.replace(keywords=[keyword], threshold=0.0)
    scores, starts, ends, seconds = _listen(alone, blocks)
    hours = seconds / 3600
    allowed = int(per_hour * hours)

    def alarms(threshold: float) -> int:
        trigger = spotter.replace(keywords=[keyword], threshold=threshold).trigger
        events, state = trigger.run(scores, starts, ends, 0, trigger.initial_state())
        return len(events) + len(trigger.finish(state))

    if lowest is None:
        lowest = LOWEST_THRESHOLD if per_hour * hours >= 1 else keyword.threshold
    # Of the threshold, in its last digit; the alarms fall as it rises
    low, high = round(lowest * _DIGITS), int(_DIGITS)
    while low < high:
        middle = (low + high) // 2
        if alarms(middle / _DIGITS) > allowed:
            low = middle + 1
        else:
            high = middle
    threshold = low / _DIGITS
    own = keyword.scores if keyword.model in ("", spotter.card.name) else ()  # another model gives other scores
    misses = Proportion(sum(score < threshold for score in own), len(own))
    return RoomThreshold(threshold, Rate(alarms(threshold), hours), misses)


def _listen(spotter: Spotter, blocks: Iterable[NDArray[np.float32]]) -> tuple[Doubles, Doubles, Doubles, float]:
    """Scores, starts and ends ``[frames, 1]`` of a whole recording, and its seconds."""
    parts = [np.empty((3, 0, 1))]
    with spotter.stream() as stream:
        for block in blocks:
            stream.feed(block)
            parts += [np.stack([hits.scores, hits.starts, hits.ends]) for hits in stream.hits]
        scores, starts, ends = np.concatenate(parts, axis=1)
        return scores, starts, ends, stream.seconds
