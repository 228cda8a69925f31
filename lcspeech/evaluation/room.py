"""A keyword's threshold from the sound of the room in which it is to be heard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech.decoder import Hits, joined
from lcspeech.evaluation.metrics import Proportion, Rate
from lcspeech.spotter import Spotter
from lcspeech.trigger import Event
from lcspeech.units import Keyword

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


@dataclass(frozen=True, eq=False)
class Heard:
    """What a keyword alone scored in a sound: the events at any threshold follow from it."""

    spotter: Spotter
    hits: Hits
    hours: float

    @classmethod
    def of(cls, spotter: Spotter, keyword: Keyword, blocks: Iterable[NDArray[np.float32]]) -> Heard:
        """Of blocks of samples at the model's rate, heard to their end."""
        alone = spotter.replace(keywords=[keyword], threshold=0.0)
        hits: list[Hits] = []
        with alone.stream() as stream:
            for block in blocks:
                stream.feed(block)
                hits += stream.hits
            stream.flush()
            return cls(alone, joined([*hits, *stream.hits]), stream.seconds / 3600)

    def events(self, threshold: float) -> list[Event]:
        """Those that a stream would have given."""
        trigger, hits = self.spotter.trigger.with_threshold(threshold), self.hits
        events, state = trigger.run(hits.scores, hits.starts, hits.ends, hits.first_frame, trigger.initial_state())
        return events + trigger.finish(state)

    def threshold(self, per_hour: float, lowest: float) -> float:
        """The lowest, from `lowest` on, at which there are at most so many events an hour, to its last digit."""
        allowed = int(per_hour * self.hours)
        low, high = round(lowest * _DIGITS), int(_DIGITS)
        while low < high:  # the events become fewer as it rises
            middle = (low + high) // 2
            if len(self.events(middle / _DIGITS)) > allowed:
                low = middle + 1
            else:
                high = middle
        return low / _DIGITS


def room_threshold(
    spotter: Spotter, keyword: Keyword, blocks: Iterable[NDArray[np.float32]], per_hour: float
) -> RoomThreshold:
    """The lowest threshold at which the room, where nobody says the word, raises at most `per_hour` false alarms.

    `blocks` are its samples at the model's rate. A short recording cannot tell rare alarms from none: the interval of
    the rate says how far it is to be trusted. One too short to hold a single alarm at that rate raises the keyword's
    threshold at most; no recording lowers it below `LOWEST_THRESHOLD`.
    """
    heard = Heard.of(spotter, keyword, blocks)
    threshold = heard.threshold(per_hour, LOWEST_THRESHOLD if per_hour * heard.hours >= 1 else keyword.threshold)
    own = keyword.scores if keyword.model in ("", spotter.card.name) else ()  # another model gives other scores
    misses = Proportion(sum(score < threshold for score in own), len(own))
    return RoomThreshold(threshold, Rate(len(heard.events(threshold)), heard.hours), misses)
